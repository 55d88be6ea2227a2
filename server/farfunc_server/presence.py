"""Whether there is still a client at the other end of a connection, and whether it gets on with what it began.

A client that goes tells so by ending its half of the connection. So does one that has sent all it had to say and waits
for its answer (``nc -N``, programs that shut down their side of a socket): the two cannot be told apart before they are
written to. An interim answer, which every client of HTTP/1.1 passes over (RFC 9110, 15.2), is what they are told apart
by: the system of a client that has gone answers it with a reset.
"""

from __future__ import annotations

import asyncio
import select
from collections.abc import Callable, Hashable

__all__ = ["Presence", "is_gone"]

PATIENCE = 120.0
"""Seconds. A head and a small body must be whole after twice as long, a large body or an answer have moved."""

PROBE_SECONDS = 0.2
"""Between two looks at whether a client that sends no more is still there."""

_INTERIM = b"HTTP/1.1 100 Continue\r\n\r\n"


class Presence:
    """Ends a connection whose client does not do what it is its turn to do, or has gone.

    Parameters
    ----------
    loop, transport:
        The connection's.
    turn:
        What the client is to do now, as a value that is another one when it has got on with it; None where it is
        waiting for us.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, transport: asyncio.Transport, turn: Callable[[], Hashable]
    ) -> None:
        self._loop, self._transport, self._turn = loop, transport, turn
        self._before: Hashable = None
        self._look_timer = loop.call_later(PATIENCE, self._look)
        self._probe_timer: asyncio.TimerHandle | None = None

    def _look(self) -> None:
        now = self._turn()
        if now is not None and now == self._before:
            self._transport.abort()
            return
        self._before = now
        self._look_timer = self._loop.call_later(PATIENCE, self._look)

    def probe(self, may_write: Callable[[], bool]) -> None:
        """The client sends no more: see to it that the connection ends when it has gone.

        Parameters
        ----------
        may_write:
            Whether an interim answer can be written now: the client knows them, and no answer has begun.
        """
        self._probe_timer = self._loop.call_later(PROBE_SECONDS, self._probe, may_write, False)

    def _probe(self, may_write: Callable[[], bool], is_written: bool) -> None:
        if self._transport.is_closing():
            return
        if is_gone(self._transport):
            self._transport.abort()
            return
        if not is_written and may_write():
            self._transport.write(_INTERIM)
            is_written = True
        self._probe_timer = self._loop.call_later(PROBE_SECONDS, self._probe, may_write, is_written)

    def end(self) -> None:
        """The connection is lost."""
        self._look_timer.cancel()
        if self._probe_timer is not None:
            self._probe_timer.cancel()


def is_gone(transport: asyncio.Transport) -> bool:
    """Whether the system knows that there is no one to read what is written: both halves have ended, or were reset."""
    poll = select.poll()
    poll.register(transport.get_extra_info("socket").fileno(), 0)
    return any(events & (select.POLLHUP | select.POLLERR) for _, events in poll.poll(0))
