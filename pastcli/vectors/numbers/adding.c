/* Adding a change to weights stored as floats, from stored bytes to stored bytes in one pass, with the sums that say how much
 * of it is stored: into an array, or straight into a file.
 */
#define _FILE_OFFSET_BITS 64
#include "floats.h"
#include "kernels.h"
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

enum {
    TILE = 1024,     /* what a tile takes stays in the first-level cache */
    AHEAD = 2,       /* tiles that memory is asked for in advance */
    PIECE = 1 << 16, /* elements handed to the file at once: still in the second-level cache */
};

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

/* As `inner` on one tile, while the weights and changes of a later one come into the second-level cache: the sums are all
 * arithmetic and the additions all memory, so that neither waits for the other. */
FOR_EACH_WIDTH static void inner_ahead(const float *restrict a, const float *restrict b, double *restrict sums,
                                       const char *change, const char *raw, Py_ssize_t bytes)
{
    LaneSums lanes = {{0}, {0}, {0}};
    for (Py_ssize_t i = 0; i < TILE; i += 4 * LANES) {
        __builtin_prefetch(change + 4 * i, 0, 2);
        __builtin_prefetch(change + 4 * i + 64, 0, 2);
        __builtin_prefetch(raw + bytes * i, 0, 2);
        if (bytes > 2)
            __builtin_prefetch(raw + bytes * i + 64, 0, 2);
        for (int k = 0; k < 4 * LANES; k += LANES)
            add_products(&lanes, a + i + k, b + i + k);
    }
    sum_lanes(&lanes, sums);
}

/* The last, short tile: the same with zeros behind it. */
static void inner_rest(const float *asked, float *made, Py_ssize_t n, double *sums)
{
    float padded[TILE];
    Py_ssize_t whole = (n + LANES - 1) / LANES * LANES;
    memset(padded, 0, sizeof(float) * (size_t)whole);
    memset(made + n, 0, sizeof(float) * (size_t)(whole - n));
    memcpy(padded, asked, sizeof(float) * (size_t)n);
    inner(padded, made, whole, sums);
}

/* n weights; `change` may be NULL for none. Adds to sums: a.a, a.b, b.b of a = change and b = made. */
static void add(int source, int target, const char *raw, const float *change, char *out, Py_ssize_t n, double *sums)
{
    static const float none[TILE] = {[0 ... TILE - 1] = -0.0f}; /* what leaves a -0 as it is, too */
    float made[TILE];
    double part[3];
    for (Py_ssize_t start = 0; start < n; start += TILE) {
        Py_ssize_t size = n - start < TILE ? n - start : TILE, later = start + AHEAD * TILE;
        const float *asked = change ? change + start : none;
        ADDERS[source][target](raw + start * BYTES[source], asked, out + start * BYTES[target], made, size);
        if (size < TILE)
            inner_rest(asked, made, size, part);
        else if (later + TILE <= n && change)
            inner_ahead(asked, made, part, (const char *)(change + later), raw + later * BYTES[source], BYTES[source]);
        else
            inner(asked, made, TILE, part);
        for (int k = 0; k < 3; k++)
            sums[k] += part[k];
    }
}

/* All bytes to where they belong; the error's number, or 0. */
static int put(int fd, const char *bytes, size_t size, off_t offset)
{
    while (size) {
        ssize_t done = pwrite(fd, bytes, size, offset);
        if (done < 0 && errno != EINTR)
            return errno;
        if (done > 0)
            bytes += done, offset += done, size -= (size_t)done;
    }
    return 0;
}

/* As `add`, piece by piece into a file. */
static int add_to_file(int source, int target, const char *raw, const float *change, int fd, off_t offset, Py_ssize_t n,
                       double *sums)
{
    char *piece = malloc((size_t)PIECE * 4);
    int failed = piece ? 0 : ENOMEM;
    for (Py_ssize_t start = 0; start < n && !failed; start += PIECE) {
        Py_ssize_t size = n - start < PIECE ? n - start : PIECE;
        add(source, target, raw + start * BYTES[source], change + start, piece, size, sums);
        failed = put(fd, piece, (size_t)(size * BYTES[target]), offset + start * BYTES[target]);
    }
    free(piece);
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
        failed = add_to_file(source, target, terms.raw.buf, terms.change.buf, fd, (off_t)offset, terms.n, sums);
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
