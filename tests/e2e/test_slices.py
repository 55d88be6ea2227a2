"""Long calls on a real server: small ones pass, answers stream, and what befalls them."""

import asyncio
import contextlib
import os
import re
import signal
import threading
import time
from pathlib import Path

import httpx
import numpy as np
import pytest

import farfunc
from farfunc_protocol.graph import Equation, Graph
from farfunc_protocol.messages import decode_response
from farfunc_protocol.transforms import FlatTransform
from support import environments
from support.graphs import array, f64, function_of, wrapped
from support.http import BINARY, evaluation, open_client, register, results
from support.serving import RunningServer

RNG = np.random.default_rng(0)
VMAP = FlatTransform("vmap", {"in_dims": (0,), "out_dims": (0,)})
GRAD = FlatTransform("grad", {"argnums": (0,)})
JACREV = FlatTransform("jacrev", {"argnums": (0,)})
JACFWD = FlatTransform("jacfwd", {"argnums": (0,)})
SIN = wrapped(Graph((f64(2),), (), (Equation("sin", (0,), {}, (1,)),), (1,)))
X = array([1.0, 2.0])
LARGE_SIN = function_of([f64(2048)], lambda b, x: b.add("sin", (x,))[0])


def polynomial(b, x):
    """The sum of x ** 301, by as many products: long for many samples, and with a gradient that is known."""
    y = x
    for _ in range(300):
        (y,) = b.add("mul.Tensor", (y, x))
    return b.add("sum", (y,))[0]


LONG = function_of([f64(400)], polynomial)


def product(b, x):
    """A matrix, by the same matrix 100 times, by x: many seconds for all rows of a Jacobian."""
    attributes = {"size": (1500, 1500), "fill_value": 1.0 / 1500, "dtype": "float64"}
    (matrix,) = b.add("full", (), attributes, types=[f64(1500, 1500)])
    for _ in range(100):
        (x,) = b.add("mv", (matrix, x))
    return x


POWER = function_of([f64(1500)], product)
SAMPLES = 1.0 - 0.01 * RNG.random((6000, 400))  # seconds long, 19 MB of result


def gradient(samples):
    return 301 * samples**300


@pytest.fixture(scope="module")
def long_server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("slices")
    with RunningServer(environments.full_python(), folder, "--threads", "1") as server:
        yield server


@pytest.fixture
def client(long_server):
    with open_client(long_server.url, 300.0) as client:
        results(post(client, evaluation(register(client, SIN), [X])))
        yield client


def post(client, body, **headers):
    return client.post("/v1/evaluate", content=body, headers={**BINARY, **headers})


def worker_of(client):
    return client.get("/v1/devices").json()["devices"][0]["pid"]


def metric(client, name):
    lines = client.get("/metrics").text.splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith((f"{name} ", f"{name}{{")))


@contextlib.contextmanager
def streamed(client, body, **headers):
    """An answer of which the header has come."""
    with client.stream("POST", "/v1/evaluate", content=body, headers={**BINARY, **headers}) as response:
        assert response.status_code == 200, response.read()
        yield response, response.iter_raw(1 << 16)


def check_long(data):
    (found,) = decode_response(data).arrays
    np.testing.assert_allclose(found.data, gradient(SAMPLES), rtol=1e-9)


def test_small_calls_pass_between_the_slices_of_a_long_one(client, long_server):
    body = evaluation(register(client, LONG), [array(SAMPLES)], VMAP, GRAD)
    small = evaluation(register(client, SIN), [X])
    passed = []
    with streamed(client, body) as (response, parts), open_client(long_server.url) as other:
        size = int(response.headers["content-length"])
        data = b""
        for part in parts:
            data += part
            if len(passed) < 20:
                np.testing.assert_array_equal(results(post(other, small))[0].data, np.sin([1.0, 2.0]))
                passed.append(len(data))
    assert len(data) == size
    assert passed[9] < size / 2, "ten small calls should have been answered before half of the large one"
    check_long(data)


def test_several_long_calls_go_on_together(client, long_server):
    body = evaluation(register(client, LONG), [array(SAMPLES)], VMAP, GRAD)
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(open_client(long_server.url, 300.0)) for _ in range(3)]
        streams = [stack.enter_context(streamed(each, body)) for each in clients]  # all three have begun
        found = [b""] * 3

        def read(number):
            for part in streams[number][1]:
                found[number] += part

        threads = [threading.Thread(target=read, args=(number,)) for number in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    for data in found:
        check_long(data)


def test_a_worker_that_dies_in_the_middle_is_replaced_and_the_answer_goes_on(client):
    body = evaluation(register(client, LONG), [array(SAMPLES)], VMAP, GRAD)
    restarts = metric(client, "farfunc_worker_restarts_total")
    with streamed(client, body) as (_, parts):
        data = next(parts)
        os.kill(worker_of(client), signal.SIGKILL)
        data += b"".join(parts)
    assert metric(client, "farfunc_worker_restarts_total") == restarts + 1
    check_long(data)


def test_the_device_is_free_when_a_client_has_gone(client, long_server):
    body = evaluation(register(client, LONG), [array(SAMPLES)], VMAP, GRAD)
    for _ in range(3):
        with open_client(long_server.url) as other, streamed(other, body) as (_, parts):
            next(parts)
    deadline = time.monotonic() + 30
    while metric(client, "farfunc_evaluations_running") or metric(client, "farfunc_queue_depth"):
        assert time.monotonic() < deadline, "something is still evaluated"
    results(post(client, evaluation(register(client, SIN), [X])))


@pytest.mark.parametrize("limit", ["60", "0.2"])
def test_a_server_that_is_told_to_end_finishes_what_has_begun_in_its_time(tmp_path, limit):
    with RunningServer(
        environments.full_python(), tmp_path, "--threads", "1", "--shutdown-limit", limit
    ) as server, open_client(server.url, 120.0) as client:  # fmt: skip
        body = evaluation(register(client, LONG), [array(SAMPLES)], VMAP, GRAD)
        with streamed(client, body) as (_, parts):
            data = next(parts)
            server.process.terminate()
            if limit == "0.2":
                with pytest.raises(httpx.RemoteProtocolError):
                    b"".join(parts)
            else:
                check_long(data + b"".join(parts))
        assert server.process.wait(30) == 0


def test_a_time_limit_in_the_middle_cuts_the_answer_off_and_the_reason_is_told(client):
    body = evaluation(register(client, POWER), [array(np.ones(1500))], JACREV)
    with streamed(client, body) as (_, parts):  # what the first call of a kind takes has been taken then
        next(parts)
    limited = {"x-timeout": "1", "x-request-id": "cut-off"}
    with streamed(client, body, **limited) as (_, parts), pytest.raises(httpx.RemoteProtocolError):
        b"".join(parts)
    problem = client.get("/v1/requests/cut-off/problem")
    assert (problem.status_code, problem.json()["code"]) == (504, "time_limit_exceeded")
    assert "1 s" in problem.json()["detail"]
    assert client.get("/v1/requests/another/problem").status_code == 404
    results(post(client, evaluation(register(client, SIN), [X])))


@pytest.mark.parametrize("is_async", [False, True])
def test_the_client_tells_why_an_answer_was_cut_off(long_server, is_async):
    matrix = np.full((1500, 1500), 1.0 / 1500)

    def power(x):
        for _ in range(100):
            x = matrix @ x
        return x

    x = np.ones(1500)
    with farfunc.Client(long_server.url, timeout=1.0) as client:
        if not is_async:
            with pytest.raises(farfunc.TimeLimitExceeded, match="at the request's time limit of 1 s"):
                client.jacrev(power)(x)
            return

    async def main():
        async with farfunc.AsyncClient(long_server.url, timeout=1.0) as client:
            await client.jacrev(power)(x)

    with pytest.raises(farfunc.TimeLimitExceeded, match="at the request's time limit of 1 s"):
        asyncio.run(main())


def test_columns_are_put_together(client):
    x = RNG.standard_normal(2048)
    for _ in range(8):
        (found,) = results(post(client, evaluation(register(client, LARGE_SIN), [array(x)], JACFWD)))
        np.testing.assert_allclose(found.data, np.diag(np.cos(x)), atol=1e-14)


def test_json_answers_hold_the_whole(client):
    reference = register(client, LONG, "long")
    samples = SAMPLES[:1500]
    document = {
        "function": reference,
        "transforms": [{"transform": "vmap"}, {"transform": "grad"}],
        "args": [samples.tolist()],
        "encoding": "base64",
    }
    answer = client.post("/v1/evaluate", json=document)
    assert answer.status_code == 200, answer.text
    import base64

    found = np.frombuffer(base64.b64decode(answer.json()["result"]["base64"]))
    np.testing.assert_allclose(found.reshape(samples.shape), gradient(samples), rtol=1e-9)


def peak(pid):
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return int(found[1]) << 10


@pytest.mark.parametrize("transform", [JACREV, JACFWD], ids=["jacrev", "jacfwd"])
def test_a_jacobian_of_four_times_the_memory_limit(tmp_path, transform):
    limit = 32 << 20  # the Jacobian has 2048 x 2048 x 8 bytes: 32 MiB, and the limit is a quarter
    options = ("--threads", "1", "--memory-limit", str(limit // 4))
    with (
        RunningServer(environments.full_python(), tmp_path, *options) as server,
        open_client(server.url) as client,
    ):
        reference = register(client, LARGE_SIN)
        small = register(client, function_of([f64(300)], lambda b, x: b.add("sin", (x,))[0]))
        for _ in range(8):  # what any first calls take
            results(post(client, evaluation(small, [array(np.ones(300))], transform)))
        pids = {"worker": worker_of(client), "web": server.process.pid}
        before = {}
        for name, pid in pids.items():
            Path(f"/proc/{pid}/clear_refs").write_text("5")
            before[name] = peak(pid)
        x = RNG.standard_normal(2048)
        (found,) = results(post(client, evaluation(reference, [array(x)], transform)))
        growth = {name: peak(pid) - before[name] for name, pid in pids.items()}
    np.testing.assert_allclose(found.data, np.diag(np.cos(x)), atol=1e-14)
    # Kernels and allocators have their own; the whole Jacobian is in neither process.
    assert growth["worker"] < limit // 4 + (4 << 20), growth
    assert growth["web"] < 2 * limit, growth
