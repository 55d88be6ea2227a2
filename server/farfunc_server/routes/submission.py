"""A request that submits a job: an evaluation as ever, and what stands beside it."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fastapi import Request

from farfunc_protocol.errors import InvalidRequest
from farfunc_protocol.json_messages import read_json_request
from farfunc_protocol.messages import decode_request, encode_request
from farfunc_protocol.strict_json import members_of, parse_json, shown

from ..jobs.webhook_targets import check_webhook
from ..storage.jobs import Job, NewJob
from .context import Context, principal_of
from .evaluation import bind_json, identity_of
from .forms import JSON, header, off_loop

__all__ = ["Options", "submitted"]

_KEY = re.compile(r"[\x21-\x7e]{1,255}")
_LONGEST_LIMIT = 30 * 86400.0


@dataclass(frozen=True, slots=True)
class Options:
    """What stands beside the evaluation, in the query."""

    priority: int
    label: str | None
    keep: float


async def submitted(
    request: Request, context: Context, form: str, body: bytes | memoryview, options: Options
) -> tuple[Job, bool]:
    """Accept a job.

    Returns
    -------
    tuple[Job, bool]
        The job, and whether it is a new one.
    """
    store, principal = context.storage.jobs, principal_of(request)
    key = _idempotency_key(request)
    asked = await asyncio.to_thread(_digest, request, form, body, options)
    known = await asyncio.to_thread(store.known, principal.tenant, key, asked)
    if known is not None:
        return known, False
    webhook = _webhook_of_headers(request)
    content: bytes | memoryview = body
    if form == JSON:
        document = await off_loop(len(body), lambda: parse_json(body, where="request"))
        if isinstance(document, dict) and "webhook" in document:
            webhook = members_of(
                document.pop("webhook"),
                "request.webhook",
                required=("url",),
                optional=("secret",),
                error=InvalidRequest,
            )
        content = await _content(request, context, document, len(body))
    asks = await off_loop(len(content), lambda: decode_request(content))
    new = NewJob(
        function=await identity_of(request, context, asks.function),
        transforms=[transform.to_json() for transform in asks.transforms],
        keep_seconds=options.keep,
        asked=asked,
        label=options.label,
        priority=options.priority,
        time_limit=_time_limit(request),
        idempotency_key=key,
        webhook=None if webhook is None else check_webhook(webhook, allow_private=context.settings.webhook_private),
        token=principal.token,
    )
    return await asyncio.to_thread(store.add, principal.tenant, new, content)


async def _content(request: Request, context: Context, document: Any, size: int) -> bytes:
    """The binary request that a JSON document stands for."""
    if isinstance(document, dict) and "input" in document:
        given = members_of(document, "request", required=("input",), error=InvalidRequest)["input"]
        return await asyncio.to_thread(context.storage.uploads.content, principal_of(request).tenant, given)
    read = read_json_request(document)
    bound, _ = await bind_json(request, context, read, context.settings.time_limit, size)
    parts: Sequence[Any] = encode_request(bound)
    return await off_loop(size, lambda: b"".join(parts))


def _idempotency_key(request: Request) -> str | None:
    key = header(request, b"idempotency-key")
    if key is not None and not _KEY.fullmatch(key):
        raise InvalidRequest(
            f"the key {shown(key)} is not one",
            where="header.idempotency-key",
            remedy="use 1 to 255 printable characters without spaces, a UUID for example",
        )
    return key


def _digest(request: Request, form: str, body: bytes | memoryview, options: Options) -> str:
    """Of all that is asked: what is submitted again has the same."""
    names = (b"x-timeout", b"x-webhook-url", b"x-webhook-secret")
    beside = [form, options.priority, options.label, options.keep, *(header(request, name) for name in names)]
    digest = hashlib.sha256(json.dumps(beside).encode())
    digest.update(body)
    return f"sha256:{digest.hexdigest()}"


def _webhook_of_headers(request: Request) -> dict[str, Any] | None:
    url, secret = header(request, b"x-webhook-url"), header(request, b"x-webhook-secret")
    if url is None:
        return None
    return {"url": url} if secret is None else {"url": url, "secret": secret}


def _time_limit(request: Request) -> float | None:
    """The header X-Timeout: the seconds from the job's start to its end. Without it there is no limit."""
    given = header(request, b"x-timeout")
    if given is None:
        return None
    try:
        seconds = float(given)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= _LONGEST_LIMIT:
        raise InvalidRequest(
            f"X-Timeout is {given[:80]!r}",
            where="header.x-timeout",
            remedy=f"give a number of seconds up to {_LONGEST_LIMIT:,.0f}, or leave it out",
        )
    return seconds
