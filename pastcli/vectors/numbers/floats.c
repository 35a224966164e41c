/* Weights stored as floats: conversions between float32 and the 16-bit types, and adding a change from stored bytes to
 * stored bytes in one pass, with the sums that say how much of it is stored.
 *
 * Rounding is to nearest, ties to even, as numpy rounds (a test goes through every bit pattern). The conversions have no
 * branches and choose by masks, so that compilers turn them into vectors on any processor.
 */
#include "kernels.h"

enum { TILE = 1024 }; /* what a tile takes stays in the first-level cache */

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

/* A NaN stays one, whatever its payload. */
static inline uint16_t to_bf16(float value)
{
    uint32_t bits = bits_of(value), rounded = (bits + 0x7FFFu + ((bits >> 16) & 1u)) >> 16;
    return (uint16_t)choose((bits & 0x7FFFFFFFu) > 0x7F800000u, (bits >> 16) | 0x40u, rounded);
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

FOR_EACH_WIDTH void widen_bf16(const void *from, void *to, int64_t n)
{
    const uint16_t *restrict raw = from;
    float *restrict value = to;
    for (int64_t i = 0; i < n; i++)
        value[i] = from_bf16(raw[i]);
}

FOR_EACH_WIDTH static void narrow_bf16(const void *from, void *to, int64_t n)
{
    const float *restrict value = from;
    uint16_t *restrict raw = to;
    for (int64_t i = 0; i < n; i++)
        raw[i] = to_bf16(value[i]);
}

/* n values of one type into another. */
typedef void (*Conversion)(const void *from, void *to, int64_t n);

static PyObject *converted(PyObject *args, Conversion conversion, int from_wide)
{
    PyObject *source, *target;
    Side from, to;
    if (!PyArg_ParseTuple(args, "OO", &source, &target) || acquire(source, &from, -1, 0) < 0)
        return NULL;
    Py_ssize_t n = from.view.len / from.view.itemsize;
    if (acquire(target, &to, n, 1) < 0) {
        PyBuffer_Release(&from.view);
        return NULL;
    }
    int fits = from.wide == from_wide && to.wide != from_wide;
    if (fits) {
        Py_BEGIN_ALLOW_THREADS
        conversion(from.view.buf, to.view.buf, n);
        Py_END_ALLOW_THREADS
    } else
        PyErr_SetString(PyExc_ValueError, "expected float32 on one side and bfloat16 on the other");
    PyBuffer_Release(&from.view);
    PyBuffer_Release(&to.view);
    if (!fits)
        return NULL;
    Py_RETURN_NONE;
}

PyObject *py_widen(PyObject *module, PyObject *args)
{
    return converted(args, widen_bf16, 0);
}

PyObject *py_narrow(PyObject *module, PyObject *args)
{
    return converted(args, narrow_bf16, 1);
}

/* One tile: out = theta + change in the stored type, made = out - theta in float32. */
typedef void (*Adder)(const void *raw, const float *change, void *out, float *made, int64_t n);

#define ADDER(source, Source, target, Target)                                                                           \
    FOR_EACH_WIDTH static void add_##source##_##target(const void *raw, const float *restrict change, void *out,        \
                                                       float *restrict made, int64_t n)                                 \
    {                                                                                                                   \
        const Source *restrict from = raw;                                                                              \
        Target *restrict to = out;                                                                                      \
        for (int64_t i = 0; i < n; i++) {                                                                               \
            float theta = from_##source(from[i]);                                                                       \
            Target stored = to_##target(theta + change[i]);                                                             \
            to[i] = stored;                                                                                             \
            made[i] = from_##target(stored) - theta;                                                                    \
        }                                                                                                               \
    }

ADDER(f32, float, f32, float)
ADDER(f32, float, bf16, uint16_t)
ADDER(f32, float, f16, uint16_t)
ADDER(bf16, uint16_t, f32, float)
ADDER(bf16, uint16_t, bf16, uint16_t)
ADDER(bf16, uint16_t, f16, uint16_t)
ADDER(f16, uint16_t, f32, float)
ADDER(f16, uint16_t, bf16, uint16_t)
ADDER(f16, uint16_t, f16, uint16_t)

enum { F32, BF16, F16, KINDS };

static const Adder ADDERS[KINDS][KINDS] = {
    {add_f32_f32, add_f32_bf16, add_f32_f16},
    {add_bf16_f32, add_bf16_bf16, add_bf16_f16},
    {add_f16_f32, add_f16_bf16, add_f16_f16},
};
static const Py_ssize_t BYTES[KINDS] = {4, 2, 2};

/* The whole block; `change` may be NULL for none. sums: a.a, a.b, b.b of a = change and b = made. */
static void add(int source, int target, const char *raw, const float *change, char *out, Py_ssize_t n, double *sums)
{
    static const float none[TILE] = {[0 ... TILE - 1] = -0.0f}; /* what leaves a -0 as it is, too */
    float made[TILE], padded[LANES];
    double part[3];
    sums[0] = sums[1] = sums[2] = 0;
    for (Py_ssize_t start = 0; start < n; start += TILE) {
        Py_ssize_t size = n - start < TILE ? n - start : TILE, even = size / LANES * LANES, rest = size - even;
        const float *asked = change ? change + start : none;
        ADDERS[source][target](raw + start * BYTES[source], asked, out + start * BYTES[target], made, size);
        inner(asked, made, even, part);
        for (int k = 0; k < 3; k++)
            sums[k] += part[k];
        if (rest) {
            memset(padded, 0, sizeof padded);
            memset(made + size, 0, sizeof(float) * (size_t)(LANES - rest));
            memcpy(padded, asked + even, sizeof(float) * (size_t)rest);
            inner(padded, made + even, LANES, part);
            for (int k = 0; k < 3; k++)
                sums[k] += part[k];
        }
    }
}

PyObject *py_add(PyObject *module, PyObject *args)
{
    PyObject *objects[3], *result = NULL;
    Py_buffer views[3]; /* raw, change, out */
    int source, target, held = 0;
    double sums[3];
    if (!PyArg_ParseTuple(args, "iiOOO", &source, &target, &objects[0], &objects[1], &objects[2]))
        return NULL;
    int changes = objects[1] != Py_None;
    if (source < 0 || source >= KINDS || target < 0 || target >= KINDS) {
        PyErr_SetString(PyExc_ValueError, "a kind is 0 (F32), 1 (BF16) or 2 (F16)");
        return NULL;
    }
    for (; held < 3; held++)
        if (PyObject_GetBuffer(held == 1 && !changes ? objects[0] : objects[held], &views[held],
                               PyBUF_ND | PyBUF_FORMAT | (held == 2 ? PyBUF_WRITABLE : 0)) < 0)
            goto release;
    Py_ssize_t n = views[0].len / BYTES[source];
    if (views[0].len != n * BYTES[source] || views[2].len != n * BYTES[target] ||
        (uintptr_t)views[0].buf % (size_t)BYTES[source] || (uintptr_t)views[2].buf % (size_t)BYTES[target] ||
        (changes && (!views[1].format || strcmp(views[1].format, "f") != 0 || views[1].len != n * 4))) {
        PyErr_SetString(PyExc_ValueError, "expected aligned stored weights, and as many float32 changes");
        goto release;
    }
    Py_BEGIN_ALLOW_THREADS
    add(source, target, views[0].buf, changes ? views[1].buf : NULL, views[2].buf, n, sums);
    Py_END_ALLOW_THREADS
    result = Py_BuildValue("ddd", sums[0], sums[1], sums[2]);
release:
    while (held > 0)
        PyBuffer_Release(&views[--held]);
    return result;
}
