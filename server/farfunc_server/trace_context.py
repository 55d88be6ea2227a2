"""W3C Trace Context: which trace a request belongs to, by its header ``traceparent``."""

from __future__ import annotations

import re
from typing import NamedTuple

__all__ = ["TraceParent", "read_traceparent"]

# https://www.w3.org/TR/trace-context-2/#traceparent-header: a later version may add fields behind these.
_TRACEPARENT = re.compile(rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_INVALID_VERSION = b"ff"
_SAMPLED = 0x01


class TraceParent(NamedTuple):
    """The caller's span.

    Attributes
    ----------
    trace_id, span_id:
        In hexadecimal digits.
    is_sampled:
        Whether the caller's own span is recorded.
    """

    trace_id: str
    span_id: str
    is_sampled: bool


def read_traceparent(header: bytes | None) -> TraceParent | None:
    """Read a header; None for none, and for one that is malformed, which is to be ignored.

    >>> read_traceparent(b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
    TraceParent(trace_id='0af7651916cd43dd8448eb211c80319c', span_id='b7ad6b7169203331', is_sampled=True)
    >>> read_traceparent(b"00-00000000000000000000000000000000-b7ad6b7169203331-01") is None
    True
    """
    if header is None or (found := _TRACEPARENT.fullmatch(header.strip(b" \t"))) is None:
        return None
    version, trace_id, span_id, flags, more = found.groups()
    if version == _INVALID_VERSION or (version == b"00" and more is not None):
        return None
    if not (trace_id.strip(b"0") and span_id.strip(b"0")):
        return None
    return TraceParent(trace_id.decode(), span_id.decode(), bool(int(flags, 16) & _SAMPLED))
