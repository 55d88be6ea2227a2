"""A worker's answers to messages, and its limits, in a process of its own."""

import asyncio

import numpy as np
import pytest

from farfunc_protocol.document import function_to_bytes, identity
from farfunc_protocol.errors import EvaluationError, LimitExceeded, ProtocolError
from farfunc_protocol.graph import Equation, Graph
from farfunc_protocol.messages import decode_response
from farfunc_server.workers.messages import Configure, Evaluate, Infer, Load, UnknownFunction
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
