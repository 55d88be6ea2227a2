"""Contents that are too large for one request, or a network that does not hold: sent in parts, resumed where they end.

The headers are those of the IETF's draft of resumable uploads, and of tus: ``Upload-Offset`` says where a part begins.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from typing import Any

from fastapi import APIRouter, Request, Response
from starlette.requests import ClientDisconnect

from farfunc_protocol.errors import InvalidRequest, LimitExceeded, UploadConflict
from farfunc_protocol.strict_json import members_of, parse_json, shown

from ..storage.uploads import Upload, UploadStore
from . import openapi
from .context import context_of, principal_of
from .encoding import check_encoding
from .forms import JSON, body_form, header, read_body
from .guard import GuardedRoute
from .json_text import json_text
from .models import UploadBody, UploadModel
from .problems import UnsupportedContentEncoding, problem_response

__all__ = ["router"]

router = APIRouter(prefix="/v1/uploads", tags=["jobs"], route_class=GuardedRoute)

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_PART = 8 << 20
"""Bytes that are kept at once: so much is lost at most when a connection is."""

_LARGEST_DESCRIPTION = 1 << 16


@router.post(
    "",
    status_code=201,
    summary="Begin an upload",
    response_model=UploadModel,
    openapi_extra=openapi.body(UploadBody, None),
    responses=openapi.problems(413, 415, 422),
)
async def begin(request: Request) -> Response:
    """Say how many bytes will come, and their digest, if it is known. Then PATCH them."""
    context = context_of(request)
    body_form(request, JSON)
    body = await read_body(request, _LARGEST_DESCRIPTION)
    document = members_of(
        parse_json(body, where="request"), "request", required=("bytes",), optional=("digest",), error=InvalidRequest
    )
    size, digest = document["bytes"], document.get("digest")
    if not isinstance(size, int) or isinstance(size, bool) or size < 1:
        raise InvalidRequest(f"{shown(size)} is not a number of bytes", where="request.bytes")
    if size > context.settings.body_limit:
        raise LimitExceeded(
            f"{size:,} bytes are announced, and {context.settings.body_limit:,} are allowed",
            where="request.bytes",
            remedy="send less at once, or ask the server's operator for a higher limit",
        )
    if digest is not None and not (isinstance(digest, str) and _DIGEST.fullmatch(digest)):
        raise InvalidRequest(
            f"{shown(digest)} is not a digest", where="request.digest", remedy="give sha256: and 64 hexadecimal digits"
        )
    store = context.storage.uploads
    upload = await asyncio.to_thread(store.begin, principal_of(request).tenant, size, digest)
    return _answer(upload, 201, {"location": f"/v1/uploads/{upload.id}"})


@router.get("/{id}", summary="Describe an upload", response_model=UploadModel, responses=openapi.problems(404))
async def describe(request: Request, id: str) -> Response:
    """How much has arrived, and what it is once that is all."""
    return _answer(await _found(request, id))


@router.head("/{id}", summary="Where does the next part begin?", responses=openapi.problems(404))
async def offset(request: Request, id: str) -> Response:
    """`Upload-Offset` is how much has arrived."""
    return Response(headers=_headers(await _found(request, id)))


@router.patch(
    "/{id}",
    summary="Send a part",
    response_model=UploadModel,
    openapi_extra=openapi.binary_body("The bytes from `Upload-Offset` on."),
    responses=openapi.problems(404, 409, 413, 415, 422),
)
async def append(request: Request, id: str) -> Response:
    """The header `Upload-Offset` says where it begins: at the end of what has arrived, or it is refused with 409.

    What has arrived of a part is kept when the connection breaks. With the last byte the digest is checked, and the
    answer's `content` is what `input` of a job refers to.
    """
    store = context_of(request).storage.uploads
    upload = await _found(request, id)
    given = header(request, b"upload-offset") or ""
    if not (given.isascii() and given.isdigit() and len(given) < 19):
        raise InvalidRequest(
            f"Upload-Offset is {given[:80]!r}" if given else "the header Upload-Offset is missing",
            where="header.upload-offset",
            remedy="say at which byte the part begins; HEAD tells how much has arrived",
        )
    if check_encoding(request.scope["state"]["headers"].get(b"content-encoding")):
        raise UnsupportedContentEncoding("parts are not compressed one by one", where="header.content-encoding")
    try:
        if int(given) != upload.received:
            raise UploadConflict(
                f"a part at {int(given):,} does not follow: {upload.received:,} bytes have arrived",
                where="header.upload-offset",
                remedy="go on where the upload ends: it is the header Upload-Offset of this answer",
            )
        upload = await _receive(request, store, upload)
    except UploadConflict as error:
        request.state.error_code = error.code
        end = await _found(request, id)
        return problem_response(error, request.state.request_id, _headers(end))
    if upload.received == upload.bytes:
        upload = await asyncio.to_thread(store.complete, upload)
    return _answer(upload)


@router.delete("/{id}", status_code=204, summary="Give up an upload", responses=openapi.problems(404))
async def delete(request: Request, id: str) -> Response:
    """Jobs that were made of it have what they need."""
    await asyncio.to_thread(context_of(request).storage.uploads.delete, principal_of(request).tenant, id)
    return Response(status_code=204)


async def _receive(request: Request, store: UploadStore, upload: Upload) -> Upload:
    """Keep what comes, some at a time."""
    waiting = bytearray()
    try:
        async for chunk in request.stream():
            waiting += chunk
            if upload.received + len(waiting) > upload.bytes:
                raise LimitExceeded(
                    f"the part goes beyond the {upload.bytes:,} bytes that were announced", where="body"
                )
            if len(waiting) >= _PART:
                upload = await asyncio.to_thread(store.append, upload, upload.received, bytes(waiting))
                waiting.clear()
    except ClientDisconnect:
        if waiting:
            with contextlib.suppress(UploadConflict):
                await asyncio.to_thread(store.append, upload, upload.received, bytes(waiting))
        raise
    if waiting:
        upload = await asyncio.to_thread(store.append, upload, upload.received, bytes(waiting))
    return upload


async def _found(request: Request, id: str) -> Upload:
    return await asyncio.to_thread(context_of(request).storage.uploads.find, principal_of(request).tenant, id)


def _headers(upload: Upload) -> dict[str, str]:
    return {"upload-offset": str(upload.received), "upload-length": str(upload.bytes), "cache-control": "no-store"}


def _answer(upload: Upload, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    document: dict[str, Any] = {
        "id": upload.id,
        "bytes": upload.bytes,
        "received": upload.received,
        "digest": upload.digest,
        "content": upload.content,
        "created": upload.created,
        "expires": upload.expires,
    }
    return Response(json_text(document), status, {**_headers(upload), **(headers or {})}, media_type=JSON)
