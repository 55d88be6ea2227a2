"""Which form a body has, which one the answer takes, and how a body is read."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import TypeVar

from fastapi import Request
from starlette.requests import ClientDisconnect

from farfunc_protocol.errors import InvalidRequest, LimitExceeded
from farfunc_protocol.messages import BINARY_MEDIA_TYPE

from .encoding import check_encoding, decompressed
from .problems import NotAcceptable, UnsupportedMediaType

__all__ = ["BINARY", "JSON", "TEXT", "answer_form", "body_form", "header", "off_loop", "read_body", "time_limit"]

Result = TypeVar("Result")

JSON = "application/json"
BINARY = BINARY_MEDIA_TYPE
TEXT = "text/plain"

_SAME: dict[str, str] = dict.fromkeys(("application/vnd.safetensors", "application/x-safetensors"), BINARY)
"""safetensors has no registered media type; both names are in use."""

_SMALL = 1 << 16
"""Bytes that are decoded so fast that no one else has to wait."""


def header(request: Request, name: bytes) -> str | None:
    """A header's value; ``name`` is in lower case."""
    value: bytes | None = request.scope["state"]["headers"].get(name)
    return None if value is None else value.decode("latin-1")


def body_form(request: Request, *allowed: str) -> str:
    """The media type of the body, which must be one of ``allowed``."""
    given = (header(request, b"content-type") or "").partition(";")[0].strip().lower()
    form = _SAME.get(given, given)
    if form not in allowed:
        raise UnsupportedMediaType(
            f"the body is {given!r}" if given else "the body has no Content-Type",
            where="header.content-type",
            remedy=f"send {' or '.join(allowed)}, and say so in the header Content-Type",
        )
    return form


def answer_form(request: Request, offered: Sequence[str]) -> str:
    """The form that the client likes best, by its Accept header; of equals the first that is offered."""
    accepted = header(request, b"accept")
    if accepted is None or not (accepted := accepted.strip()):
        return offered[0]
    best = _best(accepted, tuple(offered))
    if best is None:
        raise NotAcceptable(
            f"the client accepts {accepted[:200]!r}",
            where="header.accept",
            remedy=f"accept {' or '.join(offered)}",
        )
    return best


@lru_cache(64)
def _best(accepted: str, offered: tuple[str, ...]) -> str | None:
    wishes = [_wish(part) for part in accepted.split(",")]
    best = max(offered, key=lambda form: _quality(form, wishes))  # max keeps the first of equals
    return best if _quality(best, wishes) > 0 else None


def _wish(part: str) -> tuple[str, float]:
    media_type, *parameters = (item.strip().lower() for item in part.split(";"))
    quality = 1.0
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                quality = min(max(float(value), 0.0), 1.0)
            except ValueError:
                quality = 0.0
    return _SAME.get(media_type, media_type), quality


def _quality(form: str, wishes: Sequence[tuple[str, float]]) -> float:
    """The quality of the most specific wish that covers a form."""
    for pattern in (form, f"{form.partition('/')[0]}/*", "*/*"):
        found = [quality for media_type, quality in wishes if media_type == pattern]
        if found:
            return max(found)
    return 0.0


async def read_body(request: Request, limit: int) -> bytes | memoryview:
    """Read the whole body, and no more than ``limit`` bytes of it, compressed or not."""
    headers: dict[bytes, bytes] = request.scope["state"]["headers"]
    is_compressed = check_encoding(headers.get(b"content-encoding"))
    declared = headers.get(b"content-length", b"")
    if declared.isdigit() and int(declared) > limit:
        raise _too_large(int(declared), limit)
    parts: list[bytes | memoryview] = []
    size = 0
    more = True
    while more:
        message = await request.receive()
        if message["type"] != "http.request":
            raise ClientDisconnect
        part = message.get("body", b"")
        more = message.get("more_body", False)
        size += len(part)
        if size > limit:
            raise _too_large(size, limit)
        parts.append(part)
    request.scope["state"]["timing"].received = time.monotonic()
    body = parts[0] if len(parts) == 1 else b"".join(parts)
    # A small one may become large.
    return await asyncio.to_thread(decompressed, body, limit) if is_compressed else body


def _too_large(size: int, limit: int) -> LimitExceeded:
    return LimitExceeded(
        f"the body has {size:,} bytes or more, and {limit:,} are allowed",
        where="body",
        remedy="send less at once, or ask the server's operator for a higher limit",
    )


async def off_loop(size: int, work: Callable[[], Result]) -> Result:
    """Do work on ``size`` bytes; what is large is done in a thread, so that other requests go on."""
    return work() if size <= _SMALL else await asyncio.to_thread(work)


def time_limit(request: Request, longest: float) -> float:
    """The request's time limit in seconds: its header ``X-Timeout``, up to the server's own limit."""
    given = header(request, b"x-timeout")
    if given is None:
        return longest
    try:
        seconds = float(given)
    except ValueError:
        seconds = 0.0
    if not seconds > 0:
        raise InvalidRequest(
            f"X-Timeout is {given[:80]!r}", where="header.x-timeout", remedy="give a positive number of seconds"
        )
    return min(seconds, longest)
