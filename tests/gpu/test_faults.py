"""A worker that has lost its GPU is replaced, and nobody else is harmed."""

import concurrent.futures

import httpx
import numpy as np
import pytest

import farfunc
from support.gpu import DEVICE, cuda_only, needs_gpu

pytestmark = [*needs_gpu, pytest.mark.timeout(600)]


@pytest.fixture
def gpu_server(start_server):
    with start_server("--devices", DEVICE) as server:
        yield server


def test_after_an_index_out_of_range_the_next_request_is_answered(gpu_server):
    def pick(x, i):
        return np.take_along_axis(x, i, 0)

    x = np.arange(8.0)
    with farfunc.Client(gpu_server.url) as client:
        jacobian = client.jacrev(pick)
        for _ in range(3):
            with pytest.raises(farfunc.EvaluationError):
                jacobian(x, np.array([0, 1, 2, 10_000_000]))
            np.testing.assert_array_equal(jacobian(x, np.array([3, 1, 2, 0])), np.eye(8)[[3, 1, 2, 0]])
    if DEVICE != "cpu":
        (device,) = httpx.get(f"{gpu_server.url}/v1/devices").json()["devices"]
        assert device["restarts"] >= 1


def test_companions_of_a_bad_index_are_answered(gpu_server):
    def pick(x, i):
        return np.take_along_axis(x, i, 0)

    x = np.arange(8.0)
    with farfunc.Client(gpu_server.url) as client, concurrent.futures.ThreadPoolExecutor(16) as threads:
        jacobian = client.jacrev(pick)

        def call(number):
            i = np.array([number % 8, 1, 2, 10_000_000 if number % 20 == 7 else 0])
            try:
                return jacobian(x, i)
            except farfunc.EvaluationError as error:
                return error

        for number, found in enumerate(threads.map(call, range(60))):
            if number % 20 == 7:
                assert isinstance(found, farfunc.EvaluationError)
            else:
                np.testing.assert_array_equal(found, np.eye(8)[[number % 8, 1, 2, 0]])


@cuda_only
def test_a_server_may_be_told_to_round_to_tf32(start_server):
    rng = np.random.default_rng(0)
    left, right = (rng.standard_normal((512, 512)).astype("float32") for _ in range(2))
    exact = left.astype("float64") @ right.astype("float64")
    errors = []
    for tf32 in ("false", "true"):
        with start_server("--devices", DEVICE, "--tf32", tf32) as server, farfunc.Client(server.url) as client:
            found = client.vmap(lambda x: x @ right)(left[None])[0]
        errors.append(np.abs(found - exact).max() / np.abs(exact).max())
    assert errors[0] < 2e-6
    assert errors[1] > 1e-4


@cuda_only
@pytest.mark.timeout(900)
def test_plans_become_compiled_and_recorded_on_a_real_server(start_server):
    def model(x):
        return np.tanh(x) * x[::-1] + np.sum(x**2)

    rng = np.random.default_rng(0)
    with (
        start_server("--devices", DEVICE, FARFUNC_COMPILE_PLANS="true") as server,
        farfunc.Client(server.url) as client,
    ):
        jacobian = client.jacrev(model)
        for _ in range(3000):
            x = rng.standard_normal(6)
            step = 1e-6 * np.eye(6)
            truth = np.stack([(model(x + row) - model(x - row)) / 2e-6 for row in step], axis=1)
            np.testing.assert_allclose(jacobian(x), truth, atol=1e-6)
            (plan, *_) = [
                plan
                for plan in httpx.get(f"{server.url}/v1/plans").json()["plans"]
                if plan["arguments"] == ["float64[6]"] and len(plan["transforms"]) == 1
            ] or [None]
            if plan is not None and plan["stage"] == "recorded":
                break
        assert plan["stage"] == "recorded", plan
