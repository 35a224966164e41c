/* theta + change, from one stored type into another, tile by tile within the first-level cache: dequantise, add,
 * quantise, dequantise again, and the inner products that say how much of the change is stored.
 *
 * The (de)quantisers are the caller's: C functions given by their addresses (ggml's, for the types of llama.cpp).
 */
#include "kernels.h"

enum { TILE = 1024 };

typedef void (*Convert)(const void *, void *, int64_t);
typedef size_t (*Quantize)(int, const float *, void *, int64_t, int64_t, int64_t, const float *);

/* One stored type: `values` weights take `bytes`. Where `widen` is NULL it is float32 itself. Where `number` is not
 * negative, `quantize` is used with it, as ggml_quantize_chunk wants it; else `narrow`. */
typedef struct {
    Convert widen, narrow;
    Quantize quantize;
    int number;
    Py_ssize_t values, bytes;
} Codec;

/* codec: (address of widen, address of narrow or quantize, number or -1, values, bytes) */
static int parse_codec(PyObject *tuple, Codec *codec)
{
    unsigned long long widen, other;
    if (!PyTuple_Check(tuple) ||
        !PyArg_ParseTuple(tuple, "KKinn", &widen, &other, &codec->number, &codec->values, &codec->bytes)) {
        PyErr_SetString(PyExc_TypeError, "a codec is (widen, narrow, number, values, bytes)");
        return -1;
    }
    codec->widen = (Convert)(uintptr_t)widen;
    codec->narrow = codec->number < 0 ? (Convert)(uintptr_t)other : NULL;
    codec->quantize = codec->number < 0 ? NULL : (Quantize)(uintptr_t)other;
    if (codec->values < 1 || TILE % codec->values || codec->bytes < 1 ||
        (!codec->widen && codec->bytes != (Py_ssize_t)sizeof(float) * codec->values)) {
        PyErr_SetString(PyExc_ValueError, "a codec's block is impossible");
        return -1;
    }
    return 0;
}

static void widen_with(const Codec *codec, const char *raw, float *to, Py_ssize_t n)
{
    if (codec->widen)
        codec->widen(raw, to, n);
    else
        memcpy(to, raw, sizeof(float) * (size_t)n);
}

static void narrow_with(const Codec *codec, const float *value, char *raw, Py_ssize_t n)
{
    if (!codec->widen)
        memcpy(raw, value, sizeof(float) * (size_t)n);
    else if (codec->narrow)
        codec->narrow(value, raw, n);
    else
        codec->quantize(codec->number, value, raw, 0, 1, n, NULL);
}

/* total = theta + change; whether all of it is finite. */
FOR_EACH_WIDTH static int add(const float *restrict theta, const float *restrict change, float *restrict total, Py_ssize_t n)
{
    int32_t largest = 0;
    for (Py_ssize_t i = 0; i < n; i++) {
        int32_t bits;
        total[i] = theta[i] + change[i];
        memcpy(&bits, total + i, 4);
        bits &= 0x7FFFFFFF;
        largest = bits > largest ? bits : largest;
    }
    return largest < 0x7F800000;
}

/* The whole block; 0 if a sum was not finite, for which some quantisers end the process. */
static int requantize(const Codec *from, const Codec *to, const char *raw, const float *change, char *out, Py_ssize_t n,
                      double *sums)
{
    float theta[TILE], total[TILE], made[TILE];
    double part[3];
    sums[0] = sums[1] = sums[2] = 0;
    for (Py_ssize_t start = 0; start < n; start += TILE) {
        Py_ssize_t size = n - start < TILE ? n - start : TILE, even = size / LANES * LANES;
        char *stored = out + start / to->values * to->bytes;
        widen_with(from, raw + start / from->values * from->bytes, theta, size);
        if (!add(theta, change + start, total, size))
            return 0;
        narrow_with(to, total, stored, size);
        widen_with(to, stored, total, size);
        subtract(total, theta, made, size);
        inner(change + start, made, even, part);
        for (int k = 0; k < 3; k++)
            sums[k] += part[k];
        for (; even < size; even++) { /* the last few of a vector */
            double a = change[start + even], b = made[even];
            sums[0] += a * a;
            sums[1] += a * b;
            sums[2] += b * b;
        }
    }
    return 1;
}

PyObject *py_requantize(PyObject *module, PyObject *args)
{
    PyObject *objects[3], *codecs[2], *result = NULL;
    Py_buffer views[3]; /* raw, change, out */
    Codec from, to;
    double sums[3];
    int held = 0, finite = 0;
    if (!PyArg_ParseTuple(args, "OOOOO", &codecs[0], &codecs[1], &objects[0], &objects[1], &objects[2]) ||
        parse_codec(codecs[0], &from) < 0 || parse_codec(codecs[1], &to) < 0)
        return NULL;
    for (; held < 3; held++)
        if (PyObject_GetBuffer(objects[held], &views[held], PyBUF_ND | PyBUF_FORMAT | (held == 2 ? PyBUF_WRITABLE : 0)) < 0)
            goto release;
    Py_ssize_t n = views[1].len / (Py_ssize_t)sizeof(float);
    if (to.widen && !to.narrow && !to.quantize) {
        PyErr_SetString(PyExc_ValueError, "the target's codec cannot write");
        goto release;
    }
    if (!views[1].format || strcmp(views[1].format, "f") != 0 || n % from.values || n % to.values ||
        views[0].len != n / from.values * from.bytes || views[2].len != n / to.values * to.bytes) {
        PyErr_SetString(PyExc_ValueError, "expected float32 changes, and as many stored weights, of whole blocks");
        goto release;
    }
    Py_BEGIN_ALLOW_THREADS
    finite = requantize(&from, &to, views[0].buf, views[1].buf, views[2].buf, n, sums);
    Py_END_ALLOW_THREADS
    if (finite)
        result = Py_BuildValue("ddd", sums[0], sums[1], sums[2]);
    else
        result = Py_BuildValue("ddd", Py_NAN, Py_NAN, Py_NAN);
release:
    while (held > 0)
        PyBuffer_Release(&views[--held]);
    return result;
}
