"""One worker process, seen from the web process."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import Callable, Sequence

from farfunc_protocol.errors import from_problem

from ..logs import inherited
from .channel import Channel, OnAnswer
from .frames import Buffer
from .messages import (
    Compile,
    Configure,
    Configured,
    Evaluate,
    EvaluateMany,
    Infer,
    Load,
    Message,
    Problem,
    Ready,
    UnknownFunction,
)

__all__ = ["Worker", "WorkerGone"]

_SOCKET_BUFFER = 1 << 20


class WorkerGone(Exception):
    """The process died, or speaks nonsense; whatever it was doing is lost."""


class Worker:
    """A process that was started, until it ends.

    Attributes
    ----------
    process:
        The process; ``wait()`` ends when it does.
    device:
        The device that it was given, None for a spare.
    """

    def __init__(self, process: asyncio.subprocess.Process, *, leads_group: bool = False) -> None:
        self.process = process
        self.device: str | None = None
        self._channel: Channel
        self._greeting: asyncio.Future[tuple[Message, memoryview]]
        self._is_killed = False
        self._leads_group = leads_group

    @classmethod
    async def start(cls, nice: int = 0) -> Worker:
        """Start a process; :meth:`wait_until_ready` tells when it has imported torch.

        One that stands back for others, by so much, has a process group of its own (by a session of its own: uvloop
        knows no ``process_group``): it may start compilers, which end with it.
        """
        ours, theirs = socket.socketpair()
        try:
            for end in (ours, theirs):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SOCKET_BUFFER)
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-P",  # a file torch.py in the current folder is not torch
                *("-m", "farfunc_server.workers.process", "--fd", str(theirs.fileno()), "--parent", str(os.getpid())),
                *("--nice", str(nice), *inherited()),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=sys.stderr.fileno() if _has_fileno(sys.stderr) else None,
                pass_fds=[theirs.fileno()],
                start_new_session=bool(nice),
            )
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        worker = cls(process, leads_group=bool(nice))
        worker._channel = await Channel.open(ours, worker.kill)
        worker._greeting = asyncio.ensure_future(worker._answer(worker._channel.expect))
        return worker

    @property
    def pid(self) -> int:
        """The process id."""
        return self.process.pid

    @property
    def is_alive(self) -> bool:
        """Whether it can be spoken to, as far as is known."""
        return self.process.returncode is None and not self._is_killed

    async def wait_until_ready(self) -> Ready:
        """Wait for the greeting that follows the import of torch."""
        message, _ = await self._greeting
        if not isinstance(message, Ready):
            self.kill()
            raise WorkerGone(f"it greets with {type(message).__name__}")
        return message

    async def configure(self, message: Configure) -> Configured:
        """Give it a device."""
        answer, _ = await self.call(message)
        if not isinstance(answer, Configured):
            self.kill()
            raise WorkerGone(f"it answers Configure with {type(answer).__name__}")
        self.device = message.device
        return answer

    def post(self, message: Message, payload: Sequence[Buffer], on_answer: OnAnswer) -> None:
        """Send a message; ``on_answer`` is called with its answer, or with None when the worker is gone."""
        self._channel.post(message, payload, on_answer)

    async def call(self, message: Message, payload: Sequence[Buffer] = ()) -> tuple[Message, memoryview]:
        """Send a message and wait for its answer.

        Raises
        ------
        WorkerGone
            The process died before it had answered.
        FarfuncError
            The answer is a problem.
        """
        answer, data = await self._answer(lambda on_answer: self.post(message, payload, on_answer))
        if isinstance(answer, Problem):
            raise from_problem(answer.problem)
        return answer, data

    async def call_with_function(
        self,
        message: Evaluate | EvaluateMany | Infer | Compile,
        payload: Sequence[Buffer],
        file: Callable[[], Sequence[Buffer]],
    ) -> tuple[Message, memoryview]:
        """Send a message about a function, and the function's file where the worker has not got it."""
        answer, data = await self.call(message, payload)
        if isinstance(answer, UnknownFunction):
            await self.call(Load(message.function), await asyncio.to_thread(file))
            answer, data = await self.call(message, payload)
        return answer, data

    def kill(self) -> None:
        """End it at once, whatever it is doing."""
        self._is_killed = True
        self._channel.close()
        # Not process.kill(): that may reap the child before asyncio's watcher does, which then complains.
        if self.process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                (os.killpg if self._leads_group else os.kill)(self.process.pid, signal.SIGKILL)

    async def close(self) -> None:
        """Kill it and wait for its end."""
        self.kill()
        await self.process.wait()

    async def _answer(self, ask: Callable[[OnAnswer], None]) -> tuple[Message, memoryview]:
        found: asyncio.Future[tuple[Message, memoryview]] = asyncio.get_running_loop().create_future()

        def on_answer(message: Message | None, payload: memoryview) -> None:
            if found.done():
                return
            if message is None:
                found.set_exception(WorkerGone("the connection was closed"))
            else:
                found.set_result((message, payload))

        ask(on_answer)
        try:
            return await found
        except asyncio.CancelledError:
            self.kill()  # what it is doing is not wanted any more
            raise


def _has_fileno(stream: object) -> bool:
    try:
        stream.fileno()  # type: ignore[attr-defined]
    except (AttributeError, OSError, ValueError):
        return False
    return True
