"""Graphs computed by torch, equation by equation."""

import numpy as np
import pytest
import torch

from farfunc_protocol.arrays import Array
from farfunc_protocol.errors import InvalidRequest
from farfunc_protocol.graph import Equation, Graph, TensorType
from farfunc_protocol.ops import OPS
from farfunc_protocol.transforms import FlatTransform
from farfunc_server.evaluation.engine import Engine
from farfunc_server.evaluation.operators import torch_operator
from support.graphs import array, f64, function_of, i64, wrapped

X = np.array([0.3, -1.2, 2.0])


@pytest.fixture(scope="module")
def engine():
    return Engine()


def evaluate(engine, function, *values, chain=(), **options):
    results = engine.evaluate(function, chain, [array(value, np.asarray(value).dtype) for value in values], **options)
    return [result.to_numpy() for result in results]


def test_every_row_of_the_op_table_is_an_operator_of_torch_with_the_same_arguments():
    for op in OPS.values():
        theirs = [argument.name for argument in torch_operator(op.schema)._schema.arguments]
        assert [argument.name for argument in op.schema.arguments] == theirs, op.name


def test_attributes_reach_their_arguments(engine):
    def body(b, x):
        (y,) = b.add("add.Tensor", (x, x), {"alpha": 3})
        (z,) = b.add("sum.dim_IntList", (y,), {"dim": (0,), "keepdim": True, "dtype": "float32"})
        return y, z

    y, z = evaluate(engine, function_of([f64(3)], body), X)
    np.testing.assert_array_equal(y, X + 3 * X)
    assert z.dtype == np.float32
    assert z.shape == (1,)


def test_lists_of_tensors_and_missing_ones(engine):
    def body(b, x, i):
        (s,) = b.add("stack", ((x, x, x),), {"dim": 1})
        (picked,) = b.add("index.Tensor", (s, (None, i)), {}, types=[f64(3, 2)])
        (clamped,) = b.add("clamp.Tensor", (x, None, x))
        return picked, clamped

    picked, clamped = evaluate(engine, function_of([f64(3), i64(2)], body), X, np.array([0, 2]))
    np.testing.assert_array_equal(picked, np.stack([X, X], 1))
    np.testing.assert_array_equal(clamped, X)


def test_tensors_given_by_keyword(engine):
    graph = Graph((f64(3), f64(2), i64(3)), (), (Equation("searchsorted.Tensor", (0, 1, 2), {}, (3,)),), (3,))
    (found,) = evaluate(engine, wrapped(graph), np.array([5.0, 1.0, 3.0]), np.array([2.0, 4.0]), np.array([1, 2, 0]))
    np.testing.assert_array_equal(found, [1, 2])


def test_operators_with_several_results(engine):
    equations = (Equation("max.dim", (0,), {"dim": 0}, (1, 2)), Equation("unbind.int", (0,), {}, (3, 4, 5)))
    largest, where, first, _, last = evaluate(engine, wrapped(Graph((f64(3),), (), equations, (1, 2, 3, 4, 5))), X)
    assert (largest, where, first, last) == (2.0, 2, X[0], X[2])


def test_creation_and_symbolic_dimensions(engine):
    equations = (
        Equation("ones", (), {"size": (2, {"dim": "n"}), "dtype": "float64"}, (1,)),
        Equation("mv", (1, 0), {}, (2,)),
    )
    function = wrapped(Graph((f64("n"),), (), equations, (2,)))
    for n in (1, 4):
        (result,) = evaluate(engine, function, np.ones(n))
        np.testing.assert_array_equal(result, [n, n])


def test_one_symbol_has_one_length(engine):
    function = wrapped(Graph((f64("n"), f64("n")), (), (Equation("dot", (0, 1), {}, (2,)),), (2,)))
    with pytest.raises(InvalidRequest, match="'n' is 3 in one argument and 2 in another"):
        evaluate(engine, function, X, X[:2])


def test_no_grad_regions_are_constants_for_reverse_mode_and_transparent_for_forward_mode(engine):
    equations = (Equation("sin", (0,), {}, (1,), grad=False), Equation("mul.Tensor", (1, 0), {}, (2,)))
    function = wrapped(Graph((f64(3),), (), equations, (2,)))

    def local(x):
        with torch.no_grad():
            y = torch.sin(x)
        return y * x

    x = torch.from_numpy(X)
    for name, transform in (("jacrev", torch.func.jacrev), ("jacfwd", torch.func.jacfwd)):
        (jacobian,) = evaluate(engine, function, X, chain=[FlatTransform(name, {"argnums": (0,)})])
        np.testing.assert_array_equal(jacobian, transform(local)(x).numpy())


def test_higher_order_equations_close_over_captures_and_symbols(engine):
    body = Graph(
        (f64("n"),),
        (f64(),),
        (
            Equation("zeros", (), {"size": ({"dim": "n"},), "dtype": "float64"}, (2,)),
            Equation("mul.Tensor", (0, 1), {}, (3,)),
            Equation("sin", (3,), {}, (4,)),
            Equation("add.Tensor", (4, 2), {}, (5,)),
            Equation("sum", (5,), {}, (6,)),
        ),
        (6,),
    )
    outer = Graph((f64("n"),), (f64(),), (Equation("grad", (0, 1), {"argnums": (0,)}, (2,), body),), (2,))
    function = wrapped(outer, [array(2.0)])
    (gradient,) = evaluate(engine, function, X)
    np.testing.assert_allclose(gradient, 2 * np.cos(2 * X), rtol=1e-15)
    (jacobian,) = evaluate(engine, function, X, chain=[FlatTransform("jacfwd", {"argnums": (0,)})])
    np.testing.assert_allclose(jacobian, np.diag(-4 * np.sin(2 * X)), rtol=1e-15)


def test_fifty_thousand_equations_run_and_are_differentiated(engine):
    count = 50_000
    equations = tuple(Equation("sin", (i,), {}, (i + 1,)) for i in range(count))
    function = wrapped(Graph((f64(1),), (), equations, (count,)))
    (jacobian,) = evaluate(engine, function, np.ones(1), chain=[FlatTransform("jacrev", {"argnums": (0,)})])
    assert 0 < jacobian[0, 0] < 1e-3


def test_results_share_nothing_with_arguments(engine):
    function = wrapped(Graph((f64(2, 3),), (), (Equation("t", (0,), {}, (1,)),), (0, 1)))
    same, transposed = evaluate(engine, function, np.arange(6.0).reshape(2, 3))
    assert same.shape == (2, 3)
    np.testing.assert_array_equal(transposed, same.T)
    assert transposed.flags.c_contiguous


@pytest.mark.parametrize(
    "dtype", ["bool", "uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64", "float16", "float32"]
)
def test_dtypes_come_through(engine, dtype):
    type = TensorType(dtype, (2,))
    function = wrapped(Graph((type,), (), (Equation("view", (0,), {"size": (2, 1)}, (1,)),), (1,)))
    given = array([0, 1], dtype)
    (result,) = engine.evaluate(function, (), [given])
    assert result.same_bits(array([[0], [1]], dtype))


def test_bfloat16_and_lazy_conjugates_come_through(engine):
    brain = Array("bfloat16", (2,), np.array([0x3F80, 0x7FC1], np.uint16))
    function = wrapped(Graph((brain.type,), (), (), (0,)))
    assert engine.evaluate(function, (), [brain])[0].same_bits(brain)
    z = array([1 + 2j, -0.0 + 3j], "complex128")
    function = wrapped(
        Graph((z.type,), (), (Equation("_conj", (0,), {}, (1,)), Equation("imag", (1,), {}, (2,))), (1, 2))
    )
    conjugate, imaginary = engine.evaluate(function, (), [z])
    np.testing.assert_array_equal(conjugate.data, np.conj(z.data))
    np.testing.assert_array_equal(imaginary.data, [-2.0, -3.0])


@pytest.mark.parametrize("offset", [0, 8])
def test_complex_numbers_at_any_address_of_a_message(engine, offset):
    memory = np.zeros(64, np.uint8)
    start = -memory.ctypes.data % 16 + offset
    values = memory[start : start + 32].view("<c16")
    values[:] = [1 + 2j, 3j]
    given = Array("complex128", (2,), values)
    function = wrapped(Graph((given.type,), (), (Equation("flip", (0,), {"dims": (0,)}, (1,)),), (1,)))
    assert engine.evaluate(function, (), [given])[0].same_bits(array([3j, 1 + 2j], "complex128"))


@pytest.mark.parametrize("shape", [(0,), (), (2, 0, 3)])
def test_empty_and_zero_dimensional_arrays(engine, shape):
    function = wrapped(Graph((f64(*shape),), (), (Equation("cos", (0,), {}, (1,)),), (1,)))
    (result,) = evaluate(engine, function, np.zeros(shape))
    np.testing.assert_array_equal(result, np.ones(shape))
