"""Signatures and costs, read off a function without torch."""

import pytest

from farfunc_protocol.graph import Equation, Function, Graph
from farfunc_protocol.pytree import flatten
from farfunc_server.description import describe, signature
from support.graphs import f64, function_of, wrapped

SIN = Graph((f64(3),), (), (Equation("sin", (0,), {}, (1,)),), (1,))


def test_signature_shows_the_trees():
    graph = Graph((f64(3), f64(), f64("n")), (), (), (0, 1))
    is_array = lambda leaf: leaf == 0  # noqa: E731
    in_tree = flatten((({"w": 0, "b": [0]}, "same"), {"scale": 0}), is_array=is_array)[1]
    out_tree = flatten((0, {"y": 0}), is_array=is_array)[1]
    function = Function(graph, (), in_tree, out_tree)
    assert signature(function, describe(function).outputs) == (
        "({'w': float64[3], 'b': [float64[]]}, 'same', scale=float64[n]) -> (float64[3], {'y': float64[]})"
    )


def test_what_only_torch_can_tell():
    graph = Graph((f64(3),), (), (Equation("view.dtype", (0,), {"dtype": "int64"}, (1,)),), (1,))
    found = describe(wrapped(graph))
    assert found.outputs == (None,)
    assert found.operations is None
    assert signature(wrapped(graph), found.outputs) == "(float64[3]) -> ?"


def test_operators_are_counted_in_bodies_too():
    graph = Graph((f64(3),), (), (Equation("jacrev", (0,), {"argnums": (0,)}, (1,), SIN),), (1,))
    assert describe(wrapped(graph)).operators == {"jacrev": 1, "sin": 1}


@pytest.mark.parametrize(
    ("op", "attributes", "outputs", "factor"),
    [
        ("jacfwd", {"argnums": (0,)}, (1,), 6),
        ("jacrev", {"argnums": (0,)}, (1,), 7),
        ("hessian", {"argnums": (0,)}, (1,), 42),
    ],
)
def test_transforms_multiply_the_cost(op, attributes, outputs, factor):
    once = describe(wrapped(SIN)).operations
    graph = Graph((f64(3),), (), (Equation(op, (0,), attributes, outputs, SIN),), outputs)
    assert describe(wrapped(graph)).operations == factor * once


def test_vmap_multiplies_by_the_batch():
    once = describe(wrapped(SIN)).operations
    graph = Graph((f64(5, 3),), (), (Equation("vmap", (0,), {"in_dims": (0,), "out_dims": (0,)}, (1,), SIN),), (1,))
    found = describe(wrapped(graph))
    assert found.operations == 5 * once
    assert found.outputs == (f64(5, 3),)


def test_products_cost_what_they_do():
    square = function_of([f64(10, 10)], lambda b, x: b.add("mm", (x, x))[0])
    assert describe(square).operations == 2000


def test_symbolic_shapes_leave_the_cost_open():
    found = describe(wrapped(Graph((f64("n"),), (), (Equation("sin", (0,), {}, (1,)),), (1,))))
    assert found.operations is None
    assert found.outputs == (f64("n"),)


def test_symbolic_shapes_in_bodies():
    sum_of_sines = Graph((f64("k"),), (), (Equation("sin", (0,), {}, (1,)), Equation("sum", (1,), {}, (2,))), (2,))
    gradient = Equation("grad", (0,), {"argnums": (0,)}, (1,), sum_of_sines)
    found = describe(wrapped(Graph((f64("n"),), (), (gradient,), (1,))))
    assert (found.outputs, found.operations) == ((f64("n"),), None)


@pytest.mark.parametrize("op", ["jacfwd", "vmap", "hessian", "vjp"])
def test_symbolic_shapes_around_a_body_without_equations(op):
    identity = Graph((f64("n"),), (), (), (0,))
    attributes = {"vmap": {"in_dims": (0,), "out_dims": (0,)}, "vjp": {}}.get(op, {"argnums": (0,)})
    operands, outputs = ((0, 0), (1, 2)) if op == "vjp" else ((0,), (1,))
    given = f64("m", "n") if op == "vmap" else f64("n")
    graph = Graph((given,), (), (Equation(op, operands, attributes, outputs, identity),), (outputs[-1],))
    assert describe(wrapped(graph)).outputs[0] is not None
