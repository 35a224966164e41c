/* What the compiled inner loops share. */
#ifndef PAST_KERNELS_H
#define PAST_KERNELS_H

#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030B0000
#include <Python.h>
#include <stdint.h>
#include <string.h>

#if defined(__x86_64__) && defined(__GLIBC__) && defined(__GNUC__) && !defined(__clang__)
#define FOR_EACH_WIDTH __attribute__((target_clones("avx512f", "avx2", "default"))) /* chosen when loaded */
#else
#define FOR_EACH_WIDTH
#endif

enum { LANES = 8 };

/* a.a, a.b and b.b of n float32, in float64; n a multiple of LANES. */
void inner(const float *a, const float *b, Py_ssize_t n, double *sums);

void subtract(const float *after, const float *before, float *to, Py_ssize_t n);

PyObject *py_requantize(PyObject *module, PyObject *args);

#endif
