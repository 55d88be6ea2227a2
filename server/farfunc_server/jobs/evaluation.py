"""One job, from its claim to its end: evaluated by the dispatcher, kept block by block."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Callable
from dataclasses import astuple
from pathlib import Path

import numpy as np

from farfunc_protocol.errors import LimitExceeded, ServerError, TimeLimitExceeded
from farfunc_protocol.messages import decode_response

from ..logs import event
from ..scheduling.dispatcher import Dispatcher
from ..scheduling.dispatcher import Job as Work
from ..scheduling.gathering import Layout, memory_of_size, whole
from ..scheduling.slices import Slices
from ..storage import Storage
from ..storage.jobs import Job
from ..storage.leases import Block, JobLeases
from ..worker_keys import worker_key
from ..workers.messages import BlockPlace, Evaluate, Result

__all__ = ["JobEvaluation"]

_log = logging.getLogger("farfunc.jobs")

_BLOCK_BYTES = 16 << 20

_PRIORITY = -1000
"""What somebody waits for goes before all of the tenant's jobs, whatever their own priorities are."""

_LONGEST_SECONDS = 30 * 86400.0

Heard = Callable[[float, str], None]


class JobEvaluation:
    """Evaluates jobs, each at most once at a time.

    Parameters
    ----------
    storage, leases, dispatcher:
        Of the server.
    folder:
        Where results that are put together may lie meanwhile.
    answer_limit:
        The largest result, in bytes.
    block_seconds:
        What a block takes on the device, or half of what it takes by the clock where others want the device, too.
    on_change:
        Called with a job's id when it has come further.
    on_evaluated:
        Called with the seconds on the device and the stage of the plan, once for each that has succeeded.
    """

    def __init__(
        self, storage: Storage, leases: JobLeases, dispatcher: Dispatcher, folder: Path, answer_limit: int,
        block_seconds: float, on_change: Callable[[str], None], on_evaluated: Heard,
    ) -> None:  # fmt: skip
        self._storage = storage
        self._leases = leases
        self._dispatcher = dispatcher
        self._folder = folder
        self._answer_limit = answer_limit
        self._block_seconds = block_seconds
        self._on_change = on_change
        self._on_evaluated = on_evaluated

    async def run(self, job: Job) -> None:
        """Bring a job that this server holds to its end, from where it stands.

        Raises
        ------
        Lost
            It is held no more.
        FarfuncError
            What the job fails with, or what is to be tried again.
        """
        blocks = await asyncio.to_thread(self._leases.blocks, job.id)
        if job.is_computed and blocks:  # and died before they were put together
            await self._assemble(job, blocks)
            return
        request = await asyncio.to_thread(self._storage.jobs.request, job)
        cursor = None if job.cursor is None else json.loads(job.cursor)
        file = self._storage.functions.read
        work = Work(
            Evaluate(worker_key(job.function, job.tenant), job.id),
            [request],
            lambda: (file(job.function),),
            _seconds_left(job),
            tenant=job.tenant,
            priority=_PRIORITY + job.priority,
            resume_at=cursor,
        )
        answer = await self._dispatcher.run(work)
        if not isinstance(answer, Slices):
            message, data = answer
            if not isinstance(message, Result):
                raise ServerError(f"a worker answers an evaluation with {type(message).__name__}")
            outputs = await asyncio.to_thread(_types_of, data)
            await self._finish(job, len(blocks), data, message.seconds, outputs, message.stage)
            return
        async with answer as slices:
            self._check_size(slices)
            if not slices.lengths:
                data = await whole(slices, self._folder)
                await self._finish(job, len(blocks), data, slices.seconds, slices.outputs, _stage(slices))
                return
            await self._keep_blocks(job, slices, blocks)

    async def _keep_blocks(self, job: Job, slices: Slices, blocks: list[Block]) -> None:
        """Keep the slices as blocks. Between two of them nothing is computed: what a death costs is one block."""
        number = len(blocks)
        parts: list[memoryview] = []
        places: list[BlockPlace] = []
        if slices.is_in_order and not blocks:
            parts.append(memoryview(Layout(slices.outputs).header))
        size, seconds, begun = 0, slices.seconds, time.monotonic()
        async for found, data in slices:
            parts.append(data)
            places += found
            size += data.nbytes
            spent = max(slices.seconds - seconds, (time.monotonic() - begun) / 2)
            if size >= _BLOCK_BYTES or spent >= self._block_seconds or slices.cursor is None:
                slices.hold()
            if not slices.is_drained:
                continue
            if slices.cursor is not None and size < _BLOCK_BYTES and spent < self._block_seconds:
                continue
            is_last = slices.cursor is None
            content = await asyncio.to_thread(b"".join, parts)
            rows, total = slices.rows
            job = await asyncio.to_thread(
                self._keep, job, number, content, places, slices, rows, total, slices.seconds - seconds
            )
            self._on_change(job.id)
            event(_log, logging.DEBUG, "block", job=job.id, number=number, rows=rows, cursor=slices.cursor)
            if is_last:
                break
            number += 1
            parts, places = [], []
            size, seconds, begun = 0, slices.seconds, time.monotonic()
            slices.go_on()
        if slices.is_in_order:
            self._on_evaluated(job.seconds, _stage(slices))
            return
        await self._assemble(job, await asyncio.to_thread(self._leases.blocks, job.id))

    def _keep(
        self, job: Job, number: int, content: bytes, places: list[BlockPlace], slices: Slices,
        rows: int, total: int, seconds: float,
    ) -> Job:  # fmt: skip
        key = self._leases.write(job, number, content)
        described = [] if slices.is_in_order else [list(astuple(place)) for place in places]
        return self._leases.keep(
            job,
            Block(number, key, len(content), described),
            cursor=slices.cursor,
            rows_done=rows,
            rows_total=total,
            seconds=seconds,
            outputs=slices.outputs,
            is_in_order=slices.is_in_order,
            is_last=slices.is_in_order and slices.cursor is None,
        )

    async def _assemble(self, job: Job, blocks: list[Block]) -> None:
        """Put blocks that do not follow one another in their places."""
        outputs = json.loads(job.outputs or "[]")
        layout = Layout(outputs)
        memory = await memory_of_size(layout.size, self._folder)
        memory[: len(layout.header)] = np.frombuffer(layout.header, np.uint8)

        def put(block: Block) -> None:
            content = self._storage.objects.read(block.key)
            if content is None or len(content) != block.bytes:
                raise ServerError("a stored block of the result is damaged", remedy="submit the job again")
            data, start = memoryview(content), 0
            for place in (BlockPlace(*fields) for fields in block.places):
                layout.put(memory, place, data[start : start + place.nbytes])
                start += place.nbytes

        for block in blocks:
            await asyncio.to_thread(put, block)
        await self._finish(job, len(blocks), memory.data, 0.0, outputs, "plain")

    async def _finish(
        self, job: Job, number: int, data: memoryview, seconds: float, outputs: list[str], stage: str
    ) -> None:
        """Keep a whole result as one block."""
        if data.nbytes > self._answer_limit:
            raise _too_large(data.nbytes, self._answer_limit)

        def finish() -> None:
            key = self._leases.write(job, number, data)
            self._leases.succeed(job, Block(number, key, data.nbytes, []), seconds=seconds, outputs=outputs)

        await asyncio.to_thread(finish)
        event(_log, logging.DEBUG, "whole result", job=job.id, seconds=seconds)
        self._on_evaluated(job.seconds + seconds, stage)

    def _check_size(self, slices: Slices) -> None:
        size = Layout(slices.outputs).size
        if size > self._answer_limit:
            raise _too_large(size, self._answer_limit)


def _seconds_left(job: Job) -> float:
    if job.time_limit is None:
        return _LONGEST_SECONDS
    assert job.started is not None
    left = job.started + job.time_limit - time.time()
    if left <= 0:
        raise TimeLimitExceeded(
            f"the job was stopped at its time limit of {job.time_limit:g} s",
            remedy="submit it with a longer X-Timeout, or with none",
        )
    return left


def _too_large(size: int, limit: int) -> LimitExceeded:
    return LimitExceeded(
        f"the result would have {size:,} bytes, and {limit:,} are allowed",
        remedy="ask for less at once: products by jvp or vjp, a part of the outputs, a smaller batch",
    )


def _stage(slices: Slices) -> str:
    return "plain" if slices.last is None else slices.last.stage


def _types_of(response: memoryview) -> list[str]:
    return [str(array.type) for array in decode_response(response).arrays]
