"""What the dispatcher knows of each device and of each job on its way."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict, deque
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field

from ..workers.frames import Buffer
from ..workers.messages import Evaluate, Message, NextSlice
from ..workers.worker import Worker
from .health import Health
from .job import Answer, Job
from .line import Ticket
from .slices import Slices

__all__ = ["Death", "Lane", "Place"]

_MOST_WARM = 4096


@dataclass(slots=True, eq=False)
class Death:
    """A worker that died with some jobs.

    Attributes
    ----------
    lane:
        Where.
    unanswered:
        How many of the jobs have not been answered by another device yet: when all have, it was this device's fault.
    """

    lane: Lane
    unanswered: int


@dataclass(slots=True, eq=False)
class Place:
    """A job that waits or runs, and whoever waits for it.

    Attributes
    ----------
    deaths:
        How many workers have died of it, when it ran alone.
    death:
        The last of them.
    slices:
        Its answer, if it is evaluated in slices.
    cursor:
        Of the next slice; None as long as it is not known to be evaluated in slices.
    seconds, slice_seconds:
        What it has taken so far, and what its last slice took.
    worker, open_on:
        The worker in which the call is open, and its device.
    runs_on:
        The device that evaluates it this moment.
    is_begun:
        Whether the queue counts it among those that run.
    is_left:
        Whether nobody waits for it any more.
    """

    ticket: Ticket
    job: Job
    answer: asyncio.Future[Answer | Slices]
    deaths: int = 0
    death: Death | None = None
    slices: Slices | None = None
    cursor: list[int] | None = None
    seconds: float = 0.0
    slice_seconds: float = 0.0
    worker: Worker | None = None
    open_on: Lane | None = None
    runs_on: Lane | None = None
    expiry: asyncio.TimerHandle | None = None
    is_begun: bool = False
    is_left: bool = False

    def give(self, result: Answer | Slices) -> None:
        """Answer it."""
        if not self.answer.done():
            self.answer.set_result(result)

    def fail(self, error: BaseException) -> None:
        """Answer it with an error, or end an answer that has begun with one."""
        if not self.answer.done():
            self.answer.set_exception(error)
        elif self.slices is not None:
            self.slices.fail(error)

    def message_to(self, worker: Worker, is_alone: bool) -> tuple[Message, Sequence[Buffer]]:
        """What a worker is sent next."""
        if self.cursor is not None and self.worker is worker:
            return NextSlice(self.ticket.number, self.cursor, is_alone), ()
        message = self.job.message
        if isinstance(message, Evaluate):
            message = Evaluate(message.function, message.request_id, self.ticket.number, self.cursor)
        return message, self.job.payload


@dataclass(slots=True, eq=False)
class Lane:
    """A device, and what runs there.

    Attributes
    ----------
    worker:
        The device's worker, if it has one.
    places:
        What runs; empty when the device is free.
    sliced:
        By tenant, what waits for its next slice.
    open:
        The calls that are open in its worker.
    warm:
        What its worker has evaluated: cost keys and functions, the least recent first.
    is_slices_turn:
        Whether a slice comes before what is new, of one tenant.
    busy_until:
        Until when slices are to be small, since others come.
    started, seconds:
        When what runs was begun, and how long the device has been at work before that.
    overdue:
        Ends what runs, since nobody waits for it any more.
    is_out, is_drained:
        Whether it is out of service because it has failed, or because it is said to be.
    probe:
        Tries whether a device that is out is well again.
    """

    device: str
    worker: Worker | None = None
    places: tuple[Place, ...] = ()
    sliced: dict[str, deque[Place]] = field(default_factory=dict)
    open: set[Place] = field(default_factory=set)
    warm: OrderedDict[Hashable, None] = field(default_factory=OrderedDict)
    is_slices_turn: bool = False
    busy_until: float = 0.0
    started: float = 0.0
    seconds: float = 0.0
    overdue: asyncio.TimerHandle | None = None
    is_out: bool = False
    is_drained: bool = False
    probe: asyncio.TimerHandle | None = None
    health: Health = field(default_factory=Health)

    @property
    def is_alone(self) -> bool:
        """Whether nobody else has wanted the device of late."""
        return not self.sliced and time.monotonic() > self.busy_until

    @property
    def is_in_service(self) -> bool:
        """Whether it takes new jobs, or will when its worker has started."""
        return not (self.is_out or self.is_drained)

    @property
    def is_free(self) -> bool:
        """Whether its worker has nothing to do."""
        return not self.places and self.worker is not None and self.worker.is_alive

    @property
    def state(self) -> str | None:
        """``draining``, ``drained`` or ``out``; None in service."""
        if self.is_drained:
            return "draining" if self.places or self.open else "drained"
        return "out" if self.is_out else None

    def take_slice(self, tenant: str) -> Place:
        """The call of a tenant whose next slice has waited longest."""
        waiting = self.sliced[tenant]
        place = waiting.popleft()
        if not waiting:
            del self.sliced[tenant]
        return place

    def warmed(self, place: Place) -> None:
        """Its worker has evaluated something."""
        for key in (place.job.message.function, place.ticket.cost):
            if key is not None:
                self.warm[key] = None
                self.warm.move_to_end(key)
        while len(self.warm) > _MOST_WARM:
            self.warm.popitem(last=False)

    def warmth(self, function: str, cost: Hashable) -> int:
        """2 where its worker has a job's plan, as far as is known; 1 where it has the function."""
        return 2 if cost in self.warm else int(function in self.warm)
