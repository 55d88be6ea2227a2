"""The trace that runs in this thread."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from farfunc_protocol.errors import TraceError

from ._source import user_line

if TYPE_CHECKING:
    from ._front_end import NumpyTrace

__all__ = ["current_trace", "is_tracing", "pop_trace", "push_trace"]


class _Running(threading.local):
    def __init__(self) -> None:
        self.traces: list[NumpyTrace] = []


_running = _Running()


def is_tracing() -> bool:
    """Whether a trace of this front end runs in this thread."""
    return bool(_running.traces)


def current_trace() -> NumpyTrace:
    """The innermost trace of this thread."""
    if not _running.traces:
        raise TraceError(
            "a traced array was used after the function that it belongs to had returned",
            where=user_line(),
            remedy="return it from the function instead of keeping it elsewhere",
        )
    return _running.traces[-1]


def push_trace(trace: NumpyTrace) -> None:
    """Make a trace the innermost one."""
    _running.traces.append(trace)


def pop_trace() -> None:
    """Undo :func:`push_trace`."""
    _running.traces.pop()
