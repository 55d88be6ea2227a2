"""Run a conversation over httpx: once for ordinary code, once for asyncio.

The two classes differ only in ``await``; what is said is in :mod:`farfunc._session`, when to try
again in :mod:`farfunc._retry`.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any, TypeVar

import httpx

from farfunc_protocol.errors import ConnectionFailed

from ._retry import RetryPolicy
from ._session import Exchange, HttpRequest, HttpResponse

__all__ = ["AsyncConnection", "Connection"]

Result = TypeVar("Result")

_CONNECT_SECONDS = 5.0
_GRACE_SECONDS = 10.0
"""The server stops an evaluation at its time limit and says so: the client waits for that answer."""


def _options(url: str, token: str | None, timeout: float | None) -> dict[str, Any]:
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise ConnectionFailed(f"{url!r} is not a URL: {error}", remedy="give http://host:port") from None
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise ConnectionFailed(f"{url!r} is not the URL of a server", remedy="give http://host:port")
    return {
        "base_url": parsed,
        "headers": {"authorization": f"Bearer {token}"} if token else {},
        "timeout": httpx.Timeout(None if timeout is None else timeout + _GRACE_SECONDS, connect=_CONNECT_SECONDS),
        "limits": httpx.Limits(max_connections=64, max_keepalive_connections=32, keepalive_expiry=30.0),
        "follow_redirects": False,
    }


def _content(request: HttpRequest) -> bytes | None:
    return b"".join(request.content) if request.content else None


class Connection:
    """A pool of connections to one server."""

    def __init__(
        self, url: str, *, token: str | None, timeout: float | None, transport: httpx.BaseTransport | None = None
    ) -> None:
        self.url = url
        self._http = httpx.Client(**_options(url, token, timeout), transport=transport)
        self._policy = RetryPolicy()

    def run(self, exchange: Exchange[Result]) -> Result:
        """Run a conversation to its end and return its result."""
        response: HttpResponse | None = None
        while True:
            try:
                request = exchange.send(response) if response else next(exchange)
            except StopIteration as finished:
                return finished.value
            response = self._send(request)

    def _send(self, request: HttpRequest) -> HttpResponse:
        attempt = 1
        while True:
            try:
                answer = self._http.request(
                    request.method, request.path, content=_content(request), headers=dict(request.headers)
                )
                response = HttpResponse(answer.status_code, answer.headers, answer.content)
                wait = self._policy.after_response(response, attempt)
                if wait is None:
                    return response
            except httpx.TransportError as error:
                wait = self._policy.after_failure(request, error, attempt)
                if wait is None:
                    raise self._policy.explain(error, self.url) from error
            time.sleep(wait)
            attempt += 1

    def close(self) -> None:
        """Close the connections."""
        self._http.close()


class AsyncConnection:
    """A pool of connections to one server, for asyncio."""

    def __init__(
        self, url: str, *, token: str | None, timeout: float | None, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        self.url = url
        self._http = httpx.AsyncClient(**_options(url, token, timeout), transport=transport)
        self._policy = RetryPolicy()

    async def run(self, exchange: Exchange[Result]) -> Result:
        """Run a conversation to its end and return its result."""
        response: HttpResponse | None = None
        while True:
            try:
                request = exchange.send(response) if response else next(exchange)
            except StopIteration as finished:
                return finished.value
            response = await self._send(request)

    async def _send(self, request: HttpRequest) -> HttpResponse:
        attempt = 1
        while True:
            try:
                answer = await self._http.request(
                    request.method, request.path, content=_content(request), headers=dict(request.headers)
                )
                response = HttpResponse(answer.status_code, answer.headers, answer.content)
                wait = self._policy.after_response(response, attempt)
                if wait is None:
                    return response
            except httpx.TransportError as error:
                wait = self._policy.after_failure(request, error, attempt)
                if wait is None:
                    raise self._policy.explain(error, self.url) from error
            await asyncio.sleep(wait)
            attempt += 1

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()
