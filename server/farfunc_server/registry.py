"""The functions of a server, decoded and checked: what stands between the routes and the store."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from farfunc_protocol.document import function_from_bytes, function_from_json, function_to_bytes
from farfunc_protocol.graph import Function, TensorType
from farfunc_protocol.strict_json import parse_json
from farfunc_protocol.validate import validate_function

from .description import Description, describe, signature
from .store import Entry, Store, check_name

__all__ = ["Known", "Registry"]

_KEPT = 128
_KEPT_BYTES = 1 << 28


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
    def output_types(self) -> tuple[TensorType, ...] | None:
        """The types of the result leaves; None if some of them only torch can tell."""
        known = tuple(type for type in self.description.outputs if type is not None)
        return known if len(known) == len(self.description.outputs) else None


class Registry:
    """Functions by reference. Safe to be used from several threads."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._known: OrderedDict[str, Known] = OrderedDict()
        self._lock = threading.Lock()

    def add_binary(self, body: bytes, name: str | None) -> Entry:
        """Check a function file and keep it, in canonical form."""
        return self._add(lambda: function_from_bytes(body, where="body"), name)

    def add_json(self, body: bytes, name: str | None) -> Entry:
        """Check a function's JSON document and keep it."""
        return self._add(lambda: function_from_json(parse_json(body, where="body"), where="body"), name)

    def get(self, id: str) -> Known:
        """The function that the store knows by an identity."""
        with self._lock:
            if id in self._known:
                self._known.move_to_end(id)
                return self._known[id]
        file = self.store.read(id)
        function = function_from_bytes(file)
        return self._keep(id, Known(function, describe(function), len(file)))

    def set_output_types(self, id: str, types: Sequence[TensorType]) -> Known:
        """Learn the types of the result leaves from a worker."""
        known = self.get(id)
        self.store.set_signature(id, signature(known.function, types))
        return self._keep(id, replace(known, description=replace(known.description, outputs=tuple(types))))

    def _add(self, read: Callable[[], Any], name: str | None) -> Entry:
        if name is not None:
            check_name(name)
        function = read()
        validate_function(function, where="body")
        description = describe(function)
        file = function_to_bytes(function)
        entry = self.store.add(file, signature(function, description.outputs), name)
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
