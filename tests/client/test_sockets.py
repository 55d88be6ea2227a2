"""Connections over sockets: large bodies, hostile servers, Unix domain sockets."""

import asyncio
import os
import random
import socket
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import farfunc
from farfunc import _sockets
from farfunc._address import Address
from farfunc._connection import AsyncConnection, Connection
from farfunc._retry import RetryPolicy
from farfunc._session import HttpRequest
from farfunc_protocol.arrays import Array
from farfunc_protocol.messages import BINARY_MEDIA_TYPE
from farfunc_protocol.safetensors import decode, encode, encode_bytes
from support.raw_servers import raw_server, read_request, respond

pytestmark = pytest.mark.thin

AT_ONCE = RetryPolicy(pause=0.0)
LARGE = np.arange(1_000_000.0)
FILE = encode_bytes({"0": Array.from_numpy(LARGE)})


def get(path="/v1/devices", **options):
    return HttpRequest("GET", path, **options)


def post(*buffers, **options):
    return HttpRequest("POST", "/v1/evaluate", buffers, **options)


def exchange(request):
    return (yield request)


class _Sync:
    def __init__(self, address):
        self.connection = Connection(address, None, AT_ONCE)

    def __call__(self, *requests):
        return [self.connection.run(exchange(request)) for request in requests]

    def close(self):
        self.connection.close()


class _Async:
    def __init__(self, address):
        self.runner = asyncio.Runner()
        self.connection = AsyncConnection(address, None, AT_ONCE)

    def __call__(self, *requests):
        async def main():
            return [await self.connection.run(exchange(request)) for request in requests]

        return self.runner.run(main())

    def close(self):
        if not self.connection.is_closed:
            self.runner.run(self.connection.close())
            self.runner.close()


@pytest.fixture(params=[_Sync, _Async], ids=["sync", "async"])
def client(request):
    """Make a callable that sends requests, one after another, over the connections of one client."""
    made = []

    def make(address):
        address = Address.parse(address) if isinstance(address, str) else address
        made.append(request.param(address))
        return made[-1]

    yield make
    for one in made:
        one.close()


def test_these_are_sockets():
    assert isinstance(Connection(Address("http://127.0.0.1:1"))._pool, _sockets.SocketPool)
    assert "httpx" not in _modules("farfunc.Client('http://127.0.0.1:1')")


def _modules(statement):
    import subprocess

    script = f"import sys, farfunc; {statement}; print(*sys.modules)"
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    return ran.stdout.split()


class TestLargeBodies:
    @pytest.mark.parametrize("nbytes", [0, 1, 65535, 65536, 65537, 5_000_000])
    def test_a_body_comes_back_as_it_went(self, client, nbytes):
        body = os.urandom(nbytes)

        def answer(connection, number):
            while request := read_request(connection):
                respond(connection, content=request.partition(b"\r\n\r\n")[2], media_type="text/plain")

        with raw_server(answer) as url:
            first, second = client(url)(post(body[: nbytes // 2], memoryview(body)[nbytes // 2 :]), post(body))
        assert bytes(first.content) == bytes(second.content) == body

    def test_many_buffers(self, client):
        array = Array.from_numpy(np.arange(3.0))
        buffers = encode({str(number): array for number in range(3000)})

        def answer(connection, number):
            respond(connection, content=read_request(connection).partition(b"\r\n\r\n")[2], media_type="text/plain")

        with raw_server(answer) as url:
            (response,) = client(url)(post(*buffers))
        assert bytes(response.content) == b"".join(buffers)

    def test_an_answer_is_received_into_its_array(self, client):
        def answer(connection, number):
            while read_request(connection):
                respond(connection, content=FILE, media_type=BINARY_MEDIA_TYPE)

        with raw_server(answer) as url:
            first, second = client(url)(post(b"x"), post(b"x"))
        arrays = [decode(response.file)[0]["0"].data for response in (first, second)]
        for array in arrays:
            np.testing.assert_array_equal(array, LARGE)
            assert array.flags.owndata
            assert array.flags.writeable
        assert not np.shares_memory(*arrays)

    def test_a_server_that_answers_in_the_middle_of_an_upload_is_heard(self, client):
        """One that refuses a body need not read it; it may keep the connection open or not."""
        numbers, again = [], threading.Event()

        def answer(connection, number):
            numbers.append(number)
            connection.recv(1000)
            respond(connection, 413, b"too large", "text/plain")
            if number == 0:
                again.wait(30)  # what follows is more than the kernel keeps for it
            again.set()

        with raw_server(answer) as url:
            first, second = client(url)(post(bytes(200_000_000)), get())
        assert [first.status, second.status] == [413, 413]
        assert numbers == [0, 1]  # what is left of the body would be taken for a request

    @pytest.mark.parametrize("seconds", [None, 1e9, 1e-9])
    def test_any_time_limit(self, client, seconds):
        """The kernel's clocks and Python's have limits of their own."""

        def answer(connection, number):
            while read_request(connection):
                respond(connection)

        with raw_server(answer) as url:
            send = client(url)
            if seconds is not None and seconds < 1:
                with pytest.raises(farfunc.TimeLimitExceeded):
                    send(post(bytes(20_000_000), seconds=seconds))
            else:
                assert send(post(bytes(20_000_000), seconds=seconds), get(seconds=seconds))[1].status == 200

    def test_an_interim_answer_does_not_end_an_upload(self, client):
        body = bytes(20_000_000)  # more than the kernel keeps

        def answer(connection, number):
            connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n")
            respond(connection, content=b"%d" % len(read_request(connection).partition(b"\r\n\r\n")[2]))

        with raw_server(answer) as url:
            (response,) = client(url)(post(body, seconds=10.0))
        assert bytes(response.content) == b"20000000"

    def test_a_server_that_takes_an_upload_slowly_is_not_silent(self, client):
        body, pause = bytes(20_000_000), threading.Event()

        def answer(connection, number):
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
            left = len(body)
            while left > 0:
                if left % 5 == 0:
                    pause.wait(0.02)
                left -= len(connection.recv(100_000))
            respond(connection)

        with raw_server(answer) as url:
            (response,) = client(url)(post(body, seconds=0.6))
        assert response.status == 200

    def test_a_server_that_reads_nothing_is_silent(self, client):
        end = threading.Event()
        with raw_server(lambda connection, _: end.wait(30)) as url:
            try:
                with pytest.raises(farfunc.TimeLimitExceeded, match=r"silent for 0\.2 seconds"):
                    client(url)(post(bytes(200_000_000), seconds=0.2))
            finally:
                end.set()

    def test_one_that_stops_in_the_middle_of_an_answer_is_silent(self, client):
        end = threading.Event()

        def answer(connection, number):
            read_request(connection)
            connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nabc")
            end.wait(30)

        with raw_server(answer) as url:
            try:
                with pytest.raises(farfunc.TimeLimitExceeded, match=r"silent for 0\.2 seconds"):
                    client(url)(get(seconds=0.2))
            finally:
                end.set()

    def test_one_that_is_slow_is_not_silent(self, client):
        pause = threading.Event()

        def answer(connection, number):
            read_request(connection)
            data = b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc"
            for start in range(0, len(data), 4):
                connection.sendall(data[start : start + 4])
                pause.wait(0.05)

        with raw_server(answer) as url:
            (response,) = client(url)(get(seconds=0.4))
        assert bytes(response.content) == b"abc"


GARBAGE = {
    "nothing": b"",
    "another protocol": b"SSH-2.0-OpenSSH_9.6\r\n",
    "half a head": b"HTTP/1.1 200 OK\r\ncontent-le",
    "two lengths": b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\nabcd",
    "a huge head": b"HTTP/1.1 200 OK\r\na: " + b"x" * 100_000 + b"\r\n\r\n",
    "half a body": b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc",
    "half a chunk": b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n9\r\nabc",
    "no last chunk": b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n",
    "bad chunks": b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nxyz\r\n",
    "switching": b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\n\r\n",
    "half a file": b"HTTP/1.1 200 OK\r\ncontent-type: %s\r\ncontent-length: %d\r\n\r\n%s"
    % (BINARY_MEDIA_TYPE.encode(), len(FILE), FILE[:500_000]),
}


@pytest.mark.parametrize("data", GARBAGE.values(), ids=GARBAGE.keys())
def test_garbage_is_one_sentence_and_the_next_call_works(client, data):
    seen = []

    def answer(connection, number):
        read_request(connection)
        seen.append(number)
        if number < 3:
            connection.sendall(data)
        else:
            respond(connection)

    with raw_server(answer) as url:
        send = client(url)
        with pytest.raises(farfunc.ConnectionFailed, match="broke 3 times") as caught:
            send(get())
        assert url in caught.value.detail
        assert send(get())[0].status == 200


def test_what_precedes_an_answer_is_passed_over(client):
    def answer(connection, number):
        while read_request(connection):
            connection.sendall(b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n")
            respond(connection)

    with raw_server(answer) as url:
        assert [response.status for response in client(url)(get(), get())] == [200, 200]


@pytest.mark.parametrize(
    ("head", "connections"),
    [
        (b"HTTP/1.1 204 No Content\r\n\r\n", 1),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", 1),
        (b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n", 3),
        (b"HTTP/1.0 200 OK\r\ncontent-length: 0\r\n\r\n", 3),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", 3),
    ],
)
def test_which_connections_are_used_again(client, head, connections):
    """The last of them has sent an answer that nobody asked for: it must not be taken for the next one's."""
    numbers = set()

    def answer(connection, number):
        while read_request(connection):
            numbers.add(number)
            connection.sendall(head)

    with raw_server(answer) as url:
        client(url)(get(), get(), get())
    assert len(numbers) == connections


def test_a_late_word_spoils_an_idle_connection(client):
    """As 408 of a server that has waited for too long."""
    late, seen = threading.Event(), []

    def answer(connection, number):
        while read_request(connection):
            seen.append(number)
            respond(connection, content=b"%d" % number)
            if number == 0:
                connection.sendall(b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\n\r\n")
                late.set()

    with raw_server(answer) as url:
        send = client(url)
        assert bytes(send(get())[0].content) == b"0"
        late.wait(30)
        assert bytes(send(get())[0].content) == b"1"
    assert seen == [0, 1]


def test_an_idle_connection_that_has_ended_is_seen_before_it_is_used(client):
    """What may not be sent twice would fail otherwise."""
    closed = threading.Event()

    def answer(connection, number):
        read_request(connection)
        respond(connection)
        connection.shutdown(socket.SHUT_RDWR)
        closed.set()

    with raw_server(answer) as url:
        send = client(url)
        send(get())
        closed.wait(30)
        assert send(HttpRequest("DELETE", "/v1/functions/arm", repeatable=False))[0].status == 200


def test_an_old_idle_connection_is_not_used(client, monkeypatch):
    monkeypatch.setattr(_sockets, "LIMITS", _sockets.Limits(idle_seconds=0.0))
    numbers = []

    def answer(connection, number):
        while read_request(connection):
            numbers.append(number)
            respond(connection)

    with raw_server(answer) as url:
        client(url)(get(), get())
    assert numbers == [0, 1]


def test_more_threads_than_connections_take_turns(monkeypatch):
    monkeypatch.setattr(_sockets, "LIMITS", _sockets.Limits(connections=2, idle=1))
    numbers, failed = set(), []

    def answer(connection, number):
        while request := read_request(connection):
            numbers.add(number)
            respond(connection, content=request.split(b" ")[1])

    with raw_server(answer) as url:
        connection = Connection(Address(url))

        def work(thread):
            for call in range(20):
                path = f"/{thread}/{call}"
                if connection.run(exchange(get(path, seconds=30.0))).content != path.encode():
                    failed.append(path)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not failed
        assert len(connection._pool._idle) == len(connection._pool._open) == 1
        connection.close()


class TestUnixDomainSockets:
    def test_a_server_behind_one(self, client, tmp_path):
        asked = []
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(tmp_path / "farfunc.sock"))
        listener.listen()

        def serve():
            connection, _ = listener.accept()
            with connection:
                while request := read_request(connection):
                    asked.append(request)
                    respond(connection)

        thread = threading.Thread(target=serve)
        thread.start()
        send = client(Address.parse(f"unix://{tmp_path}/farfunc.sock", "s3cret"))
        assert [response.status for response in send(get(), get())] == [200, 200]
        send.close()
        thread.join()
        listener.close()
        assert b"\r\nhost: localhost\r\n" in asked[0]
        assert b"authorization: Bearer s3cret\r\n" in asked[0]

    def test_none_there(self, client, tmp_path):
        with pytest.raises(farfunc.ConnectionFailed, match=r"no farfunc server answers at unix:///.* No such file"):
            client(f"unix://{tmp_path}/nobody.sock")(get())

    def test_no_proxy_stands_before_it(self, client, tmp_path, monkeypatch):
        monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
        with pytest.raises(farfunc.ConnectionFailed, match="No such file"):
            client(f"unix://{tmp_path}/nobody.sock")(get())

    @pytest.mark.parametrize(
        ("url", "words"),
        [
            ("unix://", "names no Unix domain socket"),
            ("unix://relative.sock", "names no Unix domain socket"),
            ("unix:///folder/", "names no Unix domain socket"),
            ("unix:///" + "a" * 200, "longer than the 107 bytes"),
        ],
    )
    def test_what_names_none_is_refused(self, url, words):
        with pytest.raises(farfunc.ConnectionFailed, match=words) as caught:
            farfunc.Client(url)
        assert "/run/farfunc.sock" in caught.value.remedy


def _whims(connection, number):
    """Answer each request with its own path, in one of the ways that networks and servers have."""
    whim = random.Random(number)
    while request := read_request(connection):
        path = request.split(b" ")[1]
        content = path * whim.choice([1, 100, 20_000])
        if whim.random() < 0.5:
            head = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(content)
            data = head + content
        else:
            sizes = [whim.randrange(1, 50_000) for _ in range(5)]
            parts = [content[sum(sizes[:k]) : sum(sizes[: k + 1])] for k in range(5)] + [content[sum(sizes) :]]
            chunks = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts if part)
            data = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n"
        match whim.randrange(12):
            case 0:
                return
            case 1:
                connection.sendall(data[: whim.randrange(len(data))])
                return
            case 2:
                connection.sendall(data)
                return
            case 3:
                connection.sendall(data + b"HTTP/1.1 408 Late\r\ncontent-length: 0\r\n\r\n")
            case 4:
                for start in range(0, len(data), 997):
                    connection.sendall(data[start : start + 997])
            case _:
                connection.sendall(data)


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
@pytest.mark.parametrize("kind", ["sync", "async"])
def test_whatever_happens_no_answer_is_another_request_s(kind):
    policy, right, failed = RetryPolicy(attempts=4, pause=0.0), [], []

    def check(path, response):
        content = bytes(response.content)
        assert content == path.encode() * (len(content) // len(path))
        right.append(path)

    def work(connection, thread):
        for call in range(40):
            path = f"/{thread}-{call}!"
            try:
                check(path, connection.run(exchange(get(path))))
            except farfunc.ConnectionFailed:
                failed.append(path)

    async def work_later(connection, task):
        for call in range(40):
            path = f"/{task}-{call}!"
            running = asyncio.ensure_future(connection.run(exchange(get(path))))
            if call % 9 == 8:
                await asyncio.sleep(0)
                running.cancel()
            try:
                check(path, await running)
            except (farfunc.ConnectionFailed, asyncio.CancelledError):
                failed.append(path)

    async def main(url):
        connection = AsyncConnection(Address(url), None, policy)
        await asyncio.gather(*(work_later(connection, task) for task in range(12)))
        await connection.close()

    with raw_server(_whims) as url:
        if kind == "async":
            asyncio.run(main(url))
        else:
            connection = Connection(Address(url), None, policy)
            with ThreadPoolExecutor(12) as threads:
                for future in [threads.submit(work, connection, thread) for thread in range(12)]:
                    future.result(60)
            connection.close()
    assert len(right) + len(failed) == 12 * 40
    assert len(right) > 12 * 40 * 0.8
