"""Indexing, views and writes: the graph does what NumPy does, for expressions and programs made at random."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import basic_indices, integer_array_indices

pytest.importorskip("torch")
from support.numpy_graphs import check, run, trace_of

X = np.arange(60.0).reshape(3, 4, 5)
ROWS = np.array([0, 2, 1])
MASK = X[:, :, 0] % 3 == 0

_QUICK = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))

INDICES = """
0
-1
..., 0
1, ..., -1
1:3
::2
::-1
-1:0:-2
:, ::-2, 1:4:2
None
None, 1, None, :, 2
...
()
5:2
0:0
[0, 2]
[[0, 1], [2, 0]]
ROWS
ROWS, 0
ROWS, :, ROWS
:, ROWS, ROWS
0, :, [1, 2]
:, 0, [1, 2]
[0, 1], :, 2
ROWS[:, None], ROWS
:, [0, 1], None, [1, 0]
None, ROWS, :, 0
[0], ..., [1]
..., ROWS, None, 0
MASK
MASK, 1:3
MASK, 0
np.array([True, False, True])
[True, False, True]
:, [True, False, True, False]
0, [True, False, True, False]
True
False
np.True_, 0
np.int64(1)
np.array(1)
np.array(1), ROWS
np.uint8(2), 1
[]
np.array([-1, -2])
slice(None, None, -1), None
(slice(0, 2), 1)
..., np.array([[0], [1]]), np.array([1, 2])
0, 0, 0
[0, 1], [1, 2], [2, 3]
2, ...
""".strip().splitlines()


def _index(text):
    return eval(f"np.index_exp[{text}]", {"np": np, "ROWS": ROWS, "MASK": MASK})


@pytest.mark.parametrize("text", INDICES)
def test_taking(text):
    index = _index(text)
    check(lambda x: x[index] * 1.0, X)


@pytest.mark.parametrize("text", INDICES)
def test_writing_a_number(text):
    index = _index(text)

    def write(x):
        y = x * 1.0
        y[index] = 7.0
        return y

    check(write, X)


@pytest.mark.parametrize("text", INDICES)
def test_writing_a_traced_array(text):
    index = _index(text)

    def write(x):
        y = np.zeros((3, 4, 5))
        y[index] = x[index] + 1.0
        y[index] += x[0, 0, 0] + 2.0
        return y

    check(write, X)


@_QUICK
@given(basic_indices((3, 4, 5), allow_newaxis=True))
def test_any_basic_index(index):
    check(lambda x: x[index] * 1.0, X)

    def write(x):
        y = x + 0.0
        y[index] = y[index] * 2.0
        return y

    check(write, X)


@st.composite
def _advanced_indices(draw):
    """Integers, slices, new axes, an Ellipsis, integer and boolean arrays, side by side."""
    items, axis, shape = [], 0, (3, 4, 5)
    block = draw(st.sampled_from([(), (1,), (2,), (2, 1), (1, 3)]))
    has_ellipsis = False
    while axis < 3 and draw(st.integers(0, 9)) < 8:
        kind = draw(st.sampled_from("islnaaeb"))
        if kind == "n":
            items.append(None)
            continue
        if kind == "e":
            if not has_ellipsis:
                items.append(...)
                has_ellipsis = True
                axis += draw(st.integers(0, 3 - axis))
            continue
        length = shape[axis]
        if kind == "i":
            items.append(draw(st.integers(-length, length - 1)))
        elif kind in "sl":
            bound = st.none() | st.integers(-length - 1, length + 1)
            items.append(slice(draw(bound), draw(bound), draw(st.sampled_from([None, 1, 2, -1, -2]))))
        elif kind == "b":
            items.append(np.array(draw(st.lists(st.booleans(), min_size=length, max_size=length))))
        else:
            items.append(np.random.default_rng(draw(st.integers(0, 99))).integers(-length, length, size=block))
        axis += 1
    return tuple(items)


@_QUICK
@given(_advanced_indices())
def test_any_index(index):
    try:
        X[index]
    except IndexError:
        with pytest.raises(IndexError):
            trace_of(lambda x: x[index], X)
        return
    check(lambda x: x[index] * 1.0, X)

    def write(x):
        y = x + 0.0
        y[index] = x.ravel()[3] * 2.0
        y[index] -= 5.0
        return y

    check(write, X)


@_QUICK
@given(integer_array_indices((4, 5), result_shape=st.just((2, 3))))
def test_repeated_places_keep_the_last_value(index):
    def write(x, v):
        y = x * 1.0
        y[index] = v
        return y

    check(write, X[0], np.arange(6.0).reshape(2, 3))


def test_traced_integers_index():
    x, i = X[0], np.array([3, 0, -1])
    check(lambda x, i: x[i], x, i)
    check(lambda x, i: x[i[0]] * 2.0, x, i)
    check(lambda x, i: x[:, i], x, i)
    check(lambda x, i: x[i, [0, 1, 2]], x, i)
    check(lambda x, i: x[[i[0], i[1]]], x, i)
    check(lambda x: np.take(x[1], np.argsort(x[0])), x)
    check(lambda x: x[np.argmax(x[:, 0])], x)

    def write(x, i):
        y = x * 1.0
        y[i] = 1.0
        y[i[0], 2] = x[0, 0]
        return y

    check(write, x, i)


def test_adding_at_repeated_places():
    def scatter(v):
        y = np.zeros(4)
        np.add.at(y, [0, 2, 2, 3, 2], v)
        np.subtract.at(y, np.array([1, 1]), v[:2])
        return y

    check(scatter, np.arange(5.0) + 1)


def _program_views(x):
    y = x * 1.0
    row, column = y[1], y[:, 2]
    block = y[1:, 1:3]
    row[0] = 100.0
    column += 1.0
    block *= 2.0
    flat = y.reshape(-1)
    flat[::7] = -1.0
    turned = y.T
    turned[0] = column[:1] * 0.5
    return y, row, column, block, flat, turned


def _program_concrete_turns_traced(x):
    y = np.zeros((2, 3))
    view = y[0]
    other = y.T[::-1]
    y[1, 1] = 4.0
    view[0] = x[0, 0]
    other[0, 1] += x[1, 1]
    return y, view, other, y.sum()


def _program_reshape_of_a_transpose_is_a_copy(x):
    y = x * 1.0
    z = y.T.reshape(-1)
    z[0] = 50.0
    w = y.T.ravel()
    w[1] = 60.0
    v = (y.T + 0.0).ravel()
    v[2] = 1.0
    u = (y.T + 0.0).reshape(-1, order="F")
    u[2] = 9.0
    return y, z, w, v, u


def _program_layout_of_a_sum(x):
    y = x.T + 1.0
    z = y.ravel()
    z[3] = 9.0
    f = y.reshape(-1, order="F")
    f[0] = 3.0
    return y, z, f


def _program_scalars_do_not_alias(x):
    s = x[0, 0]
    t = s
    s += 1.0
    y = x * 1.0
    element = y[0, 0]
    y[0, 0] = 5.0
    total = y.sum()
    before = total
    total *= 2.0
    return s, t, element, y, before, total


def _program_in_place_operators(x):
    y = x.copy()
    z = y
    y += 1.0
    y *= x
    y **= 2
    y /= 3.0
    y -= y[0]
    y @= np.eye(4)
    return y, z


def _program_out(x):
    y = np.empty((3, 4))
    np.sin(x, out=y)
    np.add(y, 1.0, out=y[:, :])
    np.cumsum(x, axis=0, out=y)
    z = np.zeros(4)
    np.sum(x, axis=0, out=z)
    np.matmul(x, np.eye(4), out=y)
    return y, z


def _program_writing_functions(x):
    y = np.zeros((4, 4))
    np.fill_diagonal(y, x[0])
    np.copyto(y[0], x[1])
    np.copyto(y, 7.0, where=np.eye(4, k=1) > 0)
    np.put(y, [1, 2], x[2, :2])
    np.putmask(y, y > 6.0, 1.0)
    np.place(y, np.eye(4) > 0, [1.0, 2.0])
    np.put_along_axis(y, np.array([[0], [1], [2], [3]]), x[0, 0], axis=1)
    y[3].fill(2.0)
    z = x.copy()
    z.sort(axis=0)
    z.flat[3] = 1.5
    return y, z


def _program_complex(x):
    z = x + 1j * x[::-1]
    real = z.real
    z.real = 2.0
    z.imag[0] += 1.0
    real *= 3.0
    return z, real


def _program_loops(x):
    y = np.zeros(5)
    y[0] = x[0, 0]
    for i in range(1, 5):
        y[i] = 0.5 * y[i - 1] + np.sin(x[i % 3, i % 4])
    rows = []
    for row in x:
        rows.append(row.sum())
    a, b = x[0, :2]
    return y, np.array(rows), a * b, np.array([y[-1], a])


def _program_integers(x):
    y = np.zeros(3, dtype=int)
    y[0] = x[0, 1] * 3
    y[1:] = x[1:, 2]
    m = np.zeros(4, dtype=bool)
    m[:] = x[0]
    return y, m


def _program_dtype_of_writes(x):
    y = np.zeros((2, 4), dtype=np.float32)
    y[:] = x[:2]
    y += x[0]
    return y


def _program_splits(x):
    y = x * 1.0
    left, right = np.hsplit(y, 2)
    left += 1.0
    a, b, c = y
    a[...] = c
    np.diagonal(y)
    s = np.squeeze(y[:, None])
    s[0] = 0.0
    e = np.expand_dims(y, 0)
    e[0, 1, 1] = 44.0
    v = y.view()
    v[2, 2] = 1.0
    return y, left, right, b


def _program_masks(x):
    y = x * 1.0
    y[y > 0.5] = 0.5
    y[(y < -0.5)] = x[0, 0]
    y[y[:, 0] > 0] = 3.0
    return y


def _program_broadcast_copies(x):
    y = np.broadcast_to(x[0], (3, 4)).copy()
    y[1] = 2.0
    z = np.array(x)
    z[0] = 0.0
    w = np.asarray(z)
    w[1] = 1.0
    return y, z, w, x


PROGRAMS = [function for name, function in sorted(globals().items()) if name.startswith("_program_")]


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.filterwarnings("ignore")
def test_program(program):
    check(program, np.random.default_rng(7).normal(size=(3, 4)))


_STEPS = st.lists(
    st.tuples(
        st.sampled_from(["view", "view", "write", "add", "reshape", "transpose", "ravel", "copy", "flip", "newaxis"]),
        st.integers(0, 9),
        st.integers(0, 2**31),
    ),
    min_size=1,
    max_size=10,
)


@_QUICK
@given(_STEPS)
def test_any_program_of_views_and_writes(steps):
    """Arrays that are views of one another in every way; each is written to, and all are returned."""

    def program(x):
        arrays = [np.zeros((3, 4)), x * 1.0, x.T * 1.0]
        for kind, which, seed in steps:
            random = np.random.default_rng(seed)
            array = arrays[which % len(arrays)]
            if kind in ("view", "write", "add") and array.ndim:
                axis = random.integers(array.ndim)
                choice = random.integers(3)
                part = [slice(None, None, 2), slice(1, None)][choice - 1]
                if choice == 0 and array.shape[axis]:
                    part = int(random.integers(array.shape[axis]))
                index = (slice(None),) * axis + (part,)
                if kind == "view":
                    arrays.append(array[index])
                elif kind == "write":
                    array[index] = x[0, seed % 4] * (seed % 5) if seed % 3 else float(seed % 7)
                else:
                    array[index] += x[1, seed % 4]
            elif kind == "reshape":
                arrays.append(array.reshape(-1))
            elif kind == "transpose":
                arrays.append(array.T)
            elif kind == "ravel":
                arrays.append(array.ravel(order="CFA"[seed % 3]))
            elif kind == "copy":
                arrays.append(array.copy() if seed % 2 else array + 0.5)
            elif kind == "flip":
                arrays.append(np.flip(array))
            elif kind == "newaxis":
                arrays.append(array[None])
        # NumPy's elements are scalars, which cannot be written to.
        return [array + 0.0 for array in arrays]

    check(program, np.random.default_rng(3).normal(size=(3, 4)))


def test_a_graph_of_writes_is_short():
    def assign(x):
        y = np.zeros(3)
        y[0] += x[0]
        return y

    ops = [equation.op for equation in trace_of(assign, np.ones(3)).function.graph.equations]
    assert ops == ["select.int", "select.int", "add.Tensor", "select_scatter"] or len(ops) <= 4, ops


def test_results_may_be_concrete():
    assert np.array_equal(run(lambda x: (np.zeros(3), np.arange(2)), np.ones(2))[0], np.zeros(3))
