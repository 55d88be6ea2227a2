"""What every request passes: its id, who makes it, the counters, the log, and the last net for errors."""

from __future__ import annotations

import itertools
import logging
import re
import secrets
import time
from collections.abc import Callable
from typing import Any

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from farfunc_protocol.errors import FarfuncError, ServerBusy, StorageFailed

from ..access.authentication import Authentication
from ..access.principal import DEFAULT_TENANT, Principal
from ..logs import log_request
from ..metrics import Metrics
from ..trace_context import read_traceparent
from ..tracing import Tracing
from .encoding import CompressedSend, accepts_zstd
from .problems import BadRequest, internal_error, problem_response
from .timing import Timing

__all__ = ["RequestMiddleware"]

_log = logging.getLogger("farfunc.requests")

_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_OPEN_WHILE_CLOSING = ("/healthz", "/readyz", "/metrics")


class RequestMiddleware:
    """Wraps the whole application.

    It leaves in ``scope["state"]``: ``request_id``; ``principal``, for all that is not open; ``headers``, a dictionary
    by name in lower case; ``timing``, which is sent as ``Server-Timing`` once the body was read; and takes from there
    ``error_code``.

    Parameters
    ----------
    app:
        What is wrapped.
    metrics:
        The counters.
    authentication:
        Knows who makes a request. It is asked before anything of a body is read.
    is_closing:
        Whether the server is shutting down: then new requests are refused.
    tracing:
        Is told of each request; None where traces are not sent.
    """

    def __init__(
        self,
        app: ASGIApp,
        metrics: Metrics,
        authentication: Authentication,
        is_closing: Callable[[], bool],
        tracing: Tracing | None = None,
    ) -> None:
        self._app = app
        self._metrics = metrics
        self._authentication = authentication
        self._tracing = tracing
        self._is_closing = is_closing
        # Ids that are drawn need be nothing but different, in the logs of several servers, too.
        self._drawn = map((secrets.token_hex(5) + "%06x").__mod__, itertools.count())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        timing = Timing(time.monotonic())
        headers: dict[bytes, bytes] = dict(scope["headers"])
        given = headers.get(b"x-request-id")
        request_id = given.decode() if given is not None and _REQUEST_ID.fullmatch(given) else next(self._drawn)
        state: dict[str, Any] = scope.setdefault("state", {})
        state["request_id"] = request_id
        state["headers"] = headers
        state["timing"] = timing
        status = 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                own = [*message.get("headers", ()), (b"x-request-id", request_id.encode())]
                if timing.received is not None:
                    own.append((b"server-timing", timing.header()))
                message["headers"] = own
            await send(message)

        outwards: Send = send_with_id
        if accepts_zstd(headers.get(b"accept-encoding")):
            outwards = CompressedSend(send_with_id)
        try:
            try:
                self._check(scope, headers)
                path: str = scope["path"]
                if path.startswith("/v1") or path == "/metrics":
                    state["principal"] = self._authentication.known(headers) or await self._authentication.principal(
                        headers
                    )
            except FarfuncError as refusal:
                state["error_code"] = refusal.code
                await problem_response(refusal, request_id)(scope, receive, outwards)
            else:
                await self._app(scope, receive, outwards)
        except ClientDisconnect:
            status = status or 499
        except Exception:  # noqa: BLE001 - the last net: whatever it is, the client hears no more than its id
            _log.exception("unhandled error", extra={"fields": {"request_id": request_id}})
            state["error_code"] = FarfuncError.code
            if not status:
                await problem_response(internal_error(), request_id)(scope, receive, outwards)
        finally:
            self._account(scope, state, status, time.monotonic() - timing.started)

    def _check(self, scope: Scope, headers: dict[bytes, bytes]) -> None:
        if b"host" not in headers and scope["http_version"] == "1.1":
            # RFC 9112, section 3.2
            raise BadRequest("the request has no header Host", where="header.host", remedy="name the server in Host")
        if self._is_closing() and scope["path"] not in _OPEN_WHILE_CLOSING:
            raise ServerBusy("the server is shutting down", remedy="try again in a moment", retry_after=1.0)

    def _account(self, scope: Scope, state: dict[str, Any], status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", "unmatched")
        method = scope["method"] if route != "unmatched" else "any"  # neither is the client's to invent
        self._metrics.request(route, method, status, seconds)
        timing: Timing = state["timing"]
        if timing.asked is not None:
            self._metrics.evaluated(timing, timing.started + seconds)
        error = state.get("error_code")
        if error == StorageFailed.code:
            self._metrics.storage_failures.inc()
        level = logging.WARNING if status >= 500 else logging.INFO
        if route in _OPEN_WHILE_CLOSING and status < 500:
            level = logging.DEBUG
        principal: Principal | None = state.get("principal")
        tenant = None if principal is None or principal.tenant == DEFAULT_TENANT else principal.tenant
        log_request(
            level,
            request_id=state["request_id"],
            method=scope["method"],
            path=scope["path"][:200],
            status=status,
            seconds=seconds,
            error=error,
            tenant=tenant,
            trace_id=self._trace(scope, state, route, status, tenant),
        )

    def _trace(self, scope: Scope, state: dict[str, Any], route: str, status: int, tenant: str | None) -> str | None:
        """Tell of the request, if anyone wants to hear of it; the id of the trace that it belongs to."""
        headers: dict[bytes, bytes] = state["headers"]
        if self._tracing is None and b"traceparent" not in headers:
            return None
        parent = read_traceparent(headers.get(b"traceparent"))
        if self._tracing is None or route in _OPEN_WHILE_CLOSING:
            return None if parent is None else parent.trace_id
        attributes: dict[str, str | int | float] = {
            "http.request.method": scope["method"],
            "http.response.status_code": status,
            "farfunc.request_id": state["request_id"],
        }
        if tenant is not None:
            attributes["farfunc.tenant"] = tenant
        name = scope["method"]
        if route != "unmatched":
            attributes["http.route"] = route
            name = f"{name} {route}"
        if (code := state.get("error_code")) is not None:
            attributes["error.type"] = code
        return self._tracing.request(state["timing"], parent, headers.get(b"tracestate"), name, status, attributes)
