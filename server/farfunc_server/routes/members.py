"""Who asks, and who else belongs to the tenant."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from farfunc_protocol.errors import InvalidRequest

from ..logs import event
from . import openapi
from .access_models import MemberBody, MemberModel, MeModel
from .context import context_of, principal_of
from .documents import json_response, read_document
from .guard import GuardedRoute
from .patience import taken_away

__all__ = ["router"]

router = APIRouter(prefix="/v1", tags=["members"], route_class=GuardedRoute)

_log = logging.getLogger("farfunc.access")


@router.get("/me", summary="Who am I?", response_model=MeModel)
async def me(request: Request) -> Response:
    """The tenant, the role and the token of the one who asks."""
    context, principal = context_of(request), principal_of(request)
    credentials, issuer = context.storage.credentials, context.settings.oidc_issuer

    def found() -> dict[str, Any]:
        tenant = credentials.tenants.find(principal.tenant)
        tenants = [tenant.id]
        if principal.subject is not None and issuer is not None:
            tenants += [member.tenant for member in credentials.members.of(issuer, principal.subject)]
        return {
            "tenant": tenant.id,
            "tenant_name": tenant.name,
            "role": principal.role,
            "is_operator": principal.is_operator,
            "token": principal.token,
            "subject": principal.subject,
            "tenants": list(dict.fromkeys(tenants)),
        }

    return json_response(await asyncio.to_thread(found))


@router.get("/members", summary="List the members", response_model=dict[str, list[MemberModel]])
async def list_members(request: Request) -> Response:
    """Of the tenant of the one who asks."""
    members = context_of(request).storage.credentials.members
    found = await asyncio.to_thread(members.list, principal_of(request).tenant)
    return json_response({"members": [asdict(member) for member in found]})


@router.put(
    "/members",
    summary="Take a member in, or change its role",
    response_model=MemberModel,
    openapi_extra=openapi.body(MemberBody, None),
    responses=openapi.problems(413, 415, 422),
)
async def put(request: Request) -> Response:
    """Members bear tokens that an OpenID provider has signed."""
    body = await read_document(request, MemberBody)
    tenant = principal_of(request).tenant
    members, issuer = context_of(request).storage.credentials.members, _issuer(request, body.issuer)
    member = await taken_away(members.put, tenant, issuer, body.subject, body.role)
    _note(request, "member put", member.subject)
    return json_response(asdict(member))


@router.delete("/members", status_code=204, summary="Put a member out", responses=openapi.problems(404, 422))
async def remove(
    request: Request,
    subject: Annotated[str, Query(description="The claim sub.")],
    issuer: Annotated[str | None, Query(description="The claim iss; the server's own provider without it.")] = None,
) -> Response:
    """When this is answered, that is so for every server."""
    tenant = principal_of(request).tenant
    members = context_of(request).storage.credentials.members
    await taken_away(members.remove, tenant, _issuer(request, issuer), subject)
    _note(request, "member removed", subject)
    return Response(status_code=204)


def _issuer(request: Request, given: str | None) -> str:
    issuer = given or context_of(request).settings.oidc_issuer
    if issuer is None:
        raise InvalidRequest(
            "this server has no OpenID provider of its own", where="issuer", remedy="name the issuer of the member"
        )
    return issuer


def _note(request: Request, message: str, subject: str) -> None:
    principal = principal_of(request)
    by = principal.token or principal.subject
    fields = {"request_id": request.state.request_id, "tenant": principal.tenant, "subject": subject, "by": by}
    event(_log, logging.INFO, message, **fields)
