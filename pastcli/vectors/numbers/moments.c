/* The sums of the probe: for several changes of one tensor, all that their cosines, the null and the controls need.
 *
 * Beside the inner products a.b it takes sum (a_i b_i)^2 and, over rows, sum (a_row . b_row)^2: the variances of a.b if
 * the sign of each product, or of each row, were a fair coin. The plain sums of a give mean and variance of a.b over all
 * permutations of b's entries; a.s with random signs s is the control of a random direction. All in one pass, row by row
 * and tile by tile within the first-level cache.
 */
#include "kernels.h"

enum {
    PAD = 32,
    AHEAD = 2, /* tiles that memory is asked for in advance */
    LINE = 64, /* bytes that it gives at once */
};

typedef struct {
    double aa, bb, ab, squares;
} Products;

/* The lanes of each sum, added up in their order. */
static inline Products folded(const double *aa, const double *bb, const double *ab, const double *squares)
{
    Products sums = {0, 0, 0, 0};
    for (int j = 0; j < LANES; j++) {
        sums.aa += aa[j];
        sums.bb += bb[j];
        sums.ab += ab[j];
        sums.squares += squares[j];
    }
    return sums;
}

/* Sums over n float32, n a multiple of LANES. */
FOR_EACH_WIDTH static Products products(const float *restrict a, const float *restrict b, Py_ssize_t n)
{
    double aa[LANES] = {0}, bb[LANES] = {0}, ab[LANES] = {0}, squares[LANES] = {0};
    for (Py_ssize_t i = 0; i < n; i += LANES)
        for (int j = 0; j < LANES; j++) {
            double x = a[i + j], y = b[i + j], xy = x * y;
            aa[j] += x * x;
            bb[j] += y * y;
            ab[j] += xy;
            squares[j] += xy * xy;
        }
    return folded(aa, bb, ab, squares);
}

static inline double total(const float *sums)
{
    double all = 0;
    for (int j = 0; j < PAD; j++)
        all += sums[j];
    return all;
}

/* Sum of n float32, n a multiple of PAD: in float32 over a tile, which is far below what a control resolves. */
FOR_EACH_WIDTH static double plain_sum(const float *restrict a, Py_ssize_t n)
{
    float sum[PAD] = {0};
    for (Py_ssize_t begin = 0; begin < n; begin += PAD)
        for (int j = 0; j < PAD; j++)
            sum[j] += a[begin + j];
    return total(sum);
}

/* The last step of splitmix64 (Steele, Lea and Flood 2014): random bits out of a counter. */
static inline uint64_t mixed(uint64_t x)
{
    x ^= x >> 30;
    x *= 0xBF58476D1CE4E5B9u;
    x ^= x >> 27;
    x *= 0x94D049BB133111EBu;
    return x ^ (x >> 31);
}

/* A number with the sign that bit j says. */
static inline float flipped(float number, uint32_t bits, int j)
{
    uint32_t value;
    memcpy(&value, &number, 4);
    value ^= (bits << (31 - j)) & 0x80000000u;
    memcpy(&number, &value, 4);
    return number;
}

/* The same with random signs: place p of the whole block takes bit p % 32 of the p / 32-th draw. */
FOR_EACH_WIDTH static double signed_sum(const float *restrict a, Py_ssize_t n, uint64_t seed, uint64_t *draws)
{
    float sum[PAD] = {0};
    for (Py_ssize_t begin = 0; begin < n; begin += PAD) {
        uint32_t bits = (uint32_t)(mixed(seed + ++*draws * 0x9E3779B97F4A7C15u) >> 32);
        for (int j = 0; j < PAD; j++)
            sum[j] += flipped(a[begin + j], bits, j);
    }
    return total(sum);
}

typedef struct {
    const Side *sides;
    const int (*edges)[2];
    int held, changes, packed;
    Py_ssize_t columns, n;
    uint64_t seed, draws;
    double *gram, *squares, *rows, *sums, *signs;
} Task;

/* Memory that will be worked on soon: of a tile of every side, whose first element is `start`, streams of one line for every PAD
 * elements; float32 has two. Gives their number, 0 beyond the last whole tile. */
static int soon_at(const Task *task, Py_ssize_t start, const char **streams)
{
    int count = 0;
    for (int k = 0; start + STRIP <= task->n && k < task->held; k++) {
        const char *tile = (const char *)task->sides[k].view.buf + start * task->sides[k].view.itemsize;
        for (Py_ssize_t byte = 0; byte < STRIP * task->sides[k].view.itemsize; byte += STRIP / PAD * LINE)
            streams[count++] = tile + byte;
    }
    return count;
}

/* Ask memory for one line of every stream: among the sums of PAD elements, for if all lines were asked for at once the processor
 * would wait for them with its sums. */
static inline void ask_for(const char *const *streams, int count, Py_ssize_t line)
{
    for (int k = 0; k < count; k++)
        __builtin_prefetch(streams[k] + line * LINE);
}

/* `products` of the first two changes, with what is asked of each alone, in one loop: the sums of one run beside those of another.
 * Each is taken in the order of the functions around this one, so the bits are theirs. */
FOR_EACH_WIDTH static Products both(Task *task, const float *restrict a, const float *restrict b, Py_ssize_t n,
                                    const char *const *streams, int count)
{
    double aa[LANES] = {0}, bb[LANES] = {0}, ab[LANES] = {0}, squares[LANES] = {0};
    float first[PAD] = {0}, second[PAD] = {0}, signs[PAD] = {0};
    uint64_t seed = task->seed, draws = task->draws;
    for (Py_ssize_t begin = 0; begin < n; begin += PAD) {
        ask_for(streams, count, begin / PAD);
        uint32_t bits = (uint32_t)(mixed(seed + ++draws * 0x9E3779B97F4A7C15u) >> 32);
        for (int j = 0; j < PAD; j++) {
            first[j] += a[begin + j];
            second[j] += b[begin + j];
            signs[j] += flipped(a[begin + j], bits, j);
        }
        for (int i = 0; i < PAD; i += LANES)
            for (int j = 0; j < LANES; j++) {
                double x = a[begin + i + j], y = b[begin + i + j], xy = x * y;
                aa[j] += x * x;
                bb[j] += y * y;
                ab[j] += xy;
                squares[j] += xy * xy;
            }
    }
    task->draws = draws;
    task->sums[0] += total(first);
    task->sums[1] += total(second);
    *task->signs += total(signs);
    return folded(aa, bb, ab, squares);
}

/* One tile of every change, padded with zeros; gives the padded length. */
static Py_ssize_t tiles_at(const Task *task, Py_ssize_t start, Py_ssize_t n, float (*tiles)[STRIP])
{
    Py_ssize_t padded = (n + PAD - 1) / PAD * PAD;
    for (int k = 0; k < task->changes; k++) {
        const int *edge = task->edges[k];
        const Side *before = edge[1] < 0 ? NULL : &task->sides[edge[1]];
        difference(&task->sides[edge[0]], before, task->packed && n % 2 == 0, start, n, tiles[k]);
        memset(tiles[k] + n, 0, sizeof(float) * (size_t)(padded - n));
    }
    return padded;
}

static void one_row(Task *task, Py_ssize_t row)
{
    _Alignas(LINE) float tiles[MOST][STRIP];
    double whole[MOST][MOST] = {{0}};
    int changes = task->changes;
    for (Py_ssize_t start = 0; start < task->columns; start += STRIP) {
        Py_ssize_t n = task->columns - start < STRIP ? task->columns - start : STRIP;
        Py_ssize_t here = row * task->columns + start, padded = tiles_at(task, here, n, tiles);
        const char *streams[2 * MOST];
        int count = soon_at(task, here + AHEAD * STRIP, streams);
        Products pair = {0};
        if (changes > 1)
            pair = both(task, tiles[0], tiles[1], padded, streams, count);
        else {
            for (int line = 0; line < STRIP / PAD; line++)
                ask_for(streams, count, line);
            task->sums[0] += plain_sum(tiles[0], padded);
            *task->signs += signed_sum(tiles[0], padded, task->seed, &task->draws);
            task->gram[0] += products(tiles[0], tiles[0], padded).aa;
        }
        for (int k = 2; k < changes; k++)
            task->sums[k] += plain_sum(tiles[k], padded);
        for (int i = 1; i < changes; i++)
            for (int j = 0; j < i; j++) {
                Products found = i == 1 ? pair : products(tiles[j], tiles[i], padded);
                whole[j][i] += found.ab;
                task->squares[j * changes + i] += found.squares;
                if (j == 0) /* each change's square once: its own with the first, the first's with the second */
                    task->gram[i * changes + i] += found.bb;
                if (i == 1)
                    task->gram[0] += found.aa;
            }
    }
    for (int i = 1; i < changes; i++)
        for (int j = 0; j < i; j++) {
            task->gram[j * changes + i] += whole[j][i];
            task->rows[j * changes + i] += whole[j][i] * whole[j][i];
        }
}

static int output(PyObject *array, Py_buffer *view, int changes)
{
    if (PyObject_GetBuffer(array, view, PyBUF_ND | PyBUF_FORMAT | PyBUF_WRITABLE) < 0)
        return -1;
    if (strcmp(view->format ? view->format : "B", "d") == 0 && view->len == (3 * changes * changes + changes + 1) * 8)
        return 0;
    PyBuffer_Release(view);
    PyErr_SetString(PyExc_ValueError, "expected 3 k k + k + 1 float64 for the sums of k changes");
    return -1;
}

static void into(Task *task, double *sums, Py_ssize_t n)
{
    Py_ssize_t square = (Py_ssize_t)task->changes * task->changes;
    memset(sums, 0, sizeof(double) * (size_t)(3 * square + task->changes + 1));
    task->gram = sums;
    task->squares = task->gram + square;
    task->rows = task->squares + square;
    task->sums = task->rows + square;
    task->signs = task->sums + task->changes;
    for (Py_ssize_t row = 0; row < n / task->columns; row++)
        one_row(task, row);
}

PyObject *py_moments(PyObject *module, PyObject *args)
{
    PyObject *arrays, *edges, *out, *result = NULL;
    Side sides[MOST];
    int parsed[MOST][2];
    Py_buffer sums;
    Task task = {.sides = sides, .edges = (const int (*)[2])parsed, .packed = 1};
    unsigned long long seed;
    if (!PyArg_ParseTuple(args, "O!O!nKO", &PyTuple_Type, &arrays, &PyTuple_Type, &edges, &task.columns, &seed, &out))
        return NULL;
    int held = acquire_all(arrays, sides);
    if (held < 0)
        return NULL;
    Py_ssize_t n = sides[0].view.len / sides[0].view.itemsize;
    for (int k = 0; k < held; k++)
        task.packed = task.packed && !sides[k].wide;
    task.seed = seed;
    task.n = n;
    task.held = held;
    task.changes = parse_edges(edges, held, parsed);
    if (task.changes >= 0 && (task.columns < 1 || n % task.columns))
        PyErr_Format(PyExc_ValueError, "%zd elements are no whole rows of %zd", n, task.columns);
    else if (task.changes >= 0 && output(out, &sums, task.changes) == 0) {
        Py_BEGIN_ALLOW_THREADS
        into(&task, sums.buf, n);
        Py_END_ALLOW_THREADS
        PyBuffer_Release(&sums);
        result = Py_NewRef(Py_None);
    }
    while (held > 0)
        PyBuffer_Release(&sides[--held].view);
    return result;
}
