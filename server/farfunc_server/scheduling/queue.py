"""The queue, as plain data: it decides and touches nothing.

Whoever has had the least of the devices, for its weight, is next (:mod:`.shares`); of its requests the one of the
highest priority that has waited longest, and with it those that can be evaluated in the same call: its own, and then
others', who pay for their rows; no more of them than are done soon. It never waits for such company.

The queue is bounded, and so is each tenant's part of it: who floods it is told when to come back, before others find it
full.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from farfunc_protocol.errors import ServerBusy, TooManyRequests

from .costs import Costs
from .line import Line, Ticket
from .shares import Account, Accounts, Share

__all__ = ["Ahead", "RequestQueue"]

_LONGEST_RETRY_AFTER = 60.0

_LONGEST_BATCH_SECONDS = 0.2
_LONGEST_SHARED_BATCH_SECONDS = 0.02
"""So long a common evaluation takes at most, as far as is known; and where other tenants wait for its end, as long as
what is not evaluated in slices. What a request costs is measured in company, so batches grow while that is faster."""

_COMPANY_SECONDS = 2.0
"""So long after a request of another tenant there are others."""


@dataclass(frozen=True, slots=True)
class Ahead:
    """What is served before a request.

    Attributes
    ----------
    requests:
        How many requests, of its own tenant and of others.
    seconds:
        What those of them that were measured take, on all devices together.
    """

    requests: int
    seconds: float


class RequestQueue:
    """The requests that wait.

    >>> queue = RequestQueue(capacity=1, servers=1)
    >>> first = queue.admit()
    >>> queue.next() == (first,)
    True

    Parameters
    ----------
    capacity:
        How many may wait. One tenant may take all of it. Where several wait each may take its part, by weight and at
        least one, even while another still holds more.
    servers:
        How many devices serve them.
    shares:
        What each tenant may have; by default all have the same.

    Attributes
    ----------
    costs:
        What requests have taken.
    """

    def __init__(
        self, capacity: int, servers: int, shares: Callable[[str], Share] = lambda tenant: _DEFAULT_SHARE
    ) -> None:
        self.capacity = capacity
        self.servers = servers
        self.costs = Costs()
        self._accounts = Accounts(shares)
        self._by_kind: dict[Hashable, dict[str, Line]] = {}
        self._issued = 0
        self._count = 0
        self._last_tenant = "default"
        self._shared_until = 0.0
        self._weight = 0.0  # of the tenants with requests that wait
        self._seconds = 0.0  # of all that wait, so far as measured

    def __len__(self) -> int:
        return self._count

    # Waiting.

    def admit(
        self,
        kind: Hashable = None,
        rows: int = 1,
        *,
        tenant: str = "default",
        priority: int = 0,
        cost: Hashable = None,
        seconds: float = 0.0,
    ) -> Ticket:
        """Give a request its place, or refuse it with ServerBusy or TooManyRequests.

        What the arguments are is told at :class:`~farfunc_server.scheduling.line.Ticket`.
        """
        account = self._accounts.of(tenant)
        share = self._accounts.share_of(tenant)
        if share is not account.share:
            self._change_share(account, share)
        if self._count >= self.capacity or account.share.most_waiting is not None:
            self._check_room(account)
        if tenant != self._last_tenant:
            self._last_tenant = tenant
            self._shared_until = time.monotonic() + _COMPANY_SECONDS
        self._issued += 1
        ticket = Ticket(self._issued, tenant, kind, rows, priority, cost, seconds)
        self._add(account, ticket)
        return ticket

    def begin_at_once(self, rows: int, tenant: str, priority: int, cost: Hashable, seconds: float) -> Ticket | None:
        """Begin a request that finds a device free, if no other waits: what :meth:`admit` and :meth:`next` would do.

        Most calls of a loop are met by this alone.
        """
        if self._count:
            return None
        account = self._accounts.of(tenant)
        share = self._accounts.share_of(tenant)
        if share is not account.share:
            self._change_share(account, share)
        if not account.may_run:
            return None
        if tenant != self._last_tenant:
            self._last_tenant = tenant
            self._shared_until = time.monotonic() + _COMPANY_SECONDS
        self._issued += 1
        ticket = Ticket(self._issued, tenant, None, rows, priority, cost, seconds)
        self._accounts.begin_at_once(account)
        ticket.charged = self.costs.estimate(cost)
        self._accounts.charge(account, ticket.charged, 0.0)
        return ticket

    def _change_share(self, account: Account, share: Share) -> None:
        if account.waiting.count:
            self._weight += share.weight - account.share.weight
        account.share = share
        self._accounts.look_at(account)

    def _check_room(self, account: Account) -> None:
        count, share = account.waiting.count, account.share
        if share.most_waiting is not None and count >= share.most_waiting:
            raise TooManyRequests(
                f"{count} requests of this tenant are waiting, as many as it may let wait",
                remedy="try again later, or send less at once",
                retry_after=self.retry_after(account.tenant),
            )
        if self._count < self.capacity:
            return
        if count == self._count:
            raise ServerBusy(
                f"{count} requests are waiting, as many as this server lets wait",
                remedy="try again later",
                retry_after=self.retry_after(account.tenant),
            )
        weight = self._weight + (0.0 if count else share.weight)
        if count >= max(1, int(self.capacity * share.weight / weight)):
            raise TooManyRequests(
                f"{count} requests of this tenant are waiting, its part of the {self.capacity} that may wait here",
                remedy="try again later, or send less at once: other tenants' requests wait as well",
                retry_after=self.retry_after(account.tenant),
            )

    def _add(self, account: Account, ticket: Ticket, *, in_front: bool = False) -> None:
        if not account.waiting.count:
            self._weight += account.share.weight
        ticket.is_waiting = True
        account.waiting.add(ticket, in_front=in_front)
        account.waiting_seconds += ticket.seconds
        self._seconds += ticket.seconds
        self._count += 1
        if ticket.kind is not None:
            lines = self._by_kind.get(ticket.kind)
            if lines is None:
                lines = self._by_kind[ticket.kind] = {}
            line = lines.get(ticket.tenant)
            if line is None:
                line = lines[ticket.tenant] = Line()
            line.add(ticket)
        self._accounts.add_ready(account)
        self._accounts.look_at(account)

    def _remove(self, account: Account, ticket: Ticket) -> None:
        ticket.is_waiting = False
        account.waiting.remove(ticket)
        self._count -= 1
        account.waiting_seconds -= ticket.seconds
        self._seconds -= ticket.seconds
        if not account.waiting.count:
            self._weight -= account.share.weight
            account.waiting_seconds = 0.0
        if not self._count:
            self._weight = self._seconds = 0.0
        if ticket.kind is not None:
            lines = self._by_kind[ticket.kind]
            line = lines[ticket.tenant]
            line.remove(ticket)
            if not line.count:
                del lines[ticket.tenant]
                if not lines:
                    del self._by_kind[ticket.kind]

    def cancel(self, ticket: Ticket) -> bool:
        """Take a request out; False if it does not wait."""
        if not ticket.is_waiting:
            return False
        account = self._accounts.of(ticket.tenant)
        self._remove(account, ticket)
        self._accounts.take_ready(account)
        self._accounts.look_at(account)
        return True

    def put_back(self, ticket: Ticket) -> None:
        """Have one that was begun wait again: in front of its equals, and for an evaluation of its own."""
        account = self._accounts.of(ticket.tenant)
        ticket.kind = None
        self._add(account, ticket, in_front=True)
        self._accounts.add_running(account, -1)

    # Being served.

    def peek(self) -> Ticket | None:
        """The request that is next, if one may be begun."""
        account = self._accounts.next()
        return None if account is None else account.waiting.first()

    def next(self, most_rows: int = 1) -> tuple[Ticket, ...]:
        """Take the request that is next, and others of its kind: together no more than so many rows."""
        account = self._accounts.next()
        if account is None:
            return ()
        first = account.waiting.first()
        assert first is not None
        taken = [first]
        if first.kind is not None and self._count > 1 and first.rows < most_rows:
            taken.extend(self._company(account, first, most_rows))
        for account, tickets in self._by_account(taken):
            estimate = 0.0
            for ticket in tickets:
                self._remove(account, ticket)
                ticket.charged = self.costs.estimate(ticket.cost)
                estimate += ticket.charged
            self._accounts.add_running(account, len(tickets))
            self._accounts.take_ready(account, len(tickets))
            self._accounts.look_at(account)
            self._accounts.begin(account)
            self._accounts.charge(account, estimate, 0.0)
        return tuple(taken)

    def _by_account(self, tickets: Sequence[Ticket]) -> Iterable[tuple[Account, Sequence[Ticket]]]:
        if len(tickets) == 1:
            return ((self._accounts.of(tickets[0].tenant), tickets),)
        found: dict[str, list[Ticket]] = {}
        for ticket in tickets:
            found.setdefault(ticket.tenant, []).append(ticket)
        return [(self._accounts.of(tenant), theirs) for tenant, theirs in found.items()]

    def _company(self, account: Account, first: Ticket, most_rows: int) -> Iterator[Ticket]:
        """Others of a ticket's kind: its own tenant's, then those of tenants that may run more, as they came."""
        lines = self._by_kind[first.kind]
        tenants = [account.tenant, *(tenant for tenant in lines if tenant != account.tenant)]
        is_shared = len(self._accounts) > 1 and time.monotonic() < self._shared_until
        most_seconds = _LONGEST_SHARED_BATCH_SECONDS if is_shared else _LONGEST_BATCH_SECONDS
        rows, seconds = first.rows, self.costs.in_company(first.cost)
        for tenant in tenants:
            other = self._accounts.of(tenant)
            room = most_rows if other.share.most_running is None else other.share.most_running - other.running
            if tenant == account.tenant:
                room -= 1
            for ticket in lines[tenant]:
                if ticket is first:
                    continue
                if room <= 0:
                    break
                seconds += self.costs.in_company(ticket.cost)
                if rows + ticket.rows > most_rows or seconds > most_seconds:
                    return
                yield ticket
                rows += ticket.rows
                room -= 1

    def begin_slice(self, ticket: Ticket, estimate: float) -> None:
        """Another slice of a request is begun, which waited as :meth:`slice_waits` says."""
        account = self._accounts.of(ticket.tenant)
        self._accounts.take_ready(account)
        self._accounts.begin(account)
        ticket.charged = estimate
        self._accounts.charge(account, estimate, 0.0)

    def served(self, tickets: Sequence[Ticket], seconds: float) -> None:
        """A device was taken for so long by these, of which each pays for its rows."""
        rows = sum([ticket.rows for ticket in tickets])
        for account, theirs in self._by_account(tickets):
            estimate = part = 0.0
            for ticket in theirs:
                estimate += ticket.charged
                part += seconds * (ticket.rows / rows) + ticket.penalty
                ticket.charged = ticket.penalty = 0.0
            self._accounts.charge(account, -estimate, part)

    def learn(self, tickets: Sequence[Ticket], seconds: float) -> None:
        """What these took together was all of their work: others like them will take as much."""
        if len(tickets) == 1:
            self.costs.learn(tickets[0].cost, seconds)
            return
        rows = sum([ticket.rows for ticket in tickets])
        for ticket in {ticket.cost: ticket for ticket in tickets}.values():  # one evaluation, measured once
            self.costs.learn(ticket.cost, seconds * ticket.rows / rows)

    def end(self, *tickets: Ticket) -> None:
        """Requests that were begun have ended."""
        for account, theirs in self._by_account(tickets):
            self._accounts.add_running(account, -len(theirs))

    # Slices, which wait where their call is open.

    def slice_waits(self, ticket: Ticket) -> None:
        """A request's next slice waits for its device."""
        self._accounts.add_ready(self._accounts.of(ticket.tenant))

    def slice_is_left(self, ticket: Ticket) -> None:
        """It waits no more, and was not begun."""
        self._accounts.take_ready(self._accounts.of(ticket.tenant))

    def clock(self, tenant: str) -> float:
        """Where a tenant stands: lowest is next."""
        return self._accounts.of(tenant).clock

    # What can be told.

    def ahead(self, tenant: str = "default", priority: int = 0) -> Ahead:
        """What is served before a new request of a tenant, if all goes on as it is."""
        account = self._accounts.of(tenant)
        own = account.waiting.before(priority)
        weight = account.share.weight
        # While its own requests are served others have as much for their weight, if they want so much.
        others = max(self._weight - (weight if account.waiting.count else 0.0), 0.0) / weight
        requests = own + min(self._count - account.waiting.count, int((own + 1) * others))
        own_seconds = account.waiting_seconds * own / account.waiting.count if own else 0.0
        mean = own_seconds / own if own else self.costs.mean_seconds
        seconds = own_seconds + min(max(self._seconds - account.waiting_seconds, 0.0), (own_seconds + mean) * others)
        return Ahead(requests, seconds)

    def position(self, ticket: Ticket) -> Ahead | None:
        """What is served before one that waits; None if it does not wait. Takes longer, the longer its line is."""
        account = self._accounts.of(ticket.tenant)
        own, own_seconds = 0, 0.0
        for other in account.waiting:
            if other is ticket:
                break
            own += 1
            own_seconds += other.seconds
        else:
            return None
        others = max(self._weight - account.share.weight, 0.0) / account.share.weight
        requests = own + min(self._count - account.waiting.count, int((own + 1) * others))
        other_seconds = max(self._seconds - account.waiting_seconds, 0.0)
        return Ahead(requests, own_seconds + min(other_seconds, (own_seconds + ticket.seconds) * others))

    def retry_after(self, tenant: str = "default") -> float:
        """Seconds until half of a tenant's requests that wait now should have been served."""
        requests = self.ahead(tenant).requests
        seconds = self.costs.mean_seconds * (requests + 1) / (2 * max(self.servers, 1))
        return round(min(max(seconds, 1.0), _LONGEST_RETRY_AFTER), 1)


_DEFAULT_SHARE = Share()
