"""CUDA graphs give what the programs give that they were recorded from."""

import gc

import numpy as np
import pytest
import torch

from farfunc_protocol.transforms import FlatTransform
from farfunc_server.evaluation import plan_cache, plans
from farfunc_server.evaluation.compilation import PackageFolder
from farfunc_server.evaluation.engine import Engine
from farfunc_server.evaluation.plans import Stage
from support.gpu import DEVICE, cuda_only, needs_gpu
from support.graphs import array, f64, function_of

pytestmark = [*needs_gpu, cuda_only]

JACREV = FlatTransform("jacrev", {"argnums": (0,)})
JACFWD = FlatTransform("jacfwd", {"argnums": (0,)})
HESSIAN = FlatTransform("hessian", {"argnums": (0,)})
VMAP = FlatTransform("vmap", {"in_dims": (0,), "out_dims": (0,)})
RNG = np.random.default_rng(0)


@pytest.fixture
def engine(tmp_path, monkeypatch):
    """One that records flat programs, without waiting for machine code."""
    monkeypatch.setattr(plans, "_AS_FAST", 1e9)
    monkeypatch.setattr(plan_cache, "_LOOK_SECONDS", -1.0)
    failure = PackageFolder.failure
    monkeypatch.setattr(
        PackageFolder,
        "failure",
        lambda self, digest: failure(self, digest) or (None if digest.endswith(".graph") else "there is none"),
    )
    return Engine(DEVICE, packages=PackageFolder(tmp_path))


def layer(n):
    weight = array(RNG.standard_normal((n, n)))

    def body(b, x):
        (y,) = b.add("mv", (b.constant(weight), x))
        (y,) = b.add("tanh", (y,))
        (y,) = b.add("softmax.int", (y,), {"dim": 0})
        return b.add("mul.Tensor", (x, y))[0]

    return function_of([f64(n)], body)


def evaluate(engine, function, chain, x):
    (found,) = engine.evaluate(function, chain, [array(x)], identity="f")
    while engine.use_idle_time():
        pass
    return np.array(found.data)


def expected(function, chain, x):
    (found,) = Engine().evaluate(function, chain, [array(x)])
    return found.data


def stages(engine):
    return [plan.stage for _, plan in engine.plans]


@pytest.mark.parametrize("chain", [(), (JACREV,), (JACFWD,), (HESSIAN,), (VMAP, JACREV)])
def test_a_graph_answers_for_changed_arguments(engine, chain):
    function = layer(6)
    shape = (5, 6) if VMAP in chain else (6,)
    for _ in range(40):
        x = RNG.standard_normal(shape)
        np.testing.assert_allclose(evaluate(engine, function, chain, x), expected(function, chain, x), atol=1e-12)
    assert stages(engine) == [Stage.RECORDED], [plan.records for _, plan in engine.plans]


def test_several_graphs_in_turn_and_after_others_were_forgotten(engine):
    functions = [layer(n) for n in range(3, 9)]
    for _ in range(40):
        for n, function in enumerate(functions, 3):
            x = RNG.standard_normal(n)
            np.testing.assert_allclose(
                evaluate(engine, function, [JACREV], x), expected(function, [JACREV], x), atol=1e-12
            )
    assert stages(engine) == [Stage.RECORDED] * 6, [plan.records for _, plan in engine.plans]
    before = engine.plans._graphs.bytes
    for key in list(engine.plans._programs)[:3]:
        del engine.plans._plans[engine.plans._programs.pop(key)]
    engine.plans._used.clear()
    gc.collect()
    assert engine.plans._graphs.bytes < before
    ballast = [torch.full((1 << 18,), float("nan"), device=DEVICE) for _ in range(50)]  # takes what memory is free
    for n, function in enumerate(functions[3:], 6):
        x = RNG.standard_normal(n)
        np.testing.assert_allclose(evaluate(engine, function, [JACREV], x), expected(function, [JACREV], x), atol=1e-12)
    del ballast


def test_what_is_not_fit_for_a_graph_stays_as_it_was(engine):
    def inverse(b, x):
        (y,) = b.add("linalg_inv_ex", (x,), {"check_errors": False})[:1]
        return y

    function = function_of([f64(3, 3)], inverse)
    for _ in range(40):
        x = RNG.standard_normal((3, 3)) + 4 * np.eye(3)
        np.testing.assert_allclose(evaluate(engine, function, [JACREV], x), expected(function, [JACREV], x), atol=1e-10)
    ((_, plan),) = engine.plans
    assert plan.stage < Stage.RECORDED
    assert "fit for a CUDA graph" in plan.records[Stage.RECORDED].note


def test_random_numbers_are_drawn_as_before_after_a_recording(engine):
    function = layer(4)
    for _ in range(40):
        evaluate(engine, function, [JACREV], RNG.standard_normal(4))
    noisy = function_of([f64(50)], lambda b, x: b.add("rand_like", (x,))[0])
    first, second = (engine.evaluate(noisy, [], [array(np.ones(50))], seed=7)[0].data for _ in range(2))
    np.testing.assert_array_equal(first, second)
