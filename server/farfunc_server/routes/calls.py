"""What this process has to know of a binary request: the rest is the worker's."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

from farfunc_protocol.messages import EvaluateRequest, decode_request

from ..batch_form import kind_and_rows

__all__ = ["Call", "read_call"]

_LARGEST_KEPT = 1 << 14
_MOST_KEPT = 1024
_kept: dict[tuple[bytes, int], Call] = {}


@dataclass(frozen=True, slots=True)
class Call:
    """A request, but for its arrays.

    Attributes
    ----------
    function:
        The reference of the function.
    kind, rows:
        As of a :class:`~farfunc_server.scheduling.queue.Ticket`, among the requests of one function.
    """

    function: str
    kind: Hashable
    rows: int

    @classmethod
    def of(cls, request: EvaluateRequest) -> Call:
        """What is to be known of a request."""
        return cls(request.function, *kind_and_rows(request))


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
