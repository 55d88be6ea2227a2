"""The web process's end of the socket pair to a worker.

Answers come in the order of the messages. They are read by callbacks, without a task that wakes up
for it, and a large payload is received into the memory in which it stays.
"""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from collections.abc import Callable, Sequence

from .frames import LENGTHS_SIZE, SMALL, Buffer, FrameError, memory_of, pack, unpack_lengths
from .messages import Message, from_header

__all__ = ["Channel", "OnAnswer"]

OnAnswer = Callable[[Message | None, memoryview], None]
"""Called with an answer and its payload; with None when the worker is gone."""

_NOTHING = memoryview(b"")


class Channel(asyncio.BufferedProtocol):
    """Sends messages to a worker and hands each answer to whoever asked.

    Parameters
    ----------
    connection:
        The connected socket.
    on_lost:
        Called when the other end is gone, or speaks nonsense.
    """

    def __init__(self, connection: socket.socket, on_lost: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        # A file descriptor of its own for sending: a transport would copy what the socket does not take at once.
        self._out = connection.dup()
        self._out.setblocking(False)
        self._on_lost = on_lost
        self._asked: deque[OnAnswer] = deque()
        self._transport: asyncio.BaseTransport | None = None
        self._sending: asyncio.Task[None] | None = None
        self._is_closed = False
        self._scratch = memoryview(bytearray(2 * SMALL))
        self._filled = 0
        self._message: Message | None = None
        self._payload = _NOTHING
        self._received = 0

    @classmethod
    async def open(cls, connection: socket.socket, on_lost: Callable[[], None]) -> Channel:
        """Begin to listen."""
        connection.setblocking(False)
        _, channel = await asyncio.get_running_loop().create_unix_connection(
            lambda: cls(connection, on_lost), sock=connection
        )
        return channel

    def expect(self, on_answer: OnAnswer) -> None:
        """Hand the next message that comes, which nobody asked for, to a callback."""
        self._asked.append(on_answer)

    def post(self, message: Message, payload: Sequence[Buffer], on_answer: OnAnswer) -> None:
        """Send a message; ``on_answer`` is called once, and never before this returns."""
        if self._is_closed:
            self._loop.call_soon(on_answer, None, _NOTHING)
            return
        self._asked.append(on_answer)
        frame = pack(message.to_header(), payload)
        if self._sending is None and len(frame) == 1:
            sent = 0
            try:
                sent = self._out.send(frame[0])
            except (BlockingIOError, InterruptedError):
                pass
            except OSError:
                self._loop.call_soon(self.close)
                return
            if sent == len(frame[0]):
                return
            frame[0] = memoryview(frame[0])[sent:]
        parts = [memoryview(part).cast("B") for part in frame]
        self._sending = asyncio.ensure_future(self._send(parts, self._sending))

    def close(self) -> None:
        """Close the socket; whoever waits for an answer is told."""
        if self._is_closed:
            return
        self._is_closed = True
        if self._sending is not None:
            self._sending.cancel()
        if self._transport is not None:
            self._transport.close()
        self._out.close()
        self._on_lost()  # first, so that nobody who is told turns to this worker again
        asked, self._asked = self._asked, deque()
        for on_answer in asked:
            on_answer(None, _NOTHING)

    async def _send(self, parts: Sequence[memoryview], before: asyncio.Task[None] | None) -> None:
        try:
            if before is not None:
                await before
            for part in parts:
                if part.nbytes:
                    await self._loop.sock_sendall(self._out, part)
        except OSError:
            self.close()
        if self._sending is asyncio.current_task():
            self._sending = None

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        self.close()

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where the next bytes go."""
        if self._message is not None:
            return self._payload[self._received :]
        return self._scratch[self._filled :]

    def buffer_updated(self, nbytes: int) -> None:
        """Some bytes have come."""
        try:
            if self._message is None:
                self._filled += nbytes
                self._read_scratch()
            else:
                self._received += nbytes
                if self._received == self._payload.nbytes:
                    self._deliver()
        except FrameError:
            self.close()

    def _read_scratch(self) -> None:
        """Deliver the answers that are there whole, and begin the next one."""
        scratch, start, filled = self._scratch, 0, self._filled
        while self._message is None and filled - start >= LENGTHS_SIZE:
            header_size, payload_size = unpack_lengths(scratch[start:filled])
            begin = start + LENGTHS_SIZE + header_size
            if filled < begin:
                if LENGTHS_SIZE + header_size > len(scratch):
                    scratch = memoryview(bytearray(LENGTHS_SIZE + header_size))
                break
            self._message = from_header(bytes(scratch[start + LENGTHS_SIZE : begin]))
            self._payload = memory_of(payload_size)
            start = min(filled, begin + payload_size)
            self._received = start - begin
            self._payload[: self._received] = scratch[begin:start]
            if self._received == payload_size:
                self._deliver()
        if start or scratch is not self._scratch:  # what is left begins where the next bytes go
            self._filled = filled - start
            scratch[: self._filled] = bytes(self._scratch[start:filled])
            self._scratch = scratch

    def _deliver(self) -> None:
        message, payload = self._message, self._payload
        self._message, self._payload, self._received = None, _NOTHING, 0
        if not self._asked:
            raise FrameError("an answer that nobody asked for")
        self._asked.popleft()(message, payload)
