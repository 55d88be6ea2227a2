"""Carries out what the queue decides: on each device one evaluation at a time, of one request, several, or a slice.

What takes long is evaluated in slices. Between two slices a device takes whatever else is next: by the tenants' clocks,
and of one tenant a slice and a request in turn, so that its small requests wait for one slice at most, and no number of
them keeps a large one from going on.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial

from farfunc_protocol.errors import (
    FarfuncError,
    ServerError,
    from_problem,
)

from ..batch_form import MOST_ROWS
from ..logs import event
from ..workers.frames import Buffer
from ..workers.messages import (
    Apart,
    EndSlices,
    EvaluateMany,
    Inferred,
    Load,
    Message,
    Problem,
    Result,
    Results,
    Slice,
    Sliced,
    UnknownFunction,
)
from ..workers.pool import Pool
from ..workers.worker import Worker, WorkerGone
from . import refusals
from .fleet import Fleet
from .job import Answer, Job, Moments
from .lanes import Lane, Place
from .line import Ticket
from .plan_board import PlanBoard
from .queue import RequestQueue
from .shares import Share
from .slices import Slices

__all__ = ["Dispatcher", "Job", "Moments"]

_log = logging.getLogger("farfunc.scheduling")

_ATTEMPTS = 2  # evaluations are pure: one that died with its worker may be tried again, once

_COMPANY_SECONDS = 2.0
"""So long after a request slices are small: where one has come there will be others."""

_GRACE_SECONDS = 0.9
"""So long after nobody waits for what a worker does it is killed. One that is about to end by itself holds programs
that took others' time to make; one that is not keeps the device from others, for a second at most."""

_REPLACEMENT_SECONDS = 1.0
"""What a tenant is charged for a worker that had to be killed: nobody has the device until the next one is there."""


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
    fleet:
        The devices.
    running:
        How many jobs run.
    on_begin:
        Called with a device, and how many requests and rows it is sent in one call; not for slices.
    """

    def __init__(
        self,
        pool: Pool,
        capacity: int,
        board: PlanBoard | None = None,
        *,
        most_rows: int = MOST_ROWS,
        shares: Callable[[str], Share] | None = None,
    ) -> None:
        self._pool = pool
        self._most_rows = most_rows
        self._board = board
        self.queue = RequestQueue(capacity, len(pool.devices), *(() if shares is None else (shares,)))
        self._places: dict[Ticket, Place] = {}
        self.fleet = Fleet(pool.devices, self._is_out_of_service, self._is_in_service)
        self._loads: set[asyncio.Task[None]] = set()
        self._open: set[Place] = set()
        self._slices_waiting = 0
        self.running = 0
        self.on_begin: Callable[[str, int, int], None] = lambda device, requests, rows: None
        self._is_closing = False
        pool.on_ready = self._worker_is_ready
        pool.on_lost = self._worker_is_lost

    @property
    def unfinished(self) -> int:
        """How many jobs wait or run."""
        return len(self.queue) + self.running + len(self._open)

    def close(self) -> None:
        """Take no new jobs; those that were accepted are finished."""
        self._is_closing = True

    async def stop(self) -> None:
        """Give up whatever still waits or runs."""
        self.close()
        for load in self._loads:
            load.cancel()
        self.fleet.stop()
        for lane in self.fleet.lanes.values():
            for place in lane.places:
                place.fail(refusals.shutting_down())
        for place in list(self._places.values()):
            place.fail(refusals.shutting_down())

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
        TooManyRequests
            The tenant's part of the queue is full.
        DevicesUnavailable
            No device is in service.
        DeadlineUnreachable
            The work is known to take longer than its time limit, together with what waits before it.
        TimeLimitExceeded
            The work was stopped, or its turn did not come in time.
        WorkerDied
            Two workers died of it.
        FarfuncError
            The worker's own answer.
        """
        if self._is_closing:
            raise refusals.shutting_down()
        if not self.fleet.in_service:
            raise refusals.no_device(self.fleet.lanes.values())
        loop = asyncio.get_running_loop()
        kind = None if job.kind is None else (job.message.function, job.kind)
        cost = job.cost
        seconds = None if cost is None else self.queue.costs.measured(cost)
        if seconds is not None:
            self._check_time(job, seconds)
        lane = None if len(self.queue) else self.fleet.free_lane(job.message.function, cost)
        ticket = None
        if lane is not None:
            ticket = self.queue.begin_at_once(job.rows, job.tenant, job.priority, cost, seconds or 0.0)
        if ticket is None:
            lane = None
            ticket = self.queue.admit(
                kind, job.rows, tenant=job.tenant, priority=job.priority, cost=cost, seconds=seconds or 0.0
            )
        place = self._places[ticket] = Place(ticket, job, loop.create_future(), cursor=job.resume_at)
        place.expiry = loop.call_later(job.seconds, self._expire, place)
        if lane is not None:
            self._begin(lane, self._new(lane, (place,)))
        else:
            self._pump()
        try:
            answer = await place.answer
        except BaseException:
            self._leave(place)
            raise
        if not isinstance(answer, Slices):
            self._leave(place)
        return answer

    def _check_time(self, job: Job, seconds: float) -> None:
        """Refuse what is known not to end in time: begun, it would take the device from others for nothing."""
        wait = 0.0
        if len(self.queue):
            wait = self.queue.ahead(job.tenant, job.priority).seconds / self.fleet.in_service
        if wait + seconds > job.seconds:
            raise refusals.cannot_end_in_time(job.seconds, seconds, wait)

    def _leave(self, place: Place) -> None:
        """Nobody waits for a job any more."""
        if place.is_left:
            return
        place.is_left = True
        if place.expiry is not None:
            place.expiry.cancel()
        if place.ticket.is_waiting:
            self.queue.cancel(place.ticket)
        self._places.pop(place.ticket, None)
        if place.open_on is not None:
            self._close(place)
        if (lane := place.runs_on) is None:
            if place.is_begun:
                self._end((place,))
                if len(self.queue):  # its tenant may run another now
                    self._pump()
        elif lane.worker is not None and all(other.is_left for other in lane.places):
            loop = asyncio.get_running_loop()
            lane.overdue = loop.call_later(_GRACE_SECONDS, self._replace, lane, lane.worker, lane.places)

    def _replace(self, lane: Lane, worker: Worker, places: tuple[Place, ...]) -> None:
        """A worker does what nobody waits for: another takes its place."""
        for place in places:
            place.ticket.penalty = _REPLACEMENT_SECONDS / len(places)
        worker.kill()

    def _close(self, place: Place) -> None:
        """See to it that a call in slices is open nowhere."""
        worker, place.worker = place.worker, None
        lane, place.open_on = place.open_on, None
        self._open.discard(place)
        if lane is not None:
            lane.open.discard(place)
            waiting = lane.sliced.get(place.ticket.tenant)
            if waiting is not None and place in waiting:
                waiting.remove(place)
                if not waiting:
                    del lane.sliced[place.ticket.tenant]
                self._slices_waiting -= 1
                self.queue.slice_is_left(place.ticket)
        if worker is not None and worker.is_alive:
            worker.post(EndSlices(place.ticket.number), (), lambda message, data: None)

    def _end(self, places: Sequence[Place]) -> None:
        """Jobs that were begun have ended, one way or another."""
        for place in places:
            place.is_begun = False
        self.queue.end(*[place.ticket for place in places])

    def _expire(self, place: Place) -> None:
        """A request's time is over."""
        job = place.job
        if not self.queue.cancel(place.ticket):
            place.fail(refusals.too_late(job.seconds))
            self._leave(place)  # whoever waits may hear of it late: a client that reads slowly holds no worker
            return
        retry_after = self.queue.retry_after(job.tenant)
        place.fail(refusals.never_begun(job.seconds, is_ready=self._pool.is_ready, retry_after=retry_after))

    # Which device does what.

    def _pump(self) -> None:
        """Give every free device something to do."""
        free = self.fleet.free()
        while free:
            lane = free[0]
            if len(free) > 1 and (ticket := self.queue.peek()) is not None:
                place = self._places[ticket]
                died_on = None if place.death is None else place.death.lane
                lane = self.fleet.best(free, place.job.message.function, ticket.cost, died_on)
            free.remove(lane)
            places = self._next(lane)
            if places:
                self._begin(lane, places)

    def _next(self, lane: Lane) -> tuple[Place, ...]:
        queue = self.queue
        if lane.sliced:
            tenant = min(lane.sliced, key=queue.clock) if len(lane.sliced) > 1 else next(iter(lane.sliced))
            head = queue.peek() if lane.is_in_service else None
            if head is None:
                takes_slice = True
            elif head.tenant == tenant:
                takes_slice = lane.is_slices_turn
            else:
                ours, theirs = queue.clock(tenant), queue.clock(head.tenant)
                takes_slice = ours < theirs or (ours == theirs and lane.is_slices_turn)
            if takes_slice:
                lane.is_slices_turn = False
                place = lane.take_slice(tenant)
                self._slices_waiting -= 1
                queue.begin_slice(place.ticket, place.slice_seconds)
                return (place,)
        if not len(queue) or not lane.is_in_service:
            return ()
        tickets = queue.next(self._most_rows)
        if not tickets:
            return ()
        return self._new(lane, tuple([self._places[ticket] for ticket in tickets]))

    def _new(self, lane: Lane, places: tuple[Place, ...]) -> tuple[Place, ...]:
        """These are no slices."""
        lane.is_slices_turn = True
        lane.busy_until = time.monotonic() + _COMPANY_SECONDS
        for place in places:
            place.is_begun = True
        return places

    def _begin(self, lane: Lane, places: tuple[Place, ...]) -> None:
        worker = lane.worker
        assert worker is not None
        lane.places, lane.started = places, time.monotonic()
        self.running += len(places)
        rows = sum(place.ticket.rows for place in places)
        for place in places:
            place.runs_on = lane
            if (moments := place.job.moments) is not None and moments.begun is None:
                moments.begun, moments.device = lane.started, lane.device
                moments.requests, moments.rows = len(places), rows
        if places[0].slices is None:
            self.on_begin(lane.device, len(places), rows)
        self._send(lane, worker, places)

    def _send(self, lane: Lane, worker: Worker, places: tuple[Place, ...]) -> None:
        if len(places) == 1:
            message, payload = places[0].message_to(worker, lane.is_alone)
        else:
            jobs = [place.job for place in places]
            message = EvaluateMany(jobs[0].message.function, [_bytes(job.payload) for job in jobs])
            payload = [part for job in jobs for part in job.payload]
        worker.post(message, payload, partial(self._answered, lane, worker))

    def _answered(self, lane: Lane, worker: Worker, message: Message | None, data: memoryview) -> None:
        """A worker has answered, or is gone."""
        if isinstance(message, UnknownFunction):
            load = asyncio.ensure_future(self._load(lane, worker, lane.places))
            self._loads.add(load)
            load.add_done_callback(self._loads.discard)
            return
        places, lane.places = lane.places, ()
        if message is None or (isinstance(message, Problem | Apart) and message.is_last):
            lane.worker = None  # the next request is for the one that takes its place
        was_killed = message is None and lane.overdue is not None
        if lane.overdue is not None:
            lane.overdue.cancel()
            lane.overdue = None
        self.running -= len(places)
        now = time.monotonic()
        seconds = now - lane.started
        lane.seconds += seconds
        for place in places:
            place.runs_on = None
            if place.job.moments is not None:
                place.job.moments.answered = now
        if places:
            self.queue.served([place.ticket for place in places], seconds)
        try:
            if message is None:
                self._died(lane, places, was_killed=was_killed)
            else:
                self._deal(lane, worker, places, message, data, seconds)
        finally:
            ended = [place for place in places if place.is_begun and place.open_on is None]
            if ended:
                self._end(ended)
            if len(self.queue) or self._slices_waiting:
                self._pump()

    async def _load(self, lane: Lane, worker: Worker, places: tuple[Place, ...]) -> None:
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
        self, lane: Lane, worker: Worker, places: tuple[Place, ...], message: Message, data: memoryview, seconds: float
    ) -> None:
        """Give each of the places its part of an answer."""
        match message:
            case Apart():
                if message.is_last:
                    self.fleet.lost(lane, places)
                for place in places:
                    self._put_back(place)
            case Sliced():
                places[0].seconds = seconds
                self._opened(lane, worker, places[0], message)
            case Slice():
                self._heard(lane, message.result)
                places[0].seconds += seconds
                places[0].slice_seconds = seconds
                self._sliced(lane, places[0], message, data)
            case Results():
                self._heard(lane, message.result)
                self.queue.learn([place.ticket for place in places], seconds)
                self.fleet.answered(lane, places)
                start = 0
                for place, size, problem in zip(places, message.sizes, message.problems, strict=True):
                    if problem is None:
                        place.give((message.result, data[start : start + size]))
                    else:
                        place.fail(from_problem(problem))
                    start += size
            case Problem():
                if message.is_last:
                    self.fleet.lost(lane, places)
                for place in places:
                    if place.worker is worker:  # which has closed the call
                        place.worker = None
                    self._close(place)
                    place.fail(from_problem(message.problem))
            case _:
                if isinstance(message, Result):
                    self._heard(lane, message)
                if isinstance(message, Result | Inferred):
                    self.queue.learn([place.ticket for place in places], seconds)
                    self.fleet.answered(lane, places)
                for place in places:
                    if place.slices is not None:  # it was resumed: its answer has begun, and is to go on in slices
                        place.fail(ServerError("a worker did not go on with the answer", remedy="send it again"))
                    place.give((message, data))

    # Slices.

    def _opened(self, lane: Lane, worker: Worker, place: Place, message: Sliced) -> None:
        """A worker has found that a call is to be evaluated in slices."""
        place.worker, place.open_on = worker, lane
        if place.is_left:
            self._close(place)
            return
        self._open.add(place)
        lane.open.add(place)
        if place.slices is None:
            # What is computed as one begins at its own cursor, whatever it was to go on from.
            resume_at = place.job.resume_at
            place.cursor = resume_at if resume_at is not None and message.lengths else message.cursor
            place.slices = Slices(message, partial(self._ask, place), partial(self._leave, place), place.cursor)
        self._wants_slice(place)

    def _ask(self, place: Place) -> None:
        """There is room for another slice."""
        self._wants_slice(place)
        self._pump()

    def _wants_slice(self, place: Place) -> None:
        lane = place.open_on
        if lane is None or self.fleet.has_to_move(lane):
            self._put_back(place)
            return
        lane.sliced.setdefault(place.ticket.tenant, deque()).append(place)
        self._slices_waiting += 1
        self.queue.slice_waits(place.ticket)

    def _sliced(self, lane: Lane, place: Place, message: Slice, data: memoryview) -> None:
        """A slice has come."""
        place.deaths = 0
        self.fleet.answered(lane, (place,))
        event(
            _log,
            logging.DEBUG,
            "slice",
            request_id=place.job.message.request_id,
            start=place.cursor,
            stop=message.cursor,
            seconds=message.result.seconds,
        )
        if message.cursor is None:
            place.worker = None
            self._close(place)
            self.queue.learn([place.ticket], place.seconds)
        else:
            place.cursor = message.cursor
        if place.slices is not None and not place.is_left:
            place.slices.put(message, data)
            place.give(place.slices)

    def _put_back(self, place: Place) -> None:
        """Have a job that was begun wait for whichever device is free first."""
        self._close(place)
        if place.is_begun and not place.is_left:
            place.is_begun = False
            self.queue.put_back(place.ticket)

    # Devices that fail, and those that are to rest.

    def _worker_is_ready(self, device: str, worker: Worker) -> None:
        self.fleet.started(self.fleet.lanes[device], worker)
        self._pump()

    def _worker_is_lost(self, device: str, starts_failed: int) -> None:
        """The pool has seen a worker's end, or one that did not start: so many of them one after another."""
        lane = self.fleet.lanes[device]
        if self.fleet.worker_is_lost(lane, starts_failed):
            self._move_slices(lane)
        self._pump()

    def _is_out_of_service(self, lane: Lane) -> None:
        self.queue.servers = max(self.fleet.in_service, 1)
        if self.fleet.has_to_move(lane):
            self._move_slices(lane)
        if not self.fleet.in_service:
            for ticket, place in list(self._places.items()):
                if self.queue.cancel(ticket):
                    place.fail(refusals.no_device(self.fleet.lanes.values()))
        self._pump()

    def _is_in_service(self) -> None:
        self.queue.servers = self.fleet.in_service
        self._pump()

    def _died(self, lane: Lane, places: tuple[Place, ...], *, was_killed: bool) -> None:
        """A worker died: of one of these, if of any."""
        if not was_killed:
            self.fleet.lost(lane, places)
        self._move_slices(lane)
        for place in places:
            place.worker = None
            place.deaths += len(places) == 1
            if place.deaths < _ATTEMPTS:
                self._put_back(place)
            else:
                self._close(place)
                place.fail(refusals.worker_died())

    def _move_slices(self, lane: Lane) -> None:
        """What was open in a worker goes on where there is one."""
        for place in [place for waiting in lane.sliced.values() for place in waiting]:
            self._put_back(place)

    def drain(self, device: str) -> None:
        """Give a device nothing new, for maintenance; what runs there is finished, there or on another."""
        self.fleet.drain(device)

    def restore(self, device: str) -> None:
        """Take a device that was drained, or is out, into service again."""
        self.fleet.restore(device)

    def _heard(self, lane: Lane, result: Result) -> None:
        if self._board is not None:
            self._board.heard(lane.device, result)


def _bytes(payload: Sequence[Buffer]) -> int:
    return sum(memoryview(part).nbytes for part in payload)
