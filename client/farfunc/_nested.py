"""A transform inside a function that is being traced: a higher-order equation."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from farfunc_protocol.builder import FinishedGraph, Value
from farfunc_protocol.pytree import flatten, spec_tree, unflatten
from farfunc_protocol.transforms import FlatTransform, Hessian, Jacfwd, Jacrev, Transform, flat_result_types

from ._dependence import depends_on
from ._plan import Result
from ._tracing import Trace, aliases_of, current_trace, is_type, spec_of
from ._writes import Alias, Write, carry, through_maps

__all__ = ["Body", "add_equation", "emit", "trace_body", "transformed_inside"]


@dataclass(frozen=True, slots=True, eq=False)
class Body:
    """A function that was traced inside the running trace.

    Attributes
    ----------
    graph:
        Its graph, with what it captures of the functions around it.
    out:
        Its result, as a spec tree.
    writes, aliases:
        As in :class:`~farfunc._tracing.Traced`.
    """

    graph: FinishedGraph
    out: Any
    writes: tuple[Write, ...] = ()
    aliases: tuple[tuple[int, Alias], ...] = ()


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
    with trace.front_end.guard((transform,)):
        body = trace_body(trace, func, transform.inner(*outside))
    if body.writes and isinstance(transform, Hessian):  # whose flat form has no aux
        return emit(trace, Jacfwd(transform.argnums), transformed_inside(Jacrev(transform.argnums), func), args, kwargs)
    result = transform.outer(*outside, body.out)
    transform.check_dependence(*outside, body.out, partial(depends_on, body.graph.graph))
    return add_equation(trace, transform.flat(*outside, body.out), body, (args, dict(kwargs)), result)


def trace_body(trace: Trace, func: Callable[..., Any], inside: tuple[tuple[Any, ...], Mapping[str, Any]]) -> Body:
    """Run a function on tracers of its own; ``inside`` are its arguments as spec trees."""
    types, tree = flatten(inside, is_array=is_type)
    with trace.nested() as builder:
        inputs = [builder.input(type) for type in types]
        args, kwargs = unflatten(tree, [trace.lift(value) for value in inputs])
        leaves, out_tree = flatten(func(*args, **kwargs), is_array=trace.front_end.is_array)
        outputs = [trace.lower(leaf) for leaf in leaves]
        written = trace.written(inputs)
        aliases = aliases_of(trace, leaves, inputs) if written else ()
        finished = builder.finish([*outputs, *(value for _, value in written)])
    writes = tuple(write for write, _ in written)
    return Body(finished, spec_tree(out_tree, [value.type for value in outputs]), writes, aliases)


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
    (flat,) = carry(flat, body.writes, body.graph.graph)
    results = trace.builder.add(
        flat.name,
        values,
        flat.attributes,
        types=flat_result_types(
            flat, [value.type for value in values], [*output_types, *(write.type for write in body.writes)]
        ),
        body=body.graph,
        grad=getattr(trace, "grad_enabled", True),
        source=trace.user_line(),
    )
    if (settled := getattr(trace, "settled", None)) is not None:
        results = settled(results)
    if not body.writes:
        return Result.of(result).fill([trace.lift(value) for value in results])
    return Result.of(result).fill(_after_writes(trace, flat, body, leaves, results))


def _after_writes(
    trace: Trace, flat: FlatTransform, body: Body, leaves: Sequence[Any], results: Sequence[Value]
) -> list[Any]:
    """Write to the arguments what the body has written; return the leaves of the result."""
    count = len(results) - len(body.writes)
    for write, value in zip(body.writes, results[count:], strict=True):
        trace.write(leaves, write.position, value)
    found = [trace.lift(value) for value in results[:count]]
    for returned in through_maps(body.aliases, body.writes, [flat]):
        if not returned.alias.views and all(first == second for first, second in returned.axes):
            found[returned.output] = leaves[returned.alias.position]
    return found


def transformed_inside(transform: Transform, func: Callable[..., Any]) -> Callable[..., Any]:
    """A transformed function that is called inside of traces only."""

    def transformed(*args: Any, **kwargs: Any) -> Any:
        trace = current_trace()
        assert trace is not None, "outside of a trace it would have to be evaluated"
        return emit(trace, transform, func, args, kwargs)

    return transformed
