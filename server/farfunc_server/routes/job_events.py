"""What happens to a job, as server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html)."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time

from fastapi import APIRouter, Request, Response
from starlette.types import Receive, Scope, Send

from farfunc_protocol.errors import JobNotFound, StorageFailed

from ..storage.jobs import Job
from . import openapi
from .connected import while_connected
from .context import Context, context_of, principal_of
from .forms import header
from .guard import GuardedRoute
from .job_documents import job_document

__all__ = ["router"]

router = APIRouter(prefix="/v1/jobs", tags=["jobs"], route_class=GuardedRoute)

_PING_SECONDS = 15.0
_LOOK_SECONDS = 0.5
"""How often another server's work is looked at."""


@router.get(
    "/{id}/events",
    summary="Follow a job",
    responses={
        200: {"description": "Events until the job has ended.", "content": {"text/event-stream": {}}},
        **openapi.problems(404),
    },
)
async def events(request: Request, id: str) -> Response:
    """The event `job` holds the job's document, now and whenever it changes; with the end of the job it ends.

    An event's id is the job's revision: with `Last-Event-ID` nothing is told again. Between events come comments, so
    that a connection on which nothing happens is known to be alive.
    """
    context, tenant = context_of(request), principal_of(request).tenant
    given = header(request, b"last-event-id") or ""
    last = int(given) if given.isascii() and given.isdigit() and len(given) < 19 else 0
    job = await asyncio.to_thread(context.storage.jobs.find, tenant, id)
    return _EventsResponse(context, tenant, job, last)


class _EventsResponse(Response):
    """Sends events until the job has ended, the client has gone, or the server is about to."""

    def __init__(self, context: Context, tenant: str, job: Job, last: int) -> None:
        super().__init__(media_type="text/event-stream")
        self.headers["cache-control"] = "no-store"
        self.headers["x-accel-buffering"] = "no"  # for proxies that would wait for more
        del self.headers["content-length"]
        self._context = context
        self._tenant = tenant
        self._job = job
        self._last = last

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send them."""
        await while_connected(receive, self._send(send))

    async def _send(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        context = self._context
        longest = _LOOK_SECONDS if context.storage.database.is_shared else _PING_SECONDS
        with context.changes.of(self._job.id) as changed:
            sent = time.monotonic()
            text = "retry: 1000\n\n"
            while True:
                changed.clear()
                found = await self._look()
                if found is not None and found.revision > self._last:
                    self._last = found.revision
                    document = await asyncio.to_thread(job_document, context.storage, found)
                    text += f"id: {found.revision}\nevent: job\ndata: {json.dumps(document)}\n\n"
                elif time.monotonic() - sent >= _PING_SECONDS - 0.1:
                    text += ": ping\n\n"
                if text:
                    await send({"type": "http.response.body", "body": text.encode(), "more_body": True})
                    sent, text = time.monotonic(), ""
                if found is None or found.has_ended or context.is_closing:
                    break
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(longest):
                        await changed.wait()
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _look(self) -> Job | None:
        """The job as it is; None if it was deleted."""
        while True:
            try:
                return await asyncio.to_thread(self._context.storage.jobs.find, self._tenant, self._job.id)
            except JobNotFound:
                return None
            except StorageFailed:
                await asyncio.sleep(_LOOK_SECONDS)
