"""Connections as they come: in pieces, one request behind another, large, given up, and not quite HTTP."""

import contextlib
import json
import re
import socket
from urllib.parse import urlsplit

import numpy as np
import pytest

from farfunc_protocol.graph import Equation, Graph
from farfunc_protocol.messages import decode_response
from farfunc_protocol.transforms import FlatTransform
from support.graphs import array, f64, wrapped
from support.http import BINARY, evaluation, open_client, register, results

SIN = wrapped(Graph((f64(2),), (), (Equation("sin", (0,), {}, (1,)),), (1,)))
LARGE = 100_000
LARGE_SIN = wrapped(Graph((f64(LARGE),), (), (Equation("sin", (0,), {}, (1,)),), (1,)))
JACFWD = FlatTransform("jacfwd", {"argnums": (0,)})
HEAD = (
    "POST /v1/evaluate HTTP/1.1\r\nHost: x\r\nContent-Type: application/vnd.safetensors\r\n"
    "{more}Content-Length: {n}\r\n\r\n"
)


@pytest.fixture(scope="module")
def small(server_url):
    with open_client(server_url) as client:
        return evaluation(register(client, SIN), [array([0.0, 1.0])], JACFWD)


@pytest.fixture(scope="module")
def large(server_url):
    with open_client(server_url) as client:
        return evaluation(register(client, LARGE_SIN), [array(np.arange(LARGE) / LARGE)])


@pytest.fixture
def connection(server_url):
    parts = urlsplit(server_url)
    with socket.create_connection((parts.hostname, parts.port), timeout=30) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        yield connection


def request(body, more=""):
    return HEAD.format(n=len(body), more=more).encode() + body


class Answers:
    """Reads answers from a connection, one after another."""

    def __init__(self, connection):
        self.connection, self.data = connection, b""

    def next(self):
        while b"\r\n\r\n" not in self.data:
            self._more()
        head, _, self.data = self.data.partition(b"\r\n\r\n")
        lines = head.decode().split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in lines[1:])
        size = int(headers["content-length"])
        while len(self.data) < size:
            self._more()
        body, self.data = self.data[:size], self.data[size:]
        return int(lines[0].split()[1]), headers, body

    def _more(self):
        part = self.connection.recv(1 << 16)
        assert part, f"the connection was closed after {self.data!r}"
        self.data += part


def is_jacobian(answer):
    status, _, body = answer
    assert status == 200, body
    np.testing.assert_allclose(decode_response(body).arrays[0].to_numpy(), np.diag([1.0, np.cos(1.0)]))
    return True


def test_pieces_of_any_size(connection, small):
    answers = Answers(connection)
    whole = request(small)
    for size in (1, 7, 50, len(whole) - len(small), len(whole) - 1):
        for start in range(0, len(whole), size):
            connection.sendall(whole[start : start + size])
        assert is_jacobian(answers.next())


def test_requests_one_behind_another_are_answered_in_order(connection, small):
    other = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
    bad = b"bad"
    chunked = (
        HEAD.format(n=0, more="").replace("Content-Length: 0", "Transfer-Encoding: chunked").encode()
        + b"%x\r\n" % len(small)
        + small
        + b"\r\n0\r\n\r\n"
    )
    connection.sendall(request(small) + other + request(bad) + request(small) + chunked + other + request(small))
    answers = Answers(connection)
    assert is_jacobian(answers.next())
    assert json.loads(answers.next()[2]) == {"status": "ok"}
    assert answers.next()[0] == 422
    assert is_jacobian(answers.next())
    assert is_jacobian(answers.next())
    assert json.loads(answers.next()[2]) == {"status": "ok"}
    assert is_jacobian(answers.next())


@pytest.mark.parametrize("piece", [1 << 30, 10_000])
def test_a_large_body_and_what_comes_behind_it(connection, small, large, piece):
    whole = request(large) + request(small)
    for start in range(0, len(whole), piece):
        connection.sendall(whole[start : start + piece])
    answers = Answers(connection)
    status, _, body = answers.next()
    assert status == 200
    np.testing.assert_allclose(decode_response(body).arrays[0].to_numpy(), np.sin(np.arange(LARGE) / LARGE))
    assert is_jacobian(answers.next())


def test_a_large_body_that_is_not_wanted_is_refused_and_skipped(connection, small, large):
    head, _, body = request(large).partition(b"\r\n\r\n")
    connection.sendall(head.replace(b"vnd.safetensors", b"unheard-of") + b"\r\n\r\n")
    answers = Answers(connection)
    assert answers.next()[0] == 415  # before the body is sent
    connection.sendall(body + request(small))
    assert is_jacobian(answers.next())


def test_a_client_that_goes_in_the_middle_of_a_large_body_is_forgotten(server_url, small, large):
    parts = urlsplit(server_url)
    for _ in range(3):
        with socket.create_connection((parts.hostname, parts.port), timeout=30) as connection:
            connection.sendall(request(large)[: len(large) // 2])
    with open_client(server_url) as client:
        assert results(client.post("/v1/evaluate", content=small, headers=BINARY))
        assert client.get("/v1/devices").status_code == 200


@pytest.mark.parametrize(
    ("more", "status"),
    [
        ("Connection: close\r\n", 200),
        ("Connection: keep-alive\r\n", 200),
        ("Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMA\r\n", 200),  # curl --http2
        ("X-Odd : 1\r\n", 400),
        ("X-Folded: 1\r\n 2\r\n", 400),
        ("Content-Length: 7\r\n", 400),
        ("Content-Length: +7\r\n", 400),
        ("X-Text: \u00fc\r\n", 200),
        ("X-Empty:\r\n", 200),
    ],
)
def test_heads_that_are_not_plain_are_judged_as_elsewhere(connection, small, more, status):
    connection.sendall(request(small, more))
    data = b""
    while not data.startswith(b"HTTP/1.1 200") or b"\r\n\r\n" not in data:
        part = connection.recv(1 << 16)
        data += part
        if not part or b"400" in data[:20]:
            break
    assert data.startswith(b"HTTP/1.1 %d" % status)


@pytest.mark.parametrize("start", [b"POST /v1/evaluate HTTP/1.1\r\n", b"GET / HTTP/1.1\r\n", b"GET /"])
def test_a_head_without_end_is_not_kept(connection, start):
    received = b""
    with contextlib.suppress(ConnectionError):
        connection.sendall(start)
        for _ in range(64):  # 4 MB
            connection.sendall(b"X-Long: " + b"a" * (1 << 16))
        received = connection.recv(100)
        assert received.startswith(b"HTTP/1.1 400")
        while connection.recv(1 << 16):
            pass


def test_a_request_without_host_is_refused(connection):
    connection.sendall(b"GET /healthz HTTP/1.1\r\n\r\n")
    status, headers, body = Answers(connection).next()
    assert status == 400
    assert json.loads(body)["code"] == "bad_request"
    assert headers["content-type"] == "application/problem+json"


# Server-Timing


def timing(value):
    assert re.fullmatch(r"\w+;dur=\d+\.\d{3}(, \w+;dur=\d+\.\d{3})*", value)
    return {name: float(duration) for name, duration in re.findall(r"(\w+);dur=([\d.]+)", value)}


def test_where_the_time_went(server_url, small):
    with open_client(server_url) as client:
        response = client.post("/v1/evaluate", content=small, headers=BINARY)
        parts = timing(response.headers["server-timing"])
        assert list(parts) == ["read", "parse", "queue", "ipc", "compute", "reply", "total"]
        total = parts.pop("total")
        assert sum(parts.values()) <= total + 0.004  # each is rounded
        assert 0 < parts["compute"] < total < response.elapsed.total_seconds() * 1e3

        identity = register(client, SIN)
        response = client.post(f"/v1/functions/{identity}/jacfwd", json={"args": [[0, 1]]})
        assert "compute" in timing(response.headers["server-timing"])


def test_where_the_time_of_a_failure_went(server_url, small):
    with open_client(server_url) as client:
        response = client.post("/v1/evaluate", content=b"bad", headers=BINARY)
        assert response.status_code == 422
        assert list(timing(response.headers["server-timing"])) == ["read", "parse", "total"]

        body = evaluation(register(client, SIN), [array([0.0, 1.0, 2.0])])  # the worker refuses the shape
        response = client.post("/v1/evaluate", content=body, headers=BINARY)
        assert response.status_code == 422
        parts = timing(response.headers["server-timing"])
        assert list(parts) == ["read", "parse", "queue", "worker", "reply", "total"]
        total = parts.pop("total")
        assert sum(parts.values()) <= total + 0.004
        assert "server-timing" not in client.get("/healthz").headers
