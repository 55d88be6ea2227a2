"""Requests that wait, in the order in which they are served: a higher priority first, equals as they came."""

from __future__ import annotations

from bisect import insort
from collections import OrderedDict
from collections.abc import Hashable, Iterator
from dataclasses import dataclass

__all__ = ["Line", "Ticket"]


@dataclass(slots=True, eq=False)
class Ticket:
    """One request's place in the queue.

    Attributes
    ----------
    number:
        Its name here.
    tenant:
        Who pays for it.
    kind:
        The same for requests that can be evaluated together; None for one that cannot.
    rows:
        How many rows of a common evaluation it stands for.
    priority:
        Among the requests of its tenant.
    cost:
        The same for requests that take equally long; None where that is not known.
    seconds:
        What it is expected to take, if that was measured; otherwise 0.
    is_waiting:
        Whether it has not been begun, and not been given up.
    charged:
        The estimate that its tenant was charged when it was begun.
    penalty:
        Seconds that it is charged beside those that it took.
    """

    number: int
    tenant: str = "default"
    kind: Hashable = None
    rows: int = 1
    priority: int = 0
    cost: Hashable = None
    seconds: float = 0.0
    is_waiting: bool = False
    charged: float = 0.0
    penalty: float = 0.0


class Line:
    """Tickets in their order, and their count.

    >>> line = Line()
    >>> for ticket in (Ticket(1), Ticket(2, priority=5), Ticket(3)):
    ...     line.add(ticket)
    >>> [ticket.number for ticket in line]
    [2, 1, 3]
    """

    __slots__ = ("_order", "_ranks", "count")

    def __init__(self) -> None:
        self._ranks: dict[int, OrderedDict[int, Ticket]] = {}
        self._order: list[int] = []  # priorities, negated: the highest first
        self.count = 0

    def __iter__(self) -> Iterator[Ticket]:
        for rank in self._order:
            yield from self._ranks[rank].values()

    def add(self, ticket: Ticket, *, in_front: bool = False) -> None:
        """Add one behind its equals, or before them."""
        rank = self._ranks.get(-ticket.priority)
        if rank is None:
            rank = self._ranks[-ticket.priority] = OrderedDict()
            insort(self._order, -ticket.priority)
        rank[ticket.number] = ticket
        if in_front:
            rank.move_to_end(ticket.number, last=False)
        self.count += 1

    def remove(self, ticket: Ticket) -> None:
        """Take one out."""
        rank = self._ranks[-ticket.priority]
        del rank[ticket.number]
        if not rank and (ticket.priority or len(self._order) > 1):
            del self._ranks[-ticket.priority]
            self._order.remove(-ticket.priority)
        self.count -= 1

    def first(self) -> Ticket | None:
        """The one that is next."""
        return next(iter(self), None)

    def before(self, priority: int) -> int:
        """How many are served before a new one of a priority."""
        return sum(len(self._ranks[rank]) for rank in self._order if rank <= -priority)
