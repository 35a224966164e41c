/* Adding a change to weights stored as floats, from stored bytes to stored bytes in one pass, with the sums that say how much
 * of it is stored: into an array, or straight into a file.
 */
#include "floats.h"
#include "kernels.h"
#include <errno.h>
#include <stdlib.h>

enum {
    TILE = 1024,     /* elements whose sums are taken together */
    STEP = 32,       /* what is added and summed at once: the additions of one step run beside the sums of another */
    AHEAD = 2,       /* tiles that memory is asked for in advance */
    PIECE = 1 << 16, /* elements handed to the file at once: still in the second-level cache */
};

/* One whole tile: out = theta + change in the stored type, and a.a, a.b, b.b of a = change and b = out - theta in float32, while
 * the changes and weights of a later tile come into the second-level cache. A sum that is NaN may be stored as anything: the
 * products say so. */
typedef void (*Adder)(const void *raw, const float *change, void *out, const char *later_change, const char *later_raw,
                      double *sums);

#define ADDER(source, Source, target, Target)                                                                           \
    FOR_EACH_WIDTH static void add_##source##_##target(const void *restrict raw, const float *restrict change, void *restrict out,        \
                                                       const char *later_change, const char *later_raw,                 \
                                                       double *restrict sums)                                           \
    {                                                                                                                   \
        const Source *restrict from = raw;                                                                              \
        Target *restrict to = out;                                                                                      \
        LaneSums lanes = {{0}, {0}, {0}};                                                                               \
        for (Py_ssize_t i = 0; i < TILE; i += STEP) {                                                                   \
            float made[STEP];                                                                                           \
            __builtin_prefetch(later_change + 4 * i, 0, 2);                                                             \
            __builtin_prefetch(later_change + 4 * i + 64, 0, 2);                                                        \
            __builtin_prefetch(later_raw + (Py_ssize_t)sizeof(Source) * i, 0, 2);                                       \
            if (sizeof(Source) > 2)                                                                                     \
                __builtin_prefetch(later_raw + (Py_ssize_t)sizeof(Source) * i + 64, 0, 2);                              \
            for (int k = 0; k < STEP; k++) {                                                                            \
                float theta = from_##source(from[i + k]);                                                               \
                Target stored = number_to_##target(theta + change[i + k]);                                              \
                to[i + k] = stored;                                                                                     \
                made[k] = from_##target(stored) - theta;                                                                \
            }                                                                                                           \
            for (int k = 0; k < STEP; k += LANES)                                                                       \
                add_products(&lanes, change + i + k, made + k);                                                         \
        }                                                                                                               \
        sum_lanes(&lanes, sums);                                                                                        \
    }

FOR_EACH_PAIR(ADDER)

static const Adder ADDERS[KINDS][KINDS] = TABLE_OF(add);

/* The sums of a tile that holds a NaN once more, so that it is stored as one: only bfloat16 has lost it. */
static void restore_nans(int source, int target, const char *raw, const float *change, uint16_t *out)
{
    for (Py_ssize_t i = 0; i < TILE && target == BF16; i++) {
        float theta;
        uint16_t bits;
        memcpy(source == F32 ? (void *)&theta : (void *)&bits, raw + i * BYTES[source], (size_t)BYTES[source]);
        if (source != F32)
            theta = source == BF16 ? from_bf16(bits) : from_f16(bits);
        out[i] = to_bf16(theta + change[i]);
    }
}

static void add_tile(int source, int target, const char *raw, const float *change, void *out, const void *later_change,
                     const char *later_raw, double *sums)
{
    double part[3];
    ADDERS[source][target](raw, change, out, later_change, later_raw, part);
    if (part[0] + part[2] != part[0] + part[2])
        restore_nans(source, target, raw, change, out);
    for (int k = 0; k < 3; k++)
        sums[k] += part[k];
}

/* n weights; `change` may be NULL for none. Adds to sums: a.a, a.b, b.b of a = change and b = what became of it. */
static void add(int source, int target, const char *raw, const float *change, char *out, Py_ssize_t n, double *sums)
{
    static const float none[TILE] = {[0 ... TILE - 1] = -0.0f}; /* what leaves a -0 as it is, too */
    Py_ssize_t start = 0;
    for (; start + TILE <= n; start += TILE) {
        Py_ssize_t later = start + (1 + AHEAD) * TILE <= n ? start + AHEAD * TILE : start;
        add_tile(source, target, raw + start * BYTES[source], change ? change + start : none, out + start * BYTES[target],
                 change ? change + later : none, raw + later * BYTES[source], sums);
    }
    if (start < n) { /* a short tile at the end: the same with zeros behind it */
        float padded[TILE] = {0}, weights[TILE] = {0}, stored[TILE];
        memcpy(padded, change ? change + start : none, sizeof(float) * (size_t)(n - start));
        memcpy(weights, raw + start * BYTES[source], (size_t)((n - start) * BYTES[source]));
        add_tile(source, target, (char *)weights, padded, stored, padded, (char *)weights, sums);
        memcpy(out + start * BYTES[target], stored, (size_t)((n - start) * BYTES[target]));
    }
}

/* As `add`, piece by piece into a file. */
static int add_to_file(int source, int target, const char *raw, const float *change, int fd, int64_t offset, Py_ssize_t n,
                       double *sums)
{
    void *room = NULL;
    int failed = posix_memalign(&room, 64, (size_t)(PIECE * BYTES[target]));
    char *piece = room;
    for (Py_ssize_t start = 0; start < n && !failed; start += PIECE) {
        Py_ssize_t size = n - start < PIECE ? n - start : PIECE;
        add(source, target, raw + start * BYTES[source], change + start, piece, size, sums);
        failed = put(fd, piece, (size_t)(size * BYTES[target]), offset + start * BYTES[target]);
    }
    free(room);
    return failed;
}

/* Stored weights and their changes, checked. */
typedef struct {
    Py_buffer raw, change;
    int changes;
    Py_ssize_t n;
} Terms;

static void release(Terms *terms)
{
    PyBuffer_Release(&terms->raw);
    if (terms->changes)
        PyBuffer_Release(&terms->change);
}

static int take(Terms *terms, int source, int target, PyObject *raw, PyObject *change)
{
    if (source < 0 || source >= KINDS || target < 0 || target >= KINDS) {
        PyErr_SetString(PyExc_ValueError, "a kind is 0 (F32), 1 (BF16) or 2 (F16)");
        return -1;
    }
    if (PyObject_GetBuffer(raw, &terms->raw, PyBUF_ND | PyBUF_FORMAT) < 0)
        return -1;
    terms->changes = 0;
    terms->n = terms->raw.len / BYTES[source];
    if (change != Py_None) {
        if (PyObject_GetBuffer(change, &terms->change, PyBUF_ND | PyBUF_FORMAT) < 0) {
            PyBuffer_Release(&terms->raw);
            return -1;
        }
        terms->changes = 1;
    }
    const Py_buffer *asked = terms->changes ? &terms->change : NULL;
    if (terms->raw.len == terms->n * BYTES[source] && (uintptr_t)terms->raw.buf % (size_t)BYTES[source] == 0 &&
        (!asked || (asked->format && strcmp(asked->format, "f") == 0 && asked->len == terms->n * 4)))
        return 0;
    release(terms);
    PyErr_SetString(PyExc_ValueError, "expected aligned stored weights, and as many float32 changes");
    return -1;
}

PyObject *py_add(PyObject *module, PyObject *args)
{
    PyObject *raw, *change, *out, *result = NULL;
    Py_buffer room;
    Terms terms;
    int source, target;
    double sums[3] = {0, 0, 0};
    if (!PyArg_ParseTuple(args, "iiOOO", &source, &target, &raw, &change, &out) ||
        take(&terms, source, target, raw, change) < 0)
        return NULL;
    if (PyObject_GetBuffer(out, &room, PyBUF_ND | PyBUF_FORMAT | PyBUF_WRITABLE) == 0) {
        if (room.len == terms.n * BYTES[target] && (uintptr_t)room.buf % (size_t)BYTES[target] == 0) {
            Py_BEGIN_ALLOW_THREADS
            add(source, target, terms.raw.buf, terms.changes ? terms.change.buf : NULL, room.buf, terms.n, sums);
            Py_END_ALLOW_THREADS
            result = Py_BuildValue("ddd", sums[0], sums[1], sums[2]);
        } else
            PyErr_SetString(PyExc_ValueError, "expected aligned room for as many weights as are given");
        PyBuffer_Release(&room);
    }
    release(&terms);
    return result;
}

PyObject *py_add_to_file(PyObject *module, PyObject *args)
{
    PyObject *raw, *change;
    Terms terms;
    int source, target, fd, failed = 0;
    long long offset;
    double sums[3] = {0, 0, 0};
    if (!PyArg_ParseTuple(args, "iiOOiL", &source, &target, &raw, &change, &fd, &offset) ||
        take(&terms, source, target, raw, change) < 0)
        return NULL;
    if (terms.changes) {
        Py_BEGIN_ALLOW_THREADS
        failed = add_to_file(source, target, terms.raw.buf, terms.change.buf, fd, (int64_t)offset, terms.n, sums);
        Py_END_ALLOW_THREADS
        errno = failed;
        if (failed)
            PyErr_SetFromErrno(PyExc_OSError);
    } else
        PyErr_SetString(PyExc_ValueError, "expected float32 changes");
    int fine = terms.changes && !failed;
    release(&terms);
    return fine ? Py_BuildValue("ddd", sums[0], sums[1], sums[2]) : NULL;
}
