"""Frames and messages between the web process and its workers."""

import asyncio
import socket

import numpy as np
import pytest

from farfunc_server.workers import frames
from farfunc_server.workers.channel import Channel
from farfunc_server.workers.messages import Evaluate, Load, Loaded, Result, from_header


@pytest.fixture
def pair():
    left, right = socket.socketpair()
    with left, right:
        yield left, right


@pytest.mark.parametrize("size", [0, 1, 1 << 16, (1 << 16) + 1, 3 << 20])
def test_frames_arrive_as_they_were_sent_and_answers_find_their_askers(pair, size):
    left, right = pair
    payload = [np.arange(size, dtype=np.uint8).data, b"end"]
    whole = b"".join(bytes(part) for part in payload)

    def answer():
        for number in range(3):
            header, data = frames.receive(right)
            assert from_header(header) == Load(f"sha256:{number}")
            frames.send(right, Loaded().to_header(), [data, str(number).encode()])

    async def ask():
        loop = asyncio.get_running_loop()
        answering = loop.run_in_executor(None, answer)
        channel = await Channel.open(left, lambda: None)
        found = [loop.create_future() for _ in range(3)]
        for number, future in enumerate(found):
            channel.post(Load(f"sha256:{number}"), payload, lambda *answer, future=future: future.set_result(answer))
        answers = await asyncio.gather(*found)
        await answering
        channel.close()
        return answers

    for number, (message, data) in enumerate(asyncio.run(ask())):
        assert message == Loaded()
        assert data == whole + str(number).encode()


@pytest.mark.parametrize("last", [b"", b"\x05\0\0\0", b"\xff" * 12, b"\x02\0\0\0" + bytes(8) + b"[]"])
def test_whoever_waits_is_told_when_the_other_end_is_gone_or_speaks_nonsense(pair, last):
    left, right = pair
    lost = []

    async def ask():
        channel = await Channel.open(left, lambda: lost.append(True))
        found = asyncio.get_running_loop().create_future()
        channel.post(Load("sha256:x"), (), lambda *answer: found.set_result(answer))
        right.sendall(last)
        right.shutdown(socket.SHUT_WR)
        first = await found
        later = asyncio.get_running_loop().create_future()
        channel.post(Load("sha256:x"), (), lambda *answer: later.set_result(answer))
        return first, await later

    for message, data in asyncio.run(ask()):
        assert message is None
        assert data == b""
    assert lost == [True]


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
    for message in (Evaluate("f", "r"), Result(0.5, "flat")):
        assert from_header(message.to_header()) == message


@pytest.mark.parametrize(
    "header", [{}, {"kind": "Handler"}, {"kind": "Result"}, {"kind": "Result", "a": 1}, {"kind": []}]
)
def test_what_is_no_message(header):
    with pytest.raises(frames.FrameError):
        from_header(header)
