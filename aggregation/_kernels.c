/* The arithmetic of the rules over strips of columns that stay in the first-level cache: column programs
   (column_program.py) and inner products of centred rows (centred_distances.py).

   Optional: without it NumPy runs the same programs, with the same bits. So every step is one correctly rounded
   IEEE operation in the order that the program says: no fused multiply-adds, no reassociation. The compiler is
   told that there are no NaNs and that zeros have no sign (it would emit no vector minimum otherwise); inputs
   with NaN are found and refused, and a zero result is made positive, on bits that those promises leave alone. */
#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030B0000
#include <Python.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#if defined(__x86_64__) && defined(__GLIBC__) && defined(__GNUC__) && !defined(__clang__)
#define VECTORISED __attribute__((target_clones("avx2", "default")))
#else
#define VECTORISED
#endif
#if defined(__clang__)
#define EACH _Pragma("clang loop vectorize(assume_safety)") for (Py_ssize_t i = 0; i < w; i++)
#elif defined(__GNUC__)
#define EACH _Pragma("GCC ivdep") for (Py_ssize_t i = 0; i < w; i++)
#else
#define EACH for (Py_ssize_t i = 0; i < w; i++)
#endif

#define INFINITE 0x7f800000 /* the bits of infinity; larger ones are NaN */

enum { MINIMUM, MAXIMUM, COMBINE, CLOSER };

typedef struct {
    int32_t op, a, b, c, d, out;
    float scale;
} Step;

typedef struct {
    const Step *steps;
    const int32_t *terms;
    const float *factors;
    const float **rows;
    float *out, *space;
    Py_ssize_t count, inputs, strip;
} Program;

/* Slots: the inputs, the result, the buffers. */
static inline float *at(const Program *p, int32_t slot, Py_ssize_t start)
{
    if (slot < p->inputs) return (float *)p->rows[slot] + start;
    return slot == p->inputs ? p->out + start : p->space + (slot - p->inputs - 1) * p->strip;
}

VECTORISED static void minimum(const float *a, const float *b, float *out, Py_ssize_t w)
{
    EACH out[i] = a[i] < b[i] ? a[i] : b[i];
}

VECTORISED static void maximum(const float *a, const float *b, float *out, Py_ssize_t w)
{
    EACH out[i] = a[i] > b[i] ? a[i] : b[i];
}

VECTORISED static void exchange(const float *a, const float *b, float *low, float *high, Py_ssize_t w)
{
    EACH {
        float x = a[i], y = b[i];
        low[i] = x < y ? x : y;
        high[i] = x > y ? x : y;
    }
}

VECTORISED static void closer(const float *value, const float *gained, const float *lost, const float *twice,
                              float *out, Py_ssize_t w)
{
    EACH {
        float x = value[i], y = gained[i];
        out[i] = lost[i] + y < twice[i] ? y : x;
    }
}

#define LANES 8
#define WIDE 4 /* vectors summed side by side, to keep the adders busy */
#define GROUP 16 /* rows read side by side: about as many streams as a processor fetches ahead */
typedef float Lanes __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef int32_t Bits __attribute__((vector_size(4 * LANES), aligned(4), may_alias));

/* out = (before + Σ xⱼ fⱼ) · scale over m rows, added from first to last; `before` may be absent, and so may f, for
   factors of one. A zero is made positive. Returns the largest magnitude in out, as bits, which tell infinity and
   NaN. */
VECTORISED static int32_t combine(const float *before, const float *const *x, const float *f, int m, float scale,
                                  float *out, Py_ssize_t w)
{
    Bits most = {0};
    int32_t largest = 0;
    Py_ssize_t i = 0;
    for (; i + WIDE * LANES <= w; i += WIDE * LANES) {
        Lanes sum[WIDE];
        for (int k = 0; k < WIDE; k++) {
            sum[k] = *(const Lanes *)((before ? before : x[0]) + i + k * LANES);
            if (!before && f) sum[k] *= f[0];
        }
        if (f)
            for (int j = !before; j < m; j++)
                for (int k = 0; k < WIDE; k++) sum[k] += *(const Lanes *)(x[j] + i + k * LANES) * f[j];
        else
            for (int j = !before; j < m; j++)
                for (int k = 0; k < WIDE; k++) sum[k] += *(const Lanes *)(x[j] + i + k * LANES);
        for (int k = 0; k < WIDE; k++) {
            sum[k] *= scale;
            Bits bits = (Bits)sum[k];
            bits &= bits != INT32_MIN;
            *(Bits *)(out + i + k * LANES) = bits;
            bits &= INT32_MAX;
            Bits more = bits > most;
            most = (bits & more) | (most & ~more);
        }
    }
    for (int lane = 0; lane < LANES; lane++) largest = largest > most[lane] ? largest : most[lane];
    for (; i < w; i++) {
        float sum = before ? before[i] : f ? x[0][i] * f[0] : x[0][i];
        int32_t bits;
        for (int j = !before; j < m; j++) sum += f ? x[j][i] * f[j] : x[j][i];
        sum *= scale;
        memcpy(&bits, &sum, 4);
        bits = bits == INT32_MIN ? 0 : bits;
        memcpy(out + i, &bits, 4);
        bits &= INT32_MAX;
        largest = largest > bits ? largest : bits;
    }
    return largest;
}

VECTORISED static int all_finite(const float *a, Py_ssize_t w)
{
    int32_t largest = 0;
    for (Py_ssize_t i = 0; i < w; i++) {
        int32_t bits;
        memcpy(&bits, a + i, 4);
        bits &= INT32_MAX;
        largest = largest > bits ? largest : bits;
    }
    return largest < INFINITE;
}

static int all_ones(const float *f, int32_t n)
{
    while (n && f[n - 1] == 1) n--;
    return !n;
}

/* Takes one step; the largest magnitude of a sum as bits, 0 for other steps. */
static int32_t step(const Program *p, const Step *s, Py_ssize_t start, Py_ssize_t w)
{
    float *out = at(p, s->out, start);
    int32_t largest = 0;
    int plain;
    switch (s->op) {
    case MINIMUM: minimum(at(p, s->a, start), at(p, s->b, start), out, w); break;
    case MAXIMUM: maximum(at(p, s->a, start), at(p, s->b, start), out, w); break;
    case CLOSER:
        closer(at(p, s->a, start), at(p, s->b, start), at(p, s->c, start), at(p, s->d, start), out, w);
        break;
    default:
        plain = all_ones(p->factors + s->a, s->b);
        for (int32_t done = 0, m; done < s->b; done += m) {
            const float *x[GROUP];
            m = s->b - done < GROUP ? s->b - done : GROUP;
            for (int j = 0; j < m; j++) x[j] = at(p, p->terms[s->a + done + j], start);
            largest = combine(done ? out : NULL, x, plain ? NULL : p->factors + s->a + done, m,
                              done + m == s->b ? s->scale : 1.0f, out, w);
        }
    }
    return largest;
}

static int execute(const Program *p, Py_ssize_t columns, int check)
{
    int good = 1;
    for (Py_ssize_t start = 0; start < columns; start += p->strip) {
        Py_ssize_t w = columns - start < p->strip ? columns - start : p->strip;
        int32_t largest = 0;
        for (Py_ssize_t k = 0; check && k < p->inputs; k++) good &= all_finite(p->rows[k] + start, w);
        for (Py_ssize_t k = 0; k < p->count; k++) {
            const Step *s = p->steps + k, *t = s + 1;
            if (s->op == MINIMUM && k + 1 < p->count && t->op == MAXIMUM && t->a == s->a && t->b == s->b
                && s->out != s->a && s->out != s->b) {
                exchange(at(p, s->a, start), at(p, s->b, start), at(p, s->out, start), at(p, t->out, start), w);
                k++;
            } else
                largest = step(p, s, start, w);
        }
        good &= largest < INFINITE; /* the last step is the result: a sum */
    }
    return good;
}

/* Whether every slot and every term that the steps name exists. */
static int sound(const Program *p, Py_ssize_t slots, Py_ssize_t terms)
{
#define SLOT(s) ((s) >= 0 && (s) < slots)
    for (Py_ssize_t k = 0; k < p->count; k++) {
        const Step *s = p->steps + k;
        if (s->op < MINIMUM || s->op > CLOSER || !(s->out >= p->inputs && s->out < slots)) return 0;
        if (s->op == COMBINE ? !(s->a >= 0 && s->b > 0 && (Py_ssize_t)s->a + s->b <= terms)
                             : !(SLOT(s->a) && SLOT(s->b) && SLOT(s->c) && SLOT(s->d)))
            return 0;
    }
    for (Py_ssize_t k = 0; k < terms; k++)
        if (!SLOT(p->terms[k])) return 0;
    return 1;
}

/* ---- inner products ---- */

#define PIECE 1024 /* columns summed in float32 before they meet the others in float64 */

/* Adds the inner products of rows a..a+3 and b..b+1 of `table` (rows of PIECE columns, the first w of them
   used, w a multiple of LANES) to `sums` (p, p). */
VECTORISED static void tile(const float *table, Py_ssize_t a, Py_ssize_t b, Py_ssize_t w, Py_ssize_t p, double *sums)
{
    const float *x = table + a * PIECE, *y = table + b * PIECE;
    Lanes s[4][2] = {{{0}}};
    for (Py_ssize_t i = 0; i < w; i += LANES) {
        Lanes left = *(const Lanes *)(y + i), right = *(const Lanes *)(y + PIECE + i);
        for (int j = 0; j < 4; j++) {
            Lanes mine = *(const Lanes *)(x + j * PIECE + i);
            s[j][0] += mine * left;
            s[j][1] += mine * right;
        }
    }
    for (int j = 0; j < 4; j++)
        for (int k = 0; k < 2; k++) {
            double sum = 0;
            for (int lane = 0; lane < LANES; lane++) sum += s[j][k][lane];
            if (a + j < p && b + k < p) sums[(a + j) * p + b + k] += sum;
        }
}

VECTORISED static void subtract(const float *a, const float *b, float *out, Py_ssize_t w)
{
    EACH out[i] = a[i] - b[i];
}

static void inner_products(const float *const *rows, Py_ssize_t p, Py_ssize_t centre, Py_ssize_t columns,
                           float *table, double *sums)
{
    for (Py_ssize_t start = 0; start < columns; start += PIECE) {
        Py_ssize_t w = columns - start < PIECE ? columns - start : PIECE;
        Py_ssize_t used = (w + LANES - 1) / LANES * LANES;
        for (Py_ssize_t k = 0; k < p; k++) {
            subtract(rows[k] + start, rows[centre] + start, table + k * PIECE, w);
            memset(table + k * PIECE + w, 0, (used - w) * sizeof(float));
        }
        for (Py_ssize_t a = 0; a < p; a += 4)
            for (Py_ssize_t b = a; b < p; b += 2) tile(table, a, b, used, p, sums);
    }
}

/* ---- Python ---- */

typedef struct {
    Py_ssize_t owners, columns;
    Py_buffer *views;
    const float **rows;
    Py_ssize_t n;
} Rows;

static void let_go(Rows *r)
{
    while (r->owners) PyBuffer_Release(r->views + --r->owners);
    free(r->views);
    free(r->rows);
}

/* Takes hold of contiguous float32 rows of one length: a list of them, or (array, order) for all the rows of an
   array, which has one owner to ask instead of n. 0 with an exception set where there are none. */
static int take_hold(Rows *r, PyObject *given)
{
    int whole = PyTuple_Check(given) && PyTuple_Size(given) == 2;
    PyObject *list = whole ? PyTuple_GetItem(given, 1) : given;
    Py_ssize_t n = PyList_Check(list) ? PyList_Size(list) : 0, owners = whole ? 1 : n, size = 0;
    *r = (Rows){0, 0, malloc((owners + 1) * sizeof(Py_buffer)), malloc((n + 1) * sizeof(float *)), n};
    if (!r->views || !r->rows) {
        PyErr_NoMemory();
        return 0;
    }
    int good = n > 0;
    while (good && r->owners < owners) {
        Py_buffer *view = r->views + r->owners;
        if (PyObject_GetBuffer(whole ? PyTuple_GetItem(given, 0) : PyList_GetItem(list, r->owners), view, PyBUF_SIMPLE))
            return 0;
        r->rows[r->owners++] = view->buf;
        good = view->len == r->views[0].len && (uintptr_t)view->buf % 4 == 0;
    }
    if (good) size = r->views[0].len / (whole ? n : 1);
    good &= size >= 4 && (!whole || size * n == r->views[0].len);
    for (Py_ssize_t i = 0; good && whole && i < n; i++) {
        Py_ssize_t row = PyLong_AsSsize_t(PyList_GetItem(list, i));
        if (row == -1 && PyErr_Occurred()) return 0;
        good = row >= 0 && row < n;
        r->rows[i] = (const float *)((const char *)r->views[0].buf + (good ? row : 0) * size);
    }
    r->columns = size / 4;
    if (good) return 1;
    PyErr_SetString(PyExc_ValueError, "rows are a list of contiguous, aligned float32 arrays of one length, or an array "
                                      "of them and the order to take them in");
    return 0;
}

/* run(steps, terms, factors, inputs, buffers, strip, check, rows, out) -> whether all that was looked at is finite */
static PyObject *run(PyObject *module, PyObject *arguments)
{
    const char *steps, *terms, *factors;
    Py_ssize_t steps_size, terms_size, factors_size, inputs, buffers, strip;
    int check, result = -1;
    PyObject *list;
    Py_buffer out;
    Rows rows = {0};
    (void)module;
    if (!PyArg_ParseTuple(arguments, "y#y#y#nnnpOw*", &steps, &steps_size, &terms, &terms_size, &factors,
                          &factors_size, &inputs, &buffers, &strip, &check, &list, &out))
        return NULL;
    if (take_hold(&rows, list)) {
        char *space = buffers < 0 || strip < 1 ? NULL : malloc((size_t)buffers * strip * sizeof(float) + 64);
        Program p = {(const Step *)steps, (const int32_t *)terms, (const float *)factors, rows.rows, out.buf,
                     (float *)(((uintptr_t)space + 63) & ~(uintptr_t)63),
                     steps_size / (Py_ssize_t)sizeof(Step), rows.n, strip};
        if (!space || rows.n != inputs || out.len != rows.columns * 4 || (uintptr_t)out.buf % 4 || terms_size != factors_size
            || !sound(&p, rows.n + 1 + buffers, terms_size / 4))
            PyErr_SetString(PyExc_ValueError, "not a program for these rows and this result");
        else {
            Py_BEGIN_ALLOW_THREADS
            result = execute(&p, rows.columns, check);
            Py_END_ALLOW_THREADS
        }
        free(space);
    }
    let_go(&rows);
    PyBuffer_Release(&out);
    return result < 0 ? NULL : PyBool_FromLong(result);
}

/* add_inner_products(rows, centre, sums): adds ⟨xᵢ - x_centre, xⱼ - x_centre⟩ to sums (p, p), i <= j */
static PyObject *add_inner_products(PyObject *module, PyObject *arguments)
{
    PyObject *list;
    Py_ssize_t centre;
    Py_buffer sums;
    Rows rows = {0};
    int good = 0;
    (void)module;
    if (!PyArg_ParseTuple(arguments, "Onw*", &list, &centre, &sums)) return NULL;
    if (take_hold(&rows, list)) {
        Py_ssize_t padded = (rows.n + 3) / 4 * 4;
        float *table = calloc((size_t)padded * PIECE, sizeof(float));
        if (!table || centre < 0 || centre >= rows.n || sums.len != rows.n * rows.n * 8)
            PyErr_SetString(PyExc_ValueError, "inner products of p rows need a centre among them and (p, p) sums");
        else {
            good = 1;
            Py_BEGIN_ALLOW_THREADS
            inner_products(rows.rows, rows.n, centre, rows.columns, table, sums.buf);
            Py_END_ALLOW_THREADS
        }
        free(table);
    }
    let_go(&rows);
    PyBuffer_Release(&sums);
    if (!good) return NULL;
    Py_INCREF(Py_None);
    return Py_None;
}

static PyMethodDef methods[] = {
    {"run", run, METH_VARARGS, NULL},
    {"add_inner_products", add_inner_products, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};
static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, "_kernels", NULL, 0, methods, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__kernels(void) { return PyModuleDef_Init(&definition); }
