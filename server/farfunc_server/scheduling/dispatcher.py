"""Carries out what the queue decides: on each device one evaluation at a time, for one request or for several."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

from farfunc_protocol.errors import FarfuncError, ServerBusy, TimeLimitExceeded, WorkerDied, from_problem

from ..batch_form import MOST_ROWS
from ..workers.frames import Buffer
from ..workers.messages import (
    Evaluate,
    EvaluateMany,
    Infer,
    Load,
    Message,
    Problem,
    Result,
    Results,
    UnknownFunction,
)
from ..workers.pool import Pool
from ..workers.worker import Worker, WorkerGone
from .plan_board import PlanBoard
from .queue import RequestQueue, Ticket

__all__ = ["Dispatcher", "Job", "Moments"]

_ATTEMPTS = 2  # evaluations are pure: one that died with its worker may be tried again, once

Answer = tuple[Message, memoryview]


class Moments(Protocol):
    """When a job was sent to a worker for the first time, and when it was answered: on ``time.monotonic``."""

    begun: float | None
    answered: float | None


@dataclass(frozen=True, slots=True)
class Job:
    """What a worker is to do.

    Attributes
    ----------
    message, payload:
        What it is sent.
    file:
        Reads the function's file, which is sent where the worker has not got it.
    seconds:
        The time limit, from now, waiting included.
    kind, rows:
        As of a :class:`~farfunc_server.scheduling.queue.Ticket`, among the requests of one function.
    moments:
        Is told how the job gets on.
    """

    message: Evaluate | Infer
    payload: Sequence[Buffer]
    file: Callable[[], Sequence[Buffer]]
    seconds: float
    kind: Hashable = None
    rows: int = 1
    moments: Moments | None = None


@dataclass(slots=True, eq=False)
class _Place:
    """A job that waits or runs, and whoever waits for it.

    Attributes
    ----------
    deaths:
        How many workers have died of it, when it ran alone.
    """

    ticket: Ticket
    job: Job
    answer: asyncio.Future[Answer]
    deaths: int = 0

    def give(self, result: Answer) -> None:
        if not self.answer.done():
            self.answer.set_result(result)

    def fail(self, error: BaseException) -> None:
        if not self.answer.done():
            self.answer.set_exception(error)


@dataclass(slots=True, eq=False)
class _Lane:
    """A device, and what runs there.

    Attributes
    ----------
    worker:
        The device's worker, if it has one.
    places:
        What runs; empty when the device is free.
    again:
        What ran when a worker died: each is tried once more, by itself.
    overdue:
        Ends what runs when nobody waits for it any more.
    """

    device: str
    worker: Worker | None = None
    places: tuple[_Place, ...] = ()
    again: deque[_Place] = field(default_factory=deque)
    started: float = 0.0
    overdue: asyncio.TimerHandle | None = None


class Dispatcher:
    """Runs jobs on the workers of a pool.

    It works by callbacks: a request that finds a device free is sent to its worker at once, and an
    answer goes to whoever waits for it without a task in between.

    Parameters
    ----------
    pool:
        The workers; started and stopped by the caller.
    capacity:
        How many jobs may wait.
    board:
        Hears what workers tell of their plans.

    Attributes
    ----------
    queue:
        The jobs that wait.
    running:
        How many jobs run.
    """

    def __init__(self, pool: Pool, capacity: int, board: PlanBoard | None = None) -> None:
        self._pool = pool
        self._board = board
        self.queue = RequestQueue(capacity, len(pool.devices))
        self._places: dict[Ticket, _Place] = {}
        self._lanes = {device: _Lane(device) for device in pool.devices}
        self._loads: set[asyncio.Task[None]] = set()
        self.running = 0
        self._is_closing = False
        pool.on_ready = self._worker_is_ready

    @property
    def unfinished(self) -> int:
        """How many jobs wait or run."""
        return len(self.queue) + self.running

    def close(self) -> None:
        """Take no new jobs; those that were accepted are finished."""
        self._is_closing = True

    async def stop(self) -> None:
        """Give up whatever still waits or runs."""
        self.close()
        for load in self._loads:
            load.cancel()
        for lane in self._lanes.values():
            if lane.overdue is not None:
                lane.overdue.cancel()
            for place in (*lane.places, *lane.again):
                place.fail(_shutting_down())
        for place in self._places.values():
            place.fail(_shutting_down())

    async def run(self, job: Job) -> Answer:
        """Wait for a job's answer; cancelling the wait takes a job that still waits out of the queue.

        Raises
        ------
        ServerBusy
            The queue is full, or the server is shutting down.
        TimeLimitExceeded
            The work was stopped, or its turn did not come in time.
        WorkerDied
            Two workers died of it.
        FarfuncError
            The worker's own answer.
        """
        if self._is_closing:
            raise _shutting_down()
        loop = asyncio.get_running_loop()
        kind = None if job.kind is None else (job.message.function, job.kind)
        ticket = self.queue.admit(time.monotonic() + job.seconds, kind, job.rows)
        place = self._places[ticket] = _Place(ticket, job, loop.create_future())
        expiry = loop.call_later(job.seconds, self._expire, place)
        self._pump()
        try:
            return await place.answer
        finally:
            expiry.cancel()
            self.queue.cancel(ticket)
            self._places.pop(ticket, None)

    def _expire(self, place: _Place) -> None:
        """A request's time is over."""
        job = place.job
        if not self.queue.cancel(place.ticket):
            place.fail(_too_late(job))
            return
        if self._pool.is_ready:
            reason = f"the request waited for its whole time limit of {job.seconds:g} s, and its turn did not come"
        else:
            reason = f"no worker became ready within the request's time limit of {job.seconds:g} s"
        place.fail(
            TimeLimitExceeded(
                reason,
                remedy="try again later, or give a longer X-Timeout (timeout= in Python)",
                retry_after=self.queue.retry_after(),
            )
        )

    def _worker_is_ready(self, device: str, worker: Worker) -> None:
        self._lanes[device].worker = worker
        self._pump()

    def _pump(self) -> None:
        """Give every free device something to do."""
        for lane in self._lanes.values():
            while not lane.places and lane.worker is not None and lane.worker.is_alive:
                places = self._next(lane)
                if not places:
                    break
                self._begin(lane, lane.worker, places)

    def _next(self, lane: _Lane) -> tuple[_Place, ...]:
        while lane.again:
            place = lane.again.popleft()
            if not place.answer.done():
                return (place,)
        return tuple(self._places[ticket] for ticket in self.queue.next(MOST_ROWS))

    def _begin(self, lane: _Lane, worker: Worker, places: tuple[_Place, ...]) -> None:
        lane.places, lane.started = places, time.monotonic()
        self.running += len(places)
        for place in places:
            if (moments := place.job.moments) is not None and moments.begun is None:
                moments.begun = lane.started
        deadline = max(place.ticket.deadline for place in places)
        lane.overdue = asyncio.get_running_loop().call_later(max(deadline - lane.started, 0.0), worker.kill)
        self._send(lane, worker, places)

    def _send(self, lane: _Lane, worker: Worker, places: tuple[_Place, ...]) -> None:
        jobs = [place.job for place in places]
        if len(jobs) == 1:
            message, payload = jobs[0].message, jobs[0].payload
        else:
            message = EvaluateMany(jobs[0].message.function, [_bytes(job.payload) for job in jobs])
            payload = [part for job in jobs for part in job.payload]
        worker.post(message, payload, partial(self._answered, lane, worker))

    def _answered(self, lane: _Lane, worker: Worker, message: Message | None, data: memoryview) -> None:
        """A worker has answered, or is gone."""
        if isinstance(message, UnknownFunction):
            load = asyncio.ensure_future(self._load(lane, worker, lane.places))
            self._loads.add(load)
            load.add_done_callback(self._loads.discard)
            return
        places, lane.places = lane.places, ()
        if lane.overdue is not None:
            lane.overdue.cancel()
        self.running -= len(places)
        now = time.monotonic()
        for place in places:
            if place.job.moments is not None:
                place.job.moments.answered = now
        self.queue.served(now - lane.started)
        try:
            self._deal(lane, places, message, data)
        finally:
            self._pump()

    async def _load(self, lane: _Lane, worker: Worker, places: tuple[_Place, ...]) -> None:
        """Send a worker the function that it has not got, and then the message again."""
        job = places[0].job
        try:
            file = await asyncio.to_thread(job.file)
            await worker.call(Load(job.message.function), file)
        except WorkerGone:
            self._answered(lane, worker, None, memoryview(b""))
        except FarfuncError as error:
            self._answered(lane, worker, Problem(error.to_problem()), memoryview(b""))
        else:
            self._send(lane, worker, places)

    def _deal(self, lane: _Lane, places: tuple[_Place, ...], message: Message | None, data: memoryview) -> None:
        """Give each of the places its part of an answer."""
        match message:
            case None:
                self._try_again(lane, places)
            case Results():
                self._heard(lane, message.result)
                start = 0
                for place, size, problem in zip(places, message.sizes, message.problems, strict=True):
                    if problem is None:
                        place.give((message.result, data[start : start + size]))
                    else:
                        place.fail(from_problem(problem))
                    start += size
            case Problem():
                for place in places:
                    place.fail(from_problem(message.problem))
            case _:
                if isinstance(message, Result):
                    self._heard(lane, message)
                for place in places:
                    place.give((message, data))

    def _try_again(self, lane: _Lane, places: tuple[_Place, ...]) -> None:
        """A worker died: of one of these, if of any."""
        for place in places:
            place.deaths += len(places) == 1
            if place.deaths < _ATTEMPTS:
                lane.again.append(place)
            else:
                place.fail(
                    WorkerDied(
                        "the process that evaluated the request died, and so did the one that tried again",
                        remedy="send less work at once, if it may need more memory than there is; sent again as it "
                        "is, it will end the same way",
                    )
                )

    def _heard(self, lane: _Lane, result: Result) -> None:
        if self._board is not None:
            self._board.heard(lane.device, result)


def _bytes(payload: Sequence[Buffer]) -> int:
    return sum(memoryview(part).nbytes for part in payload)


def _too_late(job: Job) -> TimeLimitExceeded:
    return TimeLimitExceeded(
        f"the evaluation was stopped at the request's time limit of {job.seconds:g} s",
        remedy="give a longer X-Timeout (timeout= in Python), up to the server's limit, or send less work",
    )


def _shutting_down() -> ServerBusy:
    return ServerBusy(
        "the server is shutting down", remedy="try again: another server may take its place", retry_after=1.0
    )
