"""A connection: uvicorn's, with bounds on what a client may leave open, and a short way for evaluations.

uvicorn makes of each request a cycle of its own objects and writes an answer in two parts, which takes as long as all
else that this process does for a small evaluation; and it copies a large body four times. Evaluations in the plain
form in which clients send them are read here: a small one is handed to the application whole and answered in one
write, a large body is received into the memory in which it stays. Whatever is not quite of that form goes uvicorn's
way, which also judges what is no HTTP.
"""

from __future__ import annotations

import asyncio
from collections.abc import Hashable, MutableMapping
from http import HTTPStatus
from typing import Any, cast

from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from .heads import START, Headers, read_head, without_upgrade
from .presence import Presence, is_gone
from .workers.frames import memory_of

__all__ = ["Connection"]

_MOST_HEAD_BYTES = 1 << 16
_SMALL = 1 << 16
"""Bytes of a body that is handed over whole, and of an answer that is joined to its head."""

_STATUS_LINES = {status.value: b"HTTP/1.1 %d %b\r\n" % (status, status.phrase.encode()) for status in HTTPStatus}


class Connection(HttpToolsProtocol):
    """What uvicorn makes for each connection."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self._application = cast(ASGIApp, self.config.loaded_app)
        self._is_within = False  # a message that uvicorn's parser has begun
        self._is_within_head = False
        self._bare_bytes = 0  # that uvicorn's parser was given since it last told of something whole
        self._body_bytes = 0
        self._messages = 0
        self._direct: _Exchange | None = None
        self._presence: Presence | None = None
        self._is_half_closed = False
        self.upload: _Upload | None = None
        self._held = b""  # what has come of a direct request, or behind it
        self._head: tuple[Headers, int, int] | None = None  # of what is held: with its own length, and the body's
        self.is_last = False
        self._idle_since = 0.0
        self._idle_check: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client is there."""
        super().connection_made(transport)
        self._presence = Presence(self.loop, transport, self._turn)

    def data_received(self, data: bytes) -> None:
        """Some bytes have come."""
        if self._direct is not None:
            self._held += data
            if len(self._held) > _SMALL:
                self.flow.pause_reading()
            return
        if self._held:
            data = self._held + data
            self._held = b""
        if not self._is_within and data.startswith(START) and (self.cycle is None or self.cycle.response_complete):
            self._unset_keepalive_if_required()
            self._take(data)
        else:
            self._hand_on(data)

    def _take(self, data: bytes) -> None:
        """Begin a direct request, hold what may become one, or hand on what will not."""
        if self._head is None:
            end = data.find(b"\r\n\r\n")
            if end < 0 and len(data) < _MOST_HEAD_BYTES:
                self._held = data
                return
            if end < 0 or (head := read_head(data[: end + 4])) is None:
                self._hand_on(data)
                return
            self._head = head
        headers, start, length = self._head
        if len(data) >= start + length:
            self._held = data[start + length :]
            self._answer(headers, data[start : start + length])
        elif length <= _SMALL:  # the body comes behind: many clients send it by itself
            self._held = data
        else:
            self._answer(headers, _Upload(self, length, data[start:]))

    def _answer(self, headers: Headers, body: bytes | _Upload) -> None:
        self._head = None
        scope = {
            "type": "http",
            "asgi": {"version": self.asgi_version, "spec_version": "2.3"},
            "http_version": "1.1",
            "server": self.server,
            "client": self.client,
            "scheme": self.scheme,
            "method": "POST",
            "root_path": self.root_path,
            "path": "/v1/evaluate",
            "raw_path": b"/v1/evaluate",
            "query_string": b"",
            "headers": headers,
            "state": self.app_state.copy(),
        }
        self._direct = exchange = _Exchange(self, body)
        task = self.loop.create_task(exchange.run(self._application, scope))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    def _hand_on(self, data: bytes) -> None:
        """Leave it to uvicorn."""
        # Within a head, but also between messages and chunks, and behind the last one.
        if self._bare_bytes > _MOST_HEAD_BYTES or (
            self._is_within_head and self._bare_bytes + len(data) > _MOST_HEAD_BYTES
        ):
            self.send_400_response("The head or the trailer of the request is too large.")
            return
        if not self._is_within and not self._bare_bytes:
            data = without_upgrade(data)
        self._bare_bytes += len(data)
        super().data_received(data)

    def on_message_begin(self) -> None:
        """Called by the parser."""
        self._is_within = self._is_within_head = True
        self._messages += 1
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Called by the parser, for the fields of a trailer too: those are nobody's here."""
        if self._is_within_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Called by the parser."""
        self._is_within_head = False
        self._bare_bytes = 0
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Called by the parser."""
        self._bare_bytes = 0
        self._body_bytes += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Called by the parser."""
        self._is_within = False
        self._bare_bytes = 0
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """uvicorn has answered."""
        super().on_response_complete()
        self._end_if_all_is_answered()

    def done(self, is_whole: bool) -> None:
        """A direct request has been answered, or cannot be."""
        self._direct = None
        self._messages += 1
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        if self.is_last or not is_whole:
            self.transport.close()
            return
        self.flow.resume_reading()
        self._idle_since = self.loop.time()
        if self._idle_check is None:
            self._idle_check = self.loop.call_later(self.timeout_keep_alive, self._close_if_idle)
        if self._held:
            self.data_received(b"")
        self._end_if_all_is_answered()

    @property
    def _is_answering(self) -> bool:
        return self._direct is not None or (self.cycle is not None and not self.cycle.response_complete)

    def eof_received(self) -> bool:  # type: ignore[override]
        """The client sends no more; one that has asked before may wait for its answer."""
        if self._is_within or not self._is_answering or is_gone(self.transport):
            return False
        if not self._is_half_closed and self._presence is not None:
            self._is_half_closed = True
            self._presence.probe(self._may_write_interim)
        return True

    def _may_write_interim(self) -> bool:
        if self._direct is not None:
            return not self._direct.has_begun
        cycle = self.cycle
        if cycle is None or self.pipeline or cycle.response_started or cycle.response_complete:
            return False
        return cycle.scope["http_version"] == "1.1"

    def _end_if_all_is_answered(self) -> None:
        is_over = not self._is_answering or self._is_within  # what is not whole now never will be
        if self._is_half_closed and is_over and not self.transport.is_closing():
            self.transport.close()

    def _turn(self) -> Hashable:
        """What the client is to do: see :class:`Presence`."""
        if (unsent := self.transport.get_write_buffer_size()) > 0:
            return "read", self._messages, unsent, self._direct is not None and self._direct.parts
        if self.upload is not None:
            return "send", self._messages, self.upload.received
        if self._is_within:
            return "send", self._messages, self._body_bytes
        if self._is_answering:
            return None
        # What is idle after an answer has a clock of its own.
        return ("send", self._messages) if self._held or not self._messages else None

    def _close_if_idle(self) -> None:
        """uvicorn's own timer is set and cancelled by each request; this one looks again."""
        self._idle_check = None
        if self._direct is not None or self._held or self._is_within or self.transport.is_closing():
            return
        if self.cycle is not None and not self.cycle.response_complete:
            return
        left = self._idle_since + self.timeout_keep_alive - self.loop.time()
        if left > 0:
            self._idle_check = self.loop.call_later(left, self._close_if_idle)
        elif self.timeout_keep_alive_task is None:
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client has gone."""
        if self._idle_check is not None:
            self._idle_check.cancel()
        if self._presence is not None:
            self._presence.end()
        if self._direct is not None:
            self._direct.lose()
        super().connection_lost(exc)

    def shutdown(self) -> None:
        """Called by uvicorn when the server is to end."""
        self.is_last = True
        if self._direct is None:
            super().shutdown()


class _Upload(asyncio.BufferedProtocol):
    """A large body on its way: takes the connection's place while it comes, once the application asks for it."""

    def __init__(self, connection: Connection, size: int, first: bytes) -> None:
        self._connection = connection
        self._size = size
        self._first = first
        self.received = 0  # bytes
        self._is_skipped = False
        self._memory: memoryview
        self._done: asyncio.Future[None]
        connection.flow.pause_reading()

    async def receive(self) -> memoryview | None:
        """The whole body; None when the client went before."""
        self._memory = memory_of(self._size)  # the application has agreed to the size
        self._memory[: len(self._first)] = self._first
        await self._take_place()
        return self._memory if self.received == self._size else None

    async def skip(self) -> None:
        """Let the body come and go, so that a client that sends it whole can read why it was not wanted."""
        self._is_skipped = True
        self._memory = memory_of(_SMALL)
        await self._take_place()

    async def _take_place(self) -> None:
        self.received = len(self._first)
        self._first = b""
        self._done = self._connection.loop.create_future()
        self._connection.upload = self
        self._connection.transport.set_protocol(self)
        self._connection.flow.resume_reading()
        await self._done

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where the next bytes go."""
        if self._is_skipped:
            return self._memory[: self._size - self.received]
        return self._memory[self.received :]

    def buffer_updated(self, nbytes: int) -> None:
        """Some bytes have come."""
        self.received += nbytes
        if self.received == self._size:
            self._connection.transport.set_protocol(self._connection)
            self._finish()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client has gone in the middle."""
        self._finish()
        self._connection.connection_lost(exc)

    def pause_writing(self) -> None:
        """The client does not read what was sent before."""
        self._connection.pause_writing()

    def resume_writing(self) -> None:
        """It does again."""
        self._connection.resume_writing()

    def _finish(self) -> None:
        self._connection.upload = None
        if not self._done.done():
            self._done.set_result(None)


class _Exchange:
    """One direct request and its answer, as ASGI wants them."""

    def __init__(self, connection: Connection, body: bytes | _Upload) -> None:
        self._connection = connection
        self._transport: asyncio.Transport = connection.transport
        self._body: bytes | _Upload | None = body
        self._lost: asyncio.Future[None] | None = None
        self._is_lost = False
        self._head: list[bytes] | None = None
        self._is_chunked = False
        self._is_whole = False
        self.has_begun = False
        self.parts = 0

    async def run(self, application: ASGIApp, scope: MutableMapping[str, Any]) -> None:
        """Have the application answer."""
        try:
            await application(scope, self.receive, self.send)
        finally:
            if isinstance(self._body, _Upload) and not self._is_lost:
                await self._body.skip()
            self._connection.done(self._is_whole)

    def lose(self) -> None:
        """There is no one to answer."""
        self._is_lost = True
        if self._lost is not None and not self._lost.done():
            self._lost.set_result(None)

    async def receive(self) -> MutableMapping[str, Any]:
        """The body, and then nothing until the client goes."""
        if self._body is not None:
            body, self._body = self._body, None
            whole = await body.receive() if isinstance(body, _Upload) else body
            if whole is not None:
                return {"type": "http.request", "body": whole, "more_body": False}
        if not self._is_lost:
            self._lost = asyncio.get_running_loop().create_future()
            await self._lost
        return {"type": "http.disconnect"}

    async def send(self, message: MutableMapping[str, Any]) -> None:
        """Write the head with the first part of the body, and the other parts as the client takes them."""
        if self._is_lost:
            return
        if message["type"] == "http.response.start":
            self._start(message["status"], message["headers"])
            return
        body = message.get("body", b"")
        is_last = not message.get("more_body", False)
        parts = [] if self._head is None else self._head
        self._head = None
        size = len(body)
        self.has_begun = True
        self.parts += 1
        if not self._is_chunked:
            parts.append(body)
        elif size:
            parts += (b"%x\r\n" % size, body, b"\r\n")
        if self._is_chunked and is_last:
            parts.append(b"0\r\n\r\n")
        if size <= _SMALL:
            self._transport.write(b"".join(parts))
        else:
            self._transport.writelines(parts)
        if self._connection.flow.write_paused:
            await self._connection.flow.drain()
        self._is_whole = is_last

    def _start(self, status: int, headers: Headers) -> None:
        head = [_STATUS_LINES[status]]
        head += [b"%b: %b\r\n" % header for header in self._connection.server_state.default_headers]
        has_length = False
        for name, value in headers:
            has_length = has_length or name == b"content-length"
            head.append(b"%b: %b\r\n" % (name, value))
        self._is_chunked = not has_length
        if self._is_chunked:
            head.append(b"transfer-encoding: chunked\r\n")
        head.append(b"connection: close\r\n\r\n" if self._connection.is_last else b"\r\n")
        self._head = head
