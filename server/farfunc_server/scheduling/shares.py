"""Whose turn it is: start-time fair queueing between tenants, by the device seconds that their work took.

Each tenant has a clock, which its work moves on: a second of a device by a second divided by the tenant's weight. Who
stands lowest is next (Goyal, Vin and Cheng 1996, Start-time Fair Queueing). Three rules keep it honest:

1. Work is charged an estimate when it begins, so that a burst that fills all devices does not run ahead of its clock,
   and what it really took when that is known.
2. Who had nothing to do begins where the others stand: at the clock, by measured seconds alone, of whoever was last
   begun. Idling saves nothing up.
3. When nothing waits and nothing runs, nobody is in anybody's way, and nobody owes anything.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from heapq import heappop, heappush

from .line import Line

__all__ = ["Account", "Accounts", "Share"]

_MOST_IDLE = 1024
"""Accounts of tenants that have nothing to do are kept until there are so many."""


@dataclass(frozen=True, slots=True)
class Share:
    """What a tenant may have of the devices.

    Attributes
    ----------
    weight:
        Its part, beside the weights of the others that want something: 3 gets three times the seconds of 1.
    most_running:
        How many of its requests may run at a time, over all devices; None for any number.
    most_waiting:
        How many may wait; None for its part of the queue.
    """

    weight: float = 1.0
    most_running: int | None = None
    most_waiting: int | None = None

    def __post_init__(self) -> None:
        if not 0 < self.weight < float("inf"):
            raise ValueError(f"a weight is a positive number, not {self.weight!r}")


@dataclass(slots=True, eq=False)
class Account:
    """A tenant that wants, or has had, something of the devices.

    Attributes
    ----------
    settled:
        Its clock, by what its work really took.
    estimated:
        What is added to that for work whose end is not known yet.
    waiting:
        Its requests.
    waiting_seconds:
        What they will take, so far as that was measured.
    running:
        How many of its requests have been begun and have not ended.
    ready:
        How many of its requests and slices wait for a device.
    """

    tenant: str
    share: Share
    settled: float = 0.0
    estimated: float = 0.0
    waiting: Line = field(default_factory=Line)
    waiting_seconds: float = 0.0
    running: int = 0
    ready: int = 0
    _entry: int = 0
    _has_moved: bool = False

    @property
    def clock(self) -> float:
        """Where it stands."""
        return self.settled + self.estimated

    @property
    def may_run(self) -> bool:
        """Whether its own limit lets one more of its requests run."""
        return self.share.most_running is None or self.running < self.share.most_running


class Accounts:
    """The accounts of all tenants.

    >>> accounts = Accounts(lambda tenant: Share(weight=2.0 if tenant == "large" else 1.0))
    >>> small, large = accounts.of("small"), accounts.of("large")
    >>> for account in (small, large):
    ...     accounts.add_ready(account)
    ...     accounts.charge(account, 0.0, 1.0)
    >>> small.clock, large.clock
    (1.0, 0.5)

    Parameters
    ----------
    shares:
        Tells what a tenant may have; asked with each request.
    """

    def __init__(self, shares: Callable[[str], Share]) -> None:
        self._shares = shares
        self._accounts: dict[str, Account] = {}
        self._virtual_time = 0.0
        self._highest = 0.0
        self._busy = 0  # accounts with something ready or running
        self._eligible: dict[str, Account] = {}
        self._moved: list[Account] = []
        self._heap: list[tuple[float, int, Account]] = []
        self._entries = 0

    def __len__(self) -> int:
        return len(self._accounts)

    def of(self, tenant: str) -> Account:
        """A tenant's account, opened if it has none."""
        account = self._accounts.get(tenant)
        if account is None:
            if len(self._accounts) >= _MOST_IDLE:
                self._forget_idle()
            account = self._accounts[tenant] = Account(tenant, self._shares(tenant), self._virtual_time)
        return account

    def share_of(self, tenant: str) -> Share:
        """What a tenant may have, as of now."""
        return self._shares(tenant)

    def add_ready(self, account: Account) -> None:
        """Something of it waits for a device."""
        account.ready += 1
        if account.ready == 1:
            if not account.running:
                if not self._busy:
                    self._virtual_time = self._highest  # rule 3
                self._busy += 1
            if account.settled < self._virtual_time:  # rule 2
                account.settled = self._virtual_time
                self._has_moved(account)

    def take_ready(self, account: Account, count: int = 1) -> None:
        """So many do not wait any more: they are begun, or given up."""
        account.ready -= count
        if not account.ready and not account.running:
            self._busy -= 1

    def begin(self, account: Account) -> None:
        """A request of it, or a slice, has been begun."""
        if account.settled > self._virtual_time:
            self._virtual_time = account.settled

    def begin_at_once(self, account: Account) -> None:
        """The same for a request that need not wait: as :meth:`add_ready`, :meth:`begin` and :meth:`add_running` do."""
        if not account.ready:
            if not account.running:
                if not self._busy:
                    self._virtual_time = self._highest
                self._busy += 1
            if account.settled < self._virtual_time:
                account.settled = self._virtual_time
        self.begin(account)
        account.running += 1

    def add_running(self, account: Account, count: int) -> None:
        """So many more of its requests run, or fewer."""
        if not account.ready and not account.running:
            self._busy += 1
        account.running += count
        if not account.ready and not account.running:
            self._busy -= 1
        if account.share.most_running is not None:
            self.look_at(account)

    def charge(self, account: Account, estimate: float, seconds: float) -> None:
        """Add an estimate to its clock, negative to take it back, and what was measured."""
        weight = account.share.weight
        if seconds:
            account.settled += seconds / weight
            if account.settled > self._highest:
                self._highest = account.settled
        estimated = account.estimated + estimate / weight
        account.estimated = estimated if estimated > 0.0 else 0.0
        if not account._has_moved:
            self._has_moved(account)

    def look_at(self, account: Account) -> None:
        """See whether it can be chosen: it has a request that waits, and may run it."""
        is_eligible = account.waiting.count > 0 and account.may_run
        if is_eligible == (account.tenant in self._eligible):
            return
        if is_eligible:
            self._eligible[account.tenant] = account
            account.settled = max(account.settled, self._virtual_time)  # its own limit saves nothing up either
            self._has_moved(account)
        else:
            del self._eligible[account.tenant]
            account._entry = 0

    def next(self) -> Account | None:
        """Of those with a request that waits and may run, the one that stands lowest."""
        if len(self._eligible) < 2:
            return next(iter(self._eligible.values()), None)
        for account in self._moved:
            account._has_moved = False
            if account.tenant in self._eligible:
                self._entries += 1
                account._entry = self._entries
                heappush(self._heap, (account.clock, self._entries, account))
        self._moved.clear()
        while self._heap[0][1] != self._heap[0][2]._entry:
            heappop(self._heap)
        return self._heap[0][2]

    def _has_moved(self, account: Account) -> None:
        if not account._has_moved:
            account._has_moved = True
            self._moved.append(account)

    def _forget_idle(self) -> None:
        for tenant, account in list(self._accounts.items()):
            if not account.ready and not account.running and account.settled <= self._virtual_time:
                del self._accounts[tenant]
