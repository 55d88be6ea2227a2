"""Webhooks, received by a server of the test's own."""

import base64
import contextlib
import hashlib
import hmac
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from farfunc_protocol.transforms import FlatTransform
from support import environments
from support.graphs import array, f64, function_of
from support.http import BINARY, evaluation, open_client, register
from support.jobs import ended, submit
from support.serving import RunningServer

JACREV = FlatTransform("jacrev", {"argnums": (0,)})
SIN = function_of([f64(3)], lambda b, x: b.add("sin", (x,))[0])
KEY = bytes(range(32))
SECRET = "whsec_" + base64.b64encode(KEY).decode()


class Receiver(ThreadingHTTPServer):
    """Keeps what comes, and answers with the statuses that it is given; 200 after these."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.statuses = []
        self.received = []

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}/hook?x=1"

    def wait(self, count, seconds=30.0):
        deadline = time.monotonic() + seconds
        while len(self.received) < count:
            assert time.monotonic() < deadline, self.received
            time.sleep(0.02)  # between two looks, bounded by the deadline
        return self.received


class _Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        status = self.server.statuses.pop(0) if self.server.statuses else 200
        self.server.received.append((self.path, dict(self.headers), body))
        self.send_response(status)
        if status == 302:
            self.send_header("location", self.path)
        self.send_header("content-length", str(1 << 40))  # nobody is to read that
        self.end_headers()
        with contextlib.suppress(OSError):
            self.wfile.write(b"x" * 1000)

    do_GET = do_POST

    def log_message(self, *arguments):
        pass


@pytest.fixture
def receiver():
    with Receiver() as receiver:
        thread = threading.Thread(target=receiver.serve_forever)
        thread.start()
        yield receiver
        receiver.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def private_server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("webhooks")
    options = ("--webhook-private", "true", "--threads", "1")
    with RunningServer(environments.full_python(), folder, *options) as server:
        yield server


@pytest.fixture
def client(private_server):
    with open_client(private_server.url) as client:
        yield client


def body(client, length=3):
    return evaluation(register(client, SIN), [array(np.ones(length))], JACREV)


def check(received, secret=SECRET):
    """As a receiver checks it by the specification; returns the message's id and what it says."""
    _, headers, content = received
    headers = {name.lower(): value for name, value in headers.items()}
    assert abs(time.time() - int(headers["webhook-timestamp"])) < 60
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + content
    key = base64.b64decode(secret.removeprefix("whsec_"))
    expected = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    assert headers["webhook-signature"] == f"v1,{expected}"
    return headers["webhook-id"], json.loads(content)


def delivered(client, id):
    deadline = time.monotonic() + 30
    while True:
        webhook = client.get(f"/v1/jobs/{id}").json()["webhook"]
        if webhook["delivered"] is not None:
            return webhook
        assert time.monotonic() < deadline, webhook
        time.sleep(0.05)  # between two looks, bounded by the deadline


def test_an_end_is_told_with_a_signature(client, receiver):
    headers = {"x-webhook-url": receiver.url, "x-webhook-secret": SECRET}
    job = submit(client, body(client), headers=headers, label="mine")
    (received,) = receiver.wait(1)
    assert received[0] == "/hook?x=1"
    _, told = check(received)
    assert told["type"] == "job.succeeded"
    assert (told["data"]["id"], told["data"]["label"]) == (job["id"], "mine")
    webhook = delivered(client, job["id"])
    assert (webhook["url"], webhook["attempts"], webhook["error"]) == (receiver.url, 1, None)
    assert "secret" not in webhook


def test_a_secret_is_drawn_where_none_is_given_and_told_once(client, receiver):
    document = {"function": register(client, SIN), "args": [[1, 2]], "webhook": {"url": receiver.url}}
    document["args"] = [[1, 2, 3]]
    job = client.post("/v1/jobs", json=document).json()
    secret = job["webhook"]["secret"]
    check(receiver.wait(1)[0], secret)
    assert secret not in client.get(f"/v1/jobs/{job['id']}").text


def test_a_failure_is_told_too(client, receiver):
    headers = {"x-webhook-url": receiver.url, "x-webhook-secret": SECRET}
    submit(client, body(client, 4), headers=headers)
    _, told = check(receiver.wait(1)[0])
    assert told["type"] == "job.failed"
    assert told["data"]["problem"]["code"]


def test_it_is_tried_again_with_the_same_id_and_redirects_are_failures(client, receiver):
    receiver.statuses = [500, 302]
    headers = {"x-webhook-url": receiver.url, "x-webhook-secret": SECRET}
    job = submit(client, body(client), headers=headers)
    received = receiver.wait(3)
    assert len({check(each)[0] for each in received}) == 1
    assert len({each[2] for each in received}) == 1
    assert delivered(client, job["id"])["attempts"] == 3


def test_who_is_gone_is_not_told_again(client, receiver):
    receiver.statuses = [410]
    job = submit(client, body(client), headers={"x-webhook-url": receiver.url})
    receiver.wait(1)
    ended(client, job["id"])
    with pytest.raises(AssertionError):
        receiver.wait(2, 4.0)
    webhook = client.get(f"/v1/jobs/{job['id']}").json()["webhook"]
    assert webhook["error"] == "the receiver answered 410"
    assert webhook["delivered"] is None


def test_what_could_not_be_told_is_told_after_a_restart(client, receiver, private_server):
    receiver.statuses = [503] * 2
    job = submit(client, body(client), headers={"x-webhook-url": receiver.url})
    receiver.wait(1)
    private_server.stop()
    private_server.__enter__()
    client.base_url = private_server.url
    assert delivered(client, job["id"])["attempts"] >= 3


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:{port}/", "http://[::1]/", "http://10.0.0.1/", "http://169.254.169.254/latest/meta-data",
        "http://[::ffff:127.0.0.1]/", "http://0.0.0.0/", "http://localhost:{port}/", "http://user:pw@a.example/",
        "file:///etc/passwd", "http://", "//a.example/", "http://a.example:99999/", "http://a b/",
    ],
)  # fmt: skip
def test_addresses_that_are_not_public_are_refused(url, receiver, server):
    with open_client(server.url) as client:
        headers = {**BINARY, "x-webhook-url": url.format(port=receiver.server_address[1])}
        response = client.post("/v1/jobs", content=body(client), headers=headers)
        assert (response.status_code, response.json()["code"]) == (422, "invalid_request"), response.text
        assert response.json()["where"] == "request.webhook.url"


def test_a_name_that_stands_for_this_machine_is_refused_when_it_is_looked_up(receiver, server):
    """Numbers in other notations, and names, get as far as the look-up."""
    with open_client(server.url) as client:
        port = receiver.server_address[1]
        job = submit(client, body(client), headers={"x-webhook-url": f"http://2130706433:{port}/"})
        ended(client, job["id"])
        deadline = time.monotonic() + 20
        while not (webhook := client.get(f"/v1/jobs/{job['id']}").json()["webhook"])["attempts"]:
            assert time.monotonic() < deadline
            time.sleep(0.05)  # between two looks, bounded by the deadline
        while not (webhook := client.get(f"/v1/jobs/{job['id']}").json()["webhook"])["error"]:
            assert time.monotonic() < deadline
            time.sleep(0.05)  # between two looks, bounded by the deadline
        assert "not public" in webhook["error"]
        assert receiver.received == []
