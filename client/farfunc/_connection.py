"""Run a conversation over a pool of connections: once for ordinary code, once for asyncio.

The two classes differ in ``await``, and in what a pool belongs to: a process, or an event loop. What is said
is in :mod:`farfunc._session`, when to try again in :mod:`farfunc._retry`. Plain HTTP goes over sockets
(:mod:`farfunc._sockets`); TLS, proxies and transports of the user's own are httpx's (:mod:`farfunc._httpx`).
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from farfunc_protocol.errors import ConnectionFailed, FarfuncError

from . import _sockets
from ._address import Address
from ._answers import HttpResponse, reason_in
from ._failures import CutOff, Silent, TransportFailure
from ._retry import RetryPolicy, explain, proxy_before
from ._session import Exchange, HttpRequest, why_cut_off
from ._telemetry import RequestSpan, request_span

if TYPE_CHECKING:
    import asyncio  # at run time by those alone who use it, and so httpx: they take long to import

    import httpx

__all__ = ["AsyncConnection", "Connection", "Deferred"]

Result = TypeVar("Result")


class _Begun(Protocol):
    def fileno(self) -> int | None: ...

    def finish(self) -> HttpResponse: ...

    def cancel(self) -> None: ...


class _Pool(Protocol):
    def request(self, request: HttpRequest) -> HttpResponse: ...

    def begin(self, request: HttpRequest, wait: bool) -> _Begun | None: ...

    def close(self) -> None: ...

    def abandon(self) -> None: ...


class _AsyncPool(Protocol):
    async def request(self, request: HttpRequest) -> HttpResponse: ...

    async def close(self) -> None: ...


def _needs_httpx(address: Address, transport: object) -> bool:
    is_plain = address.socket_path is not None or address.url.startswith("http:")
    return transport is not None or not is_plain or not _sockets.are_supported or proxy_before(address) is not None


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
        self._inherited: list[_Pool] = []
        self._lock = threading.Lock()
        self._open()

    def _open(self) -> None:
        self._pool: _Pool
        if _needs_httpx(self.address, self._transport):
            from ._httpx import HttpxPool

            self._pool = HttpxPool(self.address, self._transport)
        else:
            self._pool = _sockets.SocketPool(self.address)
        self._process = os.getpid()
        self._finalizer = weakref.finalize(self, _close_in, self._process, self._pool)

    def _current(self) -> _Pool:
        if self.is_closed:
            raise _closed(self.address)
        if self._process != os.getpid():
            self._leave_to_parent()
        return self._pool

    def _leave_to_parent(self) -> None:
        # In a forked child the sockets are shared with the parent: answers would be mixed up. The
        # old pool is kept: its locks may be held by a thread of the parent.
        with self._lock:
            if self._process != os.getpid():
                self._pool.abandon()
                self._inherited.append(self._pool)
                self._open()

    def run(self, exchange: Exchange[Result]) -> Result:
        """Run a conversation to its end and return its result."""
        return self._run(exchange, None)

    def later(self, exchange: Exchange[Result]) -> Deferred[Result]:
        """A conversation whose first request is sent, and whose result is waited for, when its holder says so."""
        return Deferred(self, exchange)

    def _run(self, exchange: Exchange[Result], response: HttpResponse | None) -> Result:
        while True:
            try:
                request = exchange.send(response) if response else next(exchange)
            except StopIteration as finished:
                return finished.value
            response = self._send(request)

    def _send(self, request: HttpRequest) -> HttpResponse:
        """Send a request until an answer is final."""
        span = request_span(request, self.address.url)
        return self._final(request) if span is None else self._final(span.request, span=span)

    def _final(
        self, request: HttpRequest, begun: _Begun | None = None, span: RequestSpan | None = None
    ) -> HttpResponse:
        """The same; ``begun`` is the first attempt, where it was made already, and ``span`` hears how it ends."""
        if span is None:
            return self._try(request, begun)
        try:
            response = self._try(request, begun)
        except BaseException as error:
            span.failed(error)
            raise
        span.answered(response)
        return response

    def _try(self, request: HttpRequest, begun: _Begun | None) -> HttpResponse:
        attempt, broken = 1, False
        while True:
            try:
                response = self._current().request(request) if begun is None else begun.finish()
                wait = self._policy.after_response(response, attempt)
                if wait is None:
                    return response
            except TransportFailure as error:
                if self.is_closed:  # by another thread, since the request was begun
                    raise _closed(self.address) from None
                if isinstance(error, CutOff) and (reason := self._reason_of(error)) is not None:
                    raise reason from None
                wait = self._policy.after_failure(request, error, attempt)
                if wait is None:
                    raise explain(error, request, self.address, attempt, broken) from error
                broken = True
            time.sleep(wait)
            attempt += 1
            begun = None

    def _reason_of(self, error: CutOff) -> FarfuncError | None:
        """Why an answer was cut off, if the server knows."""
        if not error.request_id:
            return None
        try:
            return reason_in(self._current().request(why_cut_off(error.request_id)))
        except TransportFailure:
            return None

    def close(self) -> None:
        """Close the connections."""
        self.is_closed = True
        self._finalizer()


class Deferred(Generic[Result]):
    """A conversation that is begun, and ended later: between the two are others."""

    def __init__(self, connection: Connection, exchange: Exchange[Result]) -> None:
        self._connection, self._exchange = connection, exchange
        self._request = next(exchange)
        self._begun: _Begun | None = None
        self._span: RequestSpan | None = None

    def send(self, wait: bool) -> bool:
        """Send the first request; False where all connections are in use, and it is not to wait for one."""
        if self._span is None and (span := request_span(self._request, self._connection.address.url)) is not None:
            self._span, self._request = span, span.request
        self._begun = self._connection._current().begin(self._request, wait)
        return self._begun is not None

    def fileno(self) -> int | None:
        """What can be read from when the answer comes; None where nothing tells that."""
        return None if self._begun is None else self._begun.fileno()

    @property
    def seconds(self) -> float | None:
        """How long the server may be silent until it answers."""
        return self._request.seconds

    def receive(self) -> None:
        """Take the answer in; its connection is free for another."""
        if self._begun is not None:
            self._begun = _Received.of(self._begun)

    def expire(self) -> None:
        """The server was silent for too long: what :meth:`result` raises."""
        if self._begun is not None:
            self._begun.cancel()
        self._begun = _Received(None, Silent())

    def result(self) -> Result:
        """Run the conversation to its end."""
        response = self._connection._final(self._request, self._begun, self._span)
        self._span = None
        return self._connection._run(self._exchange, response)

    def cancel(self) -> None:
        """Nobody wants the result."""
        self._exchange.close()
        if self._span is not None:
            self._span.failed("cancelled")
        if self._begun is not None:
            self._begun.cancel()


class _Received:
    """An answer, or what has failed, until someone asks for it."""

    def __init__(self, response: HttpResponse | None, error: Exception | None) -> None:
        self._response, self._error = response, error

    @classmethod
    def of(cls, begun: _Begun) -> _Received:
        try:
            return cls(begun.finish(), None)
        except Exception as error:  # noqa: BLE001 - raised when it is asked for
            return cls(None, error)

    def fileno(self) -> None:
        return None

    def finish(self) -> HttpResponse:
        if self._error is not None:
            raise self._error
        assert self._response is not None
        return self._response

    def cancel(self) -> None:
        pass


def _close_in(process: int, pool: _Pool) -> None:
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
        self._pools: dict[asyncio.AbstractEventLoop, _AsyncPool] = {}
        self._lock = threading.Lock()  # event loops may run in several threads

    def _current(self) -> _AsyncPool:
        if self.is_closed:
            raise _closed(self.address)
        loop = _running_loop()
        pool = self._pools.get(loop)
        if pool is None:
            with self._lock:
                for other in [other for other in self._pools if other.is_closed()]:
                    del self._pools[other]
                pool = self._pools[loop] = self._open()
        return pool

    def _open(self) -> _AsyncPool:
        if _needs_httpx(self.address, self._transport):
            from ._httpx import AsyncHttpxPool

            return AsyncHttpxPool(self.address, self._transport)
        from ._async_sockets import AsyncSocketPool

        return AsyncSocketPool(self.address)

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
        span = request_span(request, self.address.url)
        if span is None:
            return await self._try(request)
        try:
            response = await self._try(span.request)
        except BaseException as error:
            span.failed(error)
            raise
        span.answered(response)
        return response

    async def _try(self, request: HttpRequest) -> HttpResponse:
        attempt, broken = 1, False
        while True:
            try:
                response = await self._current().request(request)
                wait = self._policy.after_response(response, attempt)
                if wait is None:
                    return response
            except TransportFailure as error:
                if self.is_closed:  # by another task, since the request was begun
                    raise _closed(self.address) from None
                if isinstance(error, CutOff) and (reason := await self._reason_of(error)) is not None:
                    raise reason from None
                wait = self._policy.after_failure(request, error, attempt)
                if wait is None:
                    raise explain(error, request, self.address, attempt, broken) from error
                broken = True
            await _sleep(wait)
            attempt += 1

    async def _reason_of(self, error: CutOff) -> FarfuncError | None:
        if not error.request_id:
            return None
        try:
            return reason_in(await self._current().request(why_cut_off(error.request_id)))
        except TransportFailure:
            return None

    async def close(self) -> None:
        """Close the connections of the running event loop; those of another end with it."""
        self.is_closed = True
        with self._lock:
            pool = self._pools.pop(_running_loop(), None)
        if pool is not None:
            await pool.close()


def _running_loop() -> asyncio.AbstractEventLoop:
    import asyncio

    return asyncio.get_running_loop()


async def _sleep(seconds: float) -> None:
    import asyncio

    await asyncio.sleep(seconds)
