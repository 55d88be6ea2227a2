"""Jobs: submit, list, describe, cancel, retry and delete. All are the caller's tenant's own; others do not exist."""

from __future__ import annotations

import asyncio
import json
from typing import Annotated, Any, Literal
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request, Response

from farfunc_protocol.strict_json import parse_json

from ..storage.jobs import Job
from . import openapi
from .context import Context, context_of, principal_of
from .forms import BINARY, JSON, body_form, read_body
from .guard import GuardedRoute
from .job_documents import job_document
from .json_text import json_text
from .models import JobBody, JobList, JobModel
from .submission import Options, submitted

__all__ = ["router"]

router = APIRouter(prefix="/v1/jobs", tags=["jobs"], route_class=GuardedRoute)

_LARGEST_ANNOTATION = 1 << 20

State = Literal["queued", "running", "succeeded", "failed", "cancelled"]


@router.post(
    "",
    status_code=201,
    summary="Submit a job",
    response_model=JobModel,
    openapi_extra=openapi.body(JobBody, "A safetensors file: an evaluation, see `farfunc_protocol.messages`."),
    responses={
        200: {"model": JobModel, "description": "The job of this idempotency key, submitted before."},
        **openapi.problems(404, 413, 415, 422, 503),
    },
)
async def submit(
    request: Request,
    priority: Annotated[int, Query(ge=-100, le=100, description="Among your own jobs; the highest first.")] = 0,
    label: Annotated[str | None, Query(max_length=200, description="Your own word for it.")] = None,
    keep: Annotated[
        float | None, Query(gt=0, le=366 * 86400, description="Seconds that it is kept after its end.")
    ] = None,
) -> Response:
    """Any evaluation, as `/v1/evaluate` takes it. It is durable when this answers, and survives a restart.

    Headers: `Idempotency-Key`, so that it may be sent again; `X-Timeout`, seconds from its start to its end;
    `X-Webhook-Url` and `X-Webhook-Secret`, where a binary body has no place for `webhook`.
    """
    context = context_of(request)
    form = body_form(request, BINARY, JSON)
    body = await read_body(request, context.settings.body_limit)
    options = Options(priority, label, context.settings.job_keep if keep is None else keep)
    job, is_new = await submitted(request, context, form, body, options)
    if is_new:
        context.jobs.wake()
    document = await asyncio.to_thread(job_document, context.storage, job, with_secret=True)
    return _json(document, 201 if is_new else 200, {"location": f"/v1/jobs/{job.id}"})


@router.get("", summary="List jobs", response_model=JobList, responses=openapi.problems(422))
async def list_jobs(
    request: Request,
    state: Annotated[State | None, Query(description="Only those.")] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    after: Annotated[str | None, Query(description="A job: those that are older are listed.")] = None,
) -> Response:
    """Newest first, page by page: `next` is the path of the next page."""
    context, tenant = context_of(request), principal_of(request).tenant

    def page() -> dict[str, Any]:
        found = context.storage.jobs.page(tenant, limit + 1, state, after)
        query = None
        if len(found) > limit:
            query = urlencode({**({"state": state} if state else {}), "after": found[limit - 1].id, "limit": limit})
        documents = [job_document(context.storage, job) for job in found[:limit]]
        return {"jobs": documents, "next": None if query is None else f"/v1/jobs?{query}"}

    return _json(await asyncio.to_thread(page))


@router.get("/{id}", summary="Describe a job", response_model=JobModel, responses=openapi.problems(404))
async def describe(request: Request, id: str) -> Response:
    """Its state, how far it has come, how long it will take, and what has become of it."""
    context = context_of(request)
    return await _answer(context, await asyncio.to_thread(context.storage.jobs.find, principal_of(request).tenant, id))


@router.post("/{id}/cancel", summary="Cancel a job", response_model=JobModel, responses=openapi.problems(404, 409))
async def cancel(request: Request, id: str) -> Response:
    """A job that waits or runs ends; what it has computed is kept for a retry. To cancel twice is to cancel once."""
    context = context_of(request)
    job = await asyncio.to_thread(context.storage.jobs.cancel, principal_of(request).tenant, id)
    context.jobs.drop(job.id)
    return await _answer(context, job)


@router.post("/{id}/retry", summary="Retry a job", response_model=JobModel, responses=openapi.problems(404, 409))
async def retry(request: Request, id: str) -> Response:
    """A job that has failed, or was cancelled, is queued again and goes on with what it has."""
    context = context_of(request)
    job = await asyncio.to_thread(context.storage.jobs.retry, principal_of(request).tenant, id)
    context.changes.tell(job.id)
    context.jobs.wake()
    return await _answer(context, job)


@router.put(
    "/{id}/annotation",
    status_code=204,
    summary="Annotate a job",
    openapi_extra=openapi.json_body("Any JSON."),
    responses=openapi.problems(404, 413, 415, 422),
)
async def annotate(request: Request, id: str) -> Response:
    """Keep a document of your own beside a job, for whoever attaches to it: how its result is to be read, say."""
    body_form(request, JSON)
    body = await read_body(request, _LARGEST_ANNOTATION)
    text = json.dumps(parse_json(body, where="request"), allow_nan=False)
    await asyncio.to_thread(context_of(request).storage.jobs.annotate, principal_of(request).tenant, id, text)
    return Response(status_code=204)


@router.get("/{id}/annotation", summary="Read a job's annotation", responses=openapi.problems(404))
async def annotation(request: Request, id: str) -> Response:
    """As it was put; `null` where nothing was."""
    job = await asyncio.to_thread(context_of(request).storage.jobs.find, principal_of(request).tenant, id)
    return _json(None if job.annotation is None else json.loads(job.annotation))


@router.delete("/{id}", status_code=204, summary="Delete a job", responses=openapi.problems(404))
async def delete(request: Request, id: str) -> Response:
    """With its result, and whatever its state is."""
    context = context_of(request)
    await asyncio.to_thread(context.storage.jobs.delete, principal_of(request).tenant, id)
    context.jobs.drop(id)
    return Response(status_code=204)


async def _answer(context: Context, job: Job) -> Response:
    return _json(await asyncio.to_thread(job_document, context.storage, job))


def _json(document: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(json_text(document), status, headers, media_type=JSON)
