"""Trace a function of NumPy arrays, and run the graph with torch: what the tests of the NumPy front end stand on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from farfunc._front_ends import numpy_front_end
from farfunc._tracing import Traced, spec_of, trace
from farfunc_protocol.ops import OPS
from farfunc_protocol.pytree import flatten, unflatten
from farfunc_protocol.schema import REQUIRED

__all__ = ["check", "expect", "run", "torch_callable", "trace_of"]


def trace_of(function: Callable[..., Any], *args: Any) -> Traced:
    """The graph of a function, and its result as a spec tree."""
    front_end = numpy_front_end()
    leaves = flatten((args, {}), is_array=front_end.is_array)[0]
    return trace(function, spec_of(args, front_end), {}, front_end, leaves)


def torch_callable(traced: Traced) -> Callable[..., tuple[Any, ...]]:
    """The graph as a function of torch tensors, one equation after another."""
    import torch

    graph = traced.function.graph
    constants = [torch.from_numpy(constant.data.copy()) for constant in traced.function.constants]

    def call(*inputs: Any) -> tuple[Any, ...]:
        values = [*inputs, *constants]
        values += [None] * (1 + max([len(values), *(o for e in graph.equations for o in e.outputs)]) - len(values))
        for equation in graph.equations:
            result = _apply(torch, equation, values)
            results = result if isinstance(result, tuple | list) else (result,)
            for var, tensor in zip(equation.outputs, results, strict=True):
                values[var] = tensor
        return tuple(values[var] for var in graph.outputs)

    return call


def _apply(torch: Any, equation: Any, values: list[Any]) -> Any:
    schema = OPS[equation.op].schema
    operands = iter(equation.inputs)
    positional, keywords = [], {}
    for argument in schema.arguments:
        if argument.is_tensor:
            operand = next(operands)
            given = [None if v is None else values[v] for v in operand] if isinstance(operand, tuple) else operand
            given = values[given] if isinstance(given, int) else given
        elif argument.name in equation.attributes:
            given = equation.attributes[argument.name]
            given = getattr(torch, given) if argument.type.base == "ScalarType" and given is not None else given
        elif argument.default is REQUIRED:
            raise AssertionError(f"{equation.op} lacks {argument.name}")
        else:
            continue
        if argument.keyword_only or keywords or len(positional) < schema.arguments.index(argument):
            keywords[argument.name] = given
        else:
            positional.append(given)
    return getattr(getattr(torch.ops.aten, schema.name), schema.overload)(*positional, **keywords)


def run(function: Callable[..., Any], *args: Any) -> Any:
    """Trace a function, run its graph, and return the result as the function would have."""
    import torch

    traced = trace_of(function, *args)
    front_end = numpy_front_end()
    leaves = flatten((args, {}), is_array=front_end.is_array)[0]
    arrays = [leaf for leaf in leaves if front_end.is_array(leaf)]
    outputs = torch_callable(traced)(*(torch.from_numpy(np.array(array)) for array in arrays))
    for output, value in zip(outputs, traced.function.graph.outputs, strict=True):
        del value
        assert isinstance(output, torch.Tensor)
    results = [output.resolve_conj().resolve_neg().numpy() for output in outputs]
    types = flatten(traced.out)[0]
    declared = [(str(leaf.dtype), leaf.shape) for leaf in types if hasattr(leaf, "shape")]
    assert declared == [(str(result.dtype), result.shape) for result in results], "the shape rules differ from torch"
    return unflatten(traced.function.out_tree, results)


def check(function: Callable[..., Any], *args: Any, rtol: float | None = None) -> None:
    """The graph computes what the function does in NumPy: values, dtypes, shapes and structure."""
    with np.errstate(all="ignore"):
        expected = function(*args)
    expect(expected, run(function, *args), rtol=rtol)


def expect(expected: Any, found: Any, rtol: float | None = None) -> None:
    """The same structure, shapes and dtypes, and values to the dtype's rounding."""
    wanted, given = _leaves(expected), _leaves(found)
    assert len(wanted) == len(given), (expected, found)
    for left, right in zip(wanted, given, strict=True):
        assert (left.dtype, left.shape) == (right.dtype, right.shape)
        precision = rtol or {"float16": 2e-2, "float32": 2e-5, "complex64": 2e-5}.get(str(left.dtype), 1e-10)
        np.testing.assert_allclose(right, left, rtol=precision, atol=precision)


def _leaves(tree: Any) -> list[np.ndarray]:
    leaves = flatten(
        tree, is_array=lambda leaf: isinstance(leaf, np.ndarray | np.generic | bool | int | float | complex)
    )[0]
    return [np.asarray(leaf) for leaf in leaves]
