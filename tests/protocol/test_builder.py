"""Graphs written one equation at a time."""

import numpy as np
import pytest

from farfunc_protocol.arrays import Array
from farfunc_protocol.builder import GraphBuilder
from farfunc_protocol.errors import InvalidGraph
from farfunc_protocol.graph import TensorType

VECTOR = TensorType("float64", (3,))


def test_variables_are_numbered_inputs_captures_equations():
    builder = GraphBuilder()
    x = builder.input(VECTOR)
    (sine,) = builder.add("sin", (x,))
    weight = builder.constant(Array.from_numpy(np.ones(3)))
    (product,) = builder.add("mul.Tensor", (sine, weight))
    finished = builder.finish([product, x])
    assert [(e.op, e.inputs, e.outputs) for e in finished.graph.equations] == [
        ("sin", (0,), (2,)),
        ("mul.Tensor", (2, 1), (3,)),
    ]
    assert finished.graph.outputs == (3, 0)
    assert finished.graph.captures == (VECTOR,)


def test_what_no_output_needs_is_left_out():
    builder = GraphBuilder()
    x = builder.input(VECTOR)
    builder.add("cos", (builder.add("sin", (x,))[0],))
    builder.constant(Array.from_numpy(np.ones(3)))
    graph = builder.finish([x]).graph
    assert graph.equations == ()
    assert graph.captures == ()


def test_one_array_is_one_constant():
    builder = GraphBuilder()
    array = Array.from_numpy(np.ones(3))
    assert builder.constant(array) is builder.constant(array)
    assert builder.constant(array) is not builder.constant(Array.from_numpy(np.ones(3)))


def test_an_inner_graph_captures_what_it_closes_over_from_every_depth():
    outer = GraphBuilder()
    x = outer.input(VECTOR)
    middle = GraphBuilder(outer)
    y = middle.input(VECTOR)
    inner = GraphBuilder(middle)
    z = inner.input(VECTOR)
    (total,) = inner.add("add.Tensor", (inner.add("add.Tensor", (x, y))[0], z))
    innermost = inner.finish([total])
    assert innermost.graph.inputs == (VECTOR,)
    assert innermost.graph.captures == (VECTOR, VECTOR)
    square = TensorType("float64", (3, 3))
    (jacobian,) = middle.add("jacrev", (y,), {"argnums": (0,)}, types=(square,), body=innermost)
    finished = middle.finish([jacobian])
    assert finished.captured == (x,)
    (equation,) = finished.graph.equations
    assert equation.inputs == (0, 1, 0), "y is the leaf; x and y are the captures"
    outer.add("jacrev", (x,), {"argnums": (0,)}, types=(square,), body=finished)
    assert outer.equations[-1].inputs == (x, x)


def test_values_know_whether_they_vary():
    builder = GraphBuilder()
    x = builder.input(VECTOR)
    constant = builder.constant(Array.from_numpy(np.ones(3)))
    assert not builder.add("sin", (constant,))[0].varies
    assert builder.add("add.Tensor", (constant, x))[0].varies


def test_a_value_does_not_outlive_its_function():
    inner = GraphBuilder(GraphBuilder())
    leaked = inner.input(VECTOR)
    with pytest.raises(ValueError, match="after the function that it belongs to had returned"):
        GraphBuilder().add("sin", (leaked,))


def test_operands_that_an_op_refuses_are_refused_at_once():
    builder = GraphBuilder()
    with pytest.raises(InvalidGraph):
        builder.add("add.Tensor", (builder.input(VECTOR), builder.input(TensorType("float64", (4,)))))


def test_long_chains_need_no_recursion():
    builder = GraphBuilder()
    value = builder.input(VECTOR)
    for _ in range(20_000):
        (value,) = builder.add("sin", (value,), types=(VECTOR,))
    assert len(builder.finish([value]).graph.equations) == 20_000
