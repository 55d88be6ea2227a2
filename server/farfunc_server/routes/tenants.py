"""The tenants, for the server's operator."""

from __future__ import annotations

import asyncio
from dataclasses import asdict

from fastapi import APIRouter, Request, Response

from . import openapi
from .access_models import TenantBody, TenantChange, TenantModel
from .context import context_of
from .documents import json_response, read_document
from .guard import GuardedRoute
from .patience import taken_away

__all__ = ["router"]

router = APIRouter(prefix="/v1/tenants", tags=["tenants"], route_class=GuardedRoute)


@router.get("", summary="List the tenants", response_model=dict[str, list[TenantModel]])
async def list_tenants(request: Request) -> Response:
    """By name."""
    found = await asyncio.to_thread(context_of(request).storage.credentials.tenants.list)
    return json_response({"tenants": [asdict(tenant) for tenant in found]})


@router.post(
    "",
    status_code=201,
    summary="Make a tenant",
    response_model=TenantModel,
    openapi_extra=openapi.body(TenantBody, None),
    responses=openapi.problems(413, 415, 422),
)
async def create(request: Request) -> Response:
    """The operator makes its first token with the header `X-Tenant`, or with `farfunc tokens create`."""
    body = await read_document(request, TenantBody)
    tenants = context_of(request).storage.credentials.tenants
    return json_response(asdict(await asyncio.to_thread(tenants.create, body.name, body.weight)), 201)


@router.get("/{tenant}", summary="Describe a tenant", response_model=TenantModel, responses=openapi.problems(404))
async def describe(request: Request, tenant: str) -> Response:
    """By its id or its name."""
    return json_response(asdict(await asyncio.to_thread(context_of(request).storage.credentials.tenants.find, tenant)))


@router.patch(
    "/{tenant}",
    summary="Rename or weigh a tenant",
    response_model=TenantModel,
    openapi_extra=openapi.body(TenantChange, None),
    responses=openapi.problems(404, 413, 415, 422),
)
async def change(request: Request, tenant: str) -> Response:
    """Its id stays."""
    body = await read_document(request, TenantChange)
    tenants = context_of(request).storage.credentials.tenants
    return json_response(asdict(await taken_away(tenants.change, tenant, body.name, body.weight)))


@router.delete("/{tenant}", status_code=204, summary="Delete a tenant", responses=openapi.problems(404, 422))
async def delete(request: Request, tenant: str) -> Response:
    """One that has no functions, no members and no token that is good."""
    await taken_away(context_of(request).storage.credentials.tenants.delete, tenant)
    return Response(status_code=204)
