"""The connections of :mod:`farfunc._sockets` for asyncio: those of one event loop."""

from __future__ import annotations

import asyncio
import select
from collections.abc import Sequence

from . import _sockets
from ._address import Address
from ._answers import HttpResponse, response_of
from ._failures import AllTaken, Broken, CannotConnect, Silent, reason_of
from ._http1 import SCRATCH_BYTES, AnswerReader
from ._session import HttpRequest
from ._sockets import CONNECT_SECONDS, Limits, heads_for, total_bytes

__all__ = ["AsyncSocketPool"]

_SLICE_BYTES = 1 << 18
"""asyncio copies what the kernel does not take at once: no more than this of a large body."""


class AsyncSocketPool:
    """Connections to one server, for the tasks of one event loop.

    Parameters
    ----------
    address:
        The server.
    limits:
        How many connections there may be.
    """

    def __init__(self, address: Address, limits: Limits | None = None) -> None:
        self._address, self._limits = address, limits or _sockets.LIMITS
        self._heads = heads_for(address)
        self._places = asyncio.Semaphore(self._limits.connections)
        self._idle: list[_Connection] = []  # the one used last is used next: the others may end
        self._used: set[_Connection] = set()
        self._is_closed = False

    async def request(self, request: HttpRequest) -> HttpResponse:
        """Send a request and receive its answer.

        Raises
        ------
        TransportFailure
        """
        head = self._heads.of(request.method, request.path, request.headers, total_bytes(request.content))
        await self._take_place(request.seconds)
        try:
            answer = await self._exchange(head, request)
        finally:
            self._places.release()
        return response_of(answer.status, answer.headers, answer.body, self._address.url)

    async def _take_place(self, seconds: float | None) -> None:
        if not self._places.locked():
            await self._places.acquire()  # at once
            return
        try:
            await asyncio.wait_for(self._places.acquire(), seconds)
        except TimeoutError:
            raise AllTaken from None

    async def _exchange(self, head: bytes, request: HttpRequest) -> AnswerReader:
        connection = self._idle_connection() or await _connect(self._address)
        if self._is_closed:
            connection.close()
            raise Broken("its client has been closed")
        self._used.add(connection)
        is_reusable = False
        try:
            answer = await connection.exchange(head, request.content, request.method, request.seconds)
            is_reusable = answer.keeps_alive and not self._is_closed and len(self._idle) < self._limits.idle
        finally:
            # Also of a task that was cancelled: half an answer must not be there for the next request.
            self._used.discard(connection)
            if is_reusable:
                connection.idle_since = connection.loop.time()
                self._idle.append(connection)
            else:
                connection.close()
        return answer

    def _idle_connection(self) -> _Connection | None:
        while self._idle:
            connection = self._idle.pop()
            if connection.is_quiet(self._limits.idle_seconds):
                return connection
            connection.close()
        return None

    async def close(self) -> None:
        """Close all connections; requests on their way fail."""
        self._is_closed = True
        for connection in (*self._idle, *self._used):
            connection.close()
        self._idle.clear()
        await asyncio.sleep(0)  # asyncio closes sockets in its next round


async def _connect(address: Address) -> _Connection:
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            if address.socket_path is not None:
                _, made = await loop.create_unix_connection(_Connection, address.socket_path)
            else:
                _, made = await loop.create_connection(_Connection, address.hostname, address.port)
    except TimeoutError:
        raise CannotConnect("timed out") from None
    except OSError as error:
        raise CannotConnect(reason_of(error)) from error
    return made


class _Connection(asyncio.BufferedProtocol):
    """One connection; asyncio calls the methods of a protocol."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.idle_since = 0.0
        self._scratch = bytearray(SCRATCH_BYTES)
        self._transport: asyncio.Transport | None = None
        self._poll = select.poll()
        self._answer: AnswerReader | None = None
        self._done: asyncio.Future[None] | None = None
        self._writable: asyncio.Future[None] | None = None
        self._is_usable = True
        self._heard = 0.0

    # What asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._poll.register(transport.get_extra_info("socket").fileno(), select.POLLIN)

    def get_buffer(self, sizehint: int) -> memoryview | bytearray:
        answer = self._answer
        return self._scratch if answer is None or answer.is_complete else answer.room()

    def buffer_updated(self, nbytes: int) -> None:
        answer = self._answer
        if answer is None or answer.is_complete:  # nobody has asked
            self.close()
            return
        self._heard = self.loop.time()
        try:
            answer.received(nbytes)
        except Broken as error:
            self._fail(error)
            return
        if answer.is_complete:
            self._succeed()

    def eof_received(self) -> bool:
        self._end(None)
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._end(exc)
        self._resume()

    def pause_writing(self) -> None:
        self._writable = self.loop.create_future()

    def resume_writing(self) -> None:
        self._resume()

    # What the pool calls

    def is_quiet(self, seconds: float) -> bool:
        """Whether it can be used again: idle for no longer, and the server has neither ended it nor sent anything."""
        transport = self._transport
        if not self._is_usable or transport is None or transport.is_closing():
            return False
        # The loop may have been busy, and not have seen yet what has come.
        return self.loop.time() - self.idle_since < seconds and not self._poll.poll(0)

    async def exchange(
        self, head: bytes, content: Sequence[bytes | memoryview], method: str, seconds: float | None
    ) -> AnswerReader:
        """Send a request and receive the answer.

        Raises
        ------
        Broken, Silent
        """
        done = self._done = self.loop.create_future()
        answer = self._answer = AnswerReader(self._scratch, method)
        self._heard = self.loop.time()
        timer = None if seconds is None else self.loop.call_later(seconds, self._look, done, seconds)
        try:
            is_sent = await self._send([head, *content], done)
            await done
        finally:
            self._answer = self._done = None
            if timer is not None:
                timer.cancel()
        answer.keeps_alive &= is_sent
        return answer

    async def _send(self, buffers: list[bytes | memoryview], done: asyncio.Future[None]) -> bool:
        """Send; False where the server has answered or gone before it had all."""
        transport = self._transport
        assert transport is not None
        if total_bytes(buffers) <= _SLICE_BYTES:
            transport.write(b"".join(buffers))
            return True
        for buffer in buffers:
            view = memoryview(buffer).cast("B")
            for start in range(0, len(view), _SLICE_BYTES):
                if done.done():
                    return False
                transport.write(view[start : start + _SLICE_BYTES])
                if self._writable is not None:
                    await asyncio.wait((self._writable, done), return_when=asyncio.FIRST_COMPLETED)
                    self._heard = self.loop.time()  # who takes what is sent is not silent
        return not done.done()

    def close(self) -> None:
        self._is_usable = False
        if self._transport is not None:
            self._transport.abort()
        self._end(None)

    # The end of an answer

    def _look(self, done: asyncio.Future[None], seconds: float) -> None:
        """Whether the server has been silent for too long."""
        if done.done() or done is not self._done:
            return
        left = self._heard + seconds - self.loop.time()
        if left <= 0:
            self._fail(Silent())
        else:
            self.loop.call_later(left, self._look, done, seconds)

    def _end(self, error: Exception | None) -> None:
        self._is_usable = False
        if self._answer is None or self._done is None or self._done.done():
            return
        if error is not None:
            self._fail(self._answer.broken(reason_of(error) if isinstance(error, OSError) else str(error)))
            return
        try:
            self._answer.ended()
        except Broken as broken:
            self._fail(broken)
        else:
            self._succeed()

    def _succeed(self) -> None:
        if self._done is not None and not self._done.done():
            self._done.set_result(None)

    def _fail(self, error: Exception) -> None:
        if self._done is not None and not self._done.done():
            self._done.set_exception(error)

    def _resume(self) -> None:
        if self._writable is not None:
            if not self._writable.done():
                self._writable.set_result(None)
            self._writable = None
