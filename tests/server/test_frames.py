"""Frames and messages between the web process and its workers."""

import asyncio
import socket
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from farfunc_protocol.limits import DEFAULT_LIMITS
from farfunc_server.workers import frames
from farfunc_server.workers.channel import Channel
from farfunc_server.workers.messages import (
    BlockPlace,
    Evaluate,
    Load,
    Loaded,
    Result,
    Results,
    Slice,
    Sliced,
    from_header,
)


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
        connection = frames.FrameSocket(right)
        for number in range(3):
            header, data = connection.receive()
            assert from_header(header) == Load(f"sha256:{number}")
            connection.send(Loaded().to_header(), [data, str(number).encode()])

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
        frames.FrameSocket(right).receive()


def test_lengths_are_checked_before_memory_is_taken(pair):
    left, right = pair
    left.sendall(b"\xff\xff\xff\xff" + b"\xff" * 8)
    with pytest.raises(frames.FrameError):
        frames.FrameSocket(right).receive()


@pytest.mark.parametrize("size", [1, (1 << 16) + 1, 3 << 20])
def test_a_payload_without_memory_goes_by_and_the_next_frame_comes(pair, size, monkeypatch):
    left, right = pair
    connection = frames.FrameSocket(right)
    memory_of = frames.memory_of

    def receive():
        with pytest.raises(frames.NoRoom) as caught:
            connection.receive()
        assert (caught.value.header, caught.value.size) == (b"first", size)
        monkeypatch.setattr(frames, "memory_of", memory_of)
        return connection.receive()

    def refuse(size):
        raise MemoryError

    monkeypatch.setattr(frames, "memory_of", refuse)
    with ThreadPoolExecutor() as pool:
        received = pool.submit(receive)
        for part in [*frames.pack(b"first", [bytes(size)]), *frames.pack(b"second", [b"payload"])]:
            left.sendall(part)
        header, payload = received.result(30)
    assert (header, bytes(payload)) == (b"second", b"payload")


def test_there_is_room_to_tell_of_as_many_results_as_there_may_be():
    count = DEFAULT_LIMITS.leaves
    blocks = [BlockPlace(leaf, True, 1 << 20, 1 << 21, 1 << 22, 1 << 32) for leaf in range(count)]
    for message in (
        Slice(Result(1.0, "plain"), blocks, [count, 0]),
        Sliced(["complex128[1000, 1000, 1000, 1000]"] * count, False, [0, 0]),
    ):
        (frame,) = frames.pack(message.to_header(), ())
        header, payload = frames.unpack_lengths(frame)
        assert from_header(frame[frames.LENGTHS_SIZE :]) == message
        assert (header, payload) == (len(frame) - frames.LENGTHS_SIZE, 0)


def test_messages_survive_their_headers():
    many = Results(Result(0.5, "flat", [{"id": "p"}]), [3, 0], [None, {"code": "transform"}])
    evaluations = (Evaluate("f", "r"), Evaluate("sha256:é", "", 2**63), Evaluate("f", "r", 3, [1, 0]))
    results = (Result(0.1 + 0.2, "flat"), Result(0.5, "flat", [{"id": "p"}]), Result(0.5, "", [], [{"id": "p"}]))
    for message in (*evaluations, *results, many):
        [frame] = frames.pack(message.to_header(), ())
        assert from_header(frame[frames.LENGTHS_SIZE :]) == message


def test_whether_a_frame_waits_is_known_without_waiting_for_one(pair):
    left, right = pair
    connection = frames.FrameSocket(right)
    assert not connection.is_waiting()
    [frame] = frames.pack(Load("f").to_header(), [b"abc"])
    left.sendall(frame[:5])
    assert connection.is_waiting()  # a part is enough: the rest is on its way
    left.sendall(frame[5:] + frame)
    for _ in range(2):
        assert connection.is_waiting()
        header, payload = connection.receive()
        assert from_header(header) == Load("f")
        assert payload == b"abc"
    assert not connection.is_waiting()
    left.close()
    assert connection.is_waiting()
    with pytest.raises(EOFError):
        connection.receive()


def test_headers_and_payloads_of_any_size_follow_one_another(pair):
    left, right = pair
    connection = frames.FrameSocket(right)
    sizes = [(1, 0), (60_000, 70_000), (1, 65_536), (200_000, 3), (70_000, 1 << 20), (2, 2)]

    def ask():
        for name, size in sizes:
            for part in frames.pack(Load("f" * name).to_header(), [bytes(size)]):
                left.sendall(part)

    with ThreadPoolExecutor(1) as asking:
        done = asking.submit(ask)
        for name, size in sizes:
            header, payload = connection.receive()
            assert from_header(header) == Load("f" * name)
            assert payload.nbytes == size
        done.result()


@pytest.mark.parametrize(
    "header",
    [
        *(b"", b"[]", b"{", b"\xff\xff", b"{}", b"1", b"null"),
        *(b'{"kind":"Handler"}', b'{"kind":"Result"}', b'{"kind":"Result","a":1}', b'{"kind":[]}'),
        *(b"R", b"R1234567", b"R12345678\xff", b"E", b"E12345678", b"E12345678f\nr\ns", b"E12345678\xff\n", b"X"),
    ],
)
def test_what_is_no_message(header):
    with pytest.raises(frames.FrameError):
        from_header(header)
