"""A transform inside a function that is being traced: a higher-order equation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from farfunc_protocol.builder import FinishedGraph
from farfunc_protocol.pytree import flatten, unflatten
from farfunc_protocol.transforms import Transform, flat_result_types

from ._dependence import depends_on
from ._plan import Result
from ._tracing import Trace, is_type

__all__ = ["emit"]


def emit(
    trace: Trace,
    transform: Transform,
    func: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
) -> Any:
    """Add the equation of one transform to the running trace.

    Parameters
    ----------
    trace:
        The current trace.
    transform, func:
        What is applied, and to what; ``func`` may be transformed itself, which gives an equation
        inside the body of this one.
    args, kwargs:
        The arguments, with traced and concrete arrays as leaves.

    Returns
    -------
    Any
        The result, with traced arrays as leaves.
    """
    front_end = trace.front_end
    leaves, tree = flatten((args, dict(kwargs)), is_array=front_end.is_array)
    values = [trace.lower(leaf) for leaf in leaves]
    types = [value.type for value in values]
    outside = unflatten(tree, types)
    inside = transform.inner(*outside)
    body, out = _trace_body(trace, func, inside)
    result = transform.outer(*outside, out)
    transform.check_dependence(*outside, out, partial(depends_on, body.graph))
    flat = transform.flat(*outside, out)
    output_types = [leaf for leaf in flatten(out)[0] if is_type(leaf)]
    results = trace.builder.add(
        flat.name,
        values,
        flat.attributes,
        types=flat_result_types(flat, types, output_types),
        body=body,
        grad=getattr(trace, "grad_enabled", True),
    )
    return Result.of(result).fill([trace.lift(value) for value in results])


def _trace_body(
    trace: Trace, func: Callable[..., Any], inside: tuple[tuple[Any, ...], Mapping[str, Any]]
) -> tuple[FinishedGraph, Any]:
    """Run the function inside on tracers of its own; return its graph, and its result as a spec tree."""
    types, tree = flatten(inside, is_array=is_type)
    with trace.nested() as builder:
        args, kwargs = unflatten(tree, [trace.lift(builder.input(type)) for type in types])
        leaves, out_tree = flatten(func(*args, **kwargs), is_array=trace.front_end.is_array)
        outputs = [trace.lower(leaf) for leaf in leaves]
        body = builder.finish(outputs)
    return body, unflatten(out_tree, [value.type for value in outputs])
