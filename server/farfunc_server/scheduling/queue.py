"""The queue, as plain data: it decides and touches nothing.

First come, first served, for all devices together: a device that is free takes the request that
has waited longest, and with it those behind it that can be evaluated in the same call. It never waits
for such company. The queue is bounded, and what finds it full is told when to come back.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass
from itertools import islice

from farfunc_protocol.errors import ServerBusy

__all__ = ["RequestQueue", "Ticket"]

_FIRST_GUESS_SECONDS = 0.05
_SMOOTHING = 0.1
_LONGEST_RETRY_AFTER = 60.0


@dataclass(frozen=True, slots=True, eq=False)
class Ticket:
    """One request's place in the queue.

    Attributes
    ----------
    number:
        Its name here.
    deadline:
        When its time limit ends, on the clock of ``time.monotonic``.
    kind:
        The same for requests that can be evaluated together; None for one that cannot.
    rows:
        How many rows of a common evaluation it stands for.
    """

    number: int
    deadline: float
    kind: Hashable = None
    rows: int = 1


class RequestQueue:
    """The requests that wait.

    >>> queue = RequestQueue(capacity=1, servers=1)
    >>> first = queue.admit(deadline=10.0)
    >>> queue.next() == (first,)
    True

    Parameters
    ----------
    capacity:
        How many may wait.
    servers:
        How many devices serve them.
    """

    def __init__(self, capacity: int, servers: int) -> None:
        self.capacity = capacity
        self._servers = servers
        self._waiting: OrderedDict[int, Ticket] = OrderedDict()
        self._by_kind: dict[Hashable, OrderedDict[int, Ticket]] = {}
        self._issued = 0
        self._mean_seconds = _FIRST_GUESS_SECONDS

    def __len__(self) -> int:
        return len(self._waiting)

    def admit(self, deadline: float, kind: Hashable = None, rows: int = 1) -> Ticket:
        """Give a request its place, or refuse it with ServerBusy."""
        if len(self._waiting) >= self.capacity:
            raise ServerBusy(
                f"{len(self._waiting)} requests are waiting, as many as this server lets wait",
                remedy="try again later",
                retry_after=self.retry_after(),
            )
        self._issued += 1
        ticket = Ticket(self._issued, deadline, kind, rows)
        self._waiting[ticket.number] = ticket
        if kind is not None:
            self._by_kind.setdefault(kind, OrderedDict())[ticket.number] = ticket
        return ticket

    def next(self, most_rows: int = 1) -> tuple[Ticket, ...]:
        """Take the request that has waited longest, and others of its kind: together no more than so many rows."""
        if not self._waiting:
            return ()
        first = next(iter(self._waiting.values()))
        taken, rows = [first], first.rows
        for ticket in islice(self._by_kind.get(first.kind, {}).values(), 1, None):
            if rows + ticket.rows > most_rows:
                break
            taken.append(ticket)
            rows += ticket.rows
        for ticket in taken:
            self.cancel(ticket)
        return tuple(taken)

    def cancel(self, ticket: Ticket) -> bool:
        """Take a request out; False if it has been taken already."""
        if self._waiting.pop(ticket.number, None) is None:
            return False
        if ticket.kind is not None:
            same = self._by_kind[ticket.kind]
            del same[ticket.number]
            if not same:
                del self._by_kind[ticket.kind]
        return True

    def served(self, seconds: float) -> None:
        """Learn how long an evaluation took, for estimates of the wait."""
        self._mean_seconds += _SMOOTHING * (seconds - self._mean_seconds)

    def retry_after(self) -> float:
        """Seconds until half of those that wait now should have been served."""
        seconds = self._mean_seconds * (len(self._waiting) + 1) / (2 * self._servers)
        return round(min(max(seconds, 1.0), _LONGEST_RETRY_AFTER), 1)
