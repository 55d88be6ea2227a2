"""What the NumPy front end refuses: each error names the user's line, what it asked for and what to write instead."""

import inspect
import math
import random
import re
import threading

import numpy as np
import pytest
from numpy import array as bound_array

import farfunc
import farfunc.numpy as fnp
from farfunc._numpy import Tracer
from farfunc._tracing import StaticLeaves
from farfunc_protocol.errors import (
    DataDependentError,
    FarfuncError,
    MutationError,
    TraceError,
    UnsupportedOperator,
)
from support.numpy_graphs import trace_of

pytestmark = pytest.mark.thin

X = np.array([0.5, -1.0, 2.0])
PLAIN = np.zeros(3)


def branch(x):
    return x if x.sum() > 0 else -x


def loop(x):
    while x[0] < 10:
        x = x * 2
    return x


def as_float(x):
    return float(x[0]) * x


def as_int(x):
    return x[: int(x[0])]


def as_index(x):
    return [x for _ in range(np.argmax(x))]


def item(x):
    return x * x[0].item()


def of_math(x):
    return math.sin(x[0])


def as_list(x):
    return sum(x.tolist())


def minimum_of_two(x):
    return min(x[0], x[1])


def membership(x):
    return 0.5 in x


def mask(x):
    return x[x > 0]


def nonzero(x):
    return np.nonzero(x)


def places(x):
    return np.where(x > 0)


def unique(x):
    return np.unique(x)


def close(x):
    return np.allclose(x, 0)


def equal(x):
    return np.array_equal(x, x)


def histogram(x):
    return np.histogram(x)


def into_a_plain_array(x):
    PLAIN[0] = x[0]
    return PLAIN


def into_a_slice_of_a_plain_array(x):
    PLAIN[:2] = x[:2]
    return PLAIN


def into_a_copy_of_a_plain_array(x):
    y = PLAIN.copy()
    y[0] = x[0]
    return y


def objects_by_a_bound_name(x):
    return bound_array([[x[0], 1.0], [x, x]], dtype=object)


def vectorized(x):
    return np.vectorize(math.sin)(x)


def formatted(x):
    return x * len("%.2f" % x[0])  # noqa: UP031 - as people write it


def a_numpy_number(x):
    return np.float64(x[0]) * x


def as_a_key(x):
    return {x[0]: 1.0}[x[0]] * x


def into_an_element_of_flat(x):
    PLAIN.flat[0] = x[0]
    return PLAIN


def random_numbers_of_the_standard_library(x):
    return x * random.random()


def random_numbers_without_a_seed(x):
    return x * np.random.default_rng().normal()


def over_several_arrays(x):
    return sum(a * b for a, b in np.nditer([x, x]))


def random_numbers(x):
    return x + np.random.rand(3)


def of_python(x):
    return complex(x[0])


def of_numpy_scalar(x):
    return np.float64(x[0])


def split_by_values(x):
    return np.zeros(x[0])


def in_place_plain(x):
    PLAIN.__iadd__(x)
    return PLAIN


def out_plain(x):
    return np.sin(x, out=PLAIN)


def sum_out_plain(x):
    return np.cumsum(x, out=PLAIN)


def copy_to_plain(x):
    np.copyto(PLAIN, x)
    return PLAIN


def no_such_ufunc(x):
    return np.spacing(x)


def no_such_function(x):
    return np.packbits(x > 0)


def no_such_method(x):
    return x.sinn()


def no_such_dtype(x):
    return x.astype("S4")


def custom_ufunc(x):
    return np.frompyfunc(lambda a: a, 1, 1)(x)


def padding_mode(x):
    return np.pad(x, 1, mode="linear_ramp")


def ufunc_at(x):
    y = np.zeros(3)
    np.multiply.at(y, [0, 0], x[:2])
    return y


REFUSED = [
    (branch, DataDependentError, "np.where"),
    (loop, DataDependentError, "np.where"),
    (as_float, DataDependentError, "x.astype"),
    (as_int, DataDependentError, "x.astype"),
    (as_index, DataDependentError, "index"),
    (item, DataDependentError, "x.item"),
    (of_math, DataDependentError, "np.sin instead of math.sin"),
    (as_list, DataDependentError, "keep it an array"),
    (minimum_of_two, DataDependentError, "np.minimum"),
    (membership, DataDependentError, "np.any"),
    (mask, DataDependentError, "np.where"),
    (nonzero, DataDependentError, "np.where"),
    (places, DataDependentError, "np.where"),
    (unique, DataDependentError, "mask"),
    (close, DataDependentError, "np.where"),
    (equal, DataDependentError, "np.where"),
    (histogram, DataDependentError, ""),
    (into_a_plain_array, DataDependentError, "np.array(table)"),
    (into_a_slice_of_a_plain_array, DataDependentError, "np.array(table)"),
    (into_a_copy_of_a_plain_array, DataDependentError, "np.array(table)"),
    (into_an_element_of_flat, DataDependentError, "np.array(table)"),
    (objects_by_a_bound_name, UnsupportedOperator, "float"),
    (vectorized, DataDependentError, "np.sin"),
    (formatted, DataDependentError, "print(x)"),
    (a_numpy_number, DataDependentError, "x.astype(np.float64)"),
    (as_a_key, DataDependentError, "a position as the key"),
    (random_numbers_of_the_standard_library, TraceError, "argument"),
    (random_numbers_without_a_seed, TraceError, "seed"),
    (over_several_arrays, UnsupportedOperator, "ndenumerate"),
    (random_numbers, TraceError, "argument"),
    (of_python, DataDependentError, ""),
    (of_numpy_scalar, DataDependentError, ""),
    (split_by_values, DataDependentError, ""),
    (in_place_plain, MutationError, "np.zeros"),
    (out_plain, MutationError, "np.zeros"),
    (sum_out_plain, MutationError, "np.zeros"),
    (copy_to_plain, MutationError, "np.zeros"),
    (no_such_ufunc, UnsupportedOperator, ""),
    (no_such_function, UnsupportedOperator, ""),
    (no_such_method, UnsupportedOperator, "sin"),
    (no_such_dtype, UnsupportedOperator, "float"),
    (custom_ufunc, UnsupportedOperator, ""),
    (padding_mode, UnsupportedOperator, "reflect"),
    (ufunc_at, UnsupportedOperator, "np.add.at"),
]


@pytest.mark.parametrize(("function", "error", "remedy"), REFUSED, ids=[function.__name__ for function, *_ in REFUSED])
def test_refusal(function, error, remedy):
    before = PLAIN.copy()
    with pytest.raises(error) as caught:
        trace_of(function, X)
    assert np.array_equal(PLAIN, before)
    found = re.fullmatch(r"test_numpy_refusals\.py:(\d+), in (\w+)", caught.value.where or "")
    assert found, caught.value.where
    assert found[2] in (function.__name__, "<lambda>")
    lines, first = inspect.getsourcelines(function)
    assert first <= int(found[1]) < first + len(lines)
    assert caught.value.remedy
    assert remedy in caught.value.remedy


def test_shapes_that_do_not_fit():
    for function in (
        lambda x: x + np.ones(4),
        lambda x: x @ np.ones((2, 2)),
        lambda x: np.concatenate([x, x[None]]),
        lambda x: np.stack([x, x[:2]]),
        lambda x: x.reshape(2, 2),
        lambda x: np.broadcast_to(x, (2, 2)),
        lambda x: np.array([[x[0]], [1.0, 2.0]]),
    ):
        with pytest.raises(ValueError):  # noqa: PT011 - NumPy has a message for each
            trace_of(function, X)
    for function in (lambda x: x[3], lambda x: x[[0, 5]], lambda x: x[0, 0], lambda x: x[1.5], lambda x: x["a"]):
        with pytest.raises(IndexError):
            trace_of(function, X)
    for function in (lambda x: len(x[0]), lambda x: list(x.sum()), lambda x: hash(x), lambda x: x + "a"):
        with pytest.raises((TypeError, FarfuncError)):
            trace_of(function, X)
    with pytest.raises(np.exceptions.AxisError):
        trace_of(lambda x: x.sum(axis=1), X)
    with pytest.raises(TypeError):
        trace_of(lambda x: x & 1, X)
    with pytest.raises(np._core._exceptions._UFuncOutputCastingError):
        trace_of(lambda x: np.zeros(3, int).__iadd__(x), X)


def test_read_only_views_refuse_writes():
    def write_to_a_diagonal(x):
        y = np.zeros((3, 3)) + x
        np.diagonal(y)[0] = 1.0

    def write_to_a_broadcast(x):
        np.broadcast_to(x * 1.0, (2, 3))[0] = 1.0

    for function in (write_to_a_diagonal, write_to_a_broadcast):
        with pytest.raises(ValueError, match="read-only"):
            trace_of(function, X)


def test_a_python_number_may_become_static():
    def integrate(x, dt):
        return x * math.exp(dt) if dt > 0 else x

    with pytest.raises(StaticLeaves) as caught:
        trace_of(integrate, X, 0.1)
    assert caught.value.positions == {1}
    with pytest.raises(DataDependentError):
        trace_of(integrate, X, np.float64(0.1) * X[:1])
    with pytest.raises(StaticLeaves) as caught:
        trace_of(lambda x, a, b: x * math.sin(2 * a + b), X, 0.5, 1.5)
    assert caught.value.positions == {1, 2}
    with pytest.raises(DataDependentError):
        trace_of(lambda x, a: math.sin(x[0] + a), X, 0.5)


def test_torch_functions_ask_for_the_torch_front_end():
    torch = pytest.importorskip("torch")
    from farfunc._signals import NeedsTorch

    weight = torch.ones(3, dtype=torch.float64)
    for function in (
        lambda x: torch.sin(x),
        lambda x: x * weight,
        lambda x: weight * x,
        lambda x: torch.stack([x, x]),
        lambda x: weight @ x,
    ):
        with pytest.raises(NeedsTorch):
            trace_of(function, X)


def test_a_tracer_that_escaped():
    kept = []
    trace_of(lambda x: kept.append(x) or x, X)
    with pytest.raises(TraceError, match="after the function"):
        np.sin(kept[0])
    assert isinstance(kept[0], Tracer)


def test_numpy_is_itself_again():
    names = ["array", "asarray", "zeros", "ones", "copy", "sum", "arange"]
    originals = {name: getattr(np, name) for name in names}

    def function(x):
        assert np.zeros is not originals["zeros"]
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        trace_of(function, X)
    assert all(getattr(np, name) is original for name, original in originals.items())


def test_other_threads_get_plain_arrays():
    found = {}

    def elsewhere():
        found["zeros"] = np.zeros(2)
        found["array"] = np.array([1.0])
        found["sum"] = np.sum([1.0, 2.0])
        found["random"] = np.random.rand(2)

    def function(x):
        np.random.default_rng(0)  # Cython code that makes arrays of its own
        thread = threading.Thread(target=elsewhere)
        thread.start()
        thread.join()
        return x

    trace_of(function, X)
    assert type(found["zeros"]) is type(found["array"]) is np.ndarray
    assert found["sum"] == 3.0


def test_compiled_code_and_libraries_get_plain_arrays():
    def function(x):
        noise = np.random.default_rng(0).normal(size=3)
        points = np.array([0.0, 1.0, 2.0])
        index = np.searchsorted(points, 0.5)
        return x * noise + np.asarray(points)[index] + np.zeros(3)[0]

    trace_of(function, X)
    stats = pytest.importorskip("scipy.spatial")

    def with_scipy(x):
        tree = stats.cKDTree(np.array([[0.0, 0.0], [1.0, 1.0]]))
        return x * tree.query(np.array([0.9, 0.9]))[1]

    trace_of(with_scipy, X)


def test_concrete_arrays_answer_python():
    def function(x):
        y = np.zeros((2, 3), dtype=int)
        y[0] = [1, 2, 3]
        assert y.sum() == 6
        assert float(y[0, 1]) == 2.0
        assert bool((y > 0).any())
        assert [int(v) for v in y[0]] == [1, 2, 3]
        assert list(range(y[0, 2])) == [0, 1, 2]
        assert y.tolist() == [[1, 2, 3], [0, 0, 0]]
        assert np.asarray(y).shape == (2, 3)
        assert X[y[0] - 1].tolist() == X.tolist()
        assert f"{y[0, 0]:03d}" == "001"
        assert isinstance(y, Tracer)
        assert type(y[0, 0]) is np.int64
        n = np.arange(4)
        return x * n[2] + [x[i] for i in np.arange(3)][-1]

    trace_of(function, X)


def test_a_concrete_array_cannot_be_written_behind_our_back():
    def function(x):
        y = np.zeros(3)
        bound_array(y, copy=False)
        memory = np.ndarray.__new__(np.ndarray, (3,))
        memory[:] = y
        with pytest.raises(ValueError, match="read-only"):
            y.__array__()[0] = 1.0
        return x + y

    trace_of(function, X)


def test_representations_need_no_value():
    seen = []
    trace_of(lambda x: seen.extend([repr(x), f"{x}", f"{x:.3f}", str(x[0])]) or x, X)
    assert seen == ["traced float64[3]"] * 3 + ["traced float64[]"]


def test_the_public_namespace():
    assert fnp.sin is np.sin
    assert fnp.linalg.solve is np.linalg.solve
    assert fnp.fft.fft is np.fft.fft
    assert fnp.zeros(3).dtype == np.float64
    assert type(fnp.zeros(3)) is np.ndarray

    def function(x):
        from farfunc.numpy import array, zeros

        y = zeros(3)
        y[0] = x[0]
        return array([[x[0], 1], [0, y[0]]]) @ y[:2]

    trace_of(function, X)


def test_the_array_api_namespace():
    def function(x):
        xp = x.__array_namespace__()
        y = xp.concat([x, xp.zeros(2)])
        z = xp.permute_dims(xp.stack([y, y]), (1, 0))
        return (
            xp.astype(z, xp.float32), xp.matrix_transpose(z), xp.vecdot(y, y), xp.acos(xp.clip(x, -0.5, 0.5)),
            xp.linalg.vector_norm(y), xp.pow(x, 2), xp.expand_dims(x, axis=0), xp.sum(z, axis=1, keepdims=True),
            xp.isdtype(x.dtype, "real floating") * x, xp.unstack(z, axis=1)[0], xp.asarray(x, copy=True),
        )  # fmt: skip

    trace_of(function, X)


def test_the_trace_names_the_lines_of_the_function():
    traced = trace_of(lambda x: np.sin(x) + 1.0, X)
    assert {source.partition(":")[0] for source in traced.function.sources} == {"test_numpy_refusals.py"}


def test_equal_expressions_are_written_once():
    def function(x):
        return np.sin(x[0]) * np.sin(x[0]) + x[0]

    ops = [equation.op for equation in trace_of(function, X).function.graph.equations]
    assert ops == ["select.int", "sin", "mul.Tensor", "add.Tensor"]


def test_two_arguments_that_are_one_array_stay_two():
    traced = trace_of(lambda x, y: x * y, X, X)
    assert len(traced.function.graph.inputs) == 2
    assert traced.function.graph.equations[0].inputs == (0, 1)


def test_constants_are_read_as_they_are():
    buffer = np.zeros(3)

    def function(x):
        total = x * 0.0
        for i in range(3):
            buffer[:] = i
            total = total + buffer * x
        return total

    traced = trace_of(function, X)
    assert sorted(float(constant.data[0]) for constant in traced.function.constants) == [0.0, 1.0, 2.0]


def test_writes_cross_no_transform():
    """What is written inside a transformed function cannot be seen outside of it; reading is no matter."""

    def leaks(x):
        y = np.zeros(3)

        def inner(t):
            y[0] = t[0]
            return t * 2.0

        return farfunc.jacfwd(inner)(x) @ y

    with pytest.raises(MutationError, match="outside a transformed function"):
        trace_of(leaks, X)

    def reads(x):
        y = x * 1.0
        view = y[1:]
        y[1] = 5.0
        jacobian = farfunc.jacrev(lambda t: t * view[0] + y.sum())(x)
        jacobian[0, 0] = 0.0
        y[2] = jacobian[1, 1]
        return view

    ops = [equation.op for equation in trace_of(reads, X).function.graph.walk()]
    assert "jacrev" in ops


def test_traces_in_several_threads():
    barrier = threading.Barrier(4)
    originals = (np.zeros, np.array)
    sizes = []

    def function(x):
        barrier.wait(timeout=30)
        y = np.zeros(3)
        y[1] = x[0]
        return np.array([y[1], 1.0])

    def run_one():
        sizes.append(len(trace_of(function, X).function.graph.equations))

    threads = [threading.Thread(target=run_one) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(sizes) == 4
    assert (np.zeros, np.array) == originals
