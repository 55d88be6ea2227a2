"""The results of jobs: whole, a range of bytes, or some rows as a file of its own."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from starlette.types import Receive, Scope, Send

from farfunc_protocol import array_json
from farfunc_protocol.errors import (
    FarfuncError,
    InvalidRequest,
    JobCancelled,
    JobUnfinished,
    LimitExceeded,
    from_problem,
)
from farfunc_protocol.messages import decode_response

from ..storage.jobs import Job
from ..storage.results import ResultFile
from . import openapi
from .connected import while_connected
from .context import Context, context_of, principal_of
from .forms import BINARY, JSON, answer_form, header
from .guard import GuardedRoute
from .json_text import json_text
from .models import ResultBody
from .problems import RangeNotSatisfiable

__all__ = ["router"]

router = APIRouter(prefix="/v1/jobs", tags=["jobs"], route_class=GuardedRoute)

_ROWS = re.compile(r"(\d{1,18}):(\d{1,18})")
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")
_LARGEST_JSON = 16 << 20


@router.get(
    "/{id}/result",
    summary="Read a job's result",
    responses={
        200: openapi.result("The result, as an evaluation is answered.", ResultBody),
        206: {"description": "The bytes that `Range` asks for.", "content": {BINARY: {}}},
        **openapi.problems(404, 406, 409, 413, 416, 422),
    },
)
async def result(
    request: Request,
    id: str,
    rows: Annotated[
        str | None, Query(description="`0:100`: those rows of the first axis of each leaf, as a file of its own.")
    ] = None,
    leaf: Annotated[int | None, Query(ge=0, description="This leaf only.")] = None,
) -> Response:
    """A safetensors file. `Range`, `If-Range` and `ETag` work as for any file, so that a download may be resumed.

    A job that has failed is answered with its problem, one that has not ended with 409.
    """
    context = context_of(request)
    form = answer_form(request, (BINARY, JSON))
    span = _span(rows)
    job = await asyncio.to_thread(context.storage.jobs.find, principal_of(request).tenant, id)
    _check_state(job)
    blocks = await asyncio.to_thread(context.storage.blocks, job.id)
    file = ResultFile(context.storage.objects, blocks)
    head, spans = b"", [(0, file.size)]
    if span is not None or leaf is not None:
        head, spans = await asyncio.to_thread(file.part, span, leaf)
    size = len(head) + sum(stop - start for start, stop in spans)
    if form == JSON:
        return await asyncio.to_thread(_as_json, file, head, spans, size)
    etag = f'"{job.id}.{job.claim}.{rows or ""}.{"" if leaf is None else leaf}"'
    headers = {"etag": etag, "accept-ranges": "bytes"}
    wanted = _range(request, size, etag)
    if wanted is None:
        return _FileResponse(context, file, head, spans, 200, {**headers, "content-length": str(size)})
    start, stop = wanted
    headers |= {"content-range": f"bytes {start}-{stop - 1}/{size}", "content-length": str(stop - start)}
    return _FileResponse(context, file, *_cut(head, spans, start, stop), 206, headers)


def _span(rows: str | None) -> tuple[int, int] | None:
    if rows is None:
        return None
    match = _ROWS.fullmatch(rows)
    if match is None or int(match[1]) > int(match[2]):
        raise InvalidRequest(
            f"{rows[:80]!r} is not start:stop", where="query.rows", remedy="give two numbers, as in rows=0:100"
        )
    return int(match[1]), int(match[2])


def _check_state(job: Job) -> None:
    if job.state == "failed":
        raise from_problem(json.loads(job.problem or "{}"))
    if job.state == "cancelled":
        raise JobCancelled("the job was cancelled", where="id", remedy="retry it: POST /v1/jobs/{id}/retry")
    if not job.has_ended:
        raise JobUnfinished(
            f"the job is {job.state}",
            where="id",
            remedy="wait for its end: GET /v1/jobs/{id}/events tells of it",
            retry_after=1.0,
        )


def _range(request: Request, size: int, etag: str) -> tuple[int, int] | None:
    """The bytes that are asked for; None for all, also where the request is for another version, or for several."""
    given = header(request, b"range")
    if given is None or header(request, b"if-range") not in (None, etag):
        return None
    match = _RANGE.fullmatch(given.strip())
    if match is None or not (match[1] or match[2]):
        return None  # RFC 9110, section 14.2: a server may ignore what it does not serve
    if not match[1]:
        start, stop = max(size - int(match[2]), 0), size
    else:
        start, stop = int(match[1]), min(int(match[2]) + 1, size) if match[2] else size
        if match[2] and int(match[2]) < start:
            return None
    if start >= stop:
        raise RangeNotSatisfiable(
            f"{given[:80]!r} begins behind the end: there are {size:,} bytes", where="header.range"
        )
    return start, stop


def _cut(head: bytes, spans: Sequence[tuple[int, int]], start: int, stop: int) -> tuple[bytes, list[tuple[int, int]]]:
    """What lies from ``start`` to before ``stop`` in a header and spans that follow it."""
    kept, position = [], len(head)
    for begin, end in spans:
        low, high = max(start - position, 0), min(stop - position, end - begin)
        if low < high:
            kept.append((begin + low, begin + high))
        position += end - begin
    return head[start:stop], kept


def _as_json(file: ResultFile, head: bytes, spans: Sequence[tuple[int, int]], size: int) -> Response:
    if size > _LARGEST_JSON:
        raise LimitExceeded(
            f"the result has {size:,} bytes, and {_LARGEST_JSON:,} are written as JSON",
            remedy=f"accept {BINARY}, or ask for some rows: ?rows=0:100",
        )
    content = head + b"".join(piece for start, stop in spans for piece in file.pieces(start, stop))
    leaves = [array_json.to_lists(array) for array in decode_response(content).arrays]
    return Response(json_text({"leaves": leaves}), media_type=JSON)


class _FileResponse(Response):
    """Parts of a result, read while they are sent."""

    def __init__(
        self, context: Context, file: ResultFile, head: bytes, spans: Sequence[tuple[int, int]], status: int,
        headers: dict[str, str],
    ) -> None:  # fmt: skip
        super().__init__(status_code=status, media_type=BINARY)
        self.headers.update(headers)
        self._context = context
        self._file = file
        self._head = head
        self._spans = spans

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        await while_connected(receive, self._send(scope, send))

    async def _send(self, scope: Scope, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        if self._head:
            await send({"type": "http.response.body", "body": self._head, "more_body": True})
        try:
            for start, stop in self._spans:
                pieces = self._file.pieces(start, stop)
                while (piece := await asyncio.to_thread(next, pieces, None)) is not None:
                    await send({"type": "http.response.body", "body": piece, "more_body": True})
        except FarfuncError as error:  # it has begun: the connection is closed before it is complete
            scope["state"]["error_code"] = error.code
            self._context.late_problems.add(scope["state"]["request_id"], error)
            return
        await send({"type": "http.response.body", "body": b"", "more_body": False})
