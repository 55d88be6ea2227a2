"""The functions of a server, decoded and checked: what stands between the routes and the storage."""

from __future__ import annotations

import contextlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from farfunc_protocol.document import function_from_bytes, function_from_json, function_to_bytes
from farfunc_protocol.errors import InvalidGraph, InvalidRequest, StorageFailed
from farfunc_protocol.graph import Function
from farfunc_protocol.lengths import graph_at_lengths, symbols_of
from farfunc_protocol.strict_json import parse_json
from farfunc_protocol.validate import MaybeType, validate_function, validate_graph

from .description import Description, describe, signature
from .storage.functions import Entry, FunctionStore, check_name

__all__ = ["Known", "Registry", "lengths_text"]

_KEPT = 128
_KEPT_BYTES = 1 << 28
_KEPT_TYPES = 1024

Types = tuple[MaybeType, ...]


@dataclass(frozen=True, slots=True)
class Known:
    """A function, ready to be described and to be held against a request.

    Attributes
    ----------
    function:
        Its graph, constants and trees.
    description:
        What was read off it.
    bytes:
        The size of its file.
    """

    function: Function
    description: Description
    bytes: int

    @property
    def is_symbolic(self) -> bool:
        """Whether it has symbolic dimensions, which each call binds."""
        return bool(symbols_of(self.function.graph))


class Registry:
    """Functions by reference. Safe to be used from several threads."""

    def __init__(self, store: FunctionStore) -> None:
        self.store = store
        self._known: OrderedDict[str, Known] = OrderedDict()
        self._types: OrderedDict[tuple[str, frozenset[tuple[str, int]]], Types] = OrderedDict()
        self._lock = threading.Lock()

    def add_binary(self, tenant: str, body: bytes | memoryview, name: str | None) -> Entry:
        """Check a function file and keep it, in canonical form."""
        return self._add(tenant, lambda: function_from_bytes(body, where="body"), name)

    def add_json(self, tenant: str, body: bytes | memoryview, name: str | None) -> Entry:
        """Check a function's JSON document and keep it."""
        return self._add(tenant, lambda: function_from_json(parse_json(body, where="body"), where="body"), name)

    def get(self, id: str) -> Known:
        """The function of an identity that somebody was found to have."""
        with self._lock:
            if id in self._known:
                self._known.move_to_end(id)
                return self._known[id]
        file = self.store.read(id)
        function = function_from_bytes(file)
        return self._keep(id, Known(function, describe(function), len(file)))

    def output_types(self, id: str, lengths: Mapping[str, int]) -> Types:
        """The types of a function's result leaves; None where only torch can tell.

        Parameters
        ----------
        lengths:
            Those of its symbolic dimensions.

        Raises
        ------
        InvalidRequest
            An operator refuses such lengths.
        """
        known = self.get(id)
        if not known.is_symbolic:
            return known.description.outputs
        key = (id, frozenset(lengths.items()))
        with self._lock:
            if key in self._types:
                self._types.move_to_end(key)
                return self._types[key]
        try:
            found = validate_graph(graph_at_lengths(known.function.graph, lengths), where="function.graph")
        except InvalidGraph as error:
            raise InvalidRequest(
                f"the function cannot be evaluated for {lengths_text(lengths)}: {error.detail}",
                where=error.where,
                rule=error.rule,
                remedy="give arrays of other lengths",
            ) from None
        return self.set_output_types(id, lengths, found)

    def set_output_types(self, id: str, lengths: Mapping[str, int], types: Types) -> Types:
        """Learn the types of the result leaves, from a worker for example."""
        known = self.get(id)
        if known.is_symbolic:
            with self._lock:
                self._types[id, frozenset(lengths.items())] = types
                if len(self._types) > _KEPT_TYPES:
                    self._types.popitem(last=False)
            return types
        self._keep(id, replace(known, description=replace(known.description, outputs=tuple(types))))
        return types

    def note_signature(self, tenant: str, id: str, types: Sequence[MaybeType]) -> None:
        """Have lists show the types that a tenant has asked for."""
        with contextlib.suppress(StorageFailed):  # nothing depends on it
            self.store.set_signature(tenant, id, signature(self.get(id).function, types))

    def _add(self, tenant: str, read: Callable[[], Any], name: str | None) -> Entry:
        if name is not None:
            check_name(name)
        function = read()
        validate_function(function, where="body")
        description = describe(function)
        file = function_to_bytes(function)
        entry = self.store.add(tenant, file, signature(function, description.outputs), name)
        self._keep(entry.id, Known(function, description, len(file)))
        return entry

    def _keep(self, id: str, known: Known) -> Known:
        with self._lock:
            self._known[id] = known
            self._known.move_to_end(id)
            while len(self._known) > _KEPT or (
                len(self._known) > 1 and sum(item.bytes for item in self._known.values()) > _KEPT_BYTES
            ):
                self._known.popitem(last=False)
        return known


def lengths_text(lengths: Mapping[str, int]) -> str:
    """Lengths, for people.

    >>> lengths_text({"n": 3, "m": 4})
    'm = 4, n = 3'
    """
    return ", ".join(f"{name} = {length}" for name, length in sorted(lengths.items()))
