"""Machine code for hot plans: one at a time, by a process that stands back for all others."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from farfunc_protocol.errors import FarfuncError

from ..logs import event
from ..workers.messages import Compile, Compiled
from ..workers.worker import Worker, WorkerGone

__all__ = ["Compilation", "Compilations"]

_log = logging.getLogger("farfunc.compilations")

_NICE = 19
_IDLE_SECONDS = 60.0
"""How long the process is kept when there is nothing to compile."""
_MOST_WAITING = 64
_MOST_REMEMBERED = 1024
_LONGEST_SECONDS = 900.0


@dataclass(slots=True)
class Compilation:
    """The machine code of one plan.

    Attributes
    ----------
    state:
        ``waiting``, ``compiling``, ``compiled`` or ``failed``.
    seconds:
        How long it took.
    reason:
        Why it failed.
    """

    function: str
    plan: dict[str, Any] = field(repr=False)
    state: str = "waiting"
    seconds: float | None = None
    reason: str | None = None


class Compilations:
    """The plans that are compiled, have been, or wait for it.

    Parameters
    ----------
    folder:
        Where the machine code is kept; made if it is not there.
    read:
        Reads a function's file by its identity.
    on_end:
        Called with each compilation that has ended.
    """

    def __init__(
        self, folder: Path, read: Callable[[str], bytes], on_end: Callable[[Compilation], None] = lambda _: None
    ) -> None:
        self.folder = folder
        self._read = read
        self._on_end = on_end
        self._known: OrderedDict[str, Compilation] = OrderedDict()
        self._arrival = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._worker: Worker | None = None

    def __getitem__(self, id: str) -> Compilation | None:
        return self._known.get(id)

    @property
    def waiting(self) -> int:
        """How many wait."""
        return sum(compilation.state == "waiting" for compilation in self._known.values())

    def start(self) -> None:
        """Begin to compile."""
        for leftover in self.folder.glob("making-*"):  # of a process that was killed
            shutil.rmtree(leftover, ignore_errors=True)
        self._task = asyncio.create_task(self._serve(), name="compilations")

    async def stop(self) -> None:
        """Give up what is not ready."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def add(self, id: str, function: str, plan: dict[str, Any]) -> None:
        """Have a plan compiled, unless it has been tried or too many wait."""
        if id in self._known or self.waiting >= _MOST_WAITING:
            return
        self._known[id] = Compilation(function, plan)
        while len(self._known) > _MOST_REMEMBERED:
            oldest = next(iter(self._known))
            if self._known[oldest].state in ("waiting", "compiling"):
                break
            del self._known[oldest]
        self._arrival.set()

    async def _serve(self) -> None:
        try:
            while True:
                compilation = next((item for item in self._known.values() if item.state == "waiting"), None)
                if compilation is not None:
                    await self._compile(compilation)
                    continue
                self._arrival.clear()
                try:
                    await asyncio.wait_for(self._arrival.wait(), _IDLE_SECONDS if self._worker else None)
                except TimeoutError:
                    await self._end_worker()
        finally:
            await self._end_worker()

    async def _compile(self, compilation: Compilation) -> None:
        compilation.state = "compiling"
        try:
            worker = await self._ready_worker()
            async with asyncio.timeout(_LONGEST_SECONDS):
                answer, _ = await worker.call_with_function(
                    Compile(compilation.function, compilation.plan, str(self.folder)),
                    (),
                    lambda: (self._read(compilation.function),),
                )
            if not isinstance(answer, Compiled):
                raise WorkerGone(f"it answers Compile with {type(answer).__name__}")
            compilation.seconds, compilation.reason = answer.seconds, answer.reason
        except TimeoutError:
            compilation.reason = f"it was not compiled within {_LONGEST_SECONDS:g} s"
            await self._end_worker()
        except (WorkerGone, FarfuncError, OSError) as error:
            compilation.reason = str(error)
            await self._end_worker()
        compilation.state = "failed" if compilation.reason else "compiled"
        event(
            _log,
            logging.INFO,
            "compiled" if compilation.reason is None else "not compiled",
            function=compilation.function,
            seconds=compilation.seconds,
            reason=compilation.reason,
        )
        self._on_end(compilation)

    async def _ready_worker(self) -> Worker:
        if self._worker is None or not self._worker.is_alive:
            self._worker = await Worker.start(nice=_NICE)
            await self._worker.wait_until_ready()
        return self._worker

    async def _end_worker(self) -> None:
        worker, self._worker = self._worker, None
        if worker is not None:
            with contextlib.suppress(ProcessLookupError):
                await worker.close()
