"""A worker's answers to messages, and its limits, in a process of its own."""

import asyncio
from types import SimpleNamespace

import numpy as np
import pytest

from farfunc_protocol.document import function_to_bytes, identity
from farfunc_protocol.errors import EvaluationError, LimitExceeded, ProtocolError, ServerError
from farfunc_protocol.graph import Equation, Graph
from farfunc_protocol.messages import decode_response
from farfunc_protocol.transforms import FlatTransform
from farfunc_server.evaluation.engine import Engine
from farfunc_server.evaluation.inference import Budget
from farfunc_server.scheduling.dispatcher import Dispatcher
from farfunc_server.workers.handler import Handler
from farfunc_server.workers.messages import (
    Apart,
    Configure,
    Evaluate,
    EvaluateMany,
    Infer,
    Load,
    Problem,
    Results,
    Sliced,
    UnknownFunction,
)
from farfunc_server.workers.worker import Worker, WorkerGone
from support.graphs import array, f64, wrapped
from support.http import evaluation

SIN = wrapped(Graph((f64(2),), (), (Equation("sin", (0,), {}, (1,)),), (1,)))
FILE = function_to_bytes(SIN)
ID = identity(FILE)
SMALL = Configure("cpu", threads=1, memory_bytes=1 << 26, operations=1e12)


def with_worker(conversation, configure=SMALL):
    """Run ``conversation(worker)`` with a worker that has its device."""

    async def run():
        worker = await Worker.start()
        try:
            await worker.wait_until_ready()
            await worker.configure(configure)
            return await conversation(worker)
        finally:
            await worker.close()

    return asyncio.run(run())


def test_a_conversation():
    async def conversation(worker):
        request = [evaluation(ID, [array([0.0, 1.0])])]
        assert (await worker.call(Evaluate(ID, "r"), request))[0] == UnknownFunction()
        with pytest.raises(ProtocolError):
            await worker.call(Load(ID), [b"no function"])
        answer, data = await worker.call_with_function(Evaluate(ID, "r"), request, lambda: [FILE])
        np.testing.assert_array_equal(decode_response(data).arrays[0].data, np.sin([0.0, 1.0]))
        assert answer.seconds > 0
        assert (await worker.call(Infer(ID, "r")))[0].outputs == ["float64[2]"]
        assert worker.is_alive
        worker.kill()
        assert not worker.is_alive
        with pytest.raises(WorkerGone):
            await worker.call(Infer(ID, "r"))
        assert await worker.process.wait() == -9

    with_worker(conversation)


def test_memory_that_no_dry_run_foresaw_is_refused_by_the_kernel_and_the_worker_lives():
    # So many equations that the dry run ends before it comes to the large one.
    count = 12_000
    equations = [Equation("sin", (i,), {}, (i + 1,)) for i in range(count)]
    equations.append(
        Equation("full", (), {"size": (30_000, 30_000), "fill_value": 1.0, "dtype": "float64"}, (count + 1,))
    )
    equations.append(Equation("add.Tensor", (count, count + 1), {}, (count + 2,)))
    equations.append(Equation("sum", (count + 2,), {}, (count + 3,)))
    function = wrapped(Graph((f64(),), (), tuple(equations), (count + 3,)))
    file = function_to_bytes(function)

    async def conversation(worker):
        request = [evaluation(identity(file), [array(0.0)])]
        with pytest.raises(LimitExceeded, match="not enough memory") as caught:
            await worker.call_with_function(Evaluate(identity(file), "r"), request, lambda: [file])
        assert caught.value.where == f"equations[{count}] (full)"
        answer = await worker.call_with_function(
            Evaluate(ID, "r"), [evaluation(ID, [array([0.0, 1.0])])], lambda: [FILE]
        )
        assert answer[0].seconds > 0

    with_worker(conversation)


def test_what_there_is_no_memory_to_receive_is_refused_and_the_worker_lives():
    payload = [bytes(1 << 20)] * 600  # more than the budget and all that is added to it
    request = [evaluation(ID, [array([0.0, 1.0])])]

    async def conversation(worker):
        for message in (Evaluate(ID, "r"), Load(ID), Evaluate(ID, "r")):
            with pytest.raises(LimitExceeded, match="629,145,600 bytes"):
                await worker.call(message, payload)
        answer, _ = await worker.call(EvaluateMany(ID, [300 << 20, 300 << 20]), payload)
        assert answer == Apart()  # each of them may fit
        answer, data = await worker.call_with_function(Evaluate(ID, "r"), request, lambda: [FILE])
        np.testing.assert_array_equal(decode_response(data).arrays[0].data, np.sin([0.0, 1.0]))

    with_worker(conversation)


def test_a_device_that_the_machine_lacks_is_refused_with_a_remedy():
    with pytest.raises(ServerError, match=r"there is no cuda:99 here: torch .* sees \d+ GPUs") as caught:
        with_worker(None, Configure("cuda:99", threads=1, memory_bytes=None, operations=1e12))
    assert "--devices" in caught.value.remedy


def test_a_refusal_is_an_answer_and_the_worker_goes_on():
    solve = wrapped(Graph((f64(2, 2), f64(2)), (), (Equation("linalg_solve", (0, 1), {}, (2,)),), (2,)))
    file = function_to_bytes(solve)

    async def conversation(worker):
        for _ in range(3):
            request = [evaluation(identity(file), [array(np.zeros((2, 2))), array([0.0, 1.0])])]
            with pytest.raises(EvaluationError, match="singular"):
                await worker.call_with_function(Evaluate(identity(file), "r"), request, lambda: [file])
        assert worker.is_alive

    with_worker(conversation)


def test_a_worker_that_ends_says_so_with_its_last_answer(monkeypatch):
    handler = Handler()
    request = memoryview(evaluation(ID, [array([1.0])]))  # sin takes two
    handler.answer(Load(ID), memoryview(FILE))
    answer, _ = handler.answer(Evaluate(ID, "r"), request)
    assert (answer.is_last, handler.is_sound) == (False, True)
    monkeypatch.setattr(handler._engine, "is_well", lambda: False)
    answer, _ = handler.answer(Evaluate(ID, "r"), request)
    assert (answer.is_last, handler.is_sound) == (True, False)


def test_a_device_that_one_of_a_batch_has_cost_is_no_fault_of_the_others(monkeypatch):
    handler = Handler()
    handler.answer(Load(ID), memoryview(FILE))
    requests = [evaluation(ID, [array([float(number), 1.0])]) for number in range(3)]
    message = EvaluateMany(ID, [len(request) for request in requests])
    payload = memoryview(b"".join(requests))
    assert isinstance(handler.answer(message, payload)[0], Results)

    def lost():
        handler._engine.is_lost = True
        return False

    monkeypatch.setattr(handler._engine, "is_well", lost)
    assert handler.answer(message, payload)[0] == Apart(is_last=True)
    assert not handler.is_sound


def many(*requests):
    """A message, and its payload."""
    return EvaluateMany(ID, [len(request) for request in requests]), memoryview(b"".join(requests))


def test_calls_that_alone_come_in_slices_are_not_refused_in_company():
    """A Jacobian of 8 MiB, where one evaluation may take 4: whether there is company must not matter."""
    handler = Handler()
    handler._engine = Engine(budget=Budget(1 << 22))
    sin = wrapped(Graph((f64(1024),), (), (Equation("sin", (0,), {}, (1,)),), (1,)))
    handler.answer(Load(ID), memoryview(function_to_bytes(sin)))
    request = evaluation(ID, [array(np.zeros(1024))], FlatTransform("jacrev", {"argnums": (0,)}))
    assert handler.answer(*many(request, request))[0] == Apart()
    assert isinstance(handler.answer(Evaluate(ID, "r", 1), memoryview(request))[0], Sliced)


def test_calls_with_large_results_are_not_kept_until_the_last_is_done():
    handler = Handler()
    repeat = wrapped(Graph((f64(2),), (), (Equation("repeat", (0,), {"repeats": (1 << 19,)}, (1,)),), (1,)))
    handler.answer(Load(ID), memoryview(function_to_bytes(repeat)))
    request = evaluation(ID, [array([0.0, 1.0])])
    assert handler.answer(*many(request, request))[0] == Apart()


def test_where_memory_runs_out_in_company_each_is_evaluated_alone(monkeypatch):
    handler = Handler()
    handler.answer(Load(ID), memoryview(FILE))
    request = evaluation(ID, [array([0.0, 1.0])])
    assert isinstance(handler.answer(*many(request, request))[0], Results)
    monkeypatch.setattr(handler._engine, "evaluate_many", lambda *given: [LimitExceeded("no memory")] * 2)
    assert handler.answer(*many(request, request))[0] == Apart()


@pytest.mark.parametrize("answer", [Problem({}, is_last=True), Apart(is_last=True), Problem({}), Apart()])
def test_nothing_is_sent_to_a_worker_that_has_said_that_it_ends(answer):
    pool = SimpleNamespace(devices=("cpu",), on_ready=None)
    dispatcher = Dispatcher(pool, capacity=1)
    worker = SimpleNamespace(is_alive=True)
    pool.on_ready("cpu", worker)
    lane = dispatcher.fleet.lanes["cpu"]
    dispatcher._answered(lane, worker, answer, memoryview(b""))
    assert lane.worker is (None if answer.is_last else worker)
    pool.on_ready("cpu", worker)
    assert lane.worker is worker
