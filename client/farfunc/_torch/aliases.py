"""Which tensors share memory, and how a write to one of them reaches the others.

torch's tensors are views of storages; a graph knows values alone. So each tensor of a trace is an :class:`Alias`:
the base of a :class:`Memory`, or a view of another alias. A write replaces the value of the alias that is written to,
then those of its parents up to the base (``select`` becomes ``select_scatter``, and so on), and raises the memory's
generation. Every other view is out of date from then on, and takes its value from its parent again when it is read.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch

from farfunc_protocol.builder import GraphBuilder, Value

if TYPE_CHECKING:
    from .trace import TorchTrace

__all__ = ["Alias", "Memory", "View", "alias_of", "attach", "read", "shares_memory", "write"]

Through = Callable[[torch.Tensor], torch.Tensor]
Back = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


@dataclass(slots=True, eq=False)
class Memory:
    """What the views of one base share.

    Attributes
    ----------
    origin:
        ``local``, ``argument`` or ``captured``: the last may not be written to.
    builder:
        The builder of the function to which it belongs.
    generation:
        How many writes it has seen.
    first_write:
        Of an argument, the first write outside of ``torch.no_grad()``: the user's line, and whether to a view.
    """

    origin: str
    builder: GraphBuilder
    generation: int = 0
    first_write: tuple[str | None, bool] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """How a view follows from its parent, in plain torch.

    Attributes
    ----------
    parent:
        The alias that it is a view of.
    through:
        ``through(parent) -> view``.
    back:
        ``back(parent, view) -> parent`` with the view's elements in place; None where that is impossible.
    grad:
        Whether it was made outside of ``torch.no_grad()``.
    is_detached:
        Whether autograd does not see what is written to it.
    """

    parent: Alias
    through: Through
    back: Back | None
    grad: bool = field(default_factory=torch.is_grad_enabled)
    is_detached: bool = False


class Alias:
    """What a trace knows about one tensor: kept as an attribute of it, so that it lives as long."""

    __slots__ = ("generation", "memory", "storage", "trace", "value", "view")

    def __init__(self, trace: TorchTrace, value: Value, memory: Memory, view: View | None = None) -> None:
        self.trace = trace
        self.value = value
        self.memory = memory
        self.view = view
        self.generation = memory.generation
        self.storage = 0
        """Identifies the tensor's storage: ``x.data = y`` gives a tensor another, and tells nobody."""

    @property
    def base(self) -> Alias:
        """The alias that is no view."""
        alias = self
        while alias.view is not None:
            alias = alias.view.parent
        return alias

    @property
    def is_detached(self) -> bool:
        """Whether autograd does not see what is written to it."""
        alias = self
        while alias.view is not None:
            if alias.view.is_detached:
                return True
            alias = alias.view.parent
        return False

    def __deepcopy__(self, memo: dict[int, Any]) -> None:
        # copy.deepcopy(tensor) copies a tensor's attributes: the copy is another tensor.
        return None


def alias_of(tensor: torch.Tensor) -> Alias | None:
    """The alias of a traced tensor; None for any other."""
    return tensor.__dict__.get("_farfunc_alias")


def attach(tensor: torch.Tensor, alias: Alias) -> None:
    """Let a tensor stand for an alias."""
    alias.storage = tensor.untyped_storage()._cdata
    tensor.__dict__["_farfunc_alias"] = alias  # pyright: ignore[reportIndexIssue]
    alias.trace.escapes.note(tensor, alias)


def shares_memory(left: torch.Tensor, right: torch.Tensor) -> bool:
    """Whether a write to one tensor may reach the other."""
    return torch._C._is_alias_of(left, right)  # pyright: ignore[reportAttributeAccessIssue]


def read(alias: Alias) -> Value:
    """The present value of an alias."""
    memory = alias.memory
    if alias.generation == memory.generation:
        return alias.value
    stale = []
    node = alias
    while node.generation != memory.generation:
        assert node.view is not None, "the base of a memory is never out of date"
        stale.append(node)
        node = node.view.parent
    trace, value = alias.trace, node.value
    for node in reversed(stale):
        assert node.view is not None
        with torch.set_grad_enabled(node.view.grad):
            value = trace.lower(trace.run(node.view.through, trace.lift_like(value)))
        if trace.builder is memory.builder:
            # In the body of a nested transform the value belongs to the body: outside it would be unknown.
            node.value, node.generation = value, memory.generation
    return value


def write(alias: Alias, new: torch.Tensor) -> str | None:
    """Give an alias the elements of ``new``, which has its dtype and shape.

    Returns None, or where there is no way back through a view, what kind of view that is.
    """
    trace, memory = alias.trace, alias.memory
    updates = [(alias, trace.lower(new))]
    node = alias
    while node.view is not None:
        if node.view.back is None:
            return "a view of several tensors, or one that changes the dtype"
        parent = node.view.parent
        new = trace.run(node.view.back, trace.lift_like(read(parent)), new)
        updates.append((parent, trace.lower(new)))
        node = parent
    memory.generation += 1
    for node, value in updates:
        node.value, node.generation = value, memory.generation
    return None
