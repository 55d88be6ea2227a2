"""One server with two devices, which are two workers of the CPU."""

import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from farfunc_protocol.graph import Equation, Graph
from farfunc_protocol.transforms import FlatTransform
from support import environments
from support.graphs import array, busy, f64, function_of, wrapped
from support.http import BINARY, evaluation, open_client, register, results
from support.serving import RunningServer

SIN = wrapped(Graph((f64(2),), (), (Equation("sin", (0,), {}, (1,)),), (1,)))
X = array([1.0, 2.0])
N = 600


def chain(n, steps):
    """``x -> tanh(A x)`` some times over, with A a matrix of 1/n: its Jacobian is a matter of slices."""

    def body(builder, x):
        attributes = {"size": (n, n), "fill_value": 1.0 / n, "dtype": "float64"}
        (matrix,) = builder.add("full", (), attributes, types=[f64(n, n)])
        for _ in range(steps):
            (x,) = builder.add("mv", (matrix, x))
            (x,) = builder.add("tanh", (x,))
        return x

    return function_of([f64(n)], body)


def chain_jacobian(x, steps):
    """The same by NumPy: each step's Jacobian is ``diag(1 - tanh(A x)^2) A``."""
    n = len(x)
    matrix, jacobian = np.full((n, n), 1.0 / n), np.eye(n)
    for _ in range(steps):
        x = np.tanh(matrix @ x)
        jacobian = (1 - x**2)[:, None] * (matrix @ jacobian)
    return jacobian


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    folder = tmp_path_factory.mktemp("two")
    options = ("--devices", "cpu:0,cpu:1", "--threads", "1")
    with RunningServer(environments.full_python(), folder, *options) as server, open_client(server.url, 120) as client:
        wait_for(lambda: client.get("/readyz").status_code == 200)
        yield client


def wait_for(condition, seconds=60.0):
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)
    return found


def post(client, body, **headers):
    return client.post("/v1/evaluate", content=body, headers={**BINARY, **headers})


def metrics(client, name):
    lines = client.get("/metrics").text.splitlines()
    return [float(line.rpartition(" ")[2]) for line in lines if line.startswith((f"{name} ", f"{name}{{"))]


def devices(client):
    return client.get("/v1/devices").json()["devices"]


def test_both_work_at_a_time_and_both_are_told_of(client):
    body = evaluation(register(client, busy(12)), [X])
    with ThreadPoolExecutor(2) as pool:
        answers = [pool.submit(post, client, body) for _ in range(2)]
        wait_for(lambda: metrics(client, "farfunc_evaluations_running") == [2.0])
        for answer in answers:
            np.testing.assert_allclose(results(answer.result(60))[0].data, X.data + 1500.0, rtol=1e-9)
    assert [device["state"] for device in devices(client)] == ["ready", "ready"]
    assert metrics(client, "farfunc_device_in_service") == [1.0, 1.0]
    assert min(metrics(client, "farfunc_device_busy_seconds_total")) > 0


def test_one_call_after_another_goes_to_the_device_where_its_plan_is(client):
    function = register(client, wrapped(Graph((f64(3),), (), (Equation("cos", (0,), {}, (1,)),), (1,))))
    for _ in range(6):
        assert results(post(client, evaluation(function, [array([1.0, 2.0, 3.0])])))
    plans = [plan for plan in client.get("/v1/plans").json()["plans"] if plan["function"] == function]
    assert len({plan["device"] for plan in plans}) == 1


def test_a_long_call_goes_on_on_the_other_device_when_its_own_is_killed(client):
    rng = np.random.default_rng(0)
    x = rng.standard_normal(N)
    body = evaluation(register(client, chain(N, 40)), [array(x)], FlatTransform("jacrev", {"argnums": (0,)}))
    before = [device["pid"] for device in devices(client)]
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(post, client, body)
        wait_for(lambda: metrics(client, "farfunc_evaluations_running") == [1.0])
        for pid in before[:1]:  # whichever has it: the other must be enough
            os.kill(pid, signal.SIGKILL)
        (result,) = results(answer.result(120))
    np.testing.assert_allclose(result.to_numpy(), chain_jacobian(x, 40), rtol=1e-9, atol=1e-300)
    wait_for(lambda: client.get("/readyz").status_code == 200)
    assert devices(client)[0]["pid"] != before[0]


def test_a_call_that_is_given_up_keeps_no_device(client):
    """Its worker is replaced, since it would go on for minutes."""
    lost = sum(metrics(client, "farfunc_worker_restarts_total"))
    response = post(client, evaluation(register(client, busy(2000)), [X]), **{"x-timeout": "0.5"})
    assert response.status_code == 504
    assert results(post(client, evaluation(register(client, SIN), [X])))
    wait_for(lambda: metrics(client, "farfunc_evaluations_running") == [0.0])
    wait_for(lambda: sum(metrics(client, "farfunc_worker_restarts_total")) == lost + 1)


def test_what_is_known_to_take_longer_than_its_time_is_refused_at_once(client):
    body = evaluation(register(client, busy(3)), [X])
    for _ in range(8):
        assert results(post(client, body))
    response = post(client, body, **{"x-timeout": "0.00001"})  # less than the way to a worker takes
    assert response.status_code == 504
    problem = response.json()
    assert problem["code"] == "deadline_unreachable"
    assert problem["remedy"]


def states(client):
    return {device["name"]: device["state"] for device in devices(client)}


def test_a_device_is_drained_and_taken_back(client):
    id = register(client, SIN)
    answer = client.post("/v1/devices/cpu:1/drain")
    assert answer.status_code == 200, answer.text
    wait_for(lambda: states(client)["cpu:1"] == "drained")
    assert client.post("/v1/devices/cpu:1/drain").status_code == 200  # twice is once
    for _ in range(5):
        np.testing.assert_allclose(results(post(client, evaluation(id, [X])))[0].to_numpy(), np.sin([1.0, 2.0]))
    assert client.get("/readyz").status_code == 200
    assert client.post("/v1/devices/cpu:0/drain").status_code == 200
    refused = post(client, evaluation(id, [X]))
    assert (refused.status_code, refused.json()["code"]) == (503, "devices_unavailable")
    for name in ("cpu:0", "cpu:1"):
        assert client.post(f"/v1/devices/{name}/restore").status_code == 200
    wait_for(lambda: set(states(client).values()) == {"ready"})
    np.testing.assert_allclose(results(post(client, evaluation(id, [X])))[0].to_numpy(), np.sin([1.0, 2.0]))
    missing = client.post("/v1/devices/cpu:7/drain")
    assert (missing.status_code, missing.json()["where"]) == (404, "path.device")
    assert "cpu:0, cpu:1" in missing.json()["remedy"]
