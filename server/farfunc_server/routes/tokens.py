"""The tokens of a tenant, for its admins."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import asdict
from typing import Any

from fastapi import APIRouter, Request, Response

from ..logs import event
from ..storage.tokens import Token
from . import openapi
from .access_models import NewTokenModel, RotationBody, TokenBody, TokenModel
from .context import context_of, principal_of
from .documents import json_response, read_document
from .guard import GuardedRoute
from .patience import taken_away

__all__ = ["router"]

router = APIRouter(prefix="/v1/tokens", tags=["tokens"], route_class=GuardedRoute)

_log = logging.getLogger("farfunc.access")

_ONCE = {"cache-control": "no-store"}


@router.get("", summary="List the tokens", response_model=dict[str, list[TokenModel]])
async def list_tokens(request: Request) -> Response:
    """Oldest first; one that has ended stays for a month. Their texts are not kept."""
    tokens = context_of(request).storage.credentials.tokens
    found = await asyncio.to_thread(tokens.list, principal_of(request).tenant)
    return json_response({"tokens": [asdict(token) for token in found]})


@router.post(
    "",
    status_code=201,
    summary="Make a token",
    response_model=NewTokenModel,
    openapi_extra=openapi.body(TokenBody, None),
    responses=openapi.problems(413, 415, 422),
)
async def create(request: Request) -> Response:
    """The answer's `text` is the token. It is told this once."""
    body = await read_document(request, TokenBody)
    tokens, tenant = context_of(request).storage.credentials.tokens, principal_of(request).tenant
    token, text = await asyncio.to_thread(tokens.create, tenant, body.role, body.label, body.seconds)
    _note(request, "token created", token.id)
    return json_response(_with_text(token, text), 201, _ONCE)


@router.post(
    "/{token}/rotate",
    summary="Give a token another text",
    response_model=NewTokenModel,
    openapi_extra=openapi.body(RotationBody, None),
    responses=openapi.problems(404, 413, 415, 422),
)
async def rotate(request: Request, token: str) -> Response:
    """The new one is good at once. The one that it had is good for `overlap` more seconds."""
    body = await read_document(request, RotationBody)
    tokens, tenant = context_of(request).storage.credentials.tokens, principal_of(request).tenant
    rotated, text = await taken_away(tokens.rotate, tenant, token, body.overlap)
    _note(request, "token rotated", rotated.id)
    return json_response(_with_text(rotated, text), 200, _ONCE)


@router.delete("/{token}", status_code=204, summary="Revoke a token", responses=openapi.problems(404))
async def revoke(request: Request, token: str) -> Response:
    """When this is answered, no server takes it any more."""
    await taken_away(context_of(request).storage.credentials.tokens.revoke, principal_of(request).tenant, token)
    _note(request, "token revoked", token)
    return Response(status_code=204)


def _with_text(token: Token, text: str) -> dict[str, Any]:
    return {**asdict(token), "text": text}


def _note(request: Request, message: str, token: str) -> None:
    principal = principal_of(request)
    by = principal.token or principal.subject
    event(_log, logging.INFO, message, request_id=request.state.request_id, tenant=principal.tenant, token=token, by=by)
