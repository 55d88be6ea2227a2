"""Claims jobs and has them evaluated, some at a time, for as long as the server lives."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable

from farfunc_protocol.errors import FarfuncError, ServerBusy, ServerError, StorageFailed, WorkerDied

from ..logs import event
from ..storage import Storage
from ..storage.jobs import Job
from ..storage.leases import JobLeases, Lost
from .changes import Changes
from .evaluation import JobEvaluation

__all__ = ["JobRunner"]

_log = logging.getLogger("farfunc.jobs")

_MOST_DEATHS = 3
"""So often a job's workers may have died since its last block; each of them has been tried twice."""

_MOST_ATTEMPTS = 20
"""So often a job may have been claimed since its last block: what ends whole servers is not tried for ever."""

_LOOK_SECONDS = 0.5
"""How often it is seen whether a job was cancelled by another server, and whether there is work that others left."""

_IDLE_SECONDS = 30.0
_EXPIRY_SECONDS = 5.0
_SWEEP_SECONDS = 3600.0
_PATIENCE_SECONDS = 0.5


class JobRunner:
    """The jobs that one server runs.

    Parameters
    ----------
    storage, leases, evaluation:
        What is known of jobs and uploads, this server's claims, and what is done with one.
    changes:
        Who is told.
    most:
        How many jobs are run at a time. The device needs no more than it takes to be never idle.
    lease_seconds:
        How long a claim holds.
    on_failure:
        Called with the code of the error of each job that fails.
    """

    def __init__(
        self, storage: Storage, leases: JobLeases, evaluation: JobEvaluation, changes: Changes, *, most: int,
        lease_seconds: float, on_failure: Callable[[str], None],
    ) -> None:  # fmt: skip
        self._storage = storage
        self._leases = leases
        self._evaluation = evaluation
        self._changes = changes
        self._most = most
        self._lease_seconds = lease_seconds
        self._is_shared = storage.database.is_shared
        self._on_failure = on_failure
        self._running: dict[str, tuple[Job, asyncio.Task[None]]] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._arrival = asyncio.Event()
        self._is_stopping = False
        self._has_taken_over = False

    def start(self) -> None:
        """Begin to claim."""
        for work in (self._claim_all, self._hold, self._forget):
            self._tasks.append(asyncio.create_task(self._forever(work), name="jobs"))

    async def stop(self) -> None:
        """Hand all claims back, so that another server may go on at once."""
        self._is_stopping = True
        tasks = [*self._tasks, *(task for _, task in self._running.values())]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._changes.tell_all()

    def wake(self) -> None:
        """There is a new job."""
        self._arrival.set()

    def drop(self, id: str) -> None:
        """A job was cancelled or deleted: no more is to be done for it."""
        if id in self._running:
            self._running[id][1].cancel()
        self._changes.tell(id)

    async def _forever(self, work: Callable[[], Awaitable[None]]) -> None:
        """Go on after an error of ours: jobs that nobody claims would wait for a restart."""
        while True:
            try:
                await work()
            except Exception:  # noqa: BLE001 - whatever it is, it is logged, and others are to be run
                _log.exception("the runner of jobs met an error of ours")
            await asyncio.sleep(_PATIENCE_SECONDS)

    async def _claim_all(self) -> None:
        if not self._is_shared and not self._has_taken_over:
            await self._steadily(asyncio.to_thread, self._leases.take_over)
            self._has_taken_over = True
        while True:
            self._arrival.clear()
            found = None
            if len(self._running) < self._most:
                found = await self._steadily(self._claim)
            if found is not None:
                task = asyncio.create_task(self._run(found), name=found.id)
                self._running[found.id] = found, task
                self._changes.tell(found.id)
                continue
            with contextlib.suppress(TimeoutError):
                # Not wait_for, which in Python 3.11 may lose a cancellation that comes with an arrival.
                async with asyncio.timeout(_LOOK_SECONDS if self._is_shared else _IDLE_SECONDS):
                    await self._arrival.wait()

    async def _claim(self) -> Job | None:
        claiming = asyncio.ensure_future(asyncio.to_thread(self._leases.claim))
        try:
            return await asyncio.shield(claiming)
        except asyncio.CancelledError:  # what was claimed meanwhile is another's to run
            with contextlib.suppress(StorageFailed):
                if (found := await claiming) is not None:
                    await asyncio.to_thread(self._leases.give_back, found)
            raise

    async def _steadily(self, do: Callable, *arguments: object):
        """Do something with the storage; where that fails, try again until it does not."""
        while True:
            try:
                return await do(*arguments)
            except StorageFailed as error:
                event(_log, logging.WARNING, "the storage failed", error=error.detail)
                await asyncio.sleep(_PATIENCE_SECONDS)

    async def _run(self, job: Job) -> None:
        """Bring a job to its end, or give it up."""
        try:
            await self._attempts(job)
        except Lost:
            pass
        except asyncio.CancelledError:
            if self._is_stopping:
                with contextlib.suppress(StorageFailed):
                    await asyncio.to_thread(self._leases.give_back, job)
            raise
        finally:
            if self._running.get(job.id, (None,))[0] is job:
                del self._running[job.id]
            self._changes.tell(job.id)
            self._arrival.set()

    async def _attempts(self, job: Job) -> None:
        patience = _PATIENCE_SECONDS
        if job.attempts > _MOST_ATTEMPTS:
            error: FarfuncError = WorkerDied(
                f"{_MOST_ATTEMPTS} servers have ended while they ran the job, and it came no further",
                remedy="send less work at once, if it may need more memory than there is",
            )
            await self._fail(job, error)
            return
        while True:
            try:
                await self._evaluation.run(job)
                return
            except WorkerDied as died:
                deaths = await self._steadily(asyncio.to_thread, self._leases.worker_died, job)
                if deaths >= _MOST_DEATHS:
                    await self._fail(job, died)
                    return
            except (StorageFailed, ServerBusy) as error:
                event(_log, logging.WARNING, "a job waits", job=job.id, error=error.detail)
                patience = min(2 * patience, 30.0)
            except FarfuncError as error:
                await self._fail(job, error)
                return
            except (Lost, asyncio.CancelledError):
                raise
            except Exception:  # noqa: BLE001 - a bug of ours ends the job, not the server
                _log.exception("a job met an error of ours", extra={"fields": {"job": job.id}})
                await self._fail(job, ServerError("the server met an error of its own", remedy="report it with the id"))
                return
            await asyncio.sleep(patience)
            job = await self._steadily(asyncio.to_thread, self._leases.current, job)

    async def _fail(self, job: Job, error: FarfuncError) -> None:
        error.request_id = job.id
        await self._steadily(asyncio.to_thread, self._leases.fail, job, error.to_problem())
        event(_log, logging.INFO, "a job failed", job=job.id, error=error.code)
        self._on_failure(error.code)

    async def _hold(self) -> None:
        """Renew the leases, and stop what is this server's no more."""
        loop = asyncio.get_running_loop()
        renewed = loop.time()
        while True:
            await asyncio.sleep(min(_LOOK_SECONDS, self._lease_seconds / 4))
            held = list(self._running.values())
            if not held:
                renewed = loop.time()
                continue
            is_due = loop.time() - renewed >= self._lease_seconds / 3
            if not is_due and not self._is_shared:
                continue  # whoever cancels a job does it here, and tells
            begun = loop.time()
            look = self._leases.renew if is_due else self._leases.lost
            try:
                lost = await asyncio.to_thread(look, [job for job, _ in held])
            except StorageFailed:
                lost = set()
            else:
                renewed = begun if is_due else renewed
            for job, task in held:
                if job.id in lost:
                    task.cancel()

    async def _forget(self) -> None:
        """Remove what has been kept long enough."""
        loop = asyncio.get_running_loop()
        swept = loop.time()
        while True:
            await asyncio.sleep(_EXPIRY_SECONDS)
            with contextlib.suppress(StorageFailed):
                await asyncio.to_thread(self._storage.jobs.expire)
                await asyncio.to_thread(self._storage.uploads.expire)
                if loop.time() - swept > _SWEEP_SECONDS:
                    swept = loop.time()
                    await asyncio.to_thread(self._storage.jobs.sweep)
                    await asyncio.to_thread(self._storage.uploads.sweep)
