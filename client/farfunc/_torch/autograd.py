"""Remote results as part of the local autograd graph.

Where an argument, or a tensor that the function closes over, requires grad, so does the result, as
if it had been computed in place. Its backward is a remote gradient: that of the sum of outputs times
cotangents, with respect to those tensors. It is a call like any other, so it has a backward, too.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import torch

from farfunc_protocol.builder import Value
from farfunc_protocol.pytree import flatten, unflatten
from farfunc_protocol.transforms import Grad

from .._call import Call
from .._plan import Plan
from .._tracing import current_trace
from .._transformed import apply, wrap
from .aliases import alias_of
from .trace import TorchTrace

__all__ = ["results"]


def results(call: Call, leaves: list[Any]) -> list[Any]:
    """The result leaves of a call, with a grad_fn where they need one."""
    if not torch.is_grad_enabled() or not any(_may_require_grad(leaf) for leaf in leaves):
        return leaves
    chosen = [place for place in call.places if _requires_grad(call.leaves[place])]
    captured = [tensor for tensor in call.captured_by_number().values() if _requires_grad(tensor)]
    if not chosen and not captured:
        return leaves
    pullback = Pullback(call, chosen, captured, [i for i, leaf in enumerate(leaves) if _may_require_grad(leaf)])
    # What is written to is kept as it was before: the derivative is taken there.
    given = [*(_kept(call, place) for place in chosen), *captured]
    return list(_Remote.apply(pullback, leaves, *given))


def _kept(call: Call, place: int) -> Any:
    leaf = call.leaves[place]
    if place not in written_places(call):
        return leaf
    return leaf.clone() if isinstance(leaf, torch.Tensor) else leaf.copy()


def written_places(call: Call) -> list[int]:
    """The places of the arguments that the function writes to."""
    plan: Plan = call.entry.payload
    return [call.places[position] for position in plan.written]


def _may_require_grad(leaf: Any) -> bool:
    return isinstance(leaf, torch.Tensor) and (leaf.is_floating_point() or leaf.is_complex())


def _requires_grad(leaf: Any) -> bool:
    return isinstance(leaf, torch.Tensor) and leaf.requires_grad


class Pullback:
    """The outputs of a call, times cotangents, summed: as a function of all its arrays.

    Attributes
    ----------
    chain, func, leaves, tree:
        Those of the call; in ``leaves`` there is None in the place of each array.
    chosen, others:
        The places of the arrays that require grad, and those of the other arrays.
    drawn_from:
        Where the random numbers of the call come from: the same are drawn again.
    captured:
        The tensors that ``func`` closes over and that require grad.
    written:
        The places of the arguments that ``func`` writes to: what they hold then follows the result leaves.
    outputs:
        Which of these are differentiated.
    """

    def __init__(self, call: Call, chosen: list[int], captured: list[torch.Tensor], outputs: list[int]) -> None:
        self.chain = call.chain
        self.func = call.func
        self.evaluator = call.evaluator
        self.drawn_from = call.drawn_from
        self.tree = call.tree
        self.chosen = chosen
        self.others = [place for place in call.places if place not in set(chosen)]
        self.constants = [_kept(call, place) for place in self.others]
        self.written = written_places(call)
        self.leaves = [None if place in set(call.places) else leaf for place, leaf in enumerate(call.leaves)]
        self.captured = captured
        self.outputs = outputs

    def __farfunc_state__(self) -> tuple[Any, ...]:
        """What the trace of :meth:`__call__` depends on."""
        return self.chain, self.func, self.tree, self.chosen, self.others, self.leaves, self.outputs, self.captured

    def __call__(self, given: Sequence[Any], others: Sequence[Any], cotangents: Sequence[Any]) -> torch.Tensor:
        leaves: list[Any] = list(self.leaves)
        for place, leaf in zip([*self.chosen, *self.others], [*given[: len(self.chosen)], *others], strict=True):
            leaves[place] = leaf.clone() if place in self.written else leaf
        args, kwargs = unflatten(self.tree, leaves)
        function = wrap(self.chain, self.func)
        with _substituted(self.captured, given[len(self.chosen) :]):
            result = function(*args, **kwargs)
        arrays = [leaf for leaf in flatten(result)[0] if isinstance(leaf, torch.Tensor)]
        arrays += [leaves[place] for place in self.written]
        products = [_inner(arrays[i], cotangent) for i, cotangent in zip(self.outputs, cotangents, strict=True)]
        return sum(products[1:], products[0])

    def gradients(self, given: Sequence[torch.Tensor], cotangents: Sequence[torch.Tensor]) -> tuple[torch.Tensor, ...]:
        """The cotangents pulled back to the tensors that require grad; itself part of the autograd graph."""
        found = apply(
            Grad(),
            self,
            (tuple(given), tuple(self.constants), tuple(cotangents)),
            {},
            self.evaluator,
            None,
            self.drawn_from,
        )
        return tuple(gradient.to(tensor.device) for gradient, tensor in zip(found, given, strict=True))


def _inner(output: torch.Tensor, cotangent: torch.Tensor) -> torch.Tensor:
    """A real scalar whose gradient by ``output`` is ``cotangent``."""
    if output.is_complex():
        return (torch.real(output) * torch.real(cotangent) + torch.imag(output) * torch.imag(cotangent)).sum()
    return (output * cotangent).sum()


@contextlib.contextmanager
def _substituted(tensors: Sequence[torch.Tensor], tracers: Sequence[Any]) -> Iterator[None]:
    """Let the trace read ``tracers`` where the function reads the tensors that it closes over."""
    trace = current_trace()
    assert isinstance(trace, TorchTrace), "a pullback runs inside a trace only"
    aliases = [alias_of(trace.constants.fake_of(tensor)) for tensor in tensors]
    before: list[Value] = []
    for alias, tracer in zip(aliases, tracers, strict=True):
        assert alias is not None
        before.append(alias.value)
        alias.value = trace.lower(tracer)
    try:
        yield
    finally:
        for alias, value in zip(aliases, before, strict=True):
            assert alias is not None
            alias.value = value


class _Remote(torch.autograd.Function):
    """The identity on results that are already there; its backward is remote."""

    @staticmethod
    def forward(ctx: Any, pullback: Pullback, leaves: list[Any], *given: torch.Tensor) -> tuple[torch.Tensor, ...]:
        ctx.pullback = pullback
        ctx.save_for_backward(*given)
        ctx.mark_non_differentiable(*(leaf for leaf in leaves if not _may_require_grad(leaf)))
        return tuple(leaves)

    @staticmethod
    def backward(ctx: Any, *cotangents: torch.Tensor) -> tuple[Any, ...]:
        pullback: Pullback = ctx.pullback
        chosen = [cotangents[i] for i in pullback.outputs]
        return (None, None, *pullback.gradients(ctx.saved_tensors, chosen))
