"""Run a conversation over httpx: once for ordinary code, once for asyncio.

The two classes differ in ``await``, and in what a pool of connections belongs to: a process, or an
event loop. What is said is in :mod:`farfunc._session`, when to try again in :mod:`farfunc._retry`.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from typing import TYPE_CHECKING, Any, TypeVar

import httpx

from farfunc_protocol.errors import ConnectionFailed

from ._address import Address
from ._answers import HttpResponse
from ._retry import RetryPolicy, explain
from ._session import Exchange, HttpRequest

if TYPE_CHECKING:
    import asyncio  # at run time by those alone who use it: it takes a tenth of what importing us does

__all__ = ["AsyncConnection", "Connection"]

Result = TypeVar("Result")

_CONNECT_SECONDS = 5.0
_LIMITS = httpx.Limits(max_connections=64, max_keepalive_connections=32, keepalive_expiry=30.0)


def _options(address: Address) -> dict[str, Any]:
    headers = {"authorization": f"Bearer {address.token}"} if address.token else {}
    return {"base_url": address.url, "headers": headers, "follow_redirects": False, **_transport_options(address)}


def _transport_options(address: Address) -> dict[str, Any]:
    # Where there is no TLS, the certificates need not be read, which takes 50 ms.
    return {"limits": _LIMITS, "verify": address.url.startswith("https:")}


def _request(request: HttpRequest) -> dict[str, Any]:
    return {
        "method": request.method,
        "url": request.path,
        "content": b"".join(request.content) if request.content else None,
        "headers": dict(request.headers),
        "timeout": httpx.Timeout(request.seconds, connect=_CONNECT_SECONDS),
    }


def _bad_proxy(error: Exception) -> ConnectionFailed:
    return ConnectionFailed(
        f"the proxy that the environment names cannot be used: {error}",
        remedy="correct HTTP_PROXY, HTTPS_PROXY or ALL_PROXY, or add the server's host to NO_PROXY",
    )


def _closed(address: Address) -> ConnectionFailed:
    return ConnectionFailed(
        f"the client of {address.url} has been closed", remedy="make another: farfunc.connect(url) or farfunc.Client()"
    )


class Connection:
    """A pool of connections to one server, for any number of threads.

    Parameters
    ----------
    address:
        The server.
    transport:
        An httpx transport to use instead of the network.
    policy:
        When a request is sent again.
    """

    def __init__(
        self, address: Address, transport: httpx.BaseTransport | None = None, policy: RetryPolicy | None = None
    ) -> None:
        self.address = address
        self.is_closed = False
        self._transport = transport
        self._policy = policy or RetryPolicy()
        self._inherited: list[httpx.Client] = []
        self._lock = threading.Lock()
        self._open()

    def _open(self) -> None:
        transport = self._transport
        if transport is None and self.address.is_this_machine:
            # A transport of one's own passes by the proxies of the environment.
            transport = httpx.HTTPTransport(**_transport_options(self.address))
        try:
            self._pool = httpx.Client(**_options(self.address), transport=transport)
        except (ImportError, ValueError) as error:
            raise _bad_proxy(error) from None
        self._process = os.getpid()
        self._finalizer = weakref.finalize(self, _close_in, self._process, self._pool)

    def _current(self) -> httpx.Client:
        if self.is_closed:
            raise _closed(self.address)
        if self._process != os.getpid():
            self._leave_to_parent()
        return self._pool

    def _leave_to_parent(self) -> None:
        # In a forked child the sockets are shared with the parent: answers would be mixed up. The
        # old pool is kept, untouched: closing it takes locks that a thread of the parent may hold.
        with self._lock:
            if self._process != os.getpid():
                self._inherited.append(self._pool)
                self._open()

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
        attempt, broken = 1, False
        while True:
            try:
                answer = self._current().request(**_request(request))
                response = HttpResponse(answer.status_code, answer.headers, answer.content, self.address.url)
                wait = self._policy.after_response(response, attempt)
                if wait is None:
                    return response
            except httpx.TransportError as error:
                wait = self._policy.after_failure(request, error, attempt)
                if wait is None:
                    raise explain(error, request, self.address, attempt, broken) from error
                broken = True
            except RuntimeError:
                if self.is_closed:  # by another thread, since it was looked up
                    raise _closed(self.address) from None
                raise
            time.sleep(wait)
            attempt += 1

    def close(self) -> None:
        """Close the connections."""
        self.is_closed = True
        self._finalizer()


def _close_in(process: int, pool: httpx.Client) -> None:
    if process == os.getpid():
        pool.close()


class AsyncConnection:
    """Pools of connections to one server, one for each event loop that uses it.

    Parameters are those of :class:`Connection`.
    """

    def __init__(
        self, address: Address, transport: httpx.AsyncBaseTransport | None = None, policy: RetryPolicy | None = None
    ) -> None:
        self.address = address
        self.is_closed = False
        self._transport = transport
        self._policy = policy or RetryPolicy()
        self._pools: dict[asyncio.AbstractEventLoop, httpx.AsyncClient] = {}

    def _current(self) -> httpx.AsyncClient:
        if self.is_closed:
            raise _closed(self.address)
        loop = _running_loop()
        if loop not in self._pools:
            self._pools = {other: pool for other, pool in self._pools.items() if not other.is_closed()}
            self._pools[loop] = self._open()
        return self._pools[loop]

    def _open(self) -> httpx.AsyncClient:
        transport = self._transport
        if transport is None and self.address.is_this_machine:
            transport = httpx.AsyncHTTPTransport(**_transport_options(self.address))
        try:
            return httpx.AsyncClient(**_options(self.address), transport=transport)
        except (ImportError, ValueError) as error:
            raise _bad_proxy(error) from None

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
        attempt, broken = 1, False
        while True:
            try:
                answer = await self._current().request(**_request(request))
                response = HttpResponse(answer.status_code, answer.headers, answer.content, self.address.url)
                wait = self._policy.after_response(response, attempt)
                if wait is None:
                    return response
            except httpx.TransportError as error:
                wait = self._policy.after_failure(request, error, attempt)
                if wait is None:
                    raise explain(error, request, self.address, attempt, broken) from error
                broken = True
            except RuntimeError:
                if self.is_closed:  # by another task, since it was looked up
                    raise _closed(self.address) from None
                raise
            await _sleep(wait)
            attempt += 1

    async def close(self) -> None:
        """Close the connections of the running event loop; those of another end with it."""
        self.is_closed = True
        pool = self._pools.pop(_running_loop(), None)
        if pool is not None:
            await pool.aclose()


def _running_loop() -> asyncio.AbstractEventLoop:
    import asyncio

    return asyncio.get_running_loop()


async def _sleep(seconds: float) -> None:
    import asyncio

    await asyncio.sleep(seconds)
