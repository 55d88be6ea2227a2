"""A function under its transforms as one flat program.

torch.func works by levels: each call wraps every tensor, asks each operator's rule at each level,
and keeps a tape for reverse mode. For arguments of one kind all of that comes out the same every
time. So it is done once, on fake tensors, and what reaches the kernels is written down: one
straight list of calls below autograd, which is then simplified (:mod:`.simplification`).
"""

from __future__ import annotations

import operator
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import fx
from torch.func import functionalize
from torch.fx.experimental.proxy_tensor import make_fx

from farfunc_protocol.graph import TensorType

from .fake_runs import Fakes, OnDevice, RunEnded, empty, run_apart
from .identity_products import use_identity
from .lowering import EquationFailed
from .rewriting import Rewriting
from .simplification import is_random, looks_at_memory, simplify, writes

__all__ = ["MAX_CALLS", "FlatProgram", "NotFlat", "flatten"]

MAX_CALLS = 5_000
"""Programs of more calls are not flattened: a call takes about half a millisecond to write down."""

_UNSEEN = "torch makes one of its tensors where a trace does not see its values"

Tensors = Sequence[torch.Tensor]


class NotFlat(Exception):
    """Why a function has no flat program."""


@dataclass(frozen=True, slots=True, eq=False)
class FlatProgram:
    """What reaches the kernels, in order.

    Attributes
    ----------
    module:
        Takes the argument leaves, then the captures, and returns a tuple of results.
    calls:
        How many operators it calls.
    folded_bytes:
        The memory of values that were computed beforehand.
    is_random:
        Whether it draws random numbers.
    seconds:
        How long it took to make.
    """

    module: fx.GraphModule
    calls: int
    folded_bytes: int
    is_random: bool
    seconds: float

    def __call__(self, leaves: Tensors, captures: Tensors) -> tuple[torch.Tensor, ...]:
        """Run the program."""
        with torch.inference_mode():
            return self.module(*leaves, *captures)


def flatten(
    function: Callable[[Tensors, Tensors], tuple[torch.Tensor, ...]],
    leaves: Sequence[TensorType],
    captures: Sequence[TensorType],
    device: torch.device,
    *,
    fold: bool = True,
    constants: Sequence[torch.Tensor | None] = (),
    basis: int | None = None,
) -> FlatProgram:
    """Write down what ``function(leaves, captures)`` does for arguments of these types.

    With ``fold`` what depends on no argument is computed now; a compiler does that better by itself. ``constants``
    are the captures that are the same in every call: what depends on them alone is computed now as well. ``basis``
    is the number of a leaf whose rows are some of an identity matrix.

    Raises
    ------
    NotFlat
        It depends on values, it makes too many calls, or torch cannot trace it.
    """
    started = time.perf_counter()
    count = len(leaves)

    def flat(*tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(function(tensors[:count], tensors[count:]))

    def rewritten(*tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        with Rewriting():
            return functionalize(flat)(*tensors)

    def trace(traced: Callable[..., tuple[torch.Tensor, ...]] = rewritten) -> fx.GraphModule:
        with Fakes(allow_non_fake_inputs=True), OnDevice(device, MAX_CALLS) as calls:
            tensors = [empty(type, device) for type in (*leaves, *captures)]
            module = make_fx(traced, tracing_mode="fake", _allow_non_fake_inputs=True)(*tensors)
        if calls.is_blind:
            raise RunEnded(_UNSEEN)
        return module

    module = run_apart(trace, _in_words)
    if isinstance(module, str) or writes(module) or looks_at_memory(module):  # which the rules lay out otherwise
        module = run_apart(lambda: trace(functionalize(flat)), _in_words)
    if isinstance(module, str):
        raise NotFlat(module)
    if device.type != "meta" and any(_value(module, node).is_meta for node in module.graph.nodes if _is_constant(node)):
        raise NotFlat(_UNSEEN)
    folded = simplify(module, fold=fold, constants={count + i: c for i, c in enumerate(constants) if c is not None})
    if fold and not writes(module) and not looks_at_memory(module):
        use_identity(module, basis)
    calls = sum(node.op == "call_function" for node in module.graph.nodes)
    return FlatProgram(module, calls, folded, is_random(module), time.perf_counter() - started)


def _is_constant(node: fx.Node) -> bool:
    return node.op == "get_attr"


def _value(module: fx.GraphModule, node: fx.Node) -> torch.Tensor:
    return operator.attrgetter(str(node.target))(module)


def _in_words(error: Exception) -> str:
    if isinstance(error, EquationFailed):
        return f"{error.where}: {_in_words(error.error)}"
    return str(error).strip() if isinstance(error, RunEnded) else f"{type(error).__name__}: {error}"
