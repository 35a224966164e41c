/* Arrays of bfloat16 into float32, and back. */
#include "floats.h"
#include "kernels.h"

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
