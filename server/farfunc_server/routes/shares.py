"""Functions that one tenant shares with another. These stand before the routes of functions, whose paths are wider."""

from __future__ import annotations

import asyncio
from dataclasses import asdict

from fastapi import APIRouter, Request, Response

from . import openapi
from .access_models import SharedFunctionModel, ShareModel
from .context import context_of, principal_of
from .documents import json_response
from .guard import GuardedRoute
from .patience import taken_away

__all__ = ["router"]

router = APIRouter(prefix="/v1/functions", tags=["functions"], route_class=GuardedRoute)


@router.get("/shared", summary="What others share", response_model=dict[str, list[SharedFunctionModel]])
async def shared(request: Request) -> Response:
    """Functions of other tenants, which can be read and evaluated by their identities."""
    found = await asyncio.to_thread(context_of(request).storage.shares.with_tenant, principal_of(request).tenant)
    return json_response({"functions": [asdict(function) for function in found]})


@router.get(
    "/{reference}/shares",
    summary="Whom is a function shared with?",
    response_model=dict[str, list[ShareModel]],
    responses=openapi.problems(404, 422),
)
async def list_shares(request: Request, reference: str) -> Response:
    """A function of one's own."""
    shares = context_of(request).storage.shares
    found = await asyncio.to_thread(shares.list, principal_of(request).tenant, reference)
    return json_response({"shares": [asdict(share) for share in found]})


@router.put(
    "/{reference}/shares/{tenant}", status_code=204, summary="Share a function", responses=openapi.problems(404, 422)
)
async def share(request: Request, reference: str, tenant: str) -> Response:
    """What the reference stands for now, with the tenant of an id: its later versions are not shared with it."""
    shares = context_of(request).storage.shares
    await asyncio.to_thread(shares.add, principal_of(request).tenant, reference, tenant)
    return Response(status_code=204)


@router.delete(
    "/{reference}/shares/{tenant}",
    status_code=204,
    summary="Take a function back",
    responses=openapi.problems(404, 422),
)
async def take_back(request: Request, reference: str, tenant: str) -> Response:
    """When this is answered, no server finds it for that tenant any more."""
    shares = context_of(request).storage.shares
    await taken_away(shares.remove, principal_of(request).tenant, reference, tenant)
    return Response(status_code=204)
