"""Transfers, on a stand-in for a GPU whose copies happen as late as they may.

A copy that is launched on a stream is carried out when something waits for it, and not before: what is read too
early, or whose memory is used again too early, gives a wrong result here every time,
where a GPU gives one now and then.
"""

import contextlib

import numpy as np
import pytest
import torch

from farfunc_protocol.arrays import Array
from farfunc_protocol.transforms import FlatTransform
from farfunc_server.evaluation import slices, transfers
from farfunc_server.evaluation.engine import Engine
from farfunc_server.evaluation.plans import Plan
from farfunc_server.evaluation.slices import SliceSize
from farfunc_server.evaluation.tensors import from_tensor
from farfunc_server.evaluation.transfers import CudaTransfers, HostTransfers
from support.graphs import array, f64, function_of

CPU = torch.device("cpu")
RNG = np.random.default_rng(0)


class LateStream:
    """Carries out what it was given, in order, when it is waited for."""

    def __init__(self, device=None):
        self.waiting = []
        self.carried_out = 0

    def launch(self, work):
        self.waiting.append(work)

    def wait_stream(self, other):
        self.wait_until(other, len(other.waiting) + other.carried_out)

    def wait_until(self, other, place):
        self.launch(lambda: other.run(place))

    def run(self, place):
        while self.carried_out < place:
            work = self.waiting.pop(0)
            self.carried_out += 1
            work()

    def synchronize(self):
        self.run(len(self.waiting) + self.carried_out)


class LateEvent:
    """A place in a stream."""

    stream = None

    def __init__(self, gpu):
        self._gpu = gpu

    def record(self):
        self.stream = self._gpu.current
        self.place = len(self.stream.waiting) + self.stream.carried_out

    def synchronize(self):
        if self.stream is not None:
            self.stream.run(self.place)


class LateGpu:
    """The streams, and the pinned memory that was asked for."""

    def __init__(self, monkeypatch):
        self.computing = self.current = LateStream()
        self.pinned = 0
        for name, stand_in in {
            "Stream": LateStream,
            "Event": lambda: LateEvent(self),
            "current_stream": lambda device=None: self.current,
            "stream": self.on,
            "set_device": lambda device: None,
        }.items():
            monkeypatch.setattr(torch.cuda, name, stand_in)
        monkeypatch.setattr(transfers, "_pinned", self.pin)
        monkeypatch.setattr(transfers, "_copy", self.copy)
        self._cache = []

    @contextlib.contextmanager
    def on(self, stream):
        before, self.current = self.current, stream
        yield
        self.current = before

    def pin(self, shape, dtype):
        tensor = torch.empty(shape, dtype=dtype)
        self.pinned += tensor.nbytes
        return tensor

    def copy(self, target, source):
        self.current.launch(lambda: target.copy_(source))


@pytest.fixture
def gpu(monkeypatch):
    return LateGpu(monkeypatch)


@pytest.fixture
def small_parts(monkeypatch):
    monkeypatch.setattr(transfers, "_PART_BYTES", 64)
    monkeypatch.setattr(transfers, "_MOST_WHOLE_BYTES", 256)


ARRAYS = {
    "float64": RNG.standard_normal((3, 50)),
    "float32": RNG.standard_normal((5, 7)).astype("float32"),
    "complex128": RNG.standard_normal(40) + 1j * RNG.standard_normal(40),
    "bool": RNG.standard_normal(300) > 0,
    "int8": RNG.integers(-9, 9, 200).astype("int8"),
    "scalar": np.float64(3.5),
    "empty": np.zeros((3, 0)),
}


def wrap(values, dtype=None):
    values = np.asarray(values)
    return Array.from_numpy(values, dtype or str(values.dtype))


@pytest.mark.parametrize("name", ARRAYS)
def test_there_and_back(gpu, small_parts, name):
    ways = CudaTransfers(CPU)
    given = wrap(ARRAYS[name])
    tensor = ways.tensor(given)
    assert tensor.shape == given.shape
    (found,) = map(from_tensor, ways.begin([tensor])())
    assert found.dtype == given.dtype
    np.testing.assert_array_equal(found.to_numpy(), given.to_numpy())


def test_bfloat16_there_and_back(gpu, small_parts):
    ways = CudaTransfers(CPU)
    values = torch.randn(100).bfloat16()
    given = from_tensor(values)
    (found,) = map(from_tensor, ways.fetch([ways.tensor(given)]))
    assert found.dtype == "bfloat16"
    np.testing.assert_array_equal(found.data, given.data)


def test_memory_of_the_caller_is_free_when_an_array_was_sent(gpu, small_parts):
    ways = CudaTransfers(CPU)
    for count in (4, 1000):
        values = RNG.standard_normal(count)
        kept = values.copy()
        tensor = ways.tensor(wrap(values))
        values[:] = -1
        (found,) = map(from_tensor, ways.fetch([tensor]))
        np.testing.assert_array_equal(found.data, kept)


def test_large_results_pass_through_two_buffers(gpu, small_parts):
    ways = CudaTransfers(CPU)
    tensors = [torch.randn(1000, dtype=torch.float64) for _ in range(3)]
    found = ways.fetch(tensors)
    assert gpu.pinned == 2 * 64
    for left, right in zip(found, tensors, strict=True):
        assert torch.equal(left, right)


def test_pinned_memory_is_bounded(gpu, small_parts):
    ways = CudaTransfers(CPU)
    tensors = [ways.tensor(wrap(np.full(8, float(number)))) for number in range(100)]
    assert gpu.pinned == 256 + 128
    found = ways.fetch(tensors)
    assert gpu.pinned == 256 + 128 + 256
    for number, tensor in enumerate(found):
        np.testing.assert_array_equal(tensor.numpy(), number)
    ways.tensor(wrap(np.ones(8)))
    assert gpu.pinned == 256 + 128 + 256 + 64


def test_lazy_forms(gpu, small_parts):
    ways = CudaTransfers(CPU)
    z = torch.randn(20, 3, dtype=torch.complex128)
    forms = [z.conj(), z.conj().imag, z.t(), z[::2], torch._efficientzerotensor((3,)), torch.ones(1).expand(4)]
    for left, right in zip(map(from_tensor, ways.fetch(forms)), forms, strict=True):
        np.testing.assert_array_equal(left.to_numpy(), right.clone().resolve_conj().resolve_neg().numpy())


def test_results_are_fetched_after_what_was_launched_before_and_beside_what_is_launched_later(gpu):
    ways = CudaTransfers(CPU)
    result = torch.zeros(3)
    gpu.computing.launch(lambda: result.fill_(1))
    finish = ways.begin([result])
    later = []
    gpu.computing.launch(lambda: later.append(True))
    (found,) = finish()
    assert found.tolist() == [1, 1, 1]
    assert not later


def test_the_state_of_a_generator_is_on_the_cpu_already(gpu):
    state = torch.get_rng_state()
    (found,) = CudaTransfers(torch.device("cuda")).fetch([state])
    assert found.data_ptr() == state.data_ptr()


def test_the_cpu_copies_nothing():
    ways = HostTransfers()
    values = RNG.standard_normal(5)
    tensor = ways.tensor(wrap(values))
    assert tensor.data_ptr() == values.ctypes.data
    assert ways.fetch([tensor])[0] is tensor
    assert ways.begin([tensor])()[0] is tensor


def test_a_batch_is_sent_and_fetched_as_one_array(gpu, monkeypatch):
    engine = Engine()
    engine.transfers = CudaTransfers(CPU)
    run = Plan.run
    monkeypatch.setattr(Plan, "run", lambda self, *args: gpu.computing.synchronize() or run(self, *args))
    function = function_of([f64(18)], identity_and_square)
    calls = [[array(RNG.standard_normal(18))] for _ in range(8)]
    found = engine.evaluate_many(function, [], calls)
    for (same, square), (x,) in zip(found, calls, strict=True):
        np.testing.assert_array_equal(same.data, x.data)
        np.testing.assert_array_equal(square.data, x.data**2)
    assert gpu.pinned == 8 * 18 * 8 * 3


def identity_and_square(b, x):
    (y,) = b.add("mul.Tensor", (x, x))
    return [b.add("clone", (x,))[0], y]


def sliced_engine(gpu, monkeypatch):
    """An engine whose calls are all sliced, each slice as large as the last, and measured enough to be launched.

    What it computes is computed at once, when all that was launched before on the same stream is done.
    """

    def in_order(method):
        def ordered(*args):
            gpu.computing.synchronize()
            return method(*args)

        return ordered

    for name in ("run", "launch"):
        monkeypatch.setattr(Plan, name, in_order(getattr(Plan, name)))
    monkeypatch.setattr(SliceSize, "rows", lambda self, *, is_alone: 4)
    monkeypatch.setattr(SliceSize, "is_measured", lambda self, rows: True)
    monkeypatch.setattr(Engine, "_is_long", lambda self, plan: True)
    engine = Engine()
    engine.transfers = CudaTransfers(CPU)
    return engine


@pytest.mark.parametrize("name", ["jacrev", "jacfwd", "hessian"])
def test_the_next_slice_is_launched_while_one_travels(gpu, monkeypatch, name):
    engine = sliced_engine(gpu, monkeypatch)
    function = function_of([f64(18)], identity_and_square)
    x = RNG.standard_normal(18)
    chain = [FlatTransform(name, {"argnums": (0,)})]
    call = engine.begin(function, chain, [array(x)])
    ran, launched = [], []
    run, launch = slices.SlicedCall._run, slices.SlicedCall._launch
    monkeypatch.setattr(slices.SlicedCall, "_run", lambda self, *args: ran.append(args) or run(self, *args))
    monkeypatch.setattr(slices.SlicedCall, "_launch", lambda self, at: launched.append(at) or launch(self, at))
    found = {}
    cursor = (0, 0)
    while cursor is not None:
        blocks, cursor = call.next(cursor, is_alone=cursor != (0, 8))
        for block in blocks:
            found.setdefault(block.leaf, []).append(block)
    expected = Engine().evaluate(function, chain, [array(x)])
    for leaf, blocks in found.items():
        rows = [np.asarray(block.array.data).reshape(block.stop - block.start, -1) for block in blocks]
        matrix = np.concatenate(rows)
        if blocks[0].is_columns:
            matrix = matrix.T
        np.testing.assert_allclose(matrix.reshape(expected[leaf].shape), expected[leaf].data, atol=1e-14)
    assert len(launched) >= 3
    assert len(ran) < len(launched) + 2  # the first, and the one after a slice in company


def test_a_launch_that_fails_is_a_call_that_is_made_again(gpu, monkeypatch):
    engine = sliced_engine(gpu, monkeypatch)
    function = function_of([f64(9)], identity_and_square)
    x = RNG.standard_normal(9)

    def out_of_memory(self, leaves, captures):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(Plan, "launch", out_of_memory)
    call = engine.begin(function, [FlatTransform("jacrev", {"argnums": (0,)})], [array(x)])
    cursor, rows = (0, 0), {0: [], 1: []}
    while cursor is not None:
        blocks, cursor = call.next(cursor)
        for block in blocks:
            rows[block.leaf].append(np.asarray(block.array.data).reshape(-1, 9))
    np.testing.assert_allclose(np.concatenate(rows[0]), np.eye(9))
    np.testing.assert_allclose(np.concatenate(rows[1]), np.diag(2 * x))
