/* The difference of two stored tensors, from stored bytes to float32 in a file in one pass, with the sum of its squares. */
#include "floats.h"
#include "kernels.h"
#include <errno.h>
#include <stdlib.h>

enum {
    STEP = 32,       /* what is subtracted and summed at once */
    AHEAD = 2,       /* tiles that memory is asked for in advance */
    PIECE = 1 << 16, /* elements handed to the file at once, a multiple of STRIP: still in the second-level cache */
};

/* One tile: to = after - before in float32, and its sum of squares, lane by lane as `inner` takes it; later tiles come into the
 * second-level cache meanwhile. */
typedef double (*Subtracter)(const void *after, const void *before, float *to, const char *later_after,
                             const char *later_before);

#define SUBTRACTER(one, One, other, Other)                                                                              \
    FOR_EACH_WIDTH static double subtract_##one##_##other(const void *restrict after, const void *restrict before,      \
                                                          float *restrict to, const char *later_after,                  \
                                                          const char *later_before)                                     \
    {                                                                                                                   \
        const One *restrict a = after;                                                                                  \
        const Other *restrict b = before;                                                                               \
        double lanes[LANES] = {0}, square = 0;                                                                          \
        for (Py_ssize_t i = 0; i < STRIP; i += STEP) {                                                                  \
            for (Py_ssize_t byte = 0; byte < STEP * (Py_ssize_t)sizeof(One); byte += 64)                                \
                __builtin_prefetch(later_after + i * (Py_ssize_t)sizeof(One) + byte, 0, 2);                             \
            for (Py_ssize_t byte = 0; byte < STEP * (Py_ssize_t)sizeof(Other); byte += 64)                              \
                __builtin_prefetch(later_before + i * (Py_ssize_t)sizeof(Other) + byte, 0, 2);                          \
            for (int k = 0; k < STEP; k++)                                                                              \
                to[i + k] = from_##one(a[i + k]) - from_##other(b[i + k]);                                              \
            for (int k = 0; k < STEP; k += LANES)                                                                       \
                for (int j = 0; j < LANES; j++) {                                                                       \
                    double x = to[i + k + j];                                                                           \
                    lanes[j] += x * x;                                                                                  \
                }                                                                                                       \
        }                                                                                                               \
        for (int j = 0; j < LANES; j++)                                                                                 \
            square += lanes[j];                                                                                         \
        return square;                                                                                                  \
    }

FOR_EACH_PAIR(SUBTRACTER)

static const Subtracter SUBTRACTERS[KINDS][KINDS] = TABLE_OF(subtract);

/* One side of the difference as it is stored. */
typedef struct {
    Py_buffer view;
    int kind;
} Stored;

static const char *at(const Stored *side, Py_ssize_t element)
{
    return (const char *)side->view.buf + element * BYTES[side->kind];
}

/* Elements [start, start + n), tile after tile, into `to`, which has room for whole tiles; adds to the sum of squares. */
static void subtract_piece(const Stored *after, const Stored *before, Py_ssize_t start, Py_ssize_t n, Py_ssize_t all, float *to,
                           double *square)
{
    Subtracter whole = SUBTRACTERS[after->kind][before->kind];
    Py_ssize_t done = 0;
    for (; done + STRIP <= n; done += STRIP) {
        Py_ssize_t here = start + done, later = here + (1 + AHEAD) * STRIP <= all ? here + AHEAD * STRIP : here;
        *square += whole(at(after, here), at(before, here), to + done, at(after, later), at(before, later));
    }
    if (done < n) { /* a short tile at the end: the same with zeros behind it */
        float one[STRIP] = {0}, other[STRIP] = {0};
        memcpy(one, at(after, start + done), (size_t)((n - done) * BYTES[after->kind]));
        memcpy(other, at(before, start + done), (size_t)((n - done) * BYTES[before->kind]));
        *square += whole(one, other, to + done, (char *)one, (char *)other);
    }
}

/* The whole difference into a file; `ends` of the blocks whose squares are summed apart, then together. The error's number, or 0. */
static int subtract_to_file(const Stored *after, const Stored *before, const int64_t *ends, Py_ssize_t blocks, int fd,
                            int64_t offset, double *square)
{
    void *room = NULL;
    int failed = posix_memalign(&room, 64, sizeof(float) * PIECE);
    Py_ssize_t start = 0, all = blocks ? (Py_ssize_t)ends[blocks - 1] : 0;
    for (Py_ssize_t block = 0; block < blocks && !failed; block++) {
        double own = 0;
        while (start < ends[block] && !failed) {
            Py_ssize_t n = ends[block] - start < PIECE ? (Py_ssize_t)ends[block] - start : PIECE;
            subtract_piece(after, before, start, n, all, room, &own);
            failed = put(fd, room, sizeof(float) * (size_t)n, offset + (int64_t)sizeof(float) * start);
            start += n;
        }
        *square += own;
    }
    free(room);
    return failed;
}

static int take(PyObject *array, int kind, Stored *side)
{
    if (kind < 0 || kind >= KINDS) {
        PyErr_SetString(PyExc_ValueError, "a kind is 0 (F32), 1 (BF16) or 2 (F16)");
        return -1;
    }
    side->kind = kind;
    return PyObject_GetBuffer(array, &side->view, PyBUF_ND | PyBUF_FORMAT);
}

/* Whether both sides hold as many aligned weights as the ascending ends of the blocks say. */
static int fit(const Stored *after, const Stored *before, const Py_buffer *ends)
{
    const int64_t *end = ends->buf;
    Py_ssize_t blocks = ends->len / 8;
    int64_t n = blocks ? end[blocks - 1] : 0;
    int good = ends->itemsize == 8 && ends->len == blocks * 8 && (uintptr_t)ends->buf % 8 == 0;
    for (Py_ssize_t block = 0; good && block < blocks; block++)
        good = end[block] >= (block ? end[block - 1] : 0);
    for (const Stored *side = after; good && side; side = side == after ? before : NULL)
        good = side->view.len == n * BYTES[side->kind] && (uintptr_t)side->view.buf % (size_t)BYTES[side->kind] == 0;
    return good;
}

static PyObject *checked_difference(const Stored *after, const Stored *before, const Py_buffer *ends, int fd, int64_t offset)
{
    double square = 0;
    int failed = 0;
    if (!fit(after, before, ends)) {
        PyErr_SetString(PyExc_ValueError, "expected aligned stored weights, as many on both sides as the ends of the blocks say");
        return NULL;
    }
    Py_BEGIN_ALLOW_THREADS
    failed = subtract_to_file(after, before, ends->buf, ends->len / 8, fd, offset, &square);
    Py_END_ALLOW_THREADS
    errno = failed;
    return failed ? PyErr_SetFromErrno(PyExc_OSError) : PyFloat_FromDouble(square);
}

PyObject *py_subtract_to_file(PyObject *module, PyObject *args)
{
    PyObject *raw_after, *raw_before, *blocks, *result = NULL;
    Stored after, before;
    Py_buffer ends;
    int kind_after, kind_before, fd;
    long long offset;
    if (!PyArg_ParseTuple(args, "iOiOOiL", &kind_after, &raw_after, &kind_before, &raw_before, &blocks, &fd, &offset) ||
        take(raw_after, kind_after, &after) < 0)
        return NULL;
    if (take(raw_before, kind_before, &before) == 0) {
        if (PyObject_GetBuffer(blocks, &ends, PyBUF_ND | PyBUF_FORMAT) == 0) {
            result = checked_difference(&after, &before, &ends, fd, (int64_t)offset);
            PyBuffer_Release(&ends);
        }
        PyBuffer_Release(&before.view);
    }
    PyBuffer_Release(&after.view);
    return result;
}
