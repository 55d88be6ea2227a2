"""What a traced array's memory would be: one base, and views of it.

NumPy programs write in place and through views, a graph cannot. So a :class:`Storage` holds the
present content of a base, and every write gives it a new content; a :class:`Place` is the base
itself or a view, known by the steps that lead to it. A view is read again only when its base was
written since.

A content is a value of the graph (traced) or an ndarray (concrete: known while tracing). A
concrete base turns into a traced one when something traced is written to it.
"""

from __future__ import annotations

import numpy as np

from farfunc_protocol.builder import GraphBuilder, Value
from farfunc_protocol.errors import MutationError

from ._current import current_trace, is_tracing
from ._emit import constant
from ._layout import Strides, through
from ._source import user_line
from ._steps import Step

__all__ = ["Content", "Place", "Storage"]

Content = Value | np.ndarray


class Storage:
    """The content of a base.

    Attributes
    ----------
    content:
        What it holds now.
    generation:
        Counts the times that ``content`` was replaced.
    builder:
        The function in which it was made: only there may something traced be written to it.
    is_argument:
        Whether it is an argument of the function, whose caller sees what is written to it.
    first_write:
        The user's line of the first write to an argument.
    strides:
        Its layout, where it is not C order.
    """

    __slots__ = ("builder", "content", "first_write", "generation", "is_argument", "strides")

    def __init__(self, content: Content, *, is_argument: bool = False, strides: Strides = None) -> None:
        self.content = content
        self.generation = 0
        self.builder = current_trace().builder if is_tracing() else None
        self.is_argument = is_argument
        self.first_write: str | None = None
        self.strides = strides


class Place:
    """A base or a view of one.

    Attributes
    ----------
    storage:
        The base's.
    parent, step:
        For a view: what it is a view of, and how.
    """

    __slots__ = ("_content", "_generation", "parent", "step", "storage")

    def __init__(self, storage: Storage, parent: Place | None = None, step: Step | None = None) -> None:
        self.storage = storage
        self.parent = parent
        self.step = step
        self._content: Content | None = None
        self._generation = -1

    def view(self, step: Step) -> Place:
        """The place of a view of this one."""
        return Place(self.storage, self, step)

    def is_same(self, other: Place) -> bool:
        """Whether both are the same view of the same base."""
        if self.storage is not other.storage:
            return False
        return [place.step for place in self._chain()] == [place.step for place in other._chain()]

    def read(self) -> Content:
        """The present content."""
        if self.parent is None:
            return self.storage.content
        chain: list[Place] = []
        place = self
        while place.parent is not None and not place._is_fresh():
            chain.append(place)
            place = place.parent
        content = place.storage.content if place.parent is None else place._content
        assert content is not None
        for stale in reversed(chain):
            assert stale.step is not None
            content = stale.step.read(content) if isinstance(content, Value) else stale.step.view(content)
            stale._remember(content)
        return content

    def write(self, content: Content) -> None:
        """Replace the content; shape and dtype are the place's own."""
        storage = self.storage
        if not isinstance(content, Value) and not isinstance(storage.content, Value):
            target = self.read()
            assert isinstance(target, np.ndarray)
            np.copyto(target, content, casting="unsafe")
            return
        if storage.builder is not current_trace().builder:
            raise MutationError(
                "an array made outside a transformed function is written to inside it",
                where=user_line(),
                remedy="make the array inside the function, or return what is written",
            )
        chain = self._chain()
        if isinstance(storage.content, np.ndarray):
            storage.content = constant(storage.content)
            storage.generation += 1
        bases = [place.read() for place in chain[:-1]]
        new = content if isinstance(content, Value) else constant(content)
        storage.generation += 1
        for place, base in zip(reversed(chain), reversed(bases), strict=False):
            place._remember(new)
            assert isinstance(base, Value)
            assert place.step is not None
            new = place.step.write(base, new)
        storage.content = new
        if storage.is_argument and not storage.first_write:
            storage.first_write = user_line() or "?"

    def strides(self) -> Strides:
        """The layout that NumPy would have given it."""
        if self.parent is None:
            return self.storage.strides
        chain = self._chain()
        steps = [place.step for place in chain[1:] if place.step is not None]
        content = self.storage.content
        shape = content.type.shape if isinstance(content, Value) else content.shape
        return through(tuple(map(int, shape)), self.storage.strides, steps)

    def _chain(self) -> list[Place]:
        """The base, the views that lead here, and this place."""
        chain: list[Place] = []
        place: Place | None = self
        while place is not None:
            chain.append(place)
            place = place.parent
        chain.reverse()
        return chain

    def _is_fresh(self) -> bool:
        content = self._content
        if content is None or self._generation != self.storage.generation:
            return False
        # What was read inside a transformed function is known there only.
        return not isinstance(content, Value) or _is_visible(content.builder)

    def _remember(self, content: Content) -> None:
        self._content = content
        self._generation = self.storage.generation


def _is_visible(owner: GraphBuilder) -> bool:
    builder: GraphBuilder | None = current_trace().builder
    while builder is not None and builder is not owner:
        builder = builder.outer
    return builder is owner
