"""What a dry run tells, held against the real run."""

import threading

import numpy as np
import pytest

from farfunc_protocol.errors import LimitExceeded
from farfunc_protocol.transforms import FlatTransform
from farfunc_server.evaluation.engine import Engine
from farfunc_server.evaluation.inference import Budget
from support.graphs import array, f64, function_of

FIRST = {"argnums": (0,)}
BATCH = FlatTransform("vmap", {"in_dims": (0,), "out_dims": (0,)})
JACFWD, JACREV, HESSIAN = (FlatTransform(name, FIRST) for name in ("jacfwd", "jacrev", "hessian"))

CHAINS = {
    "hessian": (HESSIAN,),
    "vmap hessian": (BATCH, HESSIAN),
    "jacrev hessian": (JACREV, HESSIAN),
    "hessian hessian": (HESSIAN, HESSIAN),
    "vmap jacfwd jacrev": (BATCH, JACFWD, JACREV),
    "vmap vmap jacrev": (BATCH, BATCH, JACREV),
}

BODIES = {
    "mm": ((3, 3), lambda b, x: b.add("mm", (x, x))[0]),
    "inv": ((3, 3), lambda b, x: b.add("linalg_inv", (x,))[0]),
    "det": ((3, 3), lambda b, x: b.add("linalg_det", (x,))[0]),
    "singular values": ((3, 3), lambda b, x: b.add("linalg_svdvals", (x,))[0]),
    "softmax": ((4,), lambda b, x: b.add("softmax.int", (x,), {"dim": 0})[0]),
    "layer norm": ((4,), lambda b, x: b.add("layer_norm", (x, None, None), {"normalized_shape": (4,)})[0]),
    "pow": ((4,), lambda b, x: b.add("pow.Tensor_Tensor", (x, x))[0]),
    "sin": ((4,), lambda b, x: b.add("sin", (x,))[0]),
}


@pytest.fixture(scope="module")
def engine():
    return Engine()


@pytest.mark.parametrize("chain", CHAINS.values(), ids=CHAINS)
@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_types_are_those_of_the_real_run(engine, body, chain):
    shape, build = body
    function = function_of([f64(*shape)], build)
    x = np.random.default_rng(0).uniform(0.5, 1.5, size=shape) + np.eye(*shape[-2:]) * 2
    x = x[0] if x.shape != shape else x
    for _ in range(sum(flat.name == "vmap" for flat in chain)):
        x = np.stack([x, x + 0.25])
    found = engine.infer(function, chain, [f64(*x.shape)])
    assert found.failure is None
    results = engine.evaluate(function, chain, [array(x)])
    assert found.outputs == tuple(result.type for result in results)
    assert found.peak_bytes >= x.nbytes + sum(result.data.nbytes for result in results)


def test_a_batch_of_hessians_is_refused_before_it_takes_memory():
    engine = Engine(budget=Budget(64 << 20))
    function = function_of([f64(30, 30)], lambda b, x: b.add("sum", (b.add("mm", (x, x))[0],))[0])
    with pytest.raises(LimitExceeded, match="would take at least"):
        engine.evaluate(function, (BATCH, HESSIAN), [array(np.ones((100, 30, 30)))])


def test_each_dry_run_may_have_a_thread_of_its_own(engine):
    function = function_of([f64(4)], BODIES["sin"][1])
    found = []
    for _ in range(3):
        thread = threading.Thread(target=lambda: found.append(engine.infer(function, (), [f64(4)]).outputs))
        thread.start()
        thread.join()
    assert found == [(f64(4),)] * 3
