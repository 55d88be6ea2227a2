"""Connections: retries, servers that misbehave, proxies, closing. The servers here are bare sockets."""

import asyncio
import gc
import json
import os
import socket
import threading
import time

import pytest

import farfunc
from farfunc import _httpx, _sockets
from farfunc._address import Address
from farfunc._answers import HttpResponse
from farfunc._connection import AsyncConnection, Connection
from farfunc._retry import RetryPolicy
from farfunc._session import HttpRequest
from farfunc_protocol.errors import ServerBusy, WorkerDied
from support.raw_servers import dead_port, raw_server, read_request, respond

AT_ONCE = RetryPolicy(pause=0.0)


def get(path="/v1/devices", **options):
    return HttpRequest("GET", path, **options)


def exchange(request):
    return (yield request)


@pytest.fixture(params=["sync", "async"])
def send(request):
    """Send one request over a connection of either kind, and close it."""

    def sync(address, *requests, transport=None, policy=AT_ONCE):
        connection = Connection(address, transport, policy)
        try:
            return [connection.run(exchange(request)) for request in requests]
        finally:
            connection.close()

    def asynchronous(address, *requests, transport=None, policy=AT_ONCE):
        async def main():
            connection = AsyncConnection(address, transport, policy)
            try:
                return [await connection.run(exchange(request)) for request in requests]
            finally:
                await connection.close()

        return asyncio.run(main())

    return sync if request.param == "sync" else asynchronous


class TestRetries:
    def test_a_busy_server_is_asked_again_when_it_says(self, send):
        times = []

        def answer(connection, number):
            while read_request(connection):
                times.append(time.monotonic())
                respond(connection, *([503] if len(times) == 1 else [200]), retry_after="0.2")

        with raw_server(answer) as url:
            (response,) = send(Address(url), get())
        assert response.status == 200
        assert times[1] - times[0] >= 0.2

    def test_a_server_that_stays_busy_is_asked_three_times(self, send):
        content = b'{"code": "server_busy", "detail": "many wait", "retry_after": 0}'
        asked = []

        def answer(connection, number):
            while read_request(connection):
                asked.append(number)
                respond(connection, 503, content, "application/problem+json", retry_after="0")

        with raw_server(answer) as url:
            (response,) = send(Address(url), get())
        assert (response.status, len(asked)) == (503, 3)

    @pytest.mark.parametrize("wait", ["11", "-1", "nan", "inf", "soon", "Wed, 21 Oct 2015 07:28:00 GMT"])
    def test_a_wait_that_is_long_or_unclear_is_left_to_the_caller(self, send, wait):
        with raw_server(lambda c, _: read_request(c) and respond(c, 503, retry_after=wait)) as url:
            (response,) = send(Address(url), get())
        assert response.status == 503

    def test_without_retry_after_503_is_an_answer(self, send):
        with raw_server(lambda c, _: read_request(c) and respond(c, 503)) as url:
            assert send(Address(url), get())[0].status == 503

    def test_a_request_that_killed_its_workers_is_not_sent_again(self):
        def response(error):
            headers = {"content-type": "application/problem+json", "retry-after": "1"}
            return HttpResponse(503, headers, json.dumps(error.to_problem()).encode())

        assert RetryPolicy().after_response(response(WorkerDied("both died")), 1) is None
        assert RetryPolicy().after_response(response(ServerBusy("full")), 1) >= 1.0

    def test_a_connection_that_breaks_is_made_again(self, send):
        def answer(connection, number):
            read_request(connection)
            if number > 0:
                respond(connection)

        with raw_server(answer) as url:
            assert send(Address(url), get())[0].status == 200

    @pytest.mark.parametrize(
        "part", [b"", b"HTTP/1.1 200 OK\r\ncontent-le", b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n123"]
    )
    def test_a_connection_that_always_breaks_is_an_error_that_says_so(self, send, part):
        seen = []

        def answer(connection, number):
            read_request(connection)
            seen.append(number)
            connection.sendall(part)

        with raw_server(answer) as url, pytest.raises(farfunc.ConnectionFailed, match="broke 3 times") as caught:
            send(Address(url), get())
        assert len(seen) == 3
        assert url in caught.value.detail

    def test_a_server_that_ends_in_the_middle_is_no_server_that_never_was(self, send):
        port = dead_port()

        def answer(listener):
            connection, _ = listener.accept()
            listener.close()
            read_request(connection)
            connection.close()

        listener = socket.create_server(("127.0.0.1", port))
        thread = threading.Thread(target=answer, args=(listener,))
        thread.start()
        with pytest.raises(farfunc.ConnectionFailed, match="broke before the answer was complete, and now ") as caught:
            send(Address(f"http://127.0.0.1:{port}"), get())
        thread.join()
        assert "log" in caught.value.remedy

    def test_what_must_not_happen_twice_is_sent_once(self, send):
        seen = []

        def answer(connection, number):
            seen.append(read_request(connection))

        with raw_server(answer) as url, pytest.raises(farfunc.ConnectionFailed, match="broke before"):
            send(Address(url), HttpRequest("DELETE", "/v1/functions/arm", repeatable=False))
        assert len(seen) == 1

    def test_an_idle_connection_that_the_server_closed_is_replaced(self, send):
        def answer(connection, number):
            read_request(connection)
            respond(connection)

        with raw_server(answer) as url:
            assert [response.status for response in send(Address(url), get(), get(), get())] == [200, 200, 200]

    def test_what_speaks_no_http_is_an_error(self, send):
        ssh = raw_server(lambda c, _: c.sendall(b"SSH-2.0-OpenSSH_9.6\r\n"))
        with ssh as url, pytest.raises(farfunc.ConnectionFailed, match=url):
            send(Address(url), get())


def silent():
    """A server that reads requests and never answers."""
    return raw_server(lambda connection, _: [read_request(connection), read_request(connection)])


class TestSilence:
    def test_a_server_that_never_answers(self, send):
        with silent() as url, pytest.raises(farfunc.TimeLimitExceeded, match=r"silent for 0\.1 seconds") as caught:
            send(Address(url), get(seconds=0.1))
        assert "timeout" in caught.value.remedy

    def test_connect_does_not_wait_for_an_evaluation_s_time(self, monkeypatch):
        monkeypatch.setattr("farfunc._session._GREETING_SECONDS", 0.1)
        with silent() as url, pytest.raises(farfunc.TimeLimitExceeded):
            farfunc.connect(url)

    def test_all_connections_taken(self, monkeypatch):
        monkeypatch.setattr(_sockets, "LIMITS", _sockets.Limits(connections=1))
        begun, end = threading.Event(), threading.Event()

        def answer(connection, number):
            read_request(connection)
            begun.set()
            end.wait()
            respond(connection)

        with raw_server(answer) as url:
            connection = Connection(Address(url))
            first = threading.Thread(target=connection.run, args=(exchange(get()),))
            first.start()
            begun.wait()
            try:
                with pytest.raises(farfunc.TimeLimitExceeded, match=r"were taken for 0\.05 seconds"):
                    connection.run(exchange(get(seconds=0.05)))
            finally:
                end.set()
                first.join()
                connection.close()


class TestNobodyThere:
    def test_one_sentence_says_what_was_tried_and_how_to_start_one(self, send):
        port = dead_port()
        with pytest.raises(farfunc.ConnectionFailed) as caught:
            send(Address(f"http://127.0.0.1:{port}"), get())
        assert f"no farfunc server answers at http://127.0.0.1:{port} (" in caught.value.detail
        assert "refused" in caught.value.detail or "attempts failed" in caught.value.detail
        assert "farfunc serve" in caught.value.remedy

    def test_a_host_that_does_not_exist(self, send, monkeypatch):
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.delenv(name, raising=False)

        def fail(*_):
            raise socket.gaierror(-2, "Name or service not known")

        monkeypatch.setattr(socket, "getaddrinfo", fail)
        with pytest.raises(farfunc.ConnectionFailed, match="Name or service not known"):
            send(Address("http://nowhere.invalid:8017"), get())

    def test_https_to_a_server_without_tls(self, send):
        plain = raw_server(lambda c, _: respond(c, 400))
        with plain as url, pytest.raises(farfunc.ConnectionFailed, match="SSL") as caught:
            send(Address(url.replace("http:", "https:")), get())
        assert caught.value.remedy == f"it speaks no TLS: give {url}"


@pytest.mark.parametrize(
    ("url", "remedy"),
    [
        ("", "http://host:port"),
        ("localhost:8017", "http://localhost:8017"),
        ("gpu", "http://gpu"),
        ("http://", "http://host:port"),
        ("http://:8017", "http://host:port"),
        ("ftp://gpu", "http://host:port"),
        ("file:///etc/passwd", "http://host:port"),
        ("//gpu:8017", "http://host:port"),
        ("http://gpu:port", "http://host:port"),
        ("http://gpu:99999", "http://host:port"),
        ("http://gpu:0", "http://host:port"),
        ("http://[::1", "http://host:port"),
        ("http://g pu", "http://host:port"),
        ("http://g\npu", "http://host:port"),
        ("http://a..b:80", "http://host:port"),
        ("http://" + "a" * 64, "http://host:port"),
        ("http://xn--:80", "http://host:port"),
        ("http://gpu?x=1", "http://host:port"),
        ("http://gpu#top", "http://host:port"),
        (8017, "http://host:port"),
        (b"http://gpu", "http://host:port"),
    ],
)
def test_what_is_no_url_is_refused_with_the_right_form(url, remedy):
    with pytest.raises(farfunc.ConnectionFailed, match="is not the URL of a server") as caught:
        farfunc.Client(url)
    assert caught.value.remedy == f"give {remedy}"


def test_a_scheme_in_capitals_is_the_same_and_certificates_are_checked_all_the_same():
    assert Address.parse("HTTP://gpu:8017") == Address("http://gpu:8017")
    address = Address.parse("HTTPS://gpu:8017")
    assert address == Address("https://gpu:8017")
    assert _httpx._transport_options(address)["verify"] is True


def test_space_around_a_url_is_no_part_of_it():
    assert Address.parse(" http://gpu:8017/\n").url == "http://gpu:8017"


@pytest.mark.parametrize("url", ["http://me:secret@gpu:8017", "http://secret@gpu"])
def test_a_password_in_a_url_is_refused_and_not_repeated(url):
    with pytest.raises(farfunc.ConnectionFailed, match="holds a user or password") as caught:
        farfunc.Client(url)
    assert "secret" not in str(caught.value)


def test_a_path_before_the_routes_is_kept(send):
    asked = []

    def answer(connection, number):
        asked.append(read_request(connection).split(b" ")[1])
        respond(connection)

    with raw_server(answer) as url:
        send(Address.parse(f"{url}/team/farfunc/"), get("/v1/functions?after=arm@3"))
    assert asked == [b"/team/farfunc/v1/functions?after=arm@3"]


def test_redirects_are_not_followed(send):
    with raw_server(lambda c, _: read_request(c) and respond(c, 302, location="http://elsewhere/")) as url:
        assert send(Address(url), get())[0].status == 302


class TestToken:
    def sent(self, send, address):
        asked = []

        def answer(connection, number):
            asked.append(read_request(connection).lower())
            respond(connection)

        with raw_server(answer) as url:
            send(address(url), get())
        return asked[0]

    def test_is_a_bearer_token(self, send):
        assert b"authorization: bearer s3cret\r\n" in self.sent(send, lambda url: Address(url, "s3cret"))

    def test_none_is_none(self, send):
        assert b"authorization" not in self.sent(send, Address)

    def test_is_not_shown(self):
        address = Address.parse("http://gpu:8017", "s3cret")
        assert "s3cret" not in repr(address)
        assert "s3cret" not in repr(farfunc.Client("http://gpu:8017", token="s3cret"))

    def test_the_newline_of_a_file_is_no_part_of_it(self):
        assert Address.parse("http://gpu:8017", "s3cret\n").token == "s3cret"

    @pytest.mark.parametrize("token", ["two words", "a\nb", "schlüssel", "x\x00", b"bytes", 5])
    def test_what_no_header_can_carry_is_refused_and_not_repeated(self, token):
        with pytest.raises(farfunc.Unauthorized) as caught:
            farfunc.Client("http://gpu:8017", token=token)
        assert str(token) not in str(caught.value)


PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")


@pytest.fixture
def proxies(monkeypatch):
    """Set the environment's proxies, and no others."""
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)

    def use(**settings):
        for name, value in settings.items():
            monkeypatch.setenv(name, value)

    return use


class TestProxies:
    @pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
    @pytest.mark.parametrize("names", [("HTTP_PROXY",), ("http_proxy",), ("ALL_PROXY",)])
    def test_none_stands_before_this_machine(self, send, proxies, host, names):
        proxies(**dict.fromkeys(names, f"http://127.0.0.1:{dead_port()}"))
        with raw_server(lambda c, _: read_request(c) and respond(c)) as url:
            assert send(Address(url.replace("127.0.0.1", host)), get())[0].status == 200

    def test_one_that_needs_an_extra_package_does_no_harm_here(self, send, proxies):
        proxies(ALL_PROXY="socks5://127.0.0.1:9")
        with raw_server(lambda c, _: read_request(c) and respond(c)) as url:
            assert send(Address(url), get())[0].status == 200

    def test_a_remote_host_is_reached_through_it(self, send, proxies):
        asked = []

        def answer(connection, number):
            asked.append(read_request(connection).split(b"\r\n")[0])
            respond(connection)

        with raw_server(answer) as proxy:
            proxies(HTTP_PROXY=proxy)
            assert send(Address("http://gpu.example:8017"), get())[0].status == 200
        assert asked == [b"GET http://gpu.example:8017/v1/devices HTTP/1.1"]

    def test_a_dead_one_is_named(self, send, proxies):
        port = dead_port()
        proxies(HTTP_PROXY=f"http://me:secret@127.0.0.1:{port}")
        with pytest.raises(farfunc.ConnectionFailed) as caught:
            send(Address("http://gpu.example:8017"), get())
        assert f"http://gpu.example:8017 through the proxy 127.0.0.1:{port} of the environment" in caught.value.detail
        assert caught.value.remedy == "set NO_PROXY=gpu.example to pass it by"
        assert "secret" not in str(caught.value)

    def test_no_proxy_passes_it_by(self, send, proxies, monkeypatch):
        proxies(HTTP_PROXY=f"http://127.0.0.1:{dead_port()}", NO_PROXY="gpu.example")
        real = socket.getaddrinfo
        monkeypatch.setattr(
            socket,
            "getaddrinfo",
            lambda host, *rest, **named: real(
                "127.0.0.1" if host in ("gpu.example", b"gpu.example") else host, *rest, **named
            ),
        )
        with raw_server(lambda c, _: read_request(c) and respond(c)) as url:
            assert send(Address(url.replace("127.0.0.1", "gpu.example")), get())[0].status == 200

    @pytest.mark.parametrize("proxy", ["socks5://127.0.0.1:9", "nonsense://127.0.0.1:9"])
    def test_one_that_cannot_be_used_is_an_error_for_remote_hosts(self, send, proxies, proxy):
        proxies(ALL_PROXY=proxy)
        with pytest.raises(farfunc.ConnectionFailed, match="proxy that the environment names cannot be used"):
            send(Address("http://gpu.example:8017"), get())


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://127.0.0.1:1", True),
        ("http://127.8.9.10", True),
        ("http://[::1]:1", True),
        ("http://0.0.0.0:1", True),
        ("https://LOCALHOST", True),
        ("http://a.localhost", True),
        ("http://10.0.0.1", False),
        ("http://gpu", False),
        ("http://localhost.example", False),
    ],
)
def test_is_this_machine(url, expected):
    assert Address.parse(url).is_this_machine is expected


class TestClosing:
    def test_a_closed_connection_says_so(self):
        connection = Connection(Address("http://gpu:1"))
        connection.close()
        connection.close()
        with pytest.raises(farfunc.ConnectionFailed, match="client of http://gpu:1 has been closed"):
            connection.run(exchange(get()))

    def test_a_closed_asynchronous_connection_says_so(self):
        async def main():
            connection = AsyncConnection(Address("http://gpu:1"))
            await connection.close()
            await connection.close()
            await connection.run(exchange(get()))

        with pytest.raises(farfunc.ConnectionFailed, match="client of http://gpu:1 has been closed"):
            asyncio.run(main())

    def test_one_that_is_closed_during_a_request_says_so(self):
        begun, closed = threading.Event(), threading.Event()

        def answer(connection, number):
            read_request(connection)
            begun.set()
            closed.wait(30)

        with raw_server(answer) as url:
            connection = Connection(Address(url))

            def close():
                begun.wait(30)
                connection.close()
                closed.set()

            thread = threading.Thread(target=close)
            thread.start()
            with pytest.raises(farfunc.ConnectionFailed, match="has been closed"):
                connection.run(exchange(get()))
            thread.join()

    def test_an_asynchronous_one_that_is_closed_during_a_request_says_so(self):
        begun, closed = threading.Event(), threading.Event()

        def answer(connection, number):
            read_request(connection)
            begun.set()
            closed.wait(30)

        async def main(url):
            connection = AsyncConnection(Address(url))
            task = asyncio.create_task(connection.run(exchange(get())))
            await asyncio.to_thread(begun.wait)
            await connection.close()
            closed.set()
            await task

        with raw_server(answer) as url, pytest.raises(farfunc.ConnectionFailed, match="has been closed"):
            asyncio.run(main(url))

    def test_one_that_nobody_holds_closes_its_sockets(self):
        closed = threading.Event()

        def answer(connection, number):
            while read_request(connection):
                respond(connection)
            closed.set()

        with raw_server(answer) as url:
            connection = Connection(Address(url))
            connection.run(exchange(get()))
            del connection  # a socket left open would be a ResourceWarning, and fail
            gc.collect()
            assert closed.wait(30)


class TestForks:
    def test_a_child_makes_connections_of_its_own(self):
        numbers = []

        def answer(connection, number):
            while read_request(connection):
                numbers.append(number)
                respond(connection, content=str(number).encode())

        with raw_server(answer) as url:
            connection = Connection(Address(url))
            assert connection.run(exchange(get())).content == b"0"
            child = os.fork()
            if child == 0:
                status = 1
                try:
                    status = 0 if connection.run(exchange(get())).content == b"1" else 2
                finally:
                    os._exit(status)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
            assert connection.run(exchange(get())).content == b"0"
            connection.close()
        assert numbers == [0, 1, 0]


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")  # asyncio's, of a loop that ended first
def test_an_asynchronous_connection_outlives_its_event_loop():
    def answer(connection, number):
        while read_request(connection):
            respond(connection)

    with raw_server(answer) as url:
        connection = AsyncConnection(Address(url))
        for _ in range(2):
            assert asyncio.run(connection.run(exchange(get()))).status == 200
        assert len(connection._pools) == 1
        del connection
        gc.collect()


def test_a_cancelled_request_leaves_the_connection_usable():
    begun = threading.Event()

    def answer(connection, number):
        while request := read_request(connection):
            if b"/slow" in request:
                begun.set()
            else:
                respond(connection)

    async def main(url):
        connection = AsyncConnection(Address(url))
        task = asyncio.create_task(connection.run(exchange(get("/slow"))))
        await asyncio.to_thread(begun.wait)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        answers = await asyncio.gather(*(connection.run(exchange(get())) for _ in range(100)))
        await connection.close()
        return [answer.status for answer in answers]

    with raw_server(answer) as url:
        assert asyncio.run(main(url)) == [200] * 100


def test_many_threads_share_a_connection():
    def answer(connection, number):
        while request := read_request(connection):
            respond(connection, content=request.split(b" ")[1])

    with raw_server(answer) as url:
        connection = Connection(Address(url))
        wrong = []

        def work(number):
            for call in range(20):
                path = f"/{number}/{call}"
                if connection.run(exchange(get(path))).content != path.encode():
                    wrong.append(path)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        connection.close()
    assert wrong == []
