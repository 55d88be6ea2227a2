"""Which form a body has, which one the answer takes, and how a body is read."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TypeVar

from fastapi import Request

from farfunc_protocol.errors import InvalidRequest, LimitExceeded
from farfunc_protocol.messages import BINARY_MEDIA_TYPE

from .problems import NotAcceptable, UnsupportedMediaType

__all__ = ["BINARY", "JSON", "TEXT", "answer_form", "body_form", "off_loop", "read_body", "time_limit"]

Result = TypeVar("Result")

JSON = "application/json"
BINARY = BINARY_MEDIA_TYPE
TEXT = "text/plain"

_SAME: dict[str, str] = dict.fromkeys(("application/vnd.safetensors", "application/x-safetensors"), BINARY)
"""safetensors has no registered media type; both names are in use."""

_SMALL = 1 << 16
"""Bytes that are decoded so fast that no one else has to wait."""


def body_form(request: Request, *allowed: str) -> str:
    """The media type of the body, which must be one of ``allowed``."""
    given = request.headers.get("content-type", "").partition(";")[0].strip().lower()
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
    header = request.headers.get("accept", "").strip()
    if not header:
        return offered[0]
    wishes = [_wish(part) for part in header.split(",")]
    best = max(offered, key=lambda form: _quality(form, wishes))  # max keeps the first of equals
    if _quality(best, wishes) <= 0:
        raise NotAcceptable(
            f"the client accepts {header[:200]!r}",
            where="header.accept",
            remedy=f"accept {' or '.join(offered)}",
        )
    return best


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


async def read_body(request: Request, limit: int) -> bytes:
    """Read the whole body, and no more than ``limit`` bytes of it."""
    declared = request.headers.get("content-length", "")
    if declared.isascii() and declared.isdigit() and int(declared) > limit:
        raise _too_large(int(declared), limit)
    parts: list[bytes] = []
    size = 0
    async for part in request.stream():
        size += len(part)
        if size > limit:
            raise _too_large(size, limit)
        parts.append(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


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
    given = request.headers.get("x-timeout")
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
