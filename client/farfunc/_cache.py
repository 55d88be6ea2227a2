"""Which trace serves which call.

A trace is used again for the same function, the same structure, dtypes and shapes of the arguments
and the same static values; and only while nothing has changed that the function closes over
(:mod:`farfunc._fingerprint`). What is kept of a function is its code and what it reached, not the
function itself: the lambda of a loop's body finds the trace of the one before.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from farfunc_protocol.arrays import Array
from farfunc_protocol.graph import Function

from ._fingerprint import Fingerprint

__all__ = ["Entry", "TraceCache"]


@dataclass(slots=True, eq=False)
class Entry:
    """One trace.

    Attributes
    ----------
    function:
        What is sent. The same object as long as the server can use what it already has.
    captures:
        Values of the captures that ``function`` leaves open: they changed since an earlier trace.
    payload:
        What else the caller needs for a call; it depends on the graph and the trees alone.
    snapshot:
        The arrays that the function closed over, as they were; None for a function that could
        not be looked into, whose entry only serves to recognize its next trace.
    alive:
        See :class:`~farfunc._fingerprint.Fingerprint`.
    """

    function: Function
    captures: dict[int, Array]
    payload: Any
    snapshot: list[Any] | None
    alive: list[Any]
    nbytes: int = field(default=0)


class TraceCache:
    """Traces by key, the least recently used ones dropped; safe to use from several threads.

    Parameters
    ----------
    keys:
        How many different calls are remembered.
    variants:
        How many states of the closed-over arrays are remembered for each of them.
    nbytes:
        How much the remembered arrays may take in all. The last trace of a function is kept in any case.
    """

    def __init__(self, keys: int = 512, variants: int = 4, nbytes: int = 2**28) -> None:
        self._keys, self._variants, self._most_bytes = keys, variants, nbytes
        self._entries: OrderedDict[Hashable, list[Entry]] = OrderedDict()
        self._nbytes = 0
        self._lock = threading.Lock()

    def find(self, key: Hashable, found: Fingerprint) -> Entry | None:
        """The trace that serves a call, if there is one."""
        with self._lock:
            entries = list(self._entries.get(key, ()))
            if entries:
                self._entries.move_to_end(key)
        for entry in entries:
            if entry.snapshot is not None and found.unchanged(entry.snapshot):
                return entry
        return None

    def add(
        self, key: Hashable, found: Fingerprint, snapshot: list[Any] | None, function: Function, payload: Any
    ) -> Entry:
        """Remember a new trace.

        Where an earlier trace of the same key gave the same graph, the two differ in constants
        alone. Those become captures that the call supplies: from then on the function stays the
        same, and so does all that a server has prepared for it.

        Parameters
        ----------
        key, found:
            As for :meth:`find`, taken before the trace.
        snapshot:
            The closed-over arrays before the trace.
        function, payload:
            What the trace gave.
        """
        nbytes = sum(getattr(array, "nbytes", 0) for array in snapshot or ())
        with self._lock:
            entries = self._entries.setdefault(key, [])
            self._entries.move_to_end(key)
            captures: dict[int, Array] = {}
            if entries and _same_graph(entries[0].function, function):
                function, captures = _opened(entries[0], function)
            entry = Entry(function, captures, payload, snapshot, found.alive, nbytes)
            entries.insert(0, entry)
            self._nbytes += nbytes
            while len(entries) > self._variants or (len(entries) > 1 and self._nbytes > self._most_bytes):
                self._nbytes -= entries.pop().nbytes
            while len(self._entries) > self._keys or (len(self._entries) > 1 and self._nbytes > self._most_bytes):
                _, dropped = self._entries.popitem(last=False)
                self._nbytes -= sum(entry.nbytes for entry in dropped)
        return entry

    def clear(self) -> None:
        """Forget all traces."""
        with self._lock:
            self._entries.clear()
            self._nbytes = 0

    def __len__(self) -> int:
        return len(self._entries)


def _same_graph(left: Function, right: Function) -> bool:
    return (left.graph, left.in_tree, left.out_tree) == (right.graph, right.in_tree, right.out_tree)


def _opened(entry: Entry, new: Function) -> tuple[Function, dict[int, Array]]:
    """The earlier function, its constants that have another value now left open, and these values."""
    old = entry.function
    is_open = [
        constant is None or not _same(constant, array)
        for constant, array in zip(old.constants, new.constants, strict=True)
    ]
    captures = {i: array for i, array in enumerate(new.constants) if is_open[i] and array is not None}
    if is_open != [constant is None for constant in old.constants]:
        constants: Sequence[Array | None] = old.constants
        old = replace(old, constants=tuple(None if is_open[i] else array for i, array in enumerate(constants)))
    return old, captures


def _same(left: Array | None, right: Array | None) -> bool:
    return left is right or (left is not None and right is not None and left.same_bits(right))
