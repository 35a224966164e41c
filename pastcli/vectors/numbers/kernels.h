/* What the compiled inner loops share. */
#ifndef PAST_KERNELS_H
#define PAST_KERNELS_H

#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030B0000
#include <Python.h>
#include <stdint.h>
#include <string.h>

#if defined(__x86_64__) && defined(__GLIBC__) && defined(__GNUC__) && !defined(__clang__) /* chosen when loaded */
#if __GNUC__ >= 12
#define FOR_EACH_WIDTH __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define FOR_EACH_WIDTH __attribute__((target_clones("avx512f", "avx2", "default")))
#endif
#else
#define FOR_EACH_WIDTH
#endif

enum { LANES = 8, STRIP = 1024, MOST = 8 };

/* How weights may be stored, as `arithmetic.KINDS` numbers it, and in how many bytes. */
enum { F32, BF16, F16, KINDS };

static const Py_ssize_t BYTES[KINDS] = {4, 2, 2};

/* A function for each pair of them, made by the macro `MAKE(one, One, other, Other)`, and the table of these by kinds. */
#define FOR_EACH_PAIR(MAKE)                                                                                             \
    MAKE(f32, float, f32, float)                                                                                        \
    MAKE(f32, float, bf16, uint16_t)                                                                                    \
    MAKE(f32, float, f16, uint16_t)                                                                                     \
    MAKE(bf16, uint16_t, f32, float)                                                                                    \
    MAKE(bf16, uint16_t, bf16, uint16_t)                                                                                \
    MAKE(bf16, uint16_t, f16, uint16_t)                                                                                 \
    MAKE(f16, uint16_t, f32, float)                                                                                     \
    MAKE(f16, uint16_t, bf16, uint16_t)                                                                                 \
    MAKE(f16, uint16_t, f16, uint16_t)

#define TABLE_OF(name)                                                                                                  \
    {{name##_f32_f32, name##_f32_bf16, name##_f32_f16},                                                                 \
     {name##_bf16_f32, name##_bf16_bf16, name##_bf16_f16},                                                              \
     {name##_f16_f32, name##_f16_bf16, name##_f16_f16}}

/* One side of a block: float32, or bfloat16 bit patterns. */
typedef struct {
    Py_buffer view;
    int wide;
} Side;

/* A contiguous array of `items` values of 2 (bfloat16) or 4 bytes (float32); items < 0 takes whatever there is. */
int acquire(PyObject *array, Side *side, Py_ssize_t items, int writable);

/* All of a tuple of at most MOST arrays, of one length; gives their number, -1 with an exception set. */
int acquire_all(PyObject *arrays, Side *sides);

/* edges: a tuple of at most MOST (after, before) indices into the sides, before = -1 for "as it is". */
int parse_edges(PyObject *edges, int sides, int (*parsed)[2]);

/* Elements [start, start + n) of a difference, n at most STRIP; `before` may be NULL. `packed`: both sides are bit patterns and
   the order of the elements does not matter. */
void difference(const Side *after, const Side *before, int packed, Py_ssize_t start, Py_ssize_t n, float *to);

/* Sums of products in float64, lane by lane: the order of additions is the same on every processor. */
typedef struct {
    double aa[LANES], ab[LANES], bb[LANES];
} LaneSums;

static inline void add_products(LaneSums *lanes, const float *a, const float *b)
{
    for (int j = 0; j < LANES; j++) {
        double x = a[j], y = b[j];
        lanes->aa[j] += x * x;
        lanes->ab[j] += x * y;
        lanes->bb[j] += y * y;
    }
}

static inline void sum_lanes(const LaneSums *lanes, double *sums)
{
    sums[0] = sums[1] = sums[2] = 0;
    for (int j = 0; j < LANES; j++) {
        sums[0] += lanes->aa[j];
        sums[1] += lanes->ab[j];
        sums[2] += lanes->bb[j];
    }
}

/* a.a, a.b and b.b of n float32, in float64; n a multiple of LANES. */
void inner(const float *a, const float *b, Py_ssize_t n, double *sums);

void subtract(const float *after, const float *before, float *to, Py_ssize_t n);

/* n bfloat16 into float32. */
void widen_bf16(const void *from, void *to, int64_t n);

/* All bytes to where they belong in a file; the error's number, or 0. */
int put(int fd, const void *bytes, size_t size, int64_t offset);

PyObject *py_widen(PyObject *module, PyObject *args);
PyObject *py_narrow(PyObject *module, PyObject *args);
PyObject *py_add(PyObject *module, PyObject *args);
PyObject *py_add_to_file(PyObject *module, PyObject *args);
PyObject *py_subtract_to_file(PyObject *module, PyObject *args);
PyObject *py_requantize(PyObject *module, PyObject *args);
PyObject *py_moments(PyObject *module, PyObject *args);

#endif
