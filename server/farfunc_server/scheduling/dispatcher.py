"""Carries out what the queue decides: one request at a time on each device."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from farfunc_protocol.errors import ServerBusy, TimeLimitExceeded, WorkerDied

from ..workers.frames import Buffer
from ..workers.messages import Evaluate, Infer, Message, Result
from ..workers.pool import Pool
from ..workers.worker import Worker, WorkerGone
from .plan_board import PlanBoard
from .queue import RequestQueue, Ticket

__all__ = ["Dispatcher", "Job"]

_ATTEMPTS = 2  # evaluations are pure: one that died with its worker may be tried again, once


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
    """

    message: Evaluate | Infer
    payload: Sequence[Buffer]
    file: Callable[[], Sequence[Buffer]]
    seconds: float


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
        self._waiting: dict[Ticket, tuple[Job, asyncio.Future[tuple[Message, memoryview]]]] = {}
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
        for _, answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(_shutting_down())

    async def run(self, job: Job) -> tuple[Message, memoryview]:
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
        ticket = self.queue.admit(time.monotonic() + job.seconds)
        answer: asyncio.Future[tuple[Message, memoryview]] = asyncio.get_running_loop().create_future()
        self._waiting[ticket] = (job, answer)
        self._arrival.set()
        expiry = asyncio.get_running_loop().call_later(job.seconds, self._expire, ticket)
        try:
            return await answer
        finally:
            expiry.cancel()
            if self.queue.cancel(ticket):
                del self._waiting[ticket]

    def _expire(self, ticket: Ticket) -> None:
        """End the wait of a request whose turn did not come; one that runs is ended by its lane."""
        if not self.queue.cancel(ticket):
            return
        job, answer = self._waiting.pop(ticket)
        if answer.done():
            return
        if self._pool.is_ready:
            reason = f"the request waited for its whole time limit of {job.seconds:g} s, and its turn did not come"
        else:
            reason = f"no worker became ready within the request's time limit of {job.seconds:g} s"
        answer.set_exception(
            TimeLimitExceeded(
                reason, remedy="try again later, or give a longer X-Timeout", retry_after=self.queue.retry_after()
            )
        )

    async def _serve(self, device: str) -> None:
        while True:
            worker = await self._pool.worker(device)
            ticket = self.queue.next()
            if ticket is None:
                self._arrival.clear()
                await self._arrival.wait()
                continue
            job, answer = self._waiting.pop(ticket)
            self.running += 1
            try:
                result = await self._attempt(device, worker, job, ticket.deadline)
                if not answer.done():
                    answer.set_result(result)
            except asyncio.CancelledError:
                if not answer.done():
                    answer.set_exception(_shutting_down())
                raise
            except Exception as error:  # noqa: BLE001 - whatever it is, it belongs to the one who waits
                if not answer.done():
                    answer.set_exception(error)
            finally:
                self.running -= 1

    async def _attempt(self, device: str, worker: Worker, job: Job, deadline: float) -> tuple[Message, memoryview]:
        for attempt in range(_ATTEMPTS):
            started = time.monotonic()
            try:
                async with asyncio.timeout_at(asyncio.get_running_loop().time() + deadline - started):
                    if attempt:
                        worker = await self._pool.worker(device)
                    result = await worker.call_with_function(job.message, job.payload, job.file)
                self.queue.served(time.monotonic() - started)
                if self._board is not None and isinstance(result[0], Result):
                    self._board.heard(device, result[0])
                return result
            except TimeoutError:
                worker.kill()
                self.queue.served(time.monotonic() - started)
                raise TimeLimitExceeded(
                    f"the evaluation was stopped at the request's time limit of {job.seconds:g} s",
                    remedy="give a longer X-Timeout (up to the server's own limit), or send less work at once",
                ) from None
            except WorkerGone:
                continue
        raise WorkerDied(
            "the process that evaluated the request died, and so did the one that tried again",
            remedy="send less work at once, if it may need more memory than there is; sent again as it is, "
            "it will end the same way",
        )


def _shutting_down() -> ServerBusy:
    return ServerBusy(
        "the server is shutting down", remedy="try again: another server may take its place", retry_after=1.0
    )
