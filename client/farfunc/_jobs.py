"""Jobs: evaluations that outlive the call, the program and the server's restart."""

from __future__ import annotations

import sys
import time
from collections.abc import AsyncIterator, Callable, Generator, Iterator, Sequence
from typing import Any

import numpy as np

from farfunc_protocol.arrays import Array
from farfunc_protocol.errors import InvalidRequest, JobCancelled, JobUnfinished, TransformError

from ._call import Call
from ._evaluator import Evaluator
from ._front_ends import local_transforms
from ._job_session import JobInfo, JobSession
from ._progress import Bar
from ._result_notes import note_of, result_of
from ._tracing import current_trace
from ._transformed import peel
from ._writes import refuse_writes

__all__ = ["AsyncJob", "Job", "prepared_job"]

_FIRST_WAIT, _LONGEST_WAIT = 0.02, 1.0
"""Seconds between two looks at a job; each wait is half as long again as the one before."""

Finish = Callable[[Sequence[Array]], Any]


def prepared_job(
    func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], evaluator: Evaluator | None
) -> tuple[dict[str, Any], Any, Finish]:
    """What is asked, what another process needs to read the answer, and how the answer becomes the result."""
    if current_trace() is not None or local_transforms() is not None:
        raise TransformError("a job is submitted inside a function that is traced", remedy="call the function itself")
    chain, plain, _ = peel(func)
    call = Call.prepare(chain, plain, args, kwargs, evaluator)
    refuse_writes(call.entry.payload.writes, "the function of a job")
    return call.question(), note_of(call), call.finish


def _waits() -> Iterator[float]:
    seconds = _FIRST_WAIT
    while True:
        yield seconds
        seconds = min(1.5 * seconds, _LONGEST_WAIT)


def _checked(info: JobInfo) -> JobInfo:
    """Raise what ended the job, unless it succeeded."""
    if info.error is not None:
        raise info.error
    if info.state == "cancelled":
        raise JobCancelled(f"the job {info.id} was cancelled", remedy="job.retry() goes on with what it has")
    return info


def _timed_out(info: JobInfo, seconds: float) -> JobUnfinished:
    return JobUnfinished(
        f"the job {info.id} has not ended within {seconds:g} s: {info}",
        remedy="wait longer; it goes on whether or not somebody waits for it",
    )


def _rows(start: Any, stop: Any) -> tuple[int, int]:
    numbers = [isinstance(each, int | np.integer) and not isinstance(each, bool) for each in (start, stop)]
    if not all(numbers) or not 0 <= start <= stop:
        raise InvalidRequest(f"the rows {start!r} to {stop!r} are none", remedy="give 0 <= start <= stop")
    return int(start), int(stop)


class _Attached:
    """What both kinds of jobs have in common."""

    def __init__(self, run: Callable[[Any], Any], jobs: JobSession, info: JobInfo, finish: Finish | None) -> None:
        self._run = run
        self._jobs = jobs
        self._info = info
        self._finish = finish
        self._note: Any = None

    @property
    def id(self) -> str:
        """Its name: ``farfunc.job(id)`` attaches to it from anywhere."""
        return self._info.id

    @property
    def info(self) -> JobInfo:
        """What was last heard of it."""
        return self._info

    def __repr__(self) -> str:
        label = f" {self._info.label!r}" if self._info.label is not None else ""
        return f"<farfunc job {self.id}{label}: {self._info}>"

    def _put_together(self, arrays: Sequence[Array], is_part: bool) -> Any:
        if self._finish is not None and not is_part:
            return self._finish(arrays)
        return result_of(self._note, arrays)

    def _watch(self, timeout: float | None, bar: Bar | None) -> Generator[float, JobInfo, JobInfo]:
        """Yield how long to wait before the next look, be sent what it showed, and return the last."""
        deadline = None if timeout is None else time.monotonic() + timeout
        try:
            for seconds in _waits():
                if bar is not None:
                    bar.show(self._info)
                if self._info.is_over:
                    return self._info
                if deadline is not None:
                    seconds = min(seconds, deadline - time.monotonic())
                    if seconds <= 0:
                        raise _timed_out(self._info, timeout or 0.0)
                self._info = yield seconds
        finally:
            if bar is not None:
                bar.close()
        raise AssertionError("unreachable")


class Job(_Attached):
    """A job on a server.

    It goes on without the program that submitted it: its :attr:`id` is all that is needed to come back to it.

    >>> import numpy as np
    >>> import farfunc
    >>> job = farfunc.submit(farfunc.jacrev(np.sin), np.zeros(2), label="sines")
    >>> job.result()
    array([[1., 0.],
           [0., 1.]])
    >>> farfunc.job(job.id).result(timeout=60)
    array([[1., 0.],
           [0., 1.]])
    >>> job.info.state, job.info.fraction
    ('succeeded', 1.0)
    """

    def status(self) -> JobInfo:
        """Ask how it gets on."""
        self._info = self._run(self._jobs.describe(self.id))
        return self._info

    def wait(self, timeout: float | None = None) -> JobInfo:
        """Wait until it has ended.

        Raises
        ------
        JobUnfinished
            It has not, within ``timeout`` seconds. It goes on.
        """
        return self._wait(timeout, None)

    def progress(self, timeout: float | None = None) -> JobInfo:
        """Wait as :meth:`wait` does, and show meanwhile how far it has come: a bar in a terminal or a notebook."""
        return self._wait(timeout, Bar(sys.stderr))

    def _wait(self, timeout: float | None, bar: Bar | None) -> JobInfo:
        watch = self._watch(timeout, bar)
        try:
            seconds = next(watch)
            while True:
                time.sleep(seconds)
                seconds = watch.send(self.status())
        except StopIteration as ended:
            return ended.value
        finally:
            watch.close()

    def result(self, timeout: float | None = None) -> Any:
        """Wait for the result: what the call would have returned.

        Attached from another process, containers of classes that are not known here come back as tuples and dicts.

        Raises
        ------
        JobUnfinished
            It has not ended within ``timeout`` seconds. It goes on.
        JobCancelled
            It was cancelled.
        FarfuncError
            What the call would have raised.
        """
        _checked(self.wait(timeout))
        if self._finish is None and self._note is None:
            self._note = self._run(self._jobs.annotation(self.id))
        return self._put_together(self._run(self._jobs.result(self.id, None)), False)

    def rows(self, start: int, stop: int) -> Any:
        """A part of the result: rows ``start`` to ``stop`` of the first axis of each of its arrays."""
        span = _rows(start, stop)
        if self._note is None:
            self._note = self._run(self._jobs.annotation(self.id))
        return self._put_together(self._run(self._jobs.result(self.id, span)), True)

    def cancel(self) -> JobInfo:
        """End it. What it has computed is kept for :meth:`retry`."""
        self._info = self._run(self._jobs.change(self.id, "cancel"))
        return self._info

    def retry(self) -> JobInfo:
        """Have a job that has failed, or was cancelled, go on with what it has."""
        self._info = self._run(self._jobs.change(self.id, "retry"))
        return self._info

    def delete(self) -> None:
        """Delete it, and its result."""
        self._run(self._jobs.delete(self.id))


class AsyncJob(_Attached):
    """:class:`Job` for asyncio: the same verbs, awaited.

    >>> import asyncio
    >>> import numpy as np
    >>> import farfunc
    >>> async def main():
    ...     async with farfunc.AsyncClient() as client:
    ...         job = await client.submit(client.grad(lambda x: (x**2).sum()), np.ones(2))
    ...         return await job.result()
    >>> asyncio.run(main())
    array([2., 2.])
    """

    async def status(self) -> JobInfo:
        """Ask how it gets on."""
        self._info = await self._run(self._jobs.describe(self.id))
        return self._info

    async def wait(self, timeout: float | None = None) -> JobInfo:
        """Wait until it has ended; raises JobUnfinished where it has not, within ``timeout`` seconds."""
        return await self._wait(timeout, None)

    async def progress(self, timeout: float | None = None) -> JobInfo:
        """Wait, and show meanwhile how far it has come: a bar in a terminal or a notebook."""
        return await self._wait(timeout, Bar(sys.stderr))

    async def updates(self, timeout: float | None = None) -> AsyncIterator[JobInfo]:
        """What can be told of it, each time that has changed, until it has ended."""
        import asyncio

        told: JobInfo | None = None
        watch = self._watch(timeout, None)
        try:
            seconds = next(watch)
            while True:
                if self._info != told:
                    told = self._info
                    yield told
                await asyncio.sleep(seconds)
                seconds = watch.send(await self.status())
        except StopIteration:
            if self._info != told:
                yield self._info
        finally:
            watch.close()

    async def _wait(self, timeout: float | None, bar: Bar | None) -> JobInfo:
        import asyncio

        watch = self._watch(timeout, bar)
        try:
            seconds = next(watch)
            while True:
                await asyncio.sleep(seconds)
                seconds = watch.send(await self.status())
        except StopIteration as ended:
            return ended.value
        finally:
            watch.close()

    async def result(self, timeout: float | None = None) -> Any:
        """Wait for the result, and raise what :meth:`Job.result` would."""
        _checked(await self.wait(timeout))
        if self._finish is None and self._note is None:
            self._note = await self._run(self._jobs.annotation(self.id))
        return self._put_together(await self._run(self._jobs.result(self.id, None)), False)

    async def rows(self, start: int, stop: int) -> Any:
        """A part of the result: rows ``start`` to ``stop`` of the first axis of each of its arrays."""
        span = _rows(start, stop)
        if self._note is None:
            self._note = await self._run(self._jobs.annotation(self.id))
        return self._put_together(await self._run(self._jobs.result(self.id, span)), True)

    async def cancel(self) -> JobInfo:
        """End it. What it has computed is kept for :meth:`retry`."""
        self._info = await self._run(self._jobs.change(self.id, "cancel"))
        return self._info

    async def retry(self) -> JobInfo:
        """Have a job that has failed, or was cancelled, go on with what it has."""
        self._info = await self._run(self._jobs.change(self.id, "retry"))
        return self._info

    async def delete(self) -> None:
        """Delete it, and its result."""
        await self._run(self._jobs.delete(self.id))
