"""One worker for each device, and a spare.

A worker that dies is replaced at once. Importing torch takes seconds, so a process without a
device waits as a spare and takes the place of the next one that dies; another spare is started
behind it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from farfunc_protocol.errors import FarfuncError

from .messages import Configure
from .worker import Worker, WorkerGone

__all__ = ["DeviceStatus", "Pool", "PoolSettings"]

_log = logging.getLogger("farfunc.workers")

_FIRST_PAUSE = 0.5
_LONGEST_PAUSE = 30.0


@dataclass(frozen=True, slots=True)
class PoolSettings:
    """How workers are started.

    Attributes
    ----------
    devices:
        One worker for each: ``"cpu"``, ``"cpu:1"``, ``"cuda:0"``.
    threads, memory_bytes, operations, packages, tf32:
        As in :class:`~farfunc_server.workers.messages.Configure`.
    spare:
        Whether to keep a spare.
    """

    devices: tuple[str, ...]
    threads: int | None = None
    memory_bytes: int | None = None
    operations: float = 1e18
    packages: str | None = None
    tf32: bool = False
    spare: bool = True


@dataclass(frozen=True, slots=True)
class DeviceStatus:
    """What is to be told of a device.

    Attributes
    ----------
    name:
        ``"cuda:0"``.
    state:
        ``"starting"``, ``"ready"`` or ``"failing"`` (its workers die as they start).
    description:
        The device's own name, once a worker has told it.
    memory_bytes:
        The most that one evaluation may take there.
    pid:
        The process id of its worker.
    restarts:
        How many workers it has lost.
    """

    name: str
    state: str
    description: str | None
    memory_bytes: int | None
    pid: int | None
    restarts: int


class _Seat:
    """A device, and the worker that it has at the moment."""

    def __init__(self, device: str) -> None:
        self.device = device
        self.worker: Worker | None = None
        self.state = "starting"
        self.description: str | None = None
        self.memory_bytes: int | None = None
        self.restarts = 0


class Pool:
    """The workers of this server.

    Parameters
    ----------
    settings:
        The devices and their limits.
    on_restart:
        Called with the device whenever a worker was lost.

    Attributes
    ----------
    on_ready:
        Called with a device and its new worker, when that takes requests.
    on_lost:
        Called with a device whenever a worker was lost, and with how many of its workers, one after another, did not
        start.
    """

    def __init__(self, settings: PoolSettings, on_restart: Callable[[str], None] = lambda device: None) -> None:
        self._settings = settings
        self._on_restart = on_restart
        self._seats = {device: _Seat(device) for device in settings.devices}
        self._spare: asyncio.Task[Worker] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.torch_version: str | None = None
        self.on_ready: Callable[[str, Worker], None] = lambda device, worker: None
        self.on_lost: Callable[[str, int], None] = lambda device, starts_failed: None

    @property
    def devices(self) -> tuple[str, ...]:
        """The devices' names."""
        return self._settings.devices

    @property
    def is_ready(self) -> bool:
        """Whether every device has a worker that takes requests."""
        return all(seat.state == "ready" for seat in self._seats.values())

    def status(self) -> Sequence[DeviceStatus]:
        """How the devices are."""
        return [
            DeviceStatus(
                name=seat.device,
                state=seat.state,
                description=seat.description,
                memory_bytes=seat.memory_bytes,
                pid=seat.worker.pid if seat.worker else None,
                restarts=seat.restarts,
            )
            for seat in self._seats.values()
        ]

    def start(self) -> None:
        """Start a worker on each device; they become ready in their own time."""
        for seat in self._seats.values():
            self._tasks.add(asyncio.create_task(self._keep(seat), name=f"worker of {seat.device}"))

    async def stop(self) -> None:
        """Kill every worker; none is left when this returns."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._spare is not None:
            self._spare.cancel()
            with contextlib.suppress(asyncio.CancelledError, WorkerGone, OSError):
                await (await self._spare).close()

    async def _keep(self, seat: _Seat) -> None:
        """See to it that a device has a worker, as long as the pool runs."""
        failures = 0
        while True:
            worker = None
            try:
                worker = await self._seated(seat)
                failures = 0
                await worker.process.wait()
                _log.warning("worker %d of %s ended with status %s", worker.pid, seat.device, worker.process.returncode)
            except Exception as error:  # noqa: BLE001 - whatever it is, a device must not be left without a word
                failures += 1
                seat.state = "failing"
                known = isinstance(error, WorkerGone | FarfuncError | OSError)
                _log.error("a worker of %s did not start: %s", seat.device, error, exc_info=not known)
            finally:
                seat.worker = None
                if worker is not None:
                    await worker.close()
            seat.restarts += 1
            self._on_restart(seat.device)
            self.on_lost(seat.device, failures)
            if failures:
                await asyncio.sleep(min(_FIRST_PAUSE * 2 ** (failures - 1), _LONGEST_PAUSE))
            else:
                seat.state = "starting"

    async def _seated(self, seat: _Seat) -> Worker:
        started = time.monotonic()
        worker = await self._take_worker()
        try:
            settings = self._settings
            configured = await worker.configure(
                Configure(
                    seat.device,
                    settings.threads,
                    settings.memory_bytes,
                    settings.operations,
                    settings.packages,
                    settings.tf32,
                )
            )
        except BaseException:
            await worker.close()
            raise
        seat.description, seat.memory_bytes = configured.description, configured.memory_bytes
        seat.worker, seat.state = worker, "ready"
        self.on_ready(seat.device, worker)
        _log.info("worker %d of %s is ready after %.1f s", worker.pid, seat.device, time.monotonic() - started)
        if self._settings.spare and self._spare is None and self.is_ready:
            self._spare = asyncio.create_task(self._start_spare(), name="spare worker")
        return worker

    async def _take_worker(self) -> Worker:
        """The spare, if there is one (or one is starting); otherwise a new worker."""
        spare, self._spare = self._spare, None
        if spare is not None:
            with contextlib.suppress(WorkerGone, OSError):
                worker = await spare
                if worker.is_alive:
                    return worker
        return await self._start_worker()

    async def _start_spare(self) -> Worker:
        worker = await self._start_worker()
        _log.info("worker %d is ready as a spare", worker.pid)
        watch = asyncio.create_task(self._watch_spare(worker))
        self._tasks.add(watch)
        watch.add_done_callback(self._tasks.discard)
        return worker

    async def _watch_spare(self, worker: Worker) -> None:
        """Replace a spare that dies before it was needed."""
        await worker.process.wait()
        if worker.device is None and self._spare is not None and self._spare.done():
            self._spare = asyncio.create_task(self._start_spare(), name="spare worker")

    async def _start_worker(self) -> Worker:
        worker = await Worker.start()
        try:
            self.torch_version = (await worker.wait_until_ready()).torch
        except BaseException:
            await worker.close()
            raise
        return worker
