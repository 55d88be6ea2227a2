"""Functions written as graphs by hand, for tests that need one without a front end."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from farfunc_protocol.arrays import Array
from farfunc_protocol.builder import GraphBuilder, Value
from farfunc_protocol.graph import Function, Graph, TensorType
from farfunc_protocol.pytree import flatten

__all__ = ["array", "busy", "f64", "function_of", "i64", "wrapped"]


def f64(*shape: int | str) -> TensorType:
    return TensorType("float64", shape)


def i64(*shape: int | str) -> TensorType:
    return TensorType("int64", shape)


def array(values: object, dtype: str = "float64") -> Array:
    return Array.from_numpy(np.asarray(values, dtype))


def wrapped(graph: Graph, constants: Sequence[Array | None] = ()) -> Function:
    """A graph as a function of as many positional arguments, which returns an array or a tuple."""
    in_tree = flatten((tuple(range(len(graph.inputs))), {}))[1]
    out_tree = flatten(0 if len(graph.outputs) == 1 else tuple(graph.outputs))[1]
    return Function(graph, tuple(constants), in_tree, out_tree)


def function_of(types: Sequence[TensorType], body: Callable[..., Value | Sequence[Value]]) -> Function:
    """A function written with a builder: ``body(builder, *inputs)`` returns its results."""
    builder = GraphBuilder()
    results = body(builder, *(builder.input(type) for type in types))
    finished = builder.finish([results] if isinstance(results, Value) else results)
    return wrapped(finished.graph, finished.captured)  # type: ignore[arg-type]  # an outermost builder captures arrays


def busy(steps: int, size: int = 1500) -> Function:
    """Something that takes long and sends little: a power of a matrix that is made on the spot, plus x."""

    def body(builder: GraphBuilder, x: Value) -> Value:
        attributes = {"size": (size, size), "fill_value": 1.0 / size, "dtype": "float64"}
        (matrix,) = builder.add("full", (), attributes, types=[f64(size, size)])
        power = matrix
        for _ in range(steps):
            (power,) = builder.add("mm", (power, matrix))
        (total,) = builder.add("sum", (power,))
        return builder.add("add.Tensor", (x, total))[0]

    return function_of([f64(2)], body)
