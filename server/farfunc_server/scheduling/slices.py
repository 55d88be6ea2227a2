"""An answer that comes in slices, between the worker that computes it and whoever sends it on."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

from ..workers.messages import BlockPlace, Result, Slice, Sliced

__all__ = ["Slices"]

_MOST_WAITING = 1
"""Slices that were computed and not yet taken: one is on its way while the next is computed."""


class Slices:
    """The slices of one call, in their order: an asynchronous iterator, to be closed.

    Parameters
    ----------
    head:
        What the result is.
    ask:
        Called when there is room for another slice.
    leave:
        Called once, when no more is wanted.

    Attributes
    ----------
    outputs:
        The types of the result's leaves, as text.
    is_in_order:
        Whether the blocks, one after another, are the bytes that follow the header of a response.
    lengths:
        How many rows each group of slices has; empty where the answer was computed as one.
    cursor:
        Behind the slices that were taken; None after the last.
    seconds:
        What they have taken on the device.
    """

    def __init__(
        self,
        head: Sliced,
        ask: Callable[[], None],
        leave: Callable[[], None],
        cursor: list[int] | None = None,
    ) -> None:
        self.outputs = head.outputs
        self.lengths = head.lengths
        self.cursor: list[int] | None = head.cursor if cursor is None else cursor
        self.is_in_order = head.is_in_order
        self.seconds = 0.0
        self.last: Result | None = None
        self._ask = ask
        self._leave = leave
        self._waiting: deque[tuple[Slice, memoryview]] = deque()
        self._is_asked = False
        self._is_complete = False
        self._is_held = False
        self._is_left = False
        self._error: BaseException | None = None
        self._arrival: asyncio.Future[None] | None = None

    # For the dispatcher.

    def put(self, item: Slice, data: memoryview) -> None:
        """Add a slice."""
        self._waiting.append((item, data))
        self._is_asked = False
        self._is_complete = item.cursor is None
        self._wake()
        self._ask_if_there_is_room()

    def fail(self, error: BaseException) -> None:
        """End with an error, after what has come."""
        if not self._is_complete and self._error is None:
            self._error = error
            self._wake()

    # For whoever sends the answer.

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> tuple[Sequence[BlockPlace], memoryview]:
        """The next slice's blocks, and their bytes one behind the other.

        Raises
        ------
        FarfuncError
            What ended the evaluation.
        """
        while not self._waiting:
            if self._is_complete:
                raise StopAsyncIteration
            if self._error is not None:
                raise self._error
            self._arrival = asyncio.get_running_loop().create_future()
            await self._arrival
        item, data = self._waiting.popleft()
        self.seconds += item.result.seconds
        self.last = item.result
        self.cursor = item.cursor
        self._ask_if_there_is_room()
        return item.blocks, data

    @property
    def rows(self) -> tuple[int, int]:
        """How many rows were taken, and how many there are."""
        total = sum(self.lengths)
        return (total if self.cursor is None else sum(self.lengths[: self.cursor[0]]) + self.cursor[1]), total

    def hold(self) -> None:
        """Have no more slices computed than are on their way, until :meth:`go_on`."""
        self._is_held = True

    def go_on(self) -> None:
        """Have others computed again."""
        self._is_held = False
        self._ask_if_there_is_room()

    @property
    def is_drained(self) -> bool:
        """Whether everything that was computed has been taken, and nothing is being computed."""
        return not self._waiting and not self._is_asked

    def close(self) -> None:
        """No more is wanted."""
        if not self._is_left:
            self._is_left = True
            self._waiting.clear()
            self._leave()

    def _ask_if_there_is_room(self) -> None:
        if self._is_asked or self._is_complete or self._is_left or self._is_held or self._error:
            return
        if len(self._waiting) > _MOST_WAITING:
            return
        self._is_asked = True
        self._ask()

    def _wake(self) -> None:
        if self._arrival is not None and not self._arrival.done():
            self._arrival.set_result(None)
