/* The inner loops of `arithmetic`, and the module they are in: one pass over a block where numpy takes ten.
 *
 * Built with the package where there is a C compiler; `arithmetic` falls back to numpy where there is none, and a
 * test holds both to the same results. Everything is float32 in, float64 accumulated; a product of two float32 is
 * exact in float64, so fused multiply-add or not gives the same bits. Sums are kept in LANES partial sums whatever
 * the processor's width, so they do not depend on it either. The GIL is released while a block is worked on.
 */
#include "kernels.h"

/* The two bfloat16 of a 32-bit word as float32: cheaper than widening them one by one. */
static inline float lower(uint32_t word)
{
    float value;
    word <<= 16;
    memcpy(&value, &word, 4);
    return value;
}

static inline float upper(uint32_t word)
{
    float value;
    word &= 0xFFFF0000u;
    memcpy(&value, &word, 4);
    return value;
}

/* to = after - before for 2n bfloat16, all lower halves first: a sum over them does not mind the order. */
FOR_EACH_WIDTH static void subtract_packed(const uint16_t *after, const uint16_t *before, float *restrict to, Py_ssize_t n)
{
    for (Py_ssize_t i = 0; i < n; i++) {
        uint32_t a, b;
        memcpy(&a, after + 2 * i, 4);
        memcpy(&b, before + 2 * i, 4);
        to[i] = lower(a) - lower(b);
        to[n + i] = upper(a) - upper(b);
    }
}

/* The same in the order they have. */
FOR_EACH_WIDTH static void subtract_bits(const uint16_t *after, const uint16_t *before, float *restrict to, Py_ssize_t n)
{
    for (Py_ssize_t i = 0; i < n; i++)
        to[i] = lower(after[i]) - lower(before[i]);
}

FOR_EACH_WIDTH void subtract(const float *after, const float *before, float *restrict to, Py_ssize_t n)
{
    for (Py_ssize_t i = 0; i < n; i++)
        to[i] = after[i] - before[i];
}

FOR_EACH_WIDTH void inner(const float *restrict a, const float *restrict b, Py_ssize_t n, double *restrict sums)
{
    LaneSums lanes = {{0}, {0}, {0}};
    for (Py_ssize_t i = 0; i < n; i += LANES)
        add_products(&lanes, a + i, b + i);
    sum_lanes(&lanes, sums);
}

static const float *widened(const Side *side, Py_ssize_t start, Py_ssize_t n, float *room)
{
    if (side->wide)
        return (const float *)side->view.buf + start;
    widen_bf16((const uint16_t *)side->view.buf + start, room, n);
    return room;
}

void difference(const Side *after, const Side *before, int packed, Py_ssize_t start, Py_ssize_t n, float *to)
{
    static const float zeros[STRIP];
    float room[2][STRIP];
    if (!after->wide && !(before && before->wide)) {
        const uint16_t *low = before ? (const uint16_t *)before->view.buf + start : (const uint16_t *)zeros;
        if (packed)
            subtract_packed((const uint16_t *)after->view.buf + start, low, to, n / 2);
        else
            subtract_bits((const uint16_t *)after->view.buf + start, low, to, n);
    } else
        subtract(widened(after, start, n, room[0]), before ? widened(before, start, n, room[1]) : zeros, to, n);
}

/* Gram matrix of the differences after - before, tile by tile within the first-level cache. */
static void gram_of(const Side *sides, int count, const int (*edges)[2], int changes, Py_ssize_t n, double *gram)
{
    float rows[MOST][STRIP];
    double sums[3];
    int bits = 1;
    for (int k = 0; k < count; k++)
        bits = bits && !sides[k].wide;
    memset(gram, 0, sizeof(double) * (size_t)(changes * changes));
    for (Py_ssize_t start = 0; start < n; start += STRIP) {
        Py_ssize_t size = n - start < STRIP ? n - start : STRIP, padded = (size + LANES - 1) / LANES * LANES;
        for (int k = 0; k < changes; k++) {
            const Side *before = edges[k][1] < 0 ? NULL : &sides[edges[k][1]];
            difference(&sides[edges[k][0]], before, bits && size % 2 == 0, start, size, rows[k]);
            memset(rows[k] + size, 0, sizeof(float) * (size_t)(padded - size));
        }
        if (changes == 1) {
            inner(rows[0], rows[0], padded, sums);
            gram[0] += sums[0];
        }
        for (int i = 1; i < changes; i++)
            for (int j = 0; j < i; j++) {
                inner(rows[j], rows[i], padded, sums);
                gram[i * changes + j] = gram[j * changes + i] += sums[1];
                if (j == 0) /* each row's square once: its own with the first row, the first row's with the second */
                    gram[i * changes + i] += sums[2];
                if (i == 1)
                    gram[0] += sums[0];
            }
    }
}

int acquire(PyObject *array, Side *side, Py_ssize_t items, int writable)
{
    if (PyObject_GetBuffer(array, &side->view, PyBUF_ND | PyBUF_FORMAT | (writable ? PyBUF_WRITABLE : 0)) < 0)
        return -1;
    const char *format = side->view.format ? side->view.format : "B";
    side->wide = strcmp(format, "f") == 0;
    if ((strcmp(format, "H") != 0 && !side->wide) || (items >= 0 && side->view.len != items * side->view.itemsize)) {
        PyBuffer_Release(&side->view);
        PyErr_SetString(PyExc_ValueError, "expected arrays of equal length, float32 or bfloat16 bit patterns");
        return -1;
    }
    return 0;
}

int acquire_all(PyObject *arrays, Side *sides)
{
    Py_ssize_t count = PyTuple_Size(arrays), n = -1;
    if (count < 1 || count > MOST) {
        PyErr_Format(PyExc_ValueError, "expected 1 to %d arrays, not %zd", MOST, count);
        return -1;
    }
    for (int held = 0; held < count; held++) {
        if (acquire(PyTuple_GetItem(arrays, held), &sides[held], n, 0) < 0) {
            while (held > 0)
                PyBuffer_Release(&sides[--held].view);
            return -1;
        }
        n = sides[held].view.len / sides[held].view.itemsize;
    }
    return (int)count;
}

int parse_edges(PyObject *edges, int sides, int (*parsed)[2])
{
    Py_ssize_t count = PyTuple_Size(edges);
    if (count < 0)
        return -1;
    int wrong = count > MOST;
    for (Py_ssize_t k = 0; !wrong && k < count; k++) {
        PyObject *edge = PyTuple_GetItem(edges, k);
        wrong = !PyTuple_Check(edge);
        if (!wrong && !PyArg_ParseTuple(edge, "ii", &parsed[k][0], &parsed[k][1]))
            return -1;
        wrong = wrong || parsed[k][0] < 0 || parsed[k][0] >= sides || parsed[k][1] < -1 || parsed[k][1] >= sides;
    }
    if (wrong)
        PyErr_Format(PyExc_ValueError, "expected at most %d edges, pairs of places among the %d arrays", MOST, sides);
    return wrong ? -1 : (int)count;
}

static PyObject *as_rows(const double *gram, int changes)
{
    PyObject *flat = PyTuple_New((Py_ssize_t)changes * changes);
    for (int k = 0; flat && k < changes * changes; k++) {
        PyObject *value = PyFloat_FromDouble(gram[k]);
        if (!value || PyTuple_SetItem(flat, k, value) < 0)
            Py_CLEAR(flat);
    }
    return flat;
}

static PyObject *py_gram(PyObject *module, PyObject *args)
{
    PyObject *arrays, *edges, *result = NULL;
    Side sides[MOST];
    int parsed[MOST][2];
    double gram[MOST * MOST];
    if (!PyArg_ParseTuple(args, "O!O!", &PyTuple_Type, &arrays, &PyTuple_Type, &edges))
        return NULL;
    int held = acquire_all(arrays, sides);
    if (held < 0)
        return NULL;
    int changes = parse_edges(edges, held, parsed);
    if (changes >= 0) {
        Py_BEGIN_ALLOW_THREADS
        gram_of(sides, held, parsed, changes, sides[0].view.len / sides[0].view.itemsize, gram);
        Py_END_ALLOW_THREADS
        result = as_rows(gram, changes);
    }
    while (held > 0)
        PyBuffer_Release(&sides[--held].view);
    return result;
}

static PyMethodDef methods[] = {
    {"widen", py_widen, METH_VARARGS, "widen(raw, out): bfloat16 bit patterns into float32."},
    {"narrow", py_narrow, METH_VARARGS, "narrow(value, out): float32 into bfloat16, to nearest, ties to even."},
    {"gram", py_gram, METH_VARARGS,
     "gram(arrays, edges): inner products, row by row, of the float32 differences arrays[after] - arrays[before]."},
    {"moments", py_moments, METH_VARARGS,
     "moments(arrays, edges, columns, seed, out): the probe's sums of the differences, row by row of `columns` elements,\n"
     "into 3 k k + 5 float64: a.b, squares of products, squares of row sums; then the controls (see moments.c)."},
    {"add", py_add, METH_VARARGS,
     "add(source, target, raw, change, out): stored weights plus float32 changes (None: none), stored again; a.a, a.b and\n"
     "b.b of the changes asked for and made. Kinds: 0 F32, 1 BF16, 2 F16."},
    {"add_to_file", py_add_to_file, METH_VARARGS,
     "add_to_file(source, target, raw, change, fd, offset): the same, written to a file from byte `offset` on."},
    {"subtract_to_file", py_subtract_to_file, METH_VARARGS,
     "subtract_to_file(after, raw_after, before, raw_before, ends, fd, offset): stored weights of two kinds (0 F32, 1 BF16,\n"
     "2 F16), their float32 difference written to a file from byte `offset` on; its sum of squares, block by block of `ends`."},
    {"requantize", py_requantize, METH_VARARGS,
     "requantize(source, target, raw, change, out): stored weights plus changes, stored again; a.a, a.b and b.b of the\n"
     "changes asked for and made, NaN if a sum is not finite. Codecs: (widen, narrow, number, values, bytes)."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, "_kernels", NULL, -1, methods, NULL, NULL, NULL, NULL};

#ifndef PAST_SOURCES /* setup.py gives the digest of these files */
#define PAST_SOURCES ""
#endif

PyMODINIT_FUNC PyInit__kernels(void)
{
    PyObject *module = PyModule_Create(&definition);
    if (module != NULL && PyModule_AddStringConstant(module, "sources", PAST_SOURCES) < 0) {
        Py_DECREF(module);
        return NULL;
    }
    return module;
}
