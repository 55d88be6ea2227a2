"""Products with rows of the identity: the same numbers as torch.func's, NaN and infinities where it has them."""

import numpy as np
import pytest
import torch

from farfunc_protocol.transforms import FlatTransform
from farfunc_server.evaluation import identity_products
from farfunc_server.evaluation.engine import Engine
from farfunc_server.evaluation.identity_products import scaled_matrix, scaled_rows
from farfunc_server.evaluation.plans import Stage
from support.graphs import array
from support.local_and_remote import traced

JACREV = FlatTransform("jacrev", {"argnums": (0,)})
N, M = 40, 30
GENERATOR = torch.Generator().manual_seed(0)
MATRIX = torch.randn(N, M, dtype=torch.float64, generator=GENERATOR)
OTHER = torch.randn(M, dtype=torch.float64, generator=GENERATOR)

FUNCTIONS = {
    "tanh": lambda x: torch.tanh(MATRIX @ x),
    "scaled": lambda x: 3 * torch.sigmoid(MATRIX @ x) / torch.arange(1.0, N + 1, dtype=torch.float64),
    "negative": lambda x: -torch.relu(MATRIX @ x),
    "row": lambda x: torch.tanh(x @ MATRIX.t()) * torch.sin(x).sum(),
    "two": lambda x: (torch.tanh(MATRIX @ x), torch.sin(MATRIX[:7] @ (x * OTHER))),
    "through": lambda x: torch.tanh(MATRIX @ torch.tanh(MATRIX.t() @ torch.tanh(MATRIX @ x))),
    "by an argument": lambda x: torch.tanh(torch.outer(torch.ones(N, dtype=torch.float64), x) @ torch.cos(x)),
}


@pytest.fixture(autouse=True)
def always(monkeypatch):
    monkeypatch.setattr(identity_products, "LEAST_PRODUCTS", 0)
    monkeypatch.setattr("farfunc_server.evaluation.plans._AS_FAST", 1e9)


@pytest.fixture
def seen(monkeypatch):
    """The calls of the functions that stand for products."""
    calls = []
    for name in ("scaled_rows", "scaled_matrix"):
        function = getattr(identity_products, name)

        def counted(*arguments, function=function):
            calls.append(function.__name__)
            return function(*arguments)

        counted.__name__ = counted.__qualname__ = name
        counted.__module__ = identity_products.__name__
        monkeypatch.setattr(identity_products, name, counted)
    return calls


def hot(engine, function, chain, x):
    """The result of a plan that is flat."""
    for _ in range(8):
        found = engine.evaluate(function, chain, [array(x)])
        while engine.use_idle_time():
            pass
    (plan,) = [plan for program, plan in engine.plans if program.chain == tuple(chain)]
    assert plan.stage is Stage.FLAT
    return [leaf.data for leaf in found]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_results_are_torch_funcs(name, seen):
    function = FUNCTIONS[name]
    x = torch.randn(M, dtype=torch.float64, generator=GENERATOR)
    found = hot(Engine(), traced(function, x), [JACREV], x.numpy())
    expected = torch.func.jacrev(function)(x)
    for ours, theirs in zip(found, expected if isinstance(expected, tuple) else [expected], strict=True):
        np.testing.assert_allclose(ours, theirs.numpy(), rtol=1e-12, atol=1e-14)
    if name in ("tanh", "scaled", "negative"):
        assert seen


def bad(value, row, column):
    matrix = MATRIX.clone()
    matrix[row, column] = value
    return matrix


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("is_captured", [True, False])
def test_what_is_not_finite_spreads_as_in_torch_func(value, is_captured):
    matrix = bad(value, 3, 5)

    def captured(x):
        return torch.tanh(matrix @ x) * 2

    def given(x):  # the matrix depends on the argument, and is known at the call only
        return torch.tanh((MATRIX * torch.exp(x)) @ x.detach()) * 2

    x = torch.randn(M, dtype=torch.float64, generator=GENERATOR)
    function = captured if is_captured else given
    if not is_captured:
        x[5] = value
    engine = Engine()
    traced_function = traced(function, x)
    if not is_captured:
        hot(engine, traced_function, [JACREV], np.ones(M))
    found = hot(engine, traced_function, [JACREV], x.numpy())
    np.testing.assert_allclose(found[0], torch.func.jacrev(function)(x).numpy(), rtol=1e-12, equal_nan=True)


def test_a_scale_that_is_not_finite():
    def function(x):
        return torch.sqrt(MATRIX @ x)  # an infinite derivative at 0, NaN below

    engine, traced_function = Engine(), traced(function, torch.ones(M, dtype=torch.float64))
    for x in (np.ones(M), np.zeros(M), -np.ones(M), np.ones(M)):
        found = hot(engine, traced_function, [JACREV], x)
        expected = torch.func.jacrev(function)(torch.tensor(x)).numpy()
        np.testing.assert_allclose(found[0], expected, rtol=1e-12, equal_nan=True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("function", [scaled_rows, scaled_matrix])
def test_every_bit_is_that_of_the_product(dtype, function):
    rng = np.random.default_rng(0)
    matrix = torch.tensor(rng.standard_normal((5, 4)), dtype=dtype)
    matrix[0], matrix[1, 1] = 0.0, -0.0
    scale = torch.tensor([1.0, -2.0, 0.0, -0.0, 1e-300 if dtype is torch.float64 else 1e-40], dtype=dtype)
    root = torch.eye(5, dtype=dtype) if function is scaled_matrix else torch.eye(5, dtype=dtype)[[3, 1, 1, 0]]
    for is_finite in (True, False):
        ours, theirs = function(root, scale, matrix, is_finite), (root * scale) @ matrix
        assert ours.numpy().tobytes() == theirs.numpy().tobytes()
    with_gap = torch.cat([root[:2], torch.zeros(1, 5, dtype=dtype)])
    ours, theirs = scaled_rows(with_gap, scale, matrix, True), (with_gap * scale) @ matrix
    assert ours.numpy().tobytes() == theirs.numpy().tobytes()
