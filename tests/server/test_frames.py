"""Frames and messages between the web process and its workers."""

import asyncio
import socket

import numpy as np
import pytest

from farfunc_server.workers import frames
from farfunc_server.workers.messages import Evaluate, Load, Loaded, Result, from_header


@pytest.fixture
def pair():
    left, right = socket.socketpair()
    with left, right:
        yield left, right


@pytest.mark.parametrize("size", [0, 1, 1 << 16, (1 << 16) + 1, 3 << 20])
def test_a_frame_arrives_as_it_was_sent(pair, size):
    left, right = pair
    payload = [np.arange(size, dtype=np.uint8).data, b"end"]

    async def exchange():
        left.setblocking(False)
        await frames.send_async(left, Load("sha256:x").to_header(), payload)
        return await frames.receive_async(left)

    async def both():
        echo = asyncio.get_running_loop().run_in_executor(None, answer)
        reply = await exchange()
        await echo
        return reply

    def answer():
        header, data = frames.receive(right)
        assert from_header(header) == Load("sha256:x")
        frames.send(right, Loaded().to_header(), [data])

    header, data = asyncio.run(both())
    assert from_header(header) == Loaded()
    assert data == b"".join(bytes(part) for part in payload)


def test_an_end_in_the_middle_of_a_frame(pair):
    left, right = pair
    left.sendall(b"\x05\0\0\0" + bytes(8) + b"{}")
    left.close()
    with pytest.raises(EOFError):
        frames.receive(right)


def test_lengths_are_checked_before_memory_is_taken(pair):
    left, right = pair
    left.sendall(b"\xff\xff\xff\xff" + b"\xff" * 8)
    with pytest.raises(frames.FrameError):
        frames.receive(right)


@pytest.mark.parametrize("text", [b"[]", b"{", b"\xff\xff"])
def test_what_is_no_header(pair, text):
    left, right = pair
    left.sendall(len(text).to_bytes(4, "little") + bytes(8) + text)
    with pytest.raises(frames.FrameError):
        frames.receive(right)


def test_messages_survive_their_headers():
    for message in (Evaluate("f", "r"), Result(0.5)):
        assert from_header(message.to_header()) == message


@pytest.mark.parametrize(
    "header", [{}, {"kind": "Handler"}, {"kind": "Result"}, {"kind": "Result", "a": 1}, {"kind": []}]
)
def test_what_is_no_message(header):
    with pytest.raises(frames.FrameError):
        from_header(header)
