"""A transform inside a function that is being traced: a higher-order equation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from farfunc_protocol.builder import FinishedGraph
from farfunc_protocol.pytree import flatten, unflatten
from farfunc_protocol.transforms import FlatTransform, Transform, flat_result_types

from ._dependence import depends_on
from ._plan import Result
from ._tracing import Trace, guard, is_type, spec_of

__all__ = ["Body", "add_equation", "emit", "trace_body"]


@dataclass(frozen=True, slots=True, eq=False)
class Body:
    """A function that was traced inside the running trace.

    Attributes
    ----------
    graph:
        Its graph, with what it captures of the functions around it.
    out:
        Its result, as a spec tree.
    """

    graph: FinishedGraph
    out: Any


def emit(
    trace: Trace,
    transform: Transform,
    func: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
) -> Any:
    """Apply one transform to a function, and call what it gives, as an equation of the running trace.

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
    outside: tuple[tuple[Any, ...], dict[str, Any]] = spec_of((args, dict(kwargs)), trace.front_end)
    with guard((transform,), trace.front_end):
        body = trace_body(trace, func, transform.inner(*outside))
    result = transform.outer(*outside, body.out)
    transform.check_dependence(*outside, body.out, partial(depends_on, body.graph.graph))
    return add_equation(trace, transform.flat(*outside, body.out), body, (args, dict(kwargs)), result)


def trace_body(trace: Trace, func: Callable[..., Any], inside: tuple[tuple[Any, ...], Mapping[str, Any]]) -> Body:
    """Run a function on tracers of its own; ``inside`` are its arguments as spec trees."""
    types, tree = flatten(inside, is_array=is_type)
    with trace.nested() as builder:
        args, kwargs = unflatten(tree, [trace.lift(builder.input(type)) for type in types])
        leaves, out_tree = flatten(func(*args, **kwargs), is_array=trace.front_end.is_array)
        outputs = [trace.lower(leaf) for leaf in leaves]
        finished = builder.finish(outputs)
    return Body(finished, unflatten(out_tree, [value.type for value in outputs]))


def add_equation(trace: Trace, flat: FlatTransform, body: Body, arguments: Any, result: Any) -> Any:
    """Add the equation of a transform to the innermost builder.

    Parameters
    ----------
    trace, flat, body:
        The running trace, what is applied, and to what.
    arguments:
        The tree of the transformed function's arguments, with traced and concrete arrays as leaves.
    result:
        The spec tree of what it returns.
    """
    leaves, _ = flatten(arguments, is_array=trace.front_end.is_array)
    values = [trace.lower(leaf) for leaf in leaves]
    output_types = [leaf for leaf in flatten(body.out)[0] if is_type(leaf)]
    results = trace.builder.add(
        flat.name,
        values,
        flat.attributes,
        types=flat_result_types(flat, [value.type for value in values], output_types),
        body=body.graph,
        grad=getattr(trace, "grad_enabled", True),
    )
    return Result.of(result).fill([trace.lift(value) for value in results])
