"""The engine: limits before memory, errors with a place, seeds, captures."""

import numpy as np
import pytest
import torch

from farfunc_protocol.errors import EvaluationError, ForwardModeUnsupported, InvalidRequest, LimitExceeded
from farfunc_protocol.graph import Equation, Graph, TensorType
from farfunc_protocol.transforms import FlatTransform
from farfunc_server.evaluation.engine import Engine
from farfunc_server.evaluation.failures import as_farfunc_error
from farfunc_server.evaluation.inference import Budget
from support.graphs import array, f64, function_of, wrapped

SIN = wrapped(Graph((f64(3),), (), (Equation("sin", (0,), {}, (1,)),), (1,)))
JACFWD = FlatTransform("jacfwd", {"argnums": (0,)})
JACREV = FlatTransform("jacrev", {"argnums": (0,)})
X = array([1.0, 2.0, 3.0])


@pytest.fixture(scope="module")
def engine():
    return Engine()


def test_types_cost_and_memory_are_told_without_a_run(engine):
    found = engine.infer(SIN, [JACREV], [f64(3)])
    assert found.outputs == (f64(3, 3),)
    assert 3 * 24 <= found.peak_bytes <= 20 * 72
    assert found.operations >= 9


def test_memory_is_refused_before_it_is_taken():
    million = wrapped(Graph((f64(10**6),), (), (Equation("sin", (0,), {}, (1,)),), (1,)))
    engine = Engine(budget=Budget(memory_bytes=1 << 30))
    with pytest.raises(LimitExceeded, match="TiB of memory") as caught:
        engine.evaluate(million, [JACREV], [array(np.zeros(10**6))])
    assert "chunk_size" in caught.value.remedy


def test_operations_are_refused_before_they_are_done():
    square = function_of([f64(100, 100)], lambda b, x: b.add("mm", (x, x))[0])
    engine = Engine(budget=Budget(memory_bytes=1 << 30, operations=1e6))
    with pytest.raises(LimitExceeded, match="2e\\+06 operations"):
        engine.evaluate(square, (), [array(np.zeros((100, 100)))])


def test_what_is_freed_is_not_counted(engine):
    def chain(b, x):
        for _ in range(50):
            (x,) = b.add("sin", (x,))
        return x

    found = engine.infer(function_of([f64(1000)], chain), (), [f64(1000)])
    assert found.peak_bytes <= 4 * 8000


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ([array(np.zeros(4))], r"float64\[3\] here, and float64\[4\]"),
        ([array(np.zeros(3), "float32")], r"float32\[3\] is given"),
        ([X, X], "2 arrays are given"),
        ([], "0 arrays are given"),
    ],
)
def test_arguments_that_do_not_fit(engine, given, words):
    with pytest.raises(InvalidRequest, match=words) as caught:
        engine.evaluate(SIN, (), given)
    assert caught.value.where.startswith("arguments")


def test_an_operator_that_refuses_is_named_with_its_place(engine):
    graph = Graph((f64(3), f64(4)), (), (Equation("sin", (0,), {}, (2,)), Equation("dot", (2, 1), {}, (3,))), (3,))
    with pytest.raises(EvaluationError) as caught:
        engine.evaluate(wrapped(graph), (), [X, array(np.zeros(4))])
    assert caught.value.where == "equations[1] (dot)"
    assert "Exception raised from" not in caught.value.detail


def test_the_place_of_an_error_in_a_body(engine):
    body = Graph((f64(3), f64(4)), (), (Equation("dot", (0, 1), {}, (2,)),), (2,))
    graph = Graph((f64(3), f64(4)), (), (Equation("grad", (0, 1), {"argnums": (0,)}, (2,), body),), (2,))
    with pytest.raises(EvaluationError) as caught:
        engine.evaluate(wrapped(graph), (), [X, array(np.zeros(4))])
    assert caught.value.where == "equations[0].body.equations[0] (dot)"


def test_an_error_that_only_values_show(engine):
    square = TensorType("float64", (2, 2))
    solve = wrapped(Graph((square, square), (), (Equation("linalg_solve", (0, 1), {}, (2,)),), (2,)))
    with pytest.raises(EvaluationError, match="singular") as caught:
        engine.evaluate(solve, (), [array(np.zeros((2, 2)))] * 2)
    assert caught.value.where == "equations[0] (linalg_solve)"


def test_forward_mode_that_is_missing_says_so_and_what_to_use():
    # An operator without forward mode, whichever torch has one: its own exception is what is mapped.
    error = NotImplementedError(
        "Trying to use forward AD with _cdist_forward that does not support it because it has not been implemented "
        "yet.\nPlease file an issue to PyTorch.\nException raised from f at ../x.cpp:12 (most recent call first):\n"
    )
    found = as_farfunc_error(error)
    assert isinstance(found, ForwardModeUnsupported)
    assert "_cdist_forward" in found.detail
    assert "jacrev" in found.remedy
    assert "most recent call" not in found.detail


def test_out_of_memory_is_a_limit():
    assert isinstance(as_farfunc_error(torch.OutOfMemoryError("CUDA out of memory. Tried ...")), LimitExceeded)
    text = "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you tried ..."
    assert isinstance(as_farfunc_error(RuntimeError(text)), LimitExceeded)


def test_a_bug_of_ours_is_not_blamed_on_the_request():
    with pytest.raises(KeyError):
        as_farfunc_error(KeyError("x"))


RANDOM = wrapped(Graph((f64(3),), (), (Equation("rand_like", (0,), {}, (1,)),), (1,)))


def test_seeds(engine):
    first, second = (engine.evaluate(RANDOM, (), [X], seed=7)[0].data for _ in range(2))
    np.testing.assert_array_equal(first, second)
    torch.manual_seed(7)
    np.testing.assert_array_equal(first, torch.rand_like(torch.zeros(3, dtype=torch.float64)))
    drawn, again = (engine.evaluate(RANDOM, (), [X])[0].data for _ in range(2))
    assert not np.array_equal(drawn, again)


def test_seeds_leave_the_process_own_generator_alone(engine):
    torch.manual_seed(0)
    expected = torch.rand(2)
    torch.manual_seed(0)
    engine.evaluate(RANDOM, (), [X], seed=5)
    torch.testing.assert_close(torch.rand(2), expected)


def test_randomness_under_vmap(engine):
    rows = array(np.zeros((4, 3)))

    def vmap(randomness):
        return FlatTransform("vmap", {"in_dims": (0,), "out_dims": (0,), "randomness": randomness})

    different = engine.evaluate(RANDOM, [vmap("different")], [rows], seed=1)[0].data
    same = engine.evaluate(RANDOM, [vmap("same")], [rows], seed=1)[0].data
    assert len(np.unique(different)) == 12
    assert len(np.unique(same)) == 3
    with pytest.raises(EvaluationError, match="randomness error mode"):
        engine.evaluate(RANDOM, [vmap("error")], [rows], seed=1)


OPEN = wrapped(Graph((f64(3),), (f64(3), f64()), (Equation("mul.Tensor", (0, 1), {}, (3,)),), (3,)), [None, array(1.0)])


def test_open_captures_come_with_the_call(engine):
    (result,) = engine.evaluate(OPEN, (), [X], captures={0: X})
    np.testing.assert_array_equal(result.data, X.data**2)


@pytest.mark.parametrize(
    ("captures", "words"),
    [
        ({}, "needs a value for capture 0"),
        ({0: X, 1: X}, "no place for capture 1"),
        ({0: array(1.0)}, r"captures float64\[3\] here"),
    ],
)
def test_captures_that_do_not_fit(engine, captures, words):
    with pytest.raises(InvalidRequest, match=words):
        engine.evaluate(OPEN, (), [X], captures=captures)


def test_attention_has_forward_mode_and_batching(engine):
    shape = (1, 2, 4, 8)
    q = np.random.default_rng(0).normal(size=shape)

    def body(b, q):
        return b.add("scaled_dot_product_attention", (q, q, q, None), types=[f64(*shape)])[0]

    function = function_of([f64(*shape)], body)
    (jacobian,) = engine.evaluate(function, [JACFWD], [array(q)])
    (expected,) = engine.evaluate(function, [JACREV], [array(q)])
    np.testing.assert_allclose(jacobian.data, expected.data, atol=1e-12)


def test_programs_are_kept_and_forgotten():
    engine = Engine()
    for _ in range(300):
        engine.evaluate(wrapped(SIN.graph), (), [X])
    assert len(list(engine.plans)) <= 256


@pytest.mark.parametrize("in_dims", [(None, None, 0), (0, None, 0), (None, 0, 0), (0, 0, None), (None, 0, None)])
def test_index_fill_under_vmap_fills_each_slice_with_its_own_value(engine, in_dims):
    graph = Graph(
        (f64(3), TensorType("int64", (1,)), f64()),
        (),
        (Equation("index_fill.int_Tensor", (0, 1, 2), {"dim": 0}, (3,)),),
        (3,),
    )
    x, index, value = np.arange(6.0).reshape(2, 3), np.array([[0], [2]]), np.array([5.0, 7.0])
    given = [whole if dim == 0 else whole[0] for whole, dim in zip((x, index, value), in_dims, strict=True)]
    flat = FlatTransform("vmap", {"in_dims": in_dims, "out_dims": (0,)})
    (result,) = engine.evaluate(wrapped(graph), [flat], [array(item, item.dtype) for item in given])
    expected = np.stack([x[0 if in_dims[0] is None else row] for row in range(2)])
    for row in range(2):
        expected[row, index[0 if in_dims[1] is None else row, 0]] = value[0 if in_dims[2] is None else row]
    np.testing.assert_array_equal(result.to_numpy(), expected)


def test_a_process_is_well_until_a_level_or_a_dispatch_key_stays_behind():
    engine = Engine()
    broken = wrapped(Graph((f64(3),), (), (Equation("reshape", (0,), {"shape": (2,)}, (1,)),), (1,)))
    vmap = FlatTransform("vmap", {"in_dims": (0,), "out_dims": (0,)})
    with pytest.raises(EvaluationError):  # inside of two levels
        engine.evaluate(broken, [vmap, JACREV], [array(np.zeros((2, 3)))])
    assert engine.is_well()
    torch._C._functorch._vmap_increment_nesting(3, "error")
    try:
        assert not engine.is_well()
    finally:
        torch._C._functorch._vmap_decrement_nesting()
    assert engine.is_well()
    with torch._C._AutoDispatchBelowAutograd():
        assert not engine.is_well()
    assert engine.is_well()


@pytest.mark.parametrize(
    ("op", "attributes", "places"),
    [
        ("select_scatter", {"dim": 0, "index": -1}, np.s_[-1]),
        ("select_scatter", {"dim": 1, "index": 1}, np.s_[:, 1]),
        ("slice_scatter", {"dim": 0, "start": 1, "end": 4, "step": 2}, np.s_[1:4:2]),
        ("slice_scatter", {"dim": 1, "start": 1}, np.s_[:, 1:]),
    ],
)
def test_complex_numbers_written_to_a_part_have_derivatives(engine, op, attributes, places):
    """In torch 2.13 they have none: "does not support automatic differentiation for outputs with complex dtype"."""
    x = np.arange(12.0).reshape(4, 3) * (1 + 2j)
    part = x[places] * 1j
    types = [TensorType("complex128", value.shape) for value in (x, part)]
    graph = Graph(tuple(types), (), (Equation(op, (0, 1), attributes, (2,)),), (2,))
    expected = x.copy()
    expected[places] = part
    arguments = [array(value, value.dtype) for value in (x, part)]
    assert np.array_equal(engine.evaluate(wrapped(graph), (), arguments)[0].to_numpy(), expected)
    cotangent = np.ones((4, 3)) * (2 - 1j)
    _, by_x, by_part = (
        result.to_numpy()
        for result in engine.evaluate(
            wrapped(graph), (FlatTransform("vjp", {}),), [*arguments, array(cotangent, cotangent.dtype)]
        )
    )
    left = cotangent.copy()
    left[places] = 0
    assert np.array_equal(by_x, left)
    assert np.array_equal(by_part, cotangent[places])
    tangents = [array(value, value.dtype) for value in (x, part)]
    _, tangent = engine.evaluate(wrapped(graph), (FlatTransform("jvp", {}),), [*arguments, *tangents])
    assert np.array_equal(tangent.to_numpy(), expected)
