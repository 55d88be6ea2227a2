"""Clients that stall, send no more, or go: on real sockets, with an application that does what the test says."""

import asyncio
import contextlib
import socket
import threading

import pytest
import uvicorn

from farfunc_server import presence
from farfunc_server.connections import Connection
from farfunc_server.presence import Presence

HEAD = b"POST /v1/evaluate HTTP/1.1\r\nhost: x\r\n%bcontent-length: %d\r\n\r\n"
ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ndone"
INTERIM = b"HTTP/1.1 100 Continue\r\n\r\n"
VIA_UVICORN = b"accept-language: \xc3\xbc\r\n"  # what is not plain goes its way


class Application:
    """Reads the body, waits for ``go``, and answers; ``told`` is set when it hears that the client has gone."""

    def __init__(self):
        self.begun, self.go, self.told = threading.Event(), threading.Event(), threading.Event()
        self.answer = [b"done"]
        self.go.set()

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http":
            return
        while (message := await receive())["type"] == "http.request" and message.get("more_body"):
            pass
        self.begun.set()
        gone = asyncio.create_task(self._watch(receive))
        await asyncio.to_thread(self.go.wait, 30)
        length = b"%d" % sum(map(len, self.answer))
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", length)]})
        for part in self.answer:
            await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})
        gone.cancel()

    async def _watch(self, receive):
        while (await receive())["type"] != "http.disconnect":
            pass
        self.told.set()


@pytest.fixture(params=["asyncio", "uvloop"])
def served(request, tmp_path):
    """An application, and a callable that connects to it."""
    application = Application()
    listeners = [socket.create_server(("127.0.0.1", 0)), socket.socket(socket.AF_UNIX)]
    listeners[1].bind(str(tmp_path / "s"))
    listeners[1].listen()
    config = uvicorn.Config(
        application, http=Connection, loop=request.param, log_config=None, access_log=False, lifespan="off", ws="none",
        server_header=False, date_header=False,
    )  # fmt: skip
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=(listeners,))
    thread.start()
    made = []

    def connect(unix=False):
        made.append(socket.socket(listeners[unix].family))
        made[-1].settimeout(30)
        made[-1].connect(listeners[unix].getsockname())
        return made[-1]

    yield application, connect
    application.go.set()
    for connection in made:
        connection.close()
    server.should_exit = True
    thread.join()


def read_all(connection):
    """All that comes before the end."""
    data = b""
    while part := connection.recv(1 << 16):
        data += part
    return data


def request(body=b"body", head=b""):
    return HEAD % (head, len(body)) + body


REQUESTS = {
    "plain": (request(), 1),
    "large": (request(bytes(300_000)), 1),
    "two": (request() * 2, 2),
    "uvicorn": (request(head=VIA_UVICORN), 1),
    "uvicorn, two": (request(head=VIA_UVICORN) * 2, 2),
    "mixed": (request() + request(head=VIA_UVICORN) + request(bytes(300_000)) + b"GET / HTTP/1.1\r\nhost:\r\n\r\n", 4),
    "HTTP/1.0": (b"GET / HTTP/1.0\r\n\r\n", 1),
}


@pytest.mark.parametrize(("sent", "answers"), REQUESTS.values(), ids=REQUESTS)
def test_a_client_that_sends_no_more_is_answered(served, sent, answers):
    _, connect = served
    connection = connect()
    connection.sendall(sent)
    connection.shutdown(socket.SHUT_WR)
    received = read_all(connection).replace(b"connection: close\r\n", b"")
    assert received.replace(INTERIM, b"") == ANSWER * answers


@pytest.mark.parametrize("unix", [False, True], ids=["tcp", "unix"])
@pytest.mark.parametrize("head", [b"", VIA_UVICORN], ids=["plain", "uvicorn"])
class TestWhileTheAnswerTakesItsTime:
    def test_one_that_waits_is_answered(self, served, monkeypatch, head, unix):
        monkeypatch.setattr(presence, "PROBE_SECONDS", 0.01)
        application, connect = served
        application.go.clear()
        connection = connect(unix)
        connection.sendall(request(head=head))
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(len(INTERIM), socket.MSG_WAITALL) == INTERIM
        application.go.set()
        assert read_all(connection) == ANSWER
        assert not application.told.is_set()

    def test_one_that_has_gone_is_noticed(self, served, head, unix):
        application, connect = served
        application.go.clear()
        connection = connect(unix)
        connection.sendall(request(head=head))
        assert application.begun.wait(30)
        connection.close()
        assert application.told.wait(30)


STALLED = {
    "nothing at all": b"",
    "half a head": b"POST /v1/evaluate HTTP/1.1\r\nhost",
    "half a head for uvicorn": b"GET / HTTP/1.1\r\nhost",
    "half a body": request()[:-1],
    "half a large body": request(bytes(300_000))[:-1],
    "half a body for uvicorn": request(head=VIA_UVICORN)[:-1],
    "half a request behind a whole one": request() + request()[:-1],
}


@pytest.mark.parametrize("sent", STALLED.values(), ids=STALLED)
def test_a_client_that_stalls_is_left(served, monkeypatch, sent):
    monkeypatch.setattr(presence, "PATIENCE", 0.05)
    _, connect = served
    connection = connect()
    connection.sendall(sent)
    with contextlib.suppress(ConnectionResetError):
        assert read_all(connection) in (b"", ANSWER)


@pytest.mark.parametrize("head", [b"", VIA_UVICORN], ids=["plain", "uvicorn"])
def test_a_client_that_does_not_read_is_left(served, monkeypatch, head):
    monkeypatch.setattr(presence, "PATIENCE", 0.05)
    application, connect = served
    application.answer = [bytes(1 << 20)] * 64  # more than the kernel keeps
    connection = connect()
    connection.sendall(request(head=head))
    assert application.told.wait(30)


@pytest.mark.parametrize("sent", [b"X-A: " + b"a" * 60_000 + b"\r\n", b"a" * 60_000], ids=["many fields", "one field"])
def test_a_trailer_without_end_is_not_kept(served, sent):
    application, connect = served
    application.go.clear()
    connection = connect()
    connection.sendall(b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\nX-B: ")
    with pytest.raises(ConnectionError):
        connection.sendall(sent * 1000)


class FakeLoop:
    def __init__(self):
        self.calls = []

    def call_later(self, seconds, call, *args):
        self.calls.append(lambda: call(*args))
        return self

    def cancel(self):
        self.calls.clear()

    def tick(self):
        self.calls.pop(0)()


class FakeTransport:
    is_aborted = False

    def abort(self):
        self.is_aborted = True


@pytest.mark.parametrize(
    ("turns", "is_left"),
    [
        ([None, None, None], False),  # it waits for us
        ([("send", 1), None, ("send", 1)], False),
        ([("send", 1), ("send", 2), ("send", 3)], False),  # slow, and getting on
        ([("send", 1), ("send", 2), ("send", 2)], True),
    ],
)
def test_who_gets_on_is_waited_for(turns, is_left):
    loop, transport, turns = FakeLoop(), FakeTransport(), iter(turns)
    Presence(loop, transport, lambda: next(turns))
    for _ in range(3):
        loop.tick()
    assert transport.is_aborted is is_left
