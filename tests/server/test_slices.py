"""Calls in slices: the same results as at once, sizes that are learnt, limits that hold."""

import numpy as np
import pytest
import torch

from farfunc_protocol.errors import EvaluationError, LimitExceeded
from farfunc_protocol.messages import decode_response, response_header
from farfunc_protocol.transforms import FlatTransform
from farfunc_server.evaluation import engine as engines
from farfunc_server.evaluation import slices
from farfunc_server.evaluation.engine import Engine
from farfunc_server.evaluation.inference import Budget
from farfunc_server.evaluation.plans import Stage
from farfunc_server.evaluation.slices import DeliveredCall, SlicedCall, SliceSize
from support.graphs import array, f64, function_of
from support.slices import assembled

RNG = np.random.default_rng(0)


def flat(name, **attributes):
    return FlatTransform(name, attributes)


JACREV, JACFWD, HESSIAN = (flat(name, argnums=(0,)) for name in ("jacrev", "jacfwd", "hessian"))
VMAP = flat("vmap", in_dims=(0,), out_dims=(0,))


@pytest.fixture
def always(monkeypatch):
    """Every call is long, and no slice is short enough to grow."""
    monkeypatch.setattr(engines, "_LONG_SECONDS", 0.0)
    monkeypatch.setattr(engines, "_VERY_LONG_SECONDS", 0.0)
    monkeypatch.setattr(slices, "SLICE_SECONDS", 1e-5)
    monkeypatch.setattr(slices, "_DEAREST", 1e9)


def two_arguments(b, x, w):
    (y,) = b.add("mm", (x, w))
    (y,) = b.add("tanh", (y,))
    (z,) = b.add("sum.dim_IntList", (y,), {"dim": (0,)})
    return y, z


CHAINS = [
    [JACREV],
    [flat("jacrev", argnums=(1, 0))],
    [flat("jacrev", argnums=(0, 1), aux=1)],
    [flat("jacrev", argnums=(1,), chunk_size=3)],
    [JACFWD],
    [flat("jacfwd", argnums=(1, 0))],
    [flat("jacfwd", argnums=(1,), aux=1)],
    [flat("jacfwd", argnums=(0,), randomness="same")],
    [flat("hessian", argnums=(0, 1))],
    [JACFWD, flat("jacrev", argnums=(1,))],
    [JACREV, flat("jvp")],
    [flat("vmap", in_dims=(0, None), out_dims=(0, 0)), JACREV],
]


@pytest.mark.parametrize("chain", CHAINS, ids=lambda chain: "-".join(item.name for item in chain))
@pytest.mark.parametrize("is_alone", [False, True])
def test_slices_make_the_result_of_the_whole_call(always, chain, is_alone):
    x, w = RNG.standard_normal((6, 5)), RNG.standard_normal((5, 7))
    types, arguments = [f64(6, 5), f64(5, 7)], [array(x), array(w)]
    if chain[0].name == "vmap":
        arguments[0] = array(RNG.standard_normal((9, 6, 5)))
    if chain[-1].name == "jvp":
        arguments += [array(RNG.standard_normal((6, 5))), array(RNG.standard_normal((5, 7)))]
    function = function_of(types, two_arguments)
    engine = Engine()
    expected = Engine().evaluate(function, chain, arguments)
    for _ in range(3):  # by plain plans, and by flat ones
        call = engine.begin(function, chain, arguments)
        assert isinstance(call, SlicedCall)
        found, count = assembled(call, is_alone=is_alone)
        assert count > 1 or is_alone
        for ours, theirs in zip(found, expected, strict=True):
            assert ours.dtype == theirs.data.dtype
            np.testing.assert_allclose(ours, theirs.data, rtol=1e-12, atol=1e-14)
        while engine.use_idle_time():
            pass


@pytest.mark.parametrize("name", ["jacrev", "jacfwd"])
def test_nan_is_where_torch_func_has_it(always, name):
    """The derivatives of other outputs, and by other arguments, are multiplied with zeros, not left out."""

    def body(b, x, y):
        (root,) = b.add("sqrt", (x,))
        return b.add("mul.Tensor", (root, y))[0], b.add("add.Tensor", (x, y))[0]

    values = [np.array([0.0, 1.0, 4.0, 0.0, 2.0]), np.arange(1.0, 6.0)]
    function = function_of([f64(5), f64(5)], body)
    transformed = getattr(torch.func, name)(lambda x, y: (x.sqrt() * y, x + y), argnums=(0, 1))
    expected = [leaf for row in transformed(*map(torch.from_numpy, values)) for leaf in row]
    assert sum(int(leaf.isnan().sum()) for leaf in expected) > 0
    engine = Engine()
    for _ in range(3):
        call = engine.begin(function, [flat(name, argnums=(0, 1))], list(map(array, values)))
        found, count = assembled(call)
        assert count > 1
        for ours, theirs in zip(found, expected, strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-12)
        while engine.use_idle_time():
            pass


def test_the_function_itself_is_computed_once_for_all_slices(always):
    calls = []

    def body(b, x):
        (y,) = b.add("exp", (x,))
        return b.add("mul.Tensor", (y, x))[0]

    function = function_of([f64(40)], body)
    engine = Engine()
    x = array(RNG.standard_normal(40))
    for _ in range(3):
        assembled(engine.begin(function, [JACREV], [x]))
        while engine.use_idle_time():
            pass
    with torch.utils._python_dispatch._disable_current_modes():

        class Count(torch.utils._python_dispatch.TorchDispatchMode):
            def __torch_dispatch__(self, func, types, args=(), kwargs=None):
                calls.append(func)
                return func(*args, **(kwargs or {}))

        call = engine.begin(function, [JACREV], [x])
        with Count():
            _, count = assembled(call)
    assert count > 3
    assert calls.count(torch.ops.aten.exp.default) == 1


def test_a_call_can_be_resumed_elsewhere(always):
    function = function_of([f64(6, 5), f64(5, 7)], two_arguments)
    arguments = [array(RNG.standard_normal((6, 5))), array(RNG.standard_normal((5, 7)))]
    expected = Engine().evaluate(function, [flat("jacrev", argnums=(1,))], arguments)
    first = Engine().begin(function, [flat("jacrev", argnums=(1,))], arguments)
    blocks, cursor = first.next((0, 0), is_alone=False)
    received = b"".join(block.array.buffer for block in blocks)
    second = Engine().begin(function, [flat("jacrev", argnums=(1,))], arguments, resume_at=cursor)
    while cursor is not None:
        blocks, cursor = second.next(cursor)
        received += b"".join(block.array.buffer for block in blocks)
    header, _ = response_header(first.outputs)
    found = decode_response(header + received).arrays
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours.data, theirs.data, rtol=1e-12, atol=1e-14)


def test_a_large_result_is_handed_over_in_parts_and_resumed(monkeypatch):
    monkeypatch.setattr(engines, "_LARGE_BYTES", 1000)
    monkeypatch.setattr(slices, "_PART_BYTES", 1500)
    function = function_of([f64(6, 5), f64(5, 7)], two_arguments)
    arguments = [array(RNG.standard_normal((6, 5))), array(RNG.standard_normal((5, 7)))]
    chain = [flat("jacfwd", argnums=(0, 1))]
    expected = Engine().evaluate(function, chain, arguments)
    call = Engine().begin(function, chain, arguments)
    assert isinstance(call, DeliveredCall)
    found, count = assembled(call, cursor=(-1, 0))
    assert count > 10
    again = Engine().begin(function, chain, arguments, resume_at=(-1, 3000))
    parts, cursor = again.next((-1, 3000))
    assert sum(part.nbytes for part in parts) == 1500
    assert cursor == (-1, 4500)
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_array_equal(ours, theirs.data)


def test_a_result_of_random_numbers_is_of_one_draw(monkeypatch):
    """In parts it may be that a worker dies in between: what another one evaluates must be the same."""
    monkeypatch.setattr(engines, "_LARGE_BYTES", 1000)
    monkeypatch.setattr(slices, "_PART_BYTES", 1500)

    def noisy(b, x):
        (noise,) = b.add("rand_like", (x,))
        return b.add("mul.Tensor", (x, noise))[0]

    function = function_of([f64(500)], noisy)
    x = array(np.ones(500))
    assert isinstance(Engine().begin(function, [], [x]), tuple)
    first = Engine().begin(function, [], [x], 7)
    second = Engine().begin(function, [], [x], 7, resume_at=(-1, 1500))
    parts = [bytes(part) for call, at in ((first, 0), (second, 1500)) for part in call.next((-1, at))[0]]
    (expected,) = Engine().evaluate(function, [], [x], 7)
    assert b"".join(parts) == expected.data.tobytes()[:3000]


@pytest.mark.parametrize("chain", [[JACREV], [JACFWD], [VMAP, JACREV]])
def test_a_result_larger_than_the_memory_comes_in_slices(chain):
    n = 600
    function = function_of([f64(n)], lambda b, x: b.add("sin", (x,))[0])
    x = RNG.standard_normal(n)
    if chain[0] is VMAP:
        n = 60
        function = function_of([f64(n)], lambda b, x: b.add("sin", (x,))[0])
        x = RNG.standard_normal((100, n))
    expected = np.cos(x)
    whole = 8 * x.size * n
    budget = Budget(whole // 4)
    with pytest.raises(LimitExceeded):
        Engine(budget=budget).evaluate(function, chain, [array(x)])
    engine = Engine(budget=budget)
    found, count = assembled(engine.begin(function, chain, [array(x)]))
    assert count >= 4
    np.testing.assert_allclose(found[0], expected[..., None] * np.eye(n), atol=1e-14)
    peaks = [plan.inference.peak_bytes for _, plan in engine.plans]
    assert max(peaks) <= budget.memory_bytes


def test_memory_that_runs_out_halves_the_slices(always, monkeypatch):
    function = function_of([f64(64)], lambda b, x: b.add("sin", (x,))[0])
    engine = Engine()
    x = RNG.standard_normal(64)
    call = engine.begin(function, [JACREV], [array(x)])
    sizes = []
    run = slices.SlicedCall._run

    def limited(self, number, group, rows, first):
        sizes.append(rows)
        if rows > 4:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return run(self, number, group, rows, first)

    monkeypatch.setattr(slices.SlicedCall, "_run", limited)
    call._slicing.sizes[0] = SliceSize(64, 64, 64)
    found, _ = assembled(call)
    assert sizes[0] == 64
    assert 4 in sizes
    np.testing.assert_allclose(found[0], np.diag(np.cos(x)), atol=1e-14)


def test_memory_that_runs_out_for_the_whole_call_is_found_in_slices(monkeypatch):
    function = function_of([f64(32)], lambda b, x: b.add("sin", (x,))[0])
    engine = Engine()
    x = RNG.standard_normal(32)
    run = Engine._run

    def limited(self, *args):
        raise MemoryError

    monkeypatch.setattr(Engine, "_run", limited)
    call = engine.begin(function, [JACREV], [array(x)])
    monkeypatch.setattr(Engine, "_run", run)
    assert isinstance(call, SlicedCall)
    np.testing.assert_allclose(assembled(call)[0][0], np.diag(np.cos(x)), atol=1e-14)


def test_the_limit_of_operations_is_that_of_all_slices():
    function = function_of([f64(600)], lambda b, x: b.add("sin", (x,))[0])
    engine = Engine(budget=Budget(600 * 600 * 2, operations=1e5))
    with pytest.raises(LimitExceeded):
        engine.begin(function, [JACREV], [array(np.ones(600))])


def test_errors_are_those_of_the_whole_call(always):
    def body(b, x):
        (y,) = b.add("linalg_cholesky_ex", (x,))[:1]
        (z,) = b.add("linalg_inv_ex", (x,), {"check_errors": True})[:1]
        return b.add("add.Tensor", (y, z))[0]

    function = function_of([f64(3, 3)], body)
    with pytest.raises(EvaluationError) as at_once:
        Engine().evaluate(function, [JACREV], [array(np.zeros((3, 3)))])
    call = Engine().begin(function, [JACREV], [array(np.zeros((3, 3)))])
    with pytest.raises(EvaluationError) as in_slices:
        call.next((0, 0))
    assert (in_slices.value.detail, in_slices.value.where) == (at_once.value.detail, at_once.value.where)


def test_random_functions_and_functions_without_rows_are_evaluated_at_once(always):
    def noisy(b, x):
        (y,) = b.add("rand_like", (x,))
        return b.add("mul.Tensor", (x, y))[0]

    function = function_of([f64(3)], noisy)
    assert isinstance(Engine().begin(function, [JACREV], [array(np.ones(3))]), tuple)
    assert isinstance(Engine().begin(function, [], [array(np.ones(3))]), tuple)
    total = function_of([f64(3)], lambda b, x: b.add("sum", (x,))[0])
    assert isinstance(Engine().begin(total, [flat("grad", argnums=(0,))], [array(np.ones(3))]), tuple)
    empty = function_of([f64(0)], lambda b, x: b.add("sin", (x,))[0])
    assert isinstance(Engine().begin(empty, [JACREV], [array(np.ones(0))]), tuple)


def run_all(size, seconds, is_alone, count=60):
    """Let slices run that take ``seconds(rows)``; returns the size that stays."""
    for _ in range(count):
        rows = size.rows(is_alone=is_alone)
        size.ran(rows, seconds(rows), Stage.FLAT)
    return size.rows(is_alone=is_alone)


@pytest.mark.parametrize("start", [1, 20, 4096])
@pytest.mark.parametrize(
    ("seconds", "in_company", "alone"),
    [
        (lambda rows: 1e-4 + 1e-4 * rows, {64}, {256}),  # 6.5 ms and 26 ms
        (lambda rows: 0.02 + 1e-4 * rows, {256, 1024}, {256, 1024}),  # a row is dear unless there are many
        (lambda rows: 0.02 + 1e-6 * rows, {4096, 5000}, {5000}),
        (lambda rows: 0.03 * rows, {1}, {1}),
        (lambda rows: 1e-6 * rows, {4096, 5000}, {5000}),
    ],
)
def test_the_size_of_slices_is_found(monkeypatch, start, seconds, in_company, alone):
    monkeypatch.setattr(slices, "SLICE_SECONDS", 0.008)
    monkeypatch.setattr(slices, "ALONE_SECONDS", 0.06)
    assert run_all(SliceSize(5000, 5000, start), seconds, is_alone=False) in in_company
    assert run_all(SliceSize(5000, 5000, start), seconds, is_alone=True) in alone


def test_slices_that_take_much_longer_than_the_whole_call_are_given_up(always):
    function = function_of([f64(64)], lambda b, x: b.add("sin", (x,))[0])
    engine = Engine()
    x = array(RNG.standard_normal(64))
    call = engine.begin(function, [JACREV], [x])
    whole = call._slicing.whole
    whole.records[0].calls, whole.records[0].best = 1, 1e-9
    for _ in range(4):
        assembled(call)
        while engine.use_idle_time():
            pass
        call = engine.begin(function, [JACREV], [x])
        if isinstance(call, tuple):
            return
    raise AssertionError("slices are taken though they are slow")
