"""A real server, and what befalls it: workers killed, time limits, a full queue, clients that leave."""

import os
import signal
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import pytest

from farfunc_protocol.graph import Equation, Graph
from farfunc_protocol.transforms import FlatTransform
from support.graphs import array, busy, f64, wrapped
from support.http import BINARY, evaluation, open_client, register, results

SIN = wrapped(Graph((f64(2),), (), (Equation("sin", (0,), {}, (1,)),), (1,)))
X = array([1.0, 2.0])
ENDLESS = busy(2000)
SECONDS_LONG = busy(12)


def children(pid: int) -> list[int]:
    """The processes that a process has started."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def wait_for(condition, seconds=30.0):
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)
    return found


def worker_of(client):
    """The process of the one worker; 0 while there is none."""
    return client.get("/v1/devices").json()["devices"][0]["pid"] or 0


def wait_until_running(client):
    """Wait until a worker has taken a request, and is in the middle of it."""
    wait_for(lambda: metric(client, "farfunc_evaluations_running") == 1)


def metric(client, name):
    lines = client.get("/metrics").text.splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith((f"{name} ", f"{name}{{")))


@pytest.fixture(scope="module")
def faulty(tmp_path_factory):
    """One server for the tests of this file that leave it well."""
    from support import environments
    from support.serving import RunningServer

    folder = tmp_path_factory.mktemp("faulty")
    with RunningServer(environments.full_python(), folder, "--queue-size", "2", "--threads", "1") as server:
        yield server


@pytest.fixture
def client(faulty):
    with open_client(faulty.url) as client:
        # The worker of the test before may have been killed this very moment: one that answers is there.
        results(post(client, evaluation(register(client, SIN), [X])))
        yield client


def post(client, body, **headers):
    return client.post("/v1/evaluate", content=body, headers={**BINARY, **headers})


def sine_works(client, within):
    started = time.monotonic()
    (result,) = results(post(client, evaluation(register(client, SIN), [X])))
    np.testing.assert_array_equal(result.data, np.sin(X.data))
    assert time.monotonic() - started < within


def test_a_killed_worker_costs_its_request_no_more_than_a_retry(client):
    body = evaluation(register(client, SECONDS_LONG), [X])
    lost = metric(client, "farfunc_worker_restarts_total")
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(post, client, body)
        wait_until_running(client)
        os.kill(worker_of(client), signal.SIGKILL)
        (result,) = results(answer.result(60))
    np.testing.assert_allclose(result.data, X.data + 1500.0, rtol=1e-9)
    assert metric(client, "farfunc_worker_restarts_total") == lost + 1


def test_a_request_that_kills_two_workers_is_answered_and_the_next_works(client):
    body = evaluation(register(client, ENDLESS), [X])
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(post, client, body)
        wait_until_running(client)
        first = worker_of(client)
        os.kill(first, signal.SIGKILL)
        second = wait_for(lambda: worker_of(client) not in (0, first) and worker_of(client))
        os.kill(second, signal.SIGKILL)
        response = answer.result(30)
    assert response.status_code == 503
    problem = response.json()
    assert problem["code"] == "worker_died"
    assert problem["remedy"]
    assert "retry-after" not in response.headers
    sine_works(client, within=30)


def test_the_time_limit_stops_the_work_and_the_spare_takes_over(faulty, client):
    body = evaluation(register(client, ENDLESS), [X])
    worker = worker_of(client)

    def has_spare():
        others = set(children(faulty.process.pid)) - {worker}
        return any(f"worker {pid} is ready as a spare" in faulty.output() for pid in others)

    wait_for(has_spare)
    started = time.monotonic()
    response = post(client, body, **{"x-timeout": "1"})
    assert response.status_code == 504
    assert response.json()["code"] == "time_limit_exceeded"
    assert 0.9 < time.monotonic() - started < 4
    sine_works(client, within=3)
    assert not is_running(worker)


def test_a_full_queue_says_when_to_come_back(client):
    body = evaluation(register(client, ENDLESS), [X])
    with ThreadPoolExecutor(3) as pool:
        answers = [pool.submit(post, client, body, **{"x-timeout": "3"}) for _ in range(3)]
        wait_for(lambda: metric(client, "farfunc_queue_depth") == 2)
        refused = post(client, body)
        assert refused.status_code == 503
        assert refused.json()["code"] == "server_busy"
        assert int(refused.headers["retry-after"]) >= 1
        assert client.get("/healthz").status_code == 200
        codes = {answer.result(30).json()["code"] for answer in answers}
    assert codes == {"time_limit_exceeded"}


def test_a_client_that_leaves_takes_its_waiting_request_along(faulty, client):
    body = evaluation(register(client, ENDLESS), [X])
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(post, client, body, **{"x-timeout": "6"})
        wait_until_running(client)
        with open_client(faulty.url, seconds=0.5) as impatient, pytest.raises(httpx.ReadTimeout):
            post(impatient, body)
        wait_for(lambda: metric(client, "farfunc_queue_depth") == 0, seconds=2)
        assert not running.done()
        running.result(30)


def test_too_much_memory_is_refused_at_once(client):
    large = wrapped(Graph((f64(10**6),), (), (Equation("sin", (0,), {}, (1,)),), (1,)))
    body = evaluation(register(client, large), [array(np.zeros(10**6))], FlatTransform("jacrev", {"argnums": (0,)}))
    response = post(client, body)
    assert response.status_code == 413
    assert response.json()["code"] == "limit_exceeded"


def test_workers_die_with_the_web_process_even_in_the_middle_of_an_operator(start_server):
    with start_server("--threads", "1") as server, open_client(server.url) as client:
        body = evaluation(register(client, ENDLESS), [X])
        with ThreadPoolExecutor(1) as pool, open_client(server.url) as other:
            answer = pool.submit(post, client, body)
            wait_until_running(other)
            workers = children(server.process.pid)
            server.process.kill()
            server.process.wait()
            wait_for(lambda: not any(map(is_running, workers)), seconds=5)
            assert isinstance(answer.exception(10), httpx.HTTPError)


def test_sigterm_finishes_what_runs_refuses_what_comes_and_leaves_no_process(start_server):
    with start_server("--threads", "1") as server, open_client(server.url) as client:
        body = evaluation(register(client, SECONDS_LONG), [X])
        workers = children(server.process.pid)
        with ThreadPoolExecutor(1) as pool, open_client(server.url) as other:
            answer = pool.submit(post, client, body)
            wait_until_running(other)
            server.process.terminate()
            wait_for(lambda: other.get("/readyz").json()["status"] == "closing", seconds=5)
            refused = post(other, body)
            assert refused.status_code == 503
            assert refused.json()["code"] == "server_busy"
            assert not answer.done()
            results(answer.result(60))
        assert server.process.wait(20) == 0
        assert not any(map(is_running, workers))


def test_a_shutdown_is_bounded(start_server):
    with start_server("--threads", "1", "--shutdown-limit", "1") as server, open_client(server.url) as client:
        body = evaluation(register(client, ENDLESS), [X])
        with ThreadPoolExecutor(1) as pool, open_client(server.url) as other:
            answer = pool.submit(post, client, body)
            wait_until_running(other)
            server.process.terminate()
            assert answer.result(10).status_code == 503
        assert server.process.wait(10) == 0


def test_a_second_signal_ends_it_at_once_and_leaves_nothing_behind(start_server):
    with tempfile.TemporaryDirectory(prefix="ff") as folder:
        place = Path(folder) / "s.sock"
        with start_server("--threads", "1", "--uds", str(place), "--temporary") as server:
            transports = [httpx.HTTPTransport(uds=str(place)) for _ in range(2)]
            client, other = (httpx.Client(transport=one, base_url="http://x", timeout=60.0) for one in transports)
            with client, other, ThreadPoolExecutor(1) as pool:
                body = evaluation(register(client, ENDLESS), [X])
                answer = pool.submit(post, client, body)
                wait_until_running(other)
                server.process.terminate()
                wait_for(lambda: other.get("/readyz").json()["status"] == "closing", seconds=5)
                server.process.terminate()
                assert answer.result(30).status_code == 503
            assert server.process.wait(20) == 0
            assert not place.exists()
            assert not server.data_dir.exists()


def test_a_device_that_is_not_there_is_told_and_the_server_lives(start_server, tmp_path):
    import subprocess
    import sys

    command = [sys.executable, "-m", "farfunc_server", "--port", "0", "--data-dir", str(tmp_path / "data")]
    command += ["--devices", "cuda:99", "--log-level", "error"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        url = process.stdout.readline().removeprefix("farfunc: listening on ").strip()
        with open_client(url) as client:
            wait_for(lambda: client.get("/v1/devices").json()["devices"][0]["state"] == "failing", seconds=60)
            assert client.get("/readyz").status_code == 503
            assert client.get("/healthz").status_code == 200
            response = post(client, evaluation(register(client, SIN), [X]), **{"x-timeout": "0.5"})
            assert response.status_code == 504
            assert "no worker became ready" in response.json()["detail"]
        process.terminate()
        process.communicate(timeout=20)
        assert process.returncode == 0
