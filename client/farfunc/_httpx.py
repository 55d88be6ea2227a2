"""What httpx is for: TLS, proxies, and transports of the user's own."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import CancelledError, Future
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import httpx

from farfunc_protocol.errors import ConnectionFailed

from . import _sockets
from ._address import Address
from ._answers import HttpResponse, response_of
from ._body import body_for
from ._failures import AllTaken, Broken, CannotConnect, CutOff, Silent
from ._session import HttpRequest
from ._sockets import CONNECT_SECONDS

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor  # at run time by those alone who map

__all__ = ["AsyncHttpxPool", "HttpxPool"]

_SILENCE = (httpx.ReadTimeout, httpx.WriteTimeout)
_BROKEN = (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError, httpx.CloseError, httpx.DecodingError)


class _Attempt:
    """One attempt at a request: the head of its answer, once that is there."""

    head: httpx.Response | None = None


@contextmanager
def _failures() -> Iterator[_Attempt]:
    """Tell httpx's exceptions in our terms."""
    attempt = _Attempt()
    try:
        yield attempt
    except httpx.PoolTimeout as error:
        raise AllTaken from error
    except _SILENCE as error:
        raise Silent from error
    except _BROKEN as error:
        reason = str(error) or type(error).__name__
        if attempt.head is not None:
            raise CutOff(reason, attempt.head.headers.get("x-request-id", "")) from error
        raise Broken(reason) from error
    except httpx.TransportError as error:
        raise CannotConnect(str(error) or type(error).__name__) from error
    except RuntimeError as error:
        if "client has been closed" not in str(error):
            raise
        raise Broken(str(error)) from error  # by another thread or task, since it was looked up


def _options(address: Address) -> dict[str, Any]:
    headers = {"accept-encoding": "identity"}
    if address.token:
        headers["authorization"] = f"Bearer {address.token}"
    return {"base_url": address.url, "headers": headers, "follow_redirects": False, **_transport_options(address)}


def _transport_options(address: Address) -> dict[str, Any]:
    ours = _sockets.LIMITS
    limits = httpx.Limits(
        max_connections=ours.connections, max_keepalive_connections=ours.idle, keepalive_expiry=ours.idle_seconds
    )
    # Where there is no TLS, the certificates need not be read, which takes 50 ms.
    return {"limits": limits, "verify": not address.url.startswith("http:")}


def _request(request: HttpRequest) -> dict[str, Any]:
    return {
        "method": request.method,
        "url": request.path,
        "content": b"".join(request.content) if request.content else None,
        "headers": dict(request.headers),
        "timeout": httpx.Timeout(request.seconds, connect=CONNECT_SECONDS),
    }


@contextmanager
def _usable_proxies() -> Iterator[None]:
    try:
        yield
    except (ImportError, ValueError) as error:
        raise ConnectionFailed(
            f"the proxy that the environment names cannot be used: {error}",
            remedy="correct HTTP_PROXY, HTTPS_PROXY or ALL_PROXY, or add the server's host to NO_PROXY",
        ) from None


def _length(answer: httpx.Response) -> int | None:
    text = answer.headers.get("content-length", "")
    is_plain = text.isdecimal() and "transfer-encoding" not in answer.headers
    return int(text) if is_plain and "content-encoding" not in answer.headers else None


def _whole(answer: httpx.Response, url: str) -> HttpResponse:
    """What a transport of the user's own has read, and httpx decoded."""
    headers = {name: value for name, value in answer.headers.items() if name != "content-encoding"}
    return HttpResponse(answer.status_code, headers, answer.content, url)


class _Begun:
    """A request on its way in a thread."""

    def __init__(self, answer: Future[HttpResponse]) -> None:
        self._answer = answer
        self._process = os.getpid()

    def fileno(self) -> None:
        """Nothing tells when a thread is done."""

    def finish(self) -> HttpResponse:
        if self._process != os.getpid():  # where there is no such thread
            raise Broken("it was begun by the process that this one was forked from")
        try:
            return self._answer.result()
        except CancelledError:
            raise Broken("its client has been closed") from None

    def cancel(self) -> None:
        if self._process == os.getpid():
            self._answer.cancel()


class HttpxPool:
    """Connections to one server, for any number of threads.

    Parameters
    ----------
    address:
        The server.
    transport:
        An httpx transport to use instead of the network.
    """

    def __init__(self, address: Address, transport: httpx.BaseTransport | None = None) -> None:
        self._url = address.url
        if transport is None and address.is_this_machine:
            # A transport of one's own passes by the proxies of the environment.
            transport = httpx.HTTPTransport(**_transport_options(address))
        with _usable_proxies():
            self._client = httpx.Client(**_options(address), transport=transport)
        self._threads: ThreadPoolExecutor | None = None

    def request(self, request: HttpRequest) -> HttpResponse:
        """Send a request and receive its answer; raises :class:`~farfunc._failures.TransportFailure`."""
        with _failures() as attempt, self._client.stream(**_request(request)) as answer:
            attempt.head = answer
            if answer.is_stream_consumed:
                return _whole(answer, self._url)
            body = body_for(answer.status_code, answer.headers, _length(answer))
            for part in answer.iter_raw():
                body.write(memoryview(part))
        return response_of(answer.status_code, answer.headers, body, self._url)

    def begin(self, request: HttpRequest, wait: bool) -> _Begun:
        """Send a request whose answer is received later, in a thread."""
        if self._threads is None:
            from concurrent.futures import ThreadPoolExecutor

            self._threads = ThreadPoolExecutor(_sockets.LIMITS.connections, "farfunc")
        return _Begun(self._threads.submit(self.request, request))

    def close(self) -> None:
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)
        self._client.close()

    def abandon(self) -> None:
        """In a forked process. Closing it would take locks that a thread of the parent may hold."""


class AsyncHttpxPool:
    """Connections to one server, for the tasks of one event loop; parameters are those of :class:`HttpxPool`."""

    def __init__(self, address: Address, transport: httpx.AsyncBaseTransport | None = None) -> None:
        self._url = address.url
        if transport is None and address.is_this_machine:
            transport = httpx.AsyncHTTPTransport(**_transport_options(address))
        with _usable_proxies():
            self._client = httpx.AsyncClient(**_options(address), transport=transport)

    async def request(self, request: HttpRequest) -> HttpResponse:
        """Send a request and receive its answer; raises :class:`~farfunc._failures.TransportFailure`."""
        with _failures() as attempt:
            async with self._client.stream(**_request(request)) as answer:
                attempt.head = answer
                if answer.is_stream_consumed:
                    return _whole(answer, self._url)
                body = body_for(answer.status_code, answer.headers, _length(answer))
                async for part in answer.aiter_raw():
                    body.write(memoryview(part))
        return response_of(answer.status_code, answer.headers, body, self._url)

    async def close(self) -> None:
        await self._client.aclose()
