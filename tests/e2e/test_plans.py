"""Plans as a client sees them: faster with use, told at /v1/plans, machine code that outlives a restart."""

import concurrent.futures
import time

import httpx
import numpy as np
import pytest

import farfunc
from farfunc_server.evaluation.compilation import why_not_here


def model(x):
    return np.tanh(x) * x[::-1] + np.sum(x**2)


def expected(x):
    step = 1e-6 * np.eye(len(x))
    return np.stack([(model(x + row) - model(x - row)) / 2e-6 for row in step], axis=1)


def plans(url):
    return httpx.get(f"{url}/v1/plans").json()["plans"]


def call_until(client, url, stage, seconds):
    """Call until the plan serves in a stage; every answer on the way is right."""
    rng = np.random.default_rng(0)
    jacobian = client.jacrev(model)
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        for _ in range(20):
            x = rng.standard_normal(6)
            np.testing.assert_allclose(jacobian(x), expected(x), atol=1e-6)
        found = [plan for plan in plans(url) if plan["arguments"] == ["float64[6]"] and len(plan["transforms"]) == 1]
        if found and found[0]["stage"] == stage:
            return found[0]
        time.sleep(0.5)
    raise AssertionError(f"no plan became {stage}: {plans(url)}")


@pytest.mark.timeout(400)
def test_a_hot_plan_is_compiled_and_serves_after_a_restart(start_server, tmp_path):
    if (reason := why_not_here()) is not None:
        pytest.skip(reason)
    with start_server(FARFUNC_COMPILE_PLANS="true") as server, farfunc.Client(server.url) as client:
        plan = call_until(client, server.url, "compiled", 300)
        assert plan["compilation"]["state"] == "compiled"
        assert plan["stages"]["flat"]["calls"] > 0
        metrics = httpx.get(f"{server.url}/metrics").text
        assert 'farfunc_plans{stage="compiled"} 1.0' in metrics
        assert 'farfunc_compilations_total{outcome="compiled"} 1.0' in metrics
    with start_server(FARFUNC_COMPILE_PLANS="true") as server, farfunc.Client(server.url) as client:
        plan = call_until(client, server.url, "compiled", 60)
        assert plan["compilation"] is None  # it was there
        assert plan["stages"]["flat"]["calls"] == 0


def test_without_compiling_it_is_flat_and_says_why(server_url):
    with farfunc.Client(server_url) as client:
        plan = call_until(client, server_url, "flat", 60)
    assert "does not compile" in plan["stages"]["compiled"]["note"]


def test_many_callers_each_get_their_own(server_url):
    rng = np.random.default_rng(1)
    inputs = rng.standard_normal((200, 6))
    with farfunc.Client(server_url) as client, concurrent.futures.ThreadPoolExecutor(16) as threads:
        found = list(threads.map(client.jacfwd(model), inputs))
        batches = list(threads.map(client.vmap(client.jacrev(model)), np.split(inputs, [3, 10, 11, 40, 41, 100])))
    for x, jacobian, row in zip(inputs, found, np.concatenate(batches), strict=True):
        np.testing.assert_allclose(jacobian, expected(x), atol=1e-6)
        np.testing.assert_allclose(row, expected(x), atol=1e-6)
