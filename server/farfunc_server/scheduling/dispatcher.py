"""Carries out what the queue decides: on each device one evaluation at a time, of one request, several, or a slice.

What takes long is evaluated in slices. A device takes a slice and a request from the queue in turn, so that small
requests wait for one slice at most, and no number of them keeps a large one from going on.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

from farfunc_protocol.errors import FarfuncError, ServerBusy, ServerError, TimeLimitExceeded, WorkerDied, from_problem

from ..batch_form import MOST_ROWS
from ..workers.frames import Buffer
from ..workers.messages import (
    Apart,
    EndSlices,
    Evaluate,
    EvaluateMany,
    Infer,
    Load,
    Message,
    NextSlice,
    Problem,
    Result,
    Results,
    Slice,
    Sliced,
    UnknownFunction,
)
from ..workers.pool import Pool
from ..workers.worker import Worker, WorkerGone
from .plan_board import PlanBoard
from .queue import RequestQueue, Ticket
from .slices import Slices

__all__ = ["Dispatcher", "Job", "Moments"]

_log = logging.getLogger("farfunc.scheduling")

_ATTEMPTS = 2  # evaluations are pure: one that died with its worker may be tried again, once

_COMPANY_SECONDS = 2.0
"""So long after a request slices are small: where one has come there will be others."""

_GRACE_SECONDS = 1.0
_SLICE_GRACE_SECONDS = 2.0
"""So long after a request's time its worker is killed. The request is answered in time; a worker that is about to end
by itself holds programs that took others' time to make, and a slice always does."""

Answer = tuple[Message, memoryview]


class Moments(Protocol):
    """What a job is told of itself.

    Attributes
    ----------
    begun, answered:
        When it was sent to a worker for the first time, and when it was answered: on ``time.monotonic``.
    device, requests, rows:
        Where, with how many requests in one call, and of how many rows together.
    """

    begun: float | None
    answered: float | None
    device: str | None
    requests: int
    rows: int


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
    slices:
        Its answer, if it is evaluated in slices.
    cursor:
        Of the next slice.
    worker:
        The worker in which the call is open.
    is_left:
        Whether nobody waits for it any more.
    """

    ticket: Ticket
    job: Job
    answer: asyncio.Future[Answer | Slices]
    deaths: int = 0
    slices: Slices | None = None
    cursor: list[int] = field(default_factory=lambda: [0, 0])
    worker: Worker | None = None
    expiry: asyncio.TimerHandle | None = None
    is_left: bool = False

    def give(self, result: Answer | Slices) -> None:
        if not self.answer.done():
            self.answer.set_result(result)

    def fail(self, error: BaseException) -> None:
        if not self.answer.done():
            self.answer.set_exception(error)
        elif self.slices is not None:
            self.slices.fail(error)

    def message_to(self, worker: Worker, is_alone: bool) -> tuple[Message, Sequence[Buffer]]:
        """What a worker is sent next."""
        if self.slices is not None and self.worker is worker:
            return NextSlice(self.ticket.number, self.cursor, is_alone), ()
        message = self.job.message
        if isinstance(message, Evaluate):
            resume_at = None if self.slices is None else self.cursor
            message = Evaluate(message.function, message.request_id, self.ticket.number, resume_at)
        return message, self.job.payload


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
        What is to be sent by itself: it was in company when a worker died, or takes long.
    sliced:
        What waits for its next slice.
    is_slices_turn:
        Whether a slice comes before what is new.
    busy_until:
        Until when slices are to be small, since others come.
    overdue:
        Ends what runs when nobody waits for it any more.
    seconds:
        How long the device has been at work, before what runs.
    """

    device: str
    worker: Worker | None = None
    places: tuple[_Place, ...] = ()
    again: deque[_Place] = field(default_factory=deque)
    sliced: deque[_Place] = field(default_factory=deque)
    is_slices_turn: bool = False
    busy_until: float = 0.0
    started: float = 0.0
    overdue: asyncio.TimerHandle | None = None
    seconds: float = 0.0

    @property
    def is_alone(self) -> bool:
        """Whether nobody else has wanted the device of late."""
        return not self.sliced and time.monotonic() > self.busy_until


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
    most_rows:
        How many rows of requests of one kind are evaluated together; 1 evaluates each by itself.

    Attributes
    ----------
    queue:
        The jobs that wait.
    running:
        How many jobs run.
    on_begin:
        Called with a device, and how many requests and rows it is sent in one call; not for slices.
    """

    def __init__(
        self, pool: Pool, capacity: int, board: PlanBoard | None = None, *, most_rows: int = MOST_ROWS
    ) -> None:
        self._pool = pool
        self._most_rows = most_rows
        self._board = board
        self.queue = RequestQueue(capacity, len(pool.devices))
        self._places: dict[Ticket, _Place] = {}
        self._lanes = {device: _Lane(device) for device in pool.devices}
        self._loads: set[asyncio.Task[None]] = set()
        self._open: set[_Place] = set()
        self.running = 0
        self.on_begin: Callable[[str, int, int], None] = lambda device, requests, rows: None
        self._is_closing = False
        pool.on_ready = self._worker_is_ready

    @property
    def unfinished(self) -> int:
        """How many jobs wait or run."""
        return len(self.queue) + self.running + len(self._open)

    def seconds(self, device: str) -> float:
        """How long a device has been at work."""
        lane = self._lanes[device]
        return lane.seconds + (time.monotonic() - lane.started if lane.places else 0.0)

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
        for place in list(self._places.values()):
            place.fail(_shutting_down())

    async def run(self, job: Job) -> Answer | Slices:
        """Wait for a job's answer; cancelling the wait takes a job that still waits out of the queue.

        Returns
        -------
        Answer | Slices
            The answer, or the slices in which it comes, of which the first is there; they are to be closed.

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
        place.expiry = loop.call_later(job.seconds, self._expire, place)
        self._pump()
        try:
            answer = await place.answer
        except BaseException:
            self._leave(place)
            raise
        if not isinstance(answer, Slices):
            self._leave(place)
        return answer

    def _leave(self, place: _Place) -> None:
        """Nobody waits for a job any more."""
        place.is_left = True
        if place.expiry is not None:
            place.expiry.cancel()
        self.queue.cancel(place.ticket)
        self._places.pop(place.ticket, None)
        self._close(place)

    def _close(self, place: _Place) -> None:
        """See to it that a call in slices is open nowhere."""
        worker, place.worker = place.worker, None
        self._open.discard(place)
        if worker is not None and worker.is_alive:
            worker.post(EndSlices(place.ticket.number), (), lambda message, data: None)

    def _expire(self, place: _Place) -> None:
        """A request's time is over."""
        job = place.job
        if not self.queue.cancel(place.ticket):
            place.fail(_too_late(job))
            self._leave(place)  # whoever waits may hear of it late: a client that reads slowly holds no worker
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
            if not place.is_left:
                return (place,)
        while lane.sliced and lane.sliced[0].is_left:
            lane.sliced.popleft()
        if lane.sliced and (lane.is_slices_turn or not len(self.queue)):
            lane.is_slices_turn = False
            return (lane.sliced.popleft(),)
        if len(self.queue):
            lane.is_slices_turn = True
            lane.busy_until = time.monotonic() + _COMPANY_SECONDS
        return tuple(self._places[ticket] for ticket in self.queue.next(self._most_rows))

    def _begin(self, lane: _Lane, worker: Worker, places: tuple[_Place, ...]) -> None:
        lane.places, lane.started = places, time.monotonic()
        self.running += len(places)
        rows = sum(place.ticket.rows for place in places)
        for place in places:
            if (moments := place.job.moments) is not None and moments.begun is None:
                moments.begun, moments.device = lane.started, lane.device
                moments.requests, moments.rows = len(places), rows
        if places[0].slices is None:
            self.on_begin(lane.device, len(places), rows)
        deadline = max(place.ticket.deadline for place in places)
        deadline += _GRACE_SECONDS if places[0].slices is None else _SLICE_GRACE_SECONDS
        lane.overdue = asyncio.get_running_loop().call_later(max(deadline - lane.started, 0.0), worker.kill)
        self._send(lane, worker, places)

    def _send(self, lane: _Lane, worker: Worker, places: tuple[_Place, ...]) -> None:
        if len(places) == 1:
            message, payload = places[0].message_to(worker, lane.is_alone)
        else:
            jobs = [place.job for place in places]
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
        if isinstance(message, Problem | Apart) and message.is_last:
            lane.worker = None  # the next request is for the one that takes its place
        if lane.overdue is not None:
            lane.overdue.cancel()
        self.running -= len(places)
        now = time.monotonic()
        for place in places:
            if place.job.moments is not None:
                place.job.moments.answered = now
        lane.seconds += now - lane.started
        self.queue.served(now - lane.started)
        try:
            self._deal(lane, worker, places, message, data)
        finally:
            if len(self.queue) or lane.again or lane.sliced:
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
        except Exception:  # noqa: BLE001 - whatever it is, the device must go on
            _log.exception("the file of %s could not be read", job.message.function)
            error = ServerError("the server met an error of its own", remedy="report it with the request id")
            self._answered(lane, worker, Problem(error.to_problem()), memoryview(b""))
        else:
            self._send(lane, worker, places)

    def _deal(
        self, lane: _Lane, worker: Worker, places: tuple[_Place, ...], message: Message | None, data: memoryview
    ) -> None:
        """Give each of the places its part of an answer."""
        match message:
            case None:
                self._try_again(lane, places)
            case Apart():
                lane.again.extend(places)
            case Sliced():
                self._opened(lane, worker, places[0], message)
            case Slice():
                self._heard(lane, message.result)
                self._sliced(places[0], message, data)
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
                    if place.worker is worker:  # which has closed the call
                        place.worker = None
                    place.fail(from_problem(message.problem))
            case _:
                if isinstance(message, Result):
                    self._heard(lane, message)
                for place in places:
                    if place.slices is not None:  # it was resumed: its answer has begun, and is to go on in slices
                        place.fail(ServerError("a worker did not go on with the answer", remedy="send it again"))
                    place.give((message, data))

    def _opened(self, lane: _Lane, worker: Worker, place: _Place, message: Sliced) -> None:
        """A worker has found that a call is to be evaluated in slices."""
        place.worker = worker
        if place.is_left:
            self._close(place)
            return
        self._open.add(place)
        if place.slices is None:
            place.cursor = message.cursor
            place.slices = Slices(message, partial(self._ask, lane, place), partial(self._leave, place))
        lane.sliced.append(place)

    def _ask(self, lane: _Lane, place: _Place) -> None:
        """There is room for another slice."""
        lane.sliced.append(place)
        self._pump()

    def _sliced(self, place: _Place, message: Slice, data: memoryview) -> None:
        """A slice has come."""
        place.deaths = 0
        if message.cursor is None:
            place.worker = None
            self._open.discard(place)
        else:
            place.cursor = message.cursor
        if place.slices is not None and not place.is_left:
            place.slices.put(message, data)
            place.give(place.slices)

    def _try_again(self, lane: _Lane, places: tuple[_Place, ...]) -> None:
        """A worker died: of one of these, if of any."""
        for place in places:
            place.worker = None
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
