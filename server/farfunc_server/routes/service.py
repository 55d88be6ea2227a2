"""What is asked of the service itself: is it well, what can it do, what has it done."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse, RedirectResponse

from farfunc_protocol.ops import OPS

from ..metrics import METRICS_MEDIA_TYPE
from ..worker_keys import identity_of, tenant_of
from . import openapi
from .context import Context, context_of, principal_of
from .guard import GuardedRoute
from .models import DeviceModel, HealthModel, OperatorModel, PlanModel, ReadyModel
from .problems import RouteNotFound, problem_response

__all__ = ["router"]

router = APIRouter(route_class=GuardedRoute)


@router.get("/", include_in_schema=False)
async def root() -> Response:
    """Where people look first."""
    return RedirectResponse("/docs")


@router.get("/healthz", tags=["service"], summary="Is the process alive?", response_model=HealthModel)
async def healthz() -> Response:
    """200 as long as the web process answers."""
    return JSONResponse({"status": "ok"})


@router.get(
    "/readyz",
    tags=["service"],
    summary="Are evaluations taken?",
    response_model=ReadyModel,
    responses={503: {"model": ReadyModel}},
)
async def readyz(request: Request) -> Response:
    """200 when every device in service has a worker, and there is one; 503 before that, and during a shutdown."""
    context = context_of(request)
    if context.is_closing:
        return JSONResponse({"status": "closing"}, 503)
    is_ready = context.dispatcher.fleet.is_ready
    return JSONResponse({"status": "ready" if is_ready else "starting"}, 200 if is_ready else 503)


@router.get("/metrics", tags=["service"], summary="Figures for Prometheus", response_class=Response)
async def metrics(request: Request) -> Response:
    """Requests, latency by part, queue, batches, devices, plans, workers lost; in the text format of Prometheus.

    Of tenants the operator is told all, others their own: by their ids.
    """
    principal = principal_of(request)
    figures = context_of(request).metrics.exposition(None if principal.is_operator else principal.tenant)
    return Response(figures, media_type=METRICS_MEDIA_TYPE)


@router.get("/v1/ops", tags=["service"], summary="The op table", response_model=dict[str, list[OperatorModel]])
async def ops() -> Response:
    """Every operator that a graph may use, with ATen's own schema."""
    return JSONResponse({"ops": _OPERATORS})


@router.get("/v1/devices", tags=["service"], summary="The devices", response_model=dict[str, list[DeviceModel]])
async def devices(request: Request) -> Response:
    """Each device, and how its worker is."""
    return JSONResponse({"devices": _devices(context_of(request))})


@router.post(
    "/v1/devices/{device}/drain",
    tags=["service"],
    summary="Take a device out for maintenance",
    response_model=dict[str, list[DeviceModel]],
    responses=openapi.problems(404),
)
async def drain(request: Request, device: str) -> Response:
    """Nothing new is begun there, what runs is finished, and long calls go on elsewhere after their slice.

    It is `draining` until nothing runs there, then `drained`. To drain twice is to drain once.
    """
    context = context_of(request)
    context.dispatcher.drain(_known_device(context, device))
    return JSONResponse({"devices": _devices(context)})


@router.post(
    "/v1/devices/{device}/restore",
    tags=["service"],
    summary="Take a device into service again",
    response_model=dict[str, list[DeviceModel]],
    responses=openapi.problems(404),
)
async def restore(request: Request, device: str) -> Response:
    """One that was drained, or that is out because it has failed."""
    context = context_of(request)
    context.dispatcher.restore(_known_device(context, device))
    return JSONResponse({"devices": _devices(context)})


def _known_device(context: Context, name: str) -> str:
    if name not in context.pool.devices:
        raise RouteNotFound(
            f"this server has no device {name[:64]!r}",
            where="path.device",
            remedy=f"its devices are {', '.join(context.pool.devices)}",
        )
    return name


def _devices(context: Context) -> list[dict[str, Any]]:
    return [
        {
            "name": status.name,
            "state": context.dispatcher.fleet.state(status.name) or status.state,
            "description": status.description,
            "memory_bytes": status.memory_bytes,
            "pid": status.pid,
            "restarts": status.restarts,
        }
        for status in context.pool.status()
    ]


@router.get("/v1/plans", tags=["service"], summary="The plans", response_model=dict[str, list[PlanModel]])
async def plans(request: Request) -> Response:
    """How functions that were evaluated are run on each device, what each plan has done and what it cost to make.

    Those of the tenant that asks, and for the operator all; most recently used first, as the device's worker last told
    it: not more than a second ago while it is in use.
    """
    principal = principal_of(request)
    found = [
        {**plan, "function": identity_of(plan["function"])}
        for plan in context_of(request).board.plans()
        if principal.is_operator or tenant_of(plan["function"]) == principal.tenant
    ]
    return JSONResponse({"plans": found})


@router.get(
    "/v1/requests/{request_id}/problem",
    tags=["evaluation"],
    summary="Why was an answer cut off?",
    response_class=Response,
    responses=openapi.problems(404, 422, 503, 504),
)
async def late_problem(request: Request, request_id: str) -> Response:
    """A large answer is sent while it is computed. If that fails, the connection is closed in the middle of it.

    This tells the reason for a while, by the `X-Request-Id` of the answer's header: as the problem that the request
    would have been answered with.
    """
    error = context_of(request).late_problems.get(principal_of(request).tenant, request_id)
    if error is None:
        raise RouteNotFound(
            f"no answer to a request {request_id[:64]!r} is known to have been cut off",
            remedy="give the X-Request-Id of an answer that ended before its Content-Length",
        )
    return problem_response(error, request_id)


_OPERATORS = [
    {
        "name": op.name,
        "schema": op.schema.text,
        "doc": op.doc,
        "shape_rule": op.shape_rule is not None,
        "random": op.random,
    }
    for op in OPS.values()
]
