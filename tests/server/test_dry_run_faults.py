"""A dry run that fails leaves nothing behind, whenever its frames are released."""

import gc

import numpy as np
import pytest
import torch

from farfunc_protocol.arrays import Array
from farfunc_protocol.graph import Equation, Function, Graph, TensorType
from farfunc_protocol.pytree import flatten
from farfunc_protocol.transforms import FlatTransform
from farfunc_server.evaluation.engine import Engine
from farfunc_server.evaluation.inference import Budget, infer

VECTOR = TensorType("float64", (3,))


def _sine() -> Function:
    graph = Graph((VECTOR,), (), (Equation("sin", (0,), {}, (1,)),), (1,))
    return Function(graph, (), flatten(((0,), {}))[1], flatten(0)[1])


def _dispatch_state() -> tuple[str, str]:
    return str(torch._C._dispatch_tls_local_include_set()), str(torch._C._dispatch_tls_local_exclude_set())


def _failing_inside_two_levels(leaves, captures):
    def broken(x):
        y = x.sin()
        held = torch._C._DisableTorchDispatch()  # what torch's own frames hold while they dispatch
        raise RuntimeError(f"in the middle of a dispatch {held}{y.shape}")

    return torch.func.vmap(torch.func.jacfwd(broken))(leaves[0])


@pytest.mark.parametrize("rounds", range(2))
def test_evaluations_after_a_failed_dry_run_are_right(rounds):
    before = _dispatch_state()
    engine = Engine()
    budget = Budget(1 << 30)
    found = infer(_failing_inside_two_levels, [TensorType("float64", (4, 3))], [], torch.device("cpu"), budget)
    assert found.outputs is None
    del found
    gc.collect()
    assert _dispatch_state() == before
    x = np.arange(3.0)
    for name in ("jacfwd", "jacrev"):
        (jacobian,) = engine.evaluate(_sine(), [FlatTransform(name, {"argnums": (0,)})], [Array.from_numpy(x)])
        np.testing.assert_allclose(jacobian.to_numpy(), np.diag(np.cos(x)))
