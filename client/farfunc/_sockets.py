"""Connections kept open to one server, over sockets: for ``http://`` without a proxy, and ``unix://``.

Buffers go to the kernel as they lie, an answer's arrays are received into their own memory, and a small call
costs a third of what it does through httpx (``benchmarks/``: the echo). TLS, proxies and transports of the
user's own are httpx's (:mod:`farfunc._httpx`).
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import struct
import threading
import time
import weakref
from collections.abc import Sequence
from dataclasses import dataclass

from ._address import Address
from ._answers import HttpResponse, response_of
from ._failures import AllTaken, Broken, CannotConnect, Silent, TransportFailure, reason_of
from ._http1 import SCRATCH_BYTES, AnswerReader, RequestHeads
from ._session import HttpRequest

__all__ = ["CONNECT_SECONDS", "LIMITS", "Begun", "Limits", "SocketPool", "are_supported", "heads_for", "total_bytes"]

CONNECT_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Limits:
    """Of one pool.

    Attributes
    ----------
    connections:
        How many requests can be on their way at once.
    idle:
        How many connections are kept while none are.
    idle_seconds:
        For how long.
    """

    connections: int = 64
    idle: int = 32
    idle_seconds: float = 30.0


LIMITS = Limits()

_BUFFERS_AT_ONCE = 512
"""Of one call of the kernel, which takes 1,024 (``IOV_MAX``)."""

_FINAL = 200
"""Statuses below precede the answer."""

_LONGEST_POLL = 2.0**31 - 1
"""Milliseconds; poll takes no more."""

are_supported = hasattr(socket.socket, "sendmsg") and hasattr(select, "poll") and hasattr(socket, "MSG_DONTWAIT")


def heads_for(address: Address) -> RequestHeads:
    """The heads of requests to a server."""
    headers = {"accept-encoding": "identity"}
    if address.token:
        headers["authorization"] = f"Bearer {address.token}"
    return RequestHeads(address.host, address.path, headers)


class SocketPool:
    """Connections to one server, for any number of threads of one process.

    Parameters
    ----------
    address:
        The server.
    limits:
        How many connections there may be.
    """

    def __init__(self, address: Address, limits: Limits | None = None) -> None:
        self._address, self._limits = address, limits or LIMITS
        self._heads = heads_for(address)
        self._changed = threading.Condition(threading.Lock())
        self._idle: list[_Connection] = []  # the one used last is used next: the others may end
        # Weak: a connection that an interrupt has made its holder forget takes no place for ever.
        self._open: weakref.WeakSet[_Connection] = weakref.WeakSet()
        self._waiting = 0
        self._is_closed = False

    def request(self, request: HttpRequest) -> HttpResponse:
        """Send a request and receive its answer.

        Raises
        ------
        TransportFailure
        """
        connection = self._take(request.seconds)
        assert connection is not None
        is_reusable = False
        try:
            connection.send([self._head(request), *request.content], request.method, request.seconds)
            answer = connection.receive()
            is_reusable = answer.keeps_alive
        finally:
            # Also when a signal's handler raises: half an answer must not be there for the next request.
            self._give_back(connection, is_reusable)
        return response_of(answer.status, answer.headers, answer.body, self._address.url)

    def begin(self, request: HttpRequest, wait: bool) -> Begun | None:
        """Send a request whose answer is received later; None where that has to wait and is not to."""
        try:
            connection = self._take(request.seconds, wait)
        except TransportFailure as error:
            return Begun(self, None, request, error)
        if connection is None:
            return None
        try:
            connection.send([self._head(request), *request.content], request.method, request.seconds)
        except TransportFailure as error:
            self._give_back(connection, False)
            return Begun(self, None, request, error)
        except BaseException:
            self._give_back(connection, False)
            raise
        return Begun(self, connection, request, None)

    def _head(self, request: HttpRequest) -> bytes:
        return self._heads.of(request.method, request.path, request.headers, total_bytes(request.content))

    def _take(self, seconds: float | None, wait: bool = True) -> _Connection | None:
        deadline = None if seconds is None else time.monotonic() + seconds
        with self._changed:
            while True:
                if self._is_closed:
                    raise Broken("its client has been closed")
                while self._idle:
                    connection = self._idle.pop()
                    if connection.is_quiet(self._limits.idle_seconds):
                        return connection
                    self._forget(connection)
                if len(self._open) < self._limits.connections:
                    connection = _Connection(self._address)
                    self._open.add(connection)  # it holds the place while it connects
                    break
                if not wait:
                    return None
                self._waiting += 1
                try:
                    left = None if deadline is None else deadline - time.monotonic()
                    if (left is not None and left <= 0) or not self._changed.wait(left):
                        raise AllTaken
                except BaseException:
                    self._changed.notify()  # if this thread was told of a free place, another is to take it
                    raise
                finally:
                    self._waiting -= 1
        try:
            connection.connect()
        except BaseException:
            self._give_back(connection, False)
            raise
        return connection

    def _give_back(self, connection: _Connection, is_reusable: bool) -> None:
        with self._changed:
            if is_reusable and not self._is_closed and len(self._idle) < self._limits.idle:
                connection.idle_since = time.monotonic()
                self._idle.append(connection)
            else:
                self._forget(connection)
            if self._waiting:
                self._changed.notify()

    def _forget(self, connection: _Connection) -> None:
        self._open.discard(connection)
        connection.close()

    def close(self) -> None:
        """Close all connections; requests on their way fail."""
        with self._changed:
            self._is_closed = True
            for connection in self._idle:
                self._forget(connection)
            self._idle.clear()
            for connection in self._open:
                connection.interrupt()
            self._changed.notify_all()

    def abandon(self) -> None:
        """In a forked process: let go of the sockets, which are the parent's, and of locks that it may hold."""
        for connection in self._open:
            connection.close()


class Begun:
    """A request that was sent, or could not be; its answer is received by :meth:`finish`."""

    def __init__(
        self, pool: SocketPool, connection: _Connection | None, request: HttpRequest, error: TransportFailure | None
    ) -> None:
        self._pool, self._connection, self._request, self._error = pool, connection, request, error
        self._process = os.getpid()

    @property
    def _is_parents(self) -> bool:
        """Whether it was begun before this process was forked: its answer is for the parent alone."""
        return self._process != os.getpid()

    def fileno(self) -> int | None:
        """What can be read from when the answer comes."""
        return None if self._connection is None or self._is_parents else self._connection.fileno()

    def finish(self) -> HttpResponse:
        """Receive the answer.

        Raises
        ------
        TransportFailure
        """
        if self._is_parents:
            raise Broken("it was begun by the process that this one was forked from")
        connection, self._connection = self._connection, None
        if connection is None:
            raise self._error or Broken("it was cancelled")
        is_reusable = False
        try:
            answer = connection.receive()
            is_reusable = answer.keeps_alive
        finally:
            self._pool._give_back(connection, is_reusable)
        return response_of(answer.status, answer.headers, answer.body, self._pool._address.url)

    def cancel(self) -> None:
        """Give the connection up, and the answer with it."""
        if self._is_parents:
            return
        connection, self._connection = self._connection, None
        if connection is not None:
            self._pool._give_back(connection, False)


class _Connection:
    """One connection, and the scratch memory for what it receives."""

    __slots__ = (
        "__weakref__",
        "_address",
        "_answer",
        "_is_interrupted",
        "_is_sent",
        "_poll",
        "_scratch",
        "_seconds",
        "_socket",
        "idle_since",
    )

    def __init__(self, address: Address) -> None:
        self._socket: socket.socket | None = None
        self._address = address
        self._scratch = bytearray(SCRATCH_BYTES)
        self._answer = AnswerReader(self._scratch)
        self._seconds: float | None = None
        self._is_interrupted = False
        self._is_sent = True
        self.idle_since = 0.0

    def connect(self) -> None:
        """Connect.

        Raises
        ------
        CannotConnect
        """
        try:
            made = _connected(self._address)
        except OSError as error:
            raise CannotConnect(reason_of(error)) from error
        made.settimeout(None)
        self._socket, self._seconds = made, None
        self._poll = select.poll()
        self._poll.register(made, select.POLLIN)
        if self._is_interrupted:
            self.interrupt()

    def is_quiet(self, seconds: float) -> bool:
        """Whether it can be used again: idle for no longer, and the server has neither ended it nor sent anything."""
        return time.monotonic() - self.idle_since < seconds and not self._poll.poll(0)

    def send(self, buffers: list[bytes | memoryview], method: str, seconds: float | None) -> None:
        """Send a request; for as long the server may be silent until its answer has come.

        Raises
        ------
        Broken, Silent
        """
        self._answer = AnswerReader(self._scratch, method)
        if seconds != self._seconds:
            self._limit(seconds)
        self._is_sent = self._send(buffers, seconds)

    def receive(self) -> AnswerReader:
        """Receive the answer.

        Raises
        ------
        Broken, Silent
        """
        answer = self._answer
        receive = self._socket.recv_into  # type: ignore[union-attr]  # it is connected
        try:
            while not answer.is_complete:
                count = receive(answer.room())
                if count:
                    answer.received(count)
                else:
                    answer.ended()
        except BlockingIOError:  # our limit; that of the system (ETIMEDOUT) is a TimeoutError
            raise Silent from None
        except OSError as error:
            raise answer.broken(reason_of(error)) from error
        answer.keeps_alive &= self._is_sent
        return answer

    def _limit(self, seconds: float | None) -> None:
        # The kernel's clock costs one call for the connection; a socket's timeout in Python one more each time.
        whole, part = divmod(seconds or 0.0, 1.0)
        microseconds = int(part * 1e6)
        if seconds and not whole and not microseconds:
            microseconds = 1  # zero is for ever
        limit = struct.pack("ll", int(whole), microseconds)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)  # type: ignore[union-attr]
        self._seconds = seconds

    def _send(self, buffers: list[bytes | memoryview], seconds: float | None) -> bool:
        """Send; False where the server has answered or gone before it had all.

        A server that refuses a body need not read it, and waits for us to read why.
        """
        given = self._socket
        assert given is not None
        start, poll = 0, None
        while start < len(buffers):
            try:
                count = given.sendmsg(buffers[start : start + _BUFFERS_AT_ONCE], (), socket.MSG_DONTWAIT)
            except BlockingIOError:
                count = 0
            except OSError:
                return False  # what it had to say may have come before
            start = _advance(buffers, start, count)
            if start == len(buffers):
                return True
            if poll is None:
                poll = select.poll()
                poll.register(given, select.POLLIN | select.POLLOUT)
            events = poll.poll(None if seconds is None else min(max(1.0, seconds * 1000.0), _LONGEST_POLL))
            if not events:
                raise Silent
            if events[0][1] & ~select.POLLOUT and not self._hears_an_interim_answer(given):
                return False
        return True

    def _hears_an_interim_answer(self, given: socket.socket) -> bool:
        """Receive what has come while a request is sent; False where it is the answer, or the end."""
        answer = self._answer
        try:
            count = given.recv_into(answer.room(), 0, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return True
        except OSError as error:
            raise answer.broken(reason_of(error)) from error
        if count:
            answer.received(count)
        return bool(count) and answer.status < _FINAL

    def fileno(self) -> int | None:
        """That of the socket."""
        return None if self._socket is None or self._socket.fileno() < 0 else self._socket.fileno()

    def interrupt(self) -> None:
        """Wake the thread that waits for it."""
        self._is_interrupted = True
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()

    def __del__(self) -> None:
        if getattr(self, "_socket", None) is not None:
            self.close()


def _connected(address: Address) -> socket.socket:
    if address.socket_path is None:
        made = socket.create_connection((address.hostname, address.port), CONNECT_SECONDS)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return made
    made = socket.socket(socket.AF_UNIX)
    try:
        made.settimeout(CONNECT_SECONDS)
        made.connect(address.socket_path)
    except BaseException:
        made.close()
        raise
    return made


def _advance(buffers: list[bytes | memoryview], start: int, count: int) -> int:
    """Pass over what was sent: the first buffer that is not, its beginning cut off where it was."""
    while start < len(buffers) and count >= (size := _nbytes(buffers[start])):
        count -= size
        start += 1
    if count:
        buffers[start] = memoryview(buffers[start]).cast("B")[count:]
    return start


def _nbytes(buffer: bytes | memoryview) -> int:
    return buffer.nbytes if isinstance(buffer, memoryview) else len(buffer)


def total_bytes(buffers: Sequence[bytes | memoryview]) -> int:
    """How long a body is."""
    return sum(map(_nbytes, buffers))
