"""CUDA graphs, as far as a machine without a GPU can tell: what is recorded, what is not, and what follows from it.

Recording and replaying are those of a stand-in that runs the program again on the same buffers. What a GPU makes of
them is tested in ``tests/gpu``.
"""

import contextlib

import numpy as np
import pytest
import torch

from farfunc_protocol.graph import TensorType
from farfunc_protocol.transforms import FlatTransform
from farfunc_server.evaluation import cuda_graphs, plan_cache, plans
from farfunc_server.evaluation.compilation import PackageFolder
from farfunc_server.evaluation.cuda_graphs import FIT, CudaGraphs, NotRecorded, why_not
from farfunc_server.evaluation.engine import Engine
from farfunc_server.evaluation.flattening import flatten
from farfunc_server.evaluation.inference import Inference
from farfunc_server.evaluation.plans import Stage
from farfunc_server.workers.handler import Handler
from support.graphs import array, f64, function_of

CPU = torch.device("cpu")
JACREV = FlatTransform("jacrev", {"argnums": (0,)})


class Recording:
    """In place of ``torch.cuda.CUDAGraph``."""

    def replay(self):
        for target, value in zip(self.outputs, self.run(), strict=True):
            target.copy_(value)


class Stream:
    """A stream on which everything has been done."""

    def wait_stream(self, other):
        pass

    def synchronize(self):
        pass


@pytest.fixture
def recorder(monkeypatch):
    """torch.cuda's parts that recording needs; ``modes`` tells in which modes of the synchronization check it was."""
    modes = []
    for name, stand_in in {
        "Stream": lambda device=None: Stream(),
        "current_stream": lambda device=None: Stream(),
        "stream": lambda stream: contextlib.nullcontext(),
        "CUDAGraph": Recording,
        "graph": lambda graph, **options: contextlib.nullcontext(),
        "memory_reserved": lambda device=None: 0,
        "get_sync_debug_mode": lambda: 0,
        "set_sync_debug_mode": modes.append,
    }.items():
        monkeypatch.setattr(torch.cuda, name, stand_in)
    record = CudaGraphs._record

    def replayable(self, digest, run, leaves, captures):
        graph, outputs, kept = record(self, digest, run, leaves, captures)
        graph.run, graph.outputs = (lambda: run(leaves, captures)), outputs
        return graph, outputs, kept

    monkeypatch.setattr(CudaGraphs, "_record", replayable)
    return modes


@pytest.fixture
def engine(recorder, tmp_path, monkeypatch):
    """An engine that takes the CPU for a GPU, once its plans have been called four times."""
    monkeypatch.setattr(plans, "_AS_FAST", 1e9)
    monkeypatch.setattr(plan_cache, "_HOT_CALLS", 4)
    monkeypatch.setattr(plan_cache.PlanCache, "take_hot", lambda self: [])
    folder = PackageFolder(tmp_path)
    found = Engine(packages=folder)
    found.plans._graphs = CudaGraphs(CPU, folder, most_bytes=1 << 30)
    found.plans._last = Stage.RECORDED
    monkeypatch.setattr(PackageFolder, "failure", failure_of_code(PackageFolder.failure))
    monkeypatch.setattr(plan_cache, "_LOOK_SECONDS", -1.0)
    return found


def failure_of_code(failure):
    """There is no machine code: what is recorded are flat programs."""
    return lambda self, digest: failure(self, digest) or (None if digest.endswith(".graph") else "there is none")


def call_until_settled(engine, function, chain, arguments, calls=16, **named):
    results = []
    for number in range(calls):
        results.append(engine.evaluate(function, chain, [arguments[number % len(arguments)]], identity="f", **named))
        while engine.use_idle_time():
            pass
    return results


def weighted(b, x):
    w = b.constant(array(np.arange(9.0).reshape(3, 3)))
    (y,) = b.add("mv", (w, x))
    return b.add("sin", (y,))[0]


def plan_of(engine):
    ((_, plan),) = engine.plans
    return plan


def test_every_fit_operator_is_one_of_torchs():
    assert [name for name in sorted(FIT) if not hasattr(torch.ops.aten, name)] == []


@pytest.mark.parametrize(
    ("function", "culprit"),
    [
        (torch.linalg.inv, "linalg_inv_ex"),
        (lambda x: torch.linalg.eigh(x)[0], "linalg_eigh"),
        (lambda x: x[torch.tensor([0, 1])], "index"),
        (lambda x: x.sort()[0], "sort"),
        (torch.fft.fft, "fft"),
        (lambda x: x * torch.rand(3), "rand"),
        (lambda x: (x @ x).softmax(1).sum(0).exp().cumsum(0).view(3, 1).expand(3, 3).tril(), None),
        (lambda x: torch.where(x > 0, x.relu(), x.flip(0)).norm(dim=1), None),
    ],
)
def test_programs_are_recorded_only_if_every_operator_is_known_to_be_fit(function, culprit):
    flat = flatten(lambda leaves, _: (function(*leaves),), [TensorType("float64", (3, 3))], (), CPU, fold=False)
    reason = why_not(flat.module, CPU)
    assert reason is None if culprit is None else culprit in str(reason)


def test_a_tensor_that_lies_elsewhere_is_a_reason():
    flat = flatten(lambda leaves, _: (leaves[0].sin(),), [f64(3)], (), CPU)
    assert "lies on cpu" in why_not(flat.module, torch.device("cuda"))


def test_a_hot_plan_is_recorded_and_answers_for_changed_arguments(engine, recorder):
    function = function_of([f64(3)], weighted)
    arguments = [array(np.random.default_rng(seed).standard_normal(3)) for seed in range(5)]
    results = call_until_settled(engine, function, [JACREV], arguments)
    plan = plan_of(engine)
    assert plan.stage is Stage.RECORDED, plan.records
    assert plan.records[Stage.RECORDED].calls >= 3
    assert plan_cache.report(*next(iter(engine.plans)))["stages"]["recorded"]["calls"] >= 3
    assert recorder == ["error", 0]
    for number, (found,) in enumerate(results):
        (expected,) = Engine().evaluate(function, [JACREV], [arguments[number % 5]])
        np.testing.assert_allclose(found.data, expected.data, rtol=1e-13)


def test_results_are_not_those_of_the_next_call(engine):
    function = function_of([f64(3)], weighted)
    first, second = array([1.0, 2.0, 3.0]), array([3.0, 0.0, 1.0])
    call_until_settled(engine, function, [], [first])
    assert plan_of(engine).stage is Stage.RECORDED
    (kept,) = engine.evaluate(function, [], [first], identity="f")
    before = kept.data.copy()
    engine.evaluate(function, [], [second], identity="f")
    np.testing.assert_array_equal(kept.data, before)


def test_other_constants_end_the_recording_and_not_the_answer(engine):
    function = function_of([f64(3)], weighted)
    call_until_settled(engine, function, [], [array([1.0, 2.0, 3.0])])
    plan = plan_of(engine)
    program, _ = next(iter(engine.plans))
    x = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)
    (found,) = plan.run([x], [torch.eye(3, dtype=torch.float64)])
    assert plan.stage is Stage.FLAT
    assert "constants" in plan.records[Stage.RECORDED].note
    torch.testing.assert_close(found, program.run([x], [torch.eye(3, dtype=torch.float64)])[0])


def test_what_waits_for_the_device_is_not_recorded(engine, monkeypatch):
    def check(mode):
        if mode == "error":
            raise RuntimeError("called a synchronizing CUDA operation")

    monkeypatch.setattr(torch.cuda, "set_sync_debug_mode", check)
    call_until_settled(engine, function_of([f64(3)], weighted), [JACREV], [array([1.0, 2.0, 3.0])])
    plan = plan_of(engine)
    assert plan.stage is Stage.FLAT
    assert "synchronizing" in plan.records[Stage.RECORDED].note
    assert engine.is_well()


def test_random_programs_are_not_recorded(engine):
    def noisy(b, x):
        (y,) = b.add("rand_like", (x,))
        return b.add("mul.Tensor", (x, y))[0]

    call_until_settled(engine, function_of([f64(3)], noisy), [], [array([1.0, 2.0, 3.0])], seed=1)
    assert "random" in plan_of(engine).records[Stage.RECORDED].note


def test_a_recording_that_fails_ends_the_process_and_is_not_tried_again(engine, monkeypatch):
    function = function_of([f64(3)], weighted)

    @contextlib.contextmanager
    def failing(graph, **options):
        yield
        raise RuntimeError("operation failed due to a previous error during capture")

    monkeypatch.setattr(torch.cuda, "graph", failing)
    call_until_settled(engine, function, [JACREV], [array([1.0, 2.0, 3.0])])
    plan = plan_of(engine)
    assert (plan.stage, engine.is_well()) == (Stage.FLAT, False)
    note = engine.plans._packages.failure(f"{plan.id}.graph")
    assert "previous error during capture" in note
    again = CudaGraphs(CPU, engine.plans._packages, most_bytes=1 << 30)
    with pytest.raises(NotRecorded, match="previous error"):
        again.record(plan.id, plan.plain, None, (), (), plan.inference)


def test_a_worker_ends_when_its_engine_is_broken(monkeypatch):
    handler = Handler()
    monkeypatch.setattr(plan_cache.PlanCache, "is_broken", True)
    assert not handler.use_idle_time()
    assert not handler.is_sound


def test_graphs_are_bounded_in_size_number_and_memory_and_leave_with_their_plans(recorder, tmp_path, monkeypatch):
    flat = flatten(lambda leaves, _: (leaves[0].sin(),), [f64(3)], (), CPU)
    graphs = CudaGraphs(CPU, PackageFolder(tmp_path), most_bytes=1000)

    def record(peak):
        return graphs.record("d", flat, flat.module, [f64(3)], (), Inference((f64(3),), peak, 1.0, 1))

    with pytest.raises(NotRecorded, match="more than 64 MiB"):
        record(65 << 20)
    with pytest.raises(NotRecorded, match="0 other plans"):
        record(501)
    monkeypatch.setattr(cuda_graphs, "MOST_GRAPHS", 1)
    kept = record(48)
    assert graphs.bytes == kept.bytes == 24
    with pytest.raises(NotRecorded, match="1 other plans"):
        record(48)
    del kept
    assert graphs.bytes == 0
    record(48)


def test_programs_of_one_function_share_its_constants():
    function = function_of([f64(3)], weighted)
    engine = Engine()
    programs = [engine.plans.program(function, chain) for chain in ([], [JACREV])]
    assert programs[0].constants[0] is programs[1].constants[0]
    assert engine.plans.bytes == 72 + sum(program.bytes for program in programs)
