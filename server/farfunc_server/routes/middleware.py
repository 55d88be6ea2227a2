"""What every request passes: its id, the token, the counters, the log, and the last net for errors."""

from __future__ import annotations

import hmac
import logging
import re
import secrets
import time
from collections.abc import Callable
from typing import Any

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from farfunc_protocol.errors import FarfuncError, ServerBusy, Unauthorized

from ..logs import event
from ..metrics import Metrics
from .problems import problem_response

__all__ = ["RequestMiddleware"]

_log = logging.getLogger("farfunc.requests")

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_OPEN_WHILE_CLOSING = ("/healthz", "/readyz", "/metrics")


class RequestMiddleware:
    """Wraps the whole application.

    Parameters
    ----------
    app:
        What is wrapped.
    metrics:
        The counters.
    token:
        What requests under ``/v1`` must bear; None to let all in.
    is_closing:
        Whether the server is shutting down: then new requests are refused.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics, token: str | None, is_closing: Callable[[], bool]) -> None:
        self._app = app
        self._metrics = metrics
        self._token = None if token is None else token.encode()
        self._is_closing = is_closing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        headers = Headers(scope=scope)
        given = headers.get("x-request-id", "")
        request_id = given if _REQUEST_ID.fullmatch(given) else secrets.token_hex(8)
        state: dict[str, Any] = scope.setdefault("state", {})
        state["request_id"] = request_id
        status = 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), (b"x-request-id", request_id.encode())]
            await send(message)

        try:
            refusal = self._refusal(scope, headers)
            if refusal is not None:
                state["error_code"] = refusal.code
                await problem_response(refusal, request_id)(scope, receive, send_with_id)
            else:
                await self._app(scope, receive, send_with_id)
        except ClientDisconnect:
            status = status or 499
        except Exception:  # noqa: BLE001 - the last net: whatever it is, the client hears no more than its id
            _log.exception("unhandled error", extra={"fields": {"request_id": request_id}})
            state["error_code"] = FarfuncError.code
            if not status:
                error = FarfuncError("the server met an error of its own", remedy="report it with the request id")
                await problem_response(error, request_id)(scope, receive, send_with_id)
        finally:
            self._account(scope, state, status, time.perf_counter() - started)

    def _refusal(self, scope: Scope, headers: Headers) -> FarfuncError | None:
        if self._is_closing() and scope["path"] not in _OPEN_WHILE_CLOSING:
            return ServerBusy("the server is shutting down", remedy="try again in a moment", retry_after=1.0)
        if self._token is None or not scope["path"].startswith("/v1"):
            return None
        kind, _, token = headers.get("authorization", "").partition(" ")
        # The comparison takes the same time wherever the difference is.
        if kind.lower() == "bearer" and hmac.compare_digest(token.strip().encode(), self._token):
            return None
        return Unauthorized(
            "the bearer token is missing" if not token else "the bearer token is not the server's",
            where="header.authorization",
            remedy="send the header Authorization: Bearer <token>, or set FARFUNC_TOKEN for the client",
        )

    def _account(self, scope: Scope, state: dict[str, Any], status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", "unmatched")
        method = scope["method"] if route != "unmatched" else "any"  # neither is the client's to invent
        self._metrics.requests.labels(route, method, str(status)).inc()
        self._metrics.latency.labels(route).observe(seconds)
        level = logging.WARNING if status >= 500 else logging.INFO
        if route in _OPEN_WHILE_CLOSING and status < 500:
            level = logging.DEBUG
        event(
            _log,
            level,
            "request",
            request_id=state["request_id"],
            method=scope["method"],
            path=scope["path"][:200],
            status=status,
            ms=round(seconds * 1e3, 3),
            error=state.get("error_code"),
        )
