"""vjp and linearize: a function as it was at one point, to be applied again and again.

torch.func runs the function once, when ``vjp`` is called; so does farfunc. What the callables that
are returned apply is that trace: later changes of what the function closes over do not reach it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from farfunc_protocol.arrays import Array
from farfunc_protocol.builder import FinishedGraph, GraphBuilder, Value
from farfunc_protocol.graph import Graph, TensorType
from farfunc_protocol.pytree import flatten
from farfunc_protocol.transforms import FlatTransform, Jvp, Vjp, flat_inner_types, flat_result_types

from ._call import Call, run
from ._evaluator import Evaluator
from ._fingerprint import Same
from ._front_ends import front_end_of_call, local_transforms
from ._nested import add_equation, trace_body
from ._plan import Plan
from ._tracing import current_trace, spec_of
from ._transformed import apply, function_name, peel, wrap
from ._writes import Write, carry, refuse_writes

__all__ = ["hold"]

Again = Callable[[Any], Any]
"""From tangents or cotangents to the product with the Jacobian."""


def hold(
    transform: Jvp | Vjp,
    func: Callable[..., Any],
    primals: tuple[Any, ...],
    evaluator: Evaluator | None,
    finish: Callable[[Any, Again], Any],
) -> Any:
    """Evaluate ``func(*primals)``, and keep its trace.

    Parameters
    ----------
    transform:
        What is to be applied to it.
    func, primals, evaluator:
        As for any call.
    finish:
        From the result of ``func``, and the callable that applies the transform at ``primals``, to
        what is returned: at once, or in an awaitable if the evaluator's answers are.
    """
    local = local_transforms()
    if local is not None:
        return local.hold_locally(transform, func, primals, finish)
    trace = current_trace()
    if trace is not None:
        outside = (spec_of(primals, trace.front_end), {})
        body = trace_body(trace, func, outside)
        _refuse_writes(transform, func, body.writes, body.graph.graph)
        output = add_equation(trace, FlatTransform("call"), body, (primals, {}), body.out)

        def again(vectors: Any) -> Any:
            now = current_trace() or trace
            spec = (spec_of(primals, now.front_end), spec_of(vectors, now.front_end))
            result = transform.outer(spec, {}, body.out)
            return add_equation(now, transform.flat(spec, {}, body.out), body, ((primals, vectors), {}), result)[1]

        return finish(output, again)
    chain, plain, found = peel(func)
    where = evaluator or found
    with front_end_of_call(plain, primals).guard((transform,)):
        call = Call.prepare(chain, plain, primals, {}, where)
    plan: Plan = call.entry.payload
    _refuse_writes(transform, func, plan.writes, call.entry.function.graph)
    frozen = Frozen(call)

    def again_remotely(vectors: Any) -> Any:
        return apply(transform, frozen, (primals, vectors), {}, where, lambda result: result[1], call.drawn_from)

    return run(call, lambda output: finish(output, again_remotely))


def _refuse_writes(transform: Jvp | Vjp, func: Callable[..., Any], writes: Sequence[Write], graph: Graph) -> None:
    """A function that is applied again and again may not change what it is applied to."""
    if isinstance(transform, Vjp):
        carry(FlatTransform("vjp"), writes, graph)  # refuses in torch's words
    refuse_writes(writes, f"the function {function_name(func)}, which is to be applied again and again,")


class Frozen:
    """The trace of a call, as a function that is called inside other traces.

    Attributes
    ----------
    call:
        The call, whose trace it is.
    captured:
        The tensors that it closes over and that require grad; by the number of their capture.
    """

    def __init__(self, call: Call) -> None:
        self.call = call
        found = call.captured_by_number()
        self.captured = {number: array for number, array in found.items() if getattr(array, "requires_grad", False)}

    @property
    def original(self) -> Callable[..., Any]:
        """The function that was traced."""
        return wrap(self.call.chain, self.call.func)

    def __farfunc_state__(self) -> tuple[Any, ...]:
        entry = self.call.entry
        constants = [array.data for array in entry.captures.values()]
        return Same(entry.function), list(entry.captures), constants, list(self.captured.values())

    def __call__(self, *primals: Any) -> Any:
        trace = current_trace()
        if trace is None:  # torch itself transforms the call
            return self.original(*primals)
        plan: Plan = self.call.entry.payload
        leaves = [leaf for leaf in flatten(primals)[0] if trace.front_end.is_array(leaf)]
        captured: list[Value | Array] = []
        for number, constant in enumerate(self.call.entry.function.constants):
            tensor = self.captured.get(number)
            array = constant if constant is not None else self.call.entry.captures[number]
            captured.append(array if tensor is None else trace.lower(tensor))
        body = FinishedGraph(self.call.entry.function.graph, tuple(captured))
        results = _add(trace.builder, plan.transforms, [trace.lower(leaf) for leaf in leaves], body, plan.output_types)
        return plan.result.fill([trace.lift(value) for value in results])


def _add(
    builder: GraphBuilder,
    chain: Sequence[FlatTransform],
    values: Sequence[Value],
    function: FinishedGraph,
    output_types: Sequence[TensorType],
) -> tuple[Value, ...]:
    """Add the equation of a function under a chain of flat transforms: each the body of the one before."""
    if not chain:
        return builder.add("call", values, types=output_types, body=function)
    flat, types = chain[0], [value.type for value in values]
    body, inner_types = function, output_types
    if len(chain) > 1:
        nested = GraphBuilder(outer=builder)
        inputs = [nested.input(type) for type in flat_inner_types(flat, types, len(function.graph.inputs))]
        outputs = _add(nested, chain[1:], inputs, function, output_types)
        body, inner_types = nested.finish(outputs), [value.type for value in outputs]
    return builder.add(flat.name, values, flat.attributes, types=flat_result_types(flat, types, inner_types), body=body)
