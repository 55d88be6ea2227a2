"""A GPU's results are the CPU's, to the rounding of each dtype."""

import itertools

import numpy as np
import pytest
import torch

import farfunc
from e2e.test_reference_page import PAGES, _blocks, _run
from farfunc_protocol.arrays import Array
from farfunc_protocol.errors import LimitExceeded
from farfunc_protocol.transforms import FlatTransform
from farfunc_server.evaluation.engine import Engine
from farfunc_server.evaluation.inference import Budget
from farfunc_server.evaluation.slices import SlicedCall, SliceSize
from farfunc_server.evaluation.tensors import from_tensor
from support.evaluators import InProcess
from support.gpu import DEVICE, cuda_only, needs_gpu
from support.graphs import array, f64, function_of

pytestmark = [*needs_gpu, pytest.mark.timeout(600)]

TOLERANCES = {
    torch.float64: 1e-11,
    torch.complex128: 1e-11,
    torch.float32: 1e-5,
    torch.complex64: 1e-5,
    torch.float16: 5e-3,
    torch.bfloat16: 4e-2,
}
JACREV = FlatTransform("jacrev", {"argnums": (0,)})
RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def gpu():
    return InProcess(DEVICE)


def assert_same(found, expected):
    """Elements may differ by a part of the largest: sums are added up in another order."""
    assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
    scale = float(expected.abs().max()) if expected.numel() else 0.0
    torch.testing.assert_close(found, expected, rtol=0.0, atol=TOLERANCES[expected.dtype] * max(scale, 1e-30))


@pytest.mark.parametrize("name", PAGES)
def test_the_reference_page(gpu_url, monkeypatch, name):
    monkeypatch.setenv("FARFUNC_URL", gpu_url)
    ran = 0
    local, remote = {"torch": torch, name: getattr(torch.func, name)}, {"torch": torch, name: getattr(farfunc, name)}
    for block in _blocks(name):
        if _run(block, local) is not None:
            continue
        ours = block.replace("from torch.func import", "from farfunc import").replace("torch.func.vmap", "farfunc.vmap")
        error = _run("import farfunc\n" + ours.replace("torch.vmap", "farfunc.vmap"), remote)
        assert error is None, f"{error!r} in\n{block}"
        ran += 1
        for variable, value in local.items():
            if isinstance(value, torch.Tensor):
                torch.testing.assert_close(remote[variable], value, rtol=1e-4, atol=1e-5)
    assert ran == PAGES[name]


def arm(q):
    """Positions of the links of a planar arm of seven joints, and the sines of their angles."""
    angles = q.cumsum(0)
    return torch.cat([angles.cos().cumsum(0), angles.sin().cumsum(0), angles.sin()])


def mlp(dtype, sizes=(16, 64, 64, 8)):
    generator = torch.Generator().manual_seed(0)
    weights = [torch.randn(m, n, generator=generator).to(dtype) / n**0.5 for n, m in itertools.pairwise(sizes)]

    def model(x):
        for weight in weights[:-1]:
            x = (weight @ x).tanh()
        return weights[-1] @ x

    return model


def solved(x):
    return torch.linalg.solve(x @ x.mT + torch.eye(4, dtype=x.dtype), x[0])


def chosen(x):
    return torch.where(x > 0, x.exp(), x**2).softmax(0)[torch.tensor([2, 0, 1])]


@pytest.mark.parametrize("name", ["jacfwd", "jacrev", "hessian"])
@pytest.mark.parametrize(("function", "shape"), [(arm, (7,)), (solved, (4, 4)), (chosen, (5,))])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_derivatives(gpu, name, function, shape, dtype):
    x = torch.randn(shape, generator=torch.Generator().manual_seed(1), dtype=dtype)
    expected = getattr(torch.func, name)(function)(x)
    for _ in range(6):  # plain, then flat
        assert_same(getattr(gpu, name)(function)(x), expected)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_a_batch_through_an_mlp(gpu, dtype):
    model = mlp(dtype)
    x = torch.randn(256, 16, generator=torch.Generator().manual_seed(2)).to(dtype)
    expected = torch.func.vmap(torch.func.jacrev(mlp(torch.float64)))(x.double()).to(dtype)
    assert_same(gpu.vmap(gpu.jacrev(model))(x), expected)


@pytest.mark.parametrize("dtype", [torch.complex128, torch.complex64])
def test_complex_numbers(gpu, dtype):
    z = torch.randn(5, generator=torch.Generator().manual_seed(3), dtype=dtype)

    def function(z):
        return torch.stack([z.abs() ** 2, (z * z.conj()).real, z.imag.exp()])

    cotangent = torch.ones(3, 5, dtype=dtype.to_real())
    found, expected = (api.vjp(function, z) for api in (gpu, torch.func))
    assert_same(found[0], expected[0])
    assert_same(found[1](cotangent)[0], expected[1](cotangent)[0])
    identity = Engine(DEVICE).evaluate(function_of([], lambda b: b.constant(from_tensor(z))), [], [])
    np.testing.assert_array_equal(identity[0].data, z.numpy())


def test_what_was_captured_is_what_is_used(gpu):
    x = torch.randn(4, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    for number in range(5):
        weight = torch.full((4,), float(number), dtype=torch.float64)
        assert_same(
            gpu.jacrev(lambda x, w=weight: (w * x).sin())(x), torch.func.jacrev(lambda x, w=weight: (w * x).sin())(x)
        )


@cuda_only
def test_a_seed_gives_the_same_numbers_each_time():
    def noisy(b, x):
        (y,) = b.add("rand_like", (x,))
        return b.add("mul.Tensor", (x, y))[0]

    function, engine, x = function_of([f64(1000)], noisy), Engine(DEVICE), array(np.ones(1000))
    first = [engine.evaluate(function, [], [x], seed=1)[0].data for _ in range(5)]
    for other in first[1:]:
        np.testing.assert_array_equal(first[0], other)
    assert not np.array_equal(first[0], engine.evaluate(function, [], [x], seed=2)[0].data)
    assert 0.4 < first[0].mean() < 0.6


@pytest.mark.parametrize("megabytes", [1, 9, 70, 200])
def test_large_arrays_there_and_back(megabytes):
    engine = Engine(DEVICE)
    values = RNG.standard_normal(megabytes << 17)
    function = function_of([f64(values.size)], lambda b, x: b.add("neg", (x,))[0])
    for _ in range(3):
        (found,) = engine.evaluate(function, [], [array(values)])
        np.testing.assert_array_equal(found.data, -values)


def sliced(engine, function, chain, x, *, in_company=()):
    """The rows of a call in slices."""
    call = engine.begin(function, chain, [array(x)])
    assert isinstance(call, SlicedCall)
    cursor, blocks, count = (0, 0), [], 0
    while cursor is not None:
        found, cursor = call.next(cursor, is_alone=count not in in_company)
        blocks += [np.array(block.array.data).reshape(block.stop - block.start, -1) for block in found]
        count += 1
    return np.concatenate(blocks), count


def test_a_result_larger_than_the_memory_comes_in_slices():
    n = 3000
    function = function_of([f64(n)], lambda b, x: b.add("sin", (x,))[0])
    engine, x = Engine(DEVICE, Budget(8 * n * n // 4)), RNG.standard_normal(n)
    with pytest.raises(LimitExceeded):
        engine.evaluate(function, [JACREV], [array(x)])
    for _ in range(3):  # from the second call on, slices are launched ahead
        rows, count = sliced(engine, function, [JACREV], x, in_company=(3, 5))
        assert count > 4
        np.testing.assert_allclose(rows, np.diag(np.cos(x)), atol=1e-12)


def test_a_slice_that_is_the_basis_itself(monkeypatch):
    monkeypatch.setattr(SliceSize, "rows", lambda self, *, is_alone: 64)
    monkeypatch.setattr(SliceSize, "is_measured", lambda self, rows: True)
    n = 2000
    function = function_of([f64(n)], lambda b, x: b.add("clone", (x,))[0])
    engine = Engine(DEVICE, Budget(8 * n * n // 4))
    for _ in range(3):
        rows, _ = sliced(engine, function, [JACREV], np.ones(n))
        np.testing.assert_array_equal(rows, np.eye(n))


@cuda_only
def test_memory_that_runs_out_halves_the_slices():
    n = 4000
    function = function_of([f64(n)], lambda b, x: b.add("sin", (x,))[0])
    x = RNG.standard_normal(n)
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(DEVICE).total_memory
    # Less than the engine was told: a third of the result, beside what the process holds already.
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + 8 * n * n / 3) / total)
    try:
        engine = Engine(DEVICE, Budget(64 * n * n))
        rows, count = sliced(engine, function, [JACREV], x)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert count > 2
    np.testing.assert_allclose(rows, np.diag(np.cos(x)), atol=1e-12)


@cuda_only
def test_tf32_is_off_unless_asked():
    from farfunc_server.workers.handler import set_rounding

    if torch.cuda.get_device_capability(DEVICE) < (8, 0):
        pytest.skip("this GPU has no TF32")
    left, right = (RNG.standard_normal((512, 512)).astype("float32") for _ in range(2))
    exact = left.astype("float64") @ right.astype("float64")
    types = [Array.from_numpy(left).type] * 2
    product = function_of(types, lambda b, x, y: b.add("mm", (x, y))[0])
    errors = []
    for tf32 in (False, True):
        set_rounding(tf32=tf32)
        (found,) = Engine(DEVICE).evaluate(product, [], [Array.from_numpy(left), Array.from_numpy(right)])
        errors.append(np.abs(found.data - exact).max() / np.abs(exact).max())
    assert errors[0] < 2e-6 < 1e-4 < errors[1]
