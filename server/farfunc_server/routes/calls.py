"""What this process has to know of a binary request: the rest is the worker's."""

from __future__ import annotations

import itertools
from collections.abc import Hashable
from dataclasses import dataclass

from farfunc_protocol.messages import EvaluateRequest, decode_request

from ..batch_form import kind_and_rows

__all__ = ["Call", "read_call"]

_LARGEST_KEPT = 1 << 14
_MOST_KEPT = 1024
_kept: dict[tuple[bytes, int], Call] = {}

_MOST_KINDS = 4096
_kinds: dict[Hashable, int] = {}
_numbers = itertools.count(1)


def _number_of(kind: Hashable) -> int | None:
    """A kind's number: the queue asks some times for each request whether two are the same, and numbers are quick.

    No two kinds have the same one. One that was not seen for long may have another than before: then what waits of it
    is evaluated in two parts.
    """
    if kind is None:
        return None
    number = _kinds.get(kind)
    if number is None:
        if len(_kinds) >= _MOST_KINDS:
            _kinds.clear()
        number = _kinds[kind] = next(_numbers)
    return number


@dataclass(frozen=True, slots=True)
class Call:
    """A request, but for its arrays.

    Attributes
    ----------
    function:
        The reference of the function.
    kind, rows, alike:
        As of a :class:`~farfunc_server.scheduling.job.Job`.
    """

    function: str
    kind: int | None
    rows: int
    alike: int | None

    @classmethod
    def of(cls, request: EvaluateRequest) -> Call:
        """What is to be known of a request."""
        kind, rows = kind_and_rows(request)
        number = _number_of(kind)
        alike = number
        if alike is None:
            types = tuple(array.type for array in request.arrays)
            alike = _number_of(("apart", tuple(request.transforms), types))
        return cls(request.function, number, rows, alike)


def read_call(body: bytes | memoryview) -> Call:
    """Read a request, or know it again: calls alike differ in nothing but their arrays' data.

    The worker decodes it once more and so finds what only the data can tell, a bool that is 2 for example.

    Raises
    ------
    ProtocolError
        For anything that is no request, with the path of the fault.
    """
    end = 8 + int.from_bytes(body[:8], "little")
    if end > min(len(body), _LARGEST_KEPT):
        return Call.of(decode_request(body))
    key = (bytes(body[8:end]), len(body))
    call = _kept.get(key)
    if call is None:
        call = Call.of(decode_request(body))
        if len(_kept) >= _MOST_KEPT:
            _kept.clear()
        _kept[key] = call
    return call
