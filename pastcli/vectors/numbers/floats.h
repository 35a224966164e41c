/* float32 and the 16-bit types, value by value.
 *
 * Rounding is to nearest, ties to even, as numpy rounds (a test goes through every bit pattern). The conversions have no
 * branches and choose by masks, so that compilers turn them into vectors on any processor.
 */
#ifndef PAST_FLOATS_H
#define PAST_FLOATS_H

#include <stdint.h>
#include <string.h>

static inline uint32_t bits_of(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, 4);
    return bits;
}

static inline float float_of(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, 4);
    return value;
}

static inline uint32_t choose(int condition, uint32_t yes, uint32_t no)
{
    uint32_t mask = -(uint32_t)condition;
    return (yes & mask) | (no & ~mask);
}

static inline float from_f32(float value)
{
    return value;
}

static inline float to_f32(float value)
{
    return value;
}

/* bfloat16 is the upper half of a float32. */
static inline float from_bf16(uint16_t raw)
{
    return float_of((uint32_t)raw << 16);
}

/* Of anything but a NaN, which may become any number. */
static inline uint16_t number_to_bf16(float value)
{
    uint32_t bits = bits_of(value);
    return (uint16_t)((bits + 0x7FFFu + ((bits >> 16) & 1u)) >> 16);
}

/* A NaN stays one, whatever its payload. */
static inline uint16_t to_bf16(float value)
{
    uint32_t bits = bits_of(value);
    return (uint16_t)choose((bits & 0x7FFFFFFFu) > 0x7F800000u, (bits >> 16) | 0x40u, number_to_bf16(value));
}

/* Moved into the place of a float32 the exponent is 112 too small; multiplying by 2^112 mends that, and makes subnormal
 * halves what they are. Infinity and NaN get the largest exponent instead. */
static inline float from_f16(uint16_t raw)
{
    uint32_t sign = ((uint32_t)raw & 0x8000u) << 16, rest = ((uint32_t)raw & 0x7FFFu) << 13;
    uint32_t finite = bits_of(float_of(rest) * 0x1p112f);
    return float_of(sign | choose(rest >= 0x0F800000u, rest | 0x7F800000u, finite));
}

/* Normal halves: round the 13 bits that go, and shift the exponent. Below 2^-14 the grid has the step 2^-24, which is what
 * adding 0.5 leaves of a float32. From 65520 on it is infinity. */
static inline uint16_t to_f16(float value)
{
    uint32_t bits = bits_of(value), sign = (bits >> 16) & 0x8000u, size = bits & 0x7FFFFFFFu;
    uint32_t normal = (size - 0x38000000u + 0xFFFu + ((size >> 13) & 1u)) >> 13;
    uint32_t small = bits_of(float_of(size) + 0.5f) - 0x3F000000u;
    uint32_t special = choose(size > 0x7F800000u, 0x7E00u | ((size >> 13) & 0x3FFu), 0x7C00u);
    return (uint16_t)(sign | choose(size < 0x38800000u, small, choose(size < 0x477FF000u, normal, special)));
}

static inline float number_to_f32(float value)
{
    return value;
}

static inline uint16_t number_to_f16(float value)
{
    return to_f16(value);
}

#endif
