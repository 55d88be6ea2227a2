"""Carries out what the queue decides: on each device one evaluation at a time, for one request or for several."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Hashable, Sequence
from dataclasses import dataclass, field

from farfunc_protocol.errors import FarfuncError, ServerBusy, TimeLimitExceeded, WorkerDied, from_problem

from ..batch_form import MOST_ROWS
from ..workers.frames import Buffer
from ..workers.messages import Evaluate, EvaluateMany, Infer, Message, Result, Results
from ..workers.pool import Pool
from ..workers.worker import Worker, WorkerGone
from .plan_board import PlanBoard
from .queue import RequestQueue, Ticket

__all__ = ["Dispatcher", "Job"]

_ATTEMPTS = 2  # evaluations are pure: one that died with its worker may be tried again, once

Answer = tuple[Message, memoryview]


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
        As of a :class:`~farfunc_server.scheduling.queue.Ticket`.
    """

    message: Evaluate | Infer
    payload: Sequence[Buffer]
    file: Callable[[], Sequence[Buffer]]
    seconds: float
    kind: Hashable = None
    rows: int = 1


@dataclass(slots=True, eq=False)
class _Place:
    """A job that waits or runs, and whoever waits for it."""

    ticket: Ticket
    job: Job
    answer: asyncio.Future[Answer] = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    def give(self, result: Answer) -> None:
        if not self.answer.done():
            self.answer.set_result(result)

    def fail(self, error: BaseException) -> None:
        if not self.answer.done():
            self.answer.set_exception(error)


class Dispatcher:
    """Runs jobs on the workers of a pool.

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
        self._arrival = asyncio.Event()
        self._lanes: list[asyncio.Task[None]] = []
        self.running = 0
        self._is_closing = False

    @property
    def unfinished(self) -> int:
        """How many jobs wait or run."""
        return len(self.queue) + self.running

    def start(self) -> None:
        """Begin to serve."""
        self._lanes = [asyncio.create_task(self._serve(device), name=f"lane {device}") for device in self._pool.devices]

    def close(self) -> None:
        """Take no new jobs; those that were accepted are finished."""
        self._is_closing = True

    async def stop(self) -> None:
        """Give up whatever still waits or runs."""
        self.close()
        for lane in self._lanes:
            lane.cancel()
        await asyncio.gather(*self._lanes, return_exceptions=True)
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
        ticket = self.queue.admit(time.monotonic() + job.seconds, job.kind, job.rows)
        place = self._places[ticket] = _Place(ticket, job)
        self._arrival.set()
        expiry = asyncio.get_running_loop().call_later(job.seconds, self._expire, place)
        try:
            return await place.answer
        finally:
            expiry.cancel()
            self.queue.cancel(ticket)
            self._places.pop(ticket, None)

    def _expire(self, place: _Place) -> None:
        """A request's time is over: where it still waits, so does its wait; a lane ends what runs."""
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
                reason, remedy="try again later, or give a longer X-Timeout", retry_after=self.queue.retry_after()
            )
        )

    async def _serve(self, device: str) -> None:
        while True:
            worker = await self._pool.worker(device)
            tickets = self.queue.next(MOST_ROWS)
            if not tickets:
                self._arrival.clear()
                await self._arrival.wait()
                continue
            places = [self._places[ticket] for ticket in tickets]
            self.running += len(places)
            try:
                await self._attend(device, worker, places)
            except asyncio.CancelledError:
                for place in places:
                    place.fail(_shutting_down())
                raise
            except Exception as error:  # noqa: BLE001 - whatever it is, it belongs to those who wait
                for place in places:
                    place.fail(error)
            finally:
                self.running -= len(places)

    async def _attend(self, device: str, worker: Worker, places: list[_Place]) -> None:
        """Answer all of the places."""
        if len(places) > 1 and await self._together(device, worker, places):
            return
        for place in places:
            if not place.answer.done():
                await self._alone(device, await self._pool.worker(device), place)

    async def _together(self, device: str, worker: Worker, places: list[_Place]) -> bool:
        """Answer places of one kind by one message; False if a worker died of it: one of them may be to blame."""
        jobs = [place.job for place in places]
        message = EvaluateMany(jobs[0].message.function, [_bytes(job.payload) for job in jobs])
        payload = [part for job in jobs for part in job.payload]
        call = worker.call_with_function(message, payload, jobs[0].file)
        try:
            result, data = await self._until_late(worker, call, max(place.ticket.deadline for place in places))
        except TimeoutError:  # each has been told
            return True
        except WorkerGone:
            return False
        if not isinstance(result, Results):
            raise WorkerDied(f"a worker answers EvaluateMany with {type(result).__name__}")
        self._heard(device, result.result)
        start = 0
        for place, size, problem in zip(places, result.sizes, result.problems, strict=True):
            if problem is None:
                place.give((result.result, data[start : start + size]))
            else:
                place.fail(from_problem(problem))
            start += size
        return True

    async def _alone(self, device: str, worker: Worker, place: _Place) -> None:
        job = place.job
        for attempt in range(_ATTEMPTS):
            if attempt:
                worker = await self._pool.worker(device)
            call = worker.call_with_function(job.message, job.payload, job.file)
            try:
                result = await self._until_late(worker, call, place.ticket.deadline)
            except TimeoutError:
                place.fail(_too_late(job))
            except WorkerGone:
                continue
            except FarfuncError as error:
                place.fail(error)
            else:
                if isinstance(result[0], Result):
                    self._heard(device, result[0])
                place.give(result)
            return
        place.fail(
            WorkerDied(
                "the process that evaluated the request died, and so did the one that tried again",
                remedy="send less work at once, if it may need more memory than there is; sent again as it is, "
                "it will end the same way",
            )
        )

    async def _until_late(self, worker: Worker, call: Coroutine[None, None, Answer], deadline: float) -> Answer:
        """Wait for a worker's answer; at the deadline the work is stopped, and TimeoutError raised."""
        started = time.monotonic()
        try:
            async with asyncio.timeout_at(asyncio.get_running_loop().time() + deadline - started):
                return await call
        except TimeoutError:
            worker.kill()
            raise
        finally:
            self.queue.served(time.monotonic() - started)

    def _heard(self, device: str, result: Result) -> None:
        if self._board is not None:
            self._board.heard(device, result)


def _bytes(payload: Sequence[Buffer]) -> int:
    return sum(memoryview(part).nbytes for part in payload)


def _too_late(job: Job) -> TimeLimitExceeded:
    return TimeLimitExceeded(
        f"the evaluation was stopped at the request's time limit of {job.seconds:g} s",
        remedy="give a longer X-Timeout (up to the server's own limit), or send less work at once",
    )


def _shutting_down() -> ServerBusy:
    return ServerBusy(
        "the server is shutting down", remedy="try again: another server may take its place", retry_after=1.0
    )
