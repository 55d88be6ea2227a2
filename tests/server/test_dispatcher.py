"""The dispatcher beside workers that do as the test says."""

import asyncio

import pytest

from farfunc_protocol.errors import FarfuncError, ServerError, TimeLimitExceeded, WorkerDied
from farfunc_server.scheduling.dispatcher import Dispatcher, Job
from farfunc_server.scheduling.slices import Slices
from farfunc_server.workers.messages import (
    EndSlices,
    Evaluate,
    EvaluateMany,
    NextSlice,
    Result,
    Slice,
    Sliced,
    UnknownFunction,
)

DONE = Result(0.0, "plain", [], [])
NOTHING = memoryview(b"")


class Worker:
    """Keeps what it is sent; the test answers."""

    def __init__(self):
        self.is_alive = True
        self.asked = []
        self.sent = []

    def post(self, message, payload, on_answer):
        self.sent.append(message)
        self.asked.append((message, on_answer))

    def answer(self, message, data=NOTHING):
        """Answer the first message that has not been answered; returns that."""
        asked, on_answer = self.asked.pop(0)
        on_answer(message, data)
        return asked

    def kill(self):
        self.is_alive = False
        while self.asked:
            self.answer(None)


class Pool:
    devices = ("cpu",)
    is_ready = True
    on_ready = None


class Board:
    def heard(self, device, result):
        pass


@pytest.fixture
def place():
    """A dispatcher, and its one worker: both are made in the loop of the test."""

    def make(**settings):
        pool = Pool()
        dispatcher = Dispatcher(pool, 10, **settings)
        worker = Worker()
        pool.on_ready("cpu", worker)
        return dispatcher, worker, lambda new: pool.on_ready("cpu", new)

    return make


def job(number=0, seconds=60.0, kind=None, file=lambda: ()):
    return Job(Evaluate("f", str(number)), (), file, seconds, kind)


async def turns(count=5):
    """Let everything go on that can."""
    for _ in range(count):
        await asyncio.sleep(0)


async def opened(dispatcher, worker, **settings):
    """A call of which the first slice has come, and its slices."""
    waiting = asyncio.ensure_future(dispatcher.run(job(**settings)))
    await turns()
    worker.answer(Sliced(["float64[4]"], True, [0, 0]))
    worker.answer(Slice(DONE, [], [0, 1]))
    slices = await waiting
    assert isinstance(slices, Slices)
    return slices


def test_a_call_whose_time_is_over_is_closed_though_its_client_reads_slowly(place):
    """The worker holds it no longer, evaluates nothing more of it, and is not killed for it."""

    async def main():
        dispatcher, worker, _ = place()
        slices = await opened(dispatcher, worker, seconds=0.1)
        worker.answer(Slice(DONE, [], [0, 2]))  # as many as wait for a client
        await slices.__anext__()  # and there is room for another
        small = asyncio.ensure_future(dispatcher.run(job(1)))
        await turns()
        assert worker.answer(Slice(DONE, [], [0, 3])).cursor == [0, 2]
        await asyncio.sleep(0.15)
        assert worker.sent[-1] == EndSlices(1)
        assert worker.is_alive
        worker.answer(DONE)
        await small
        await slices.__anext__()
        await slices.__anext__()
        with pytest.raises(TimeLimitExceeded):
            await slices.__anext__()
        assert dispatcher.unfinished == 0
        assert not any(isinstance(message, NextSlice) for message, _ in worker.asked)

    asyncio.run(main())


def test_a_call_whose_time_is_over_while_its_slice_waits_costs_no_worker(place):
    async def main():
        dispatcher, worker, _ = place()
        slices = await opened(dispatcher, worker, seconds=0.05)
        others = [asyncio.ensure_future(dispatcher.run(job(n))) for n in range(3)]
        await turns()
        await asyncio.sleep(0.1)  # its next slice runs, or waits behind the others
        while worker.asked:
            asked = worker.asked[0][0]
            assert not isinstance(asked, NextSlice) or asked.cursor == [0, 1]
            worker.answer(Slice(DONE, [], [0, 2]) if isinstance(asked, NextSlice) else DONE)
            await turns()
        await asyncio.gather(*others)
        assert worker.is_alive
        slices.close()
        assert dispatcher.unfinished == 0

    asyncio.run(main())


def test_a_short_time_limit_costs_no_worker(place):
    """The request is answered in time, and the worker ends by itself soon after."""

    async def main():
        dispatcher, worker, _ = place()
        with pytest.raises(TimeLimitExceeded):
            await dispatcher.run(job(seconds=0.01))
        await asyncio.sleep(0.05)
        assert worker.is_alive
        worker.answer(DONE)
        assert dispatcher.unfinished == 0

    asyncio.run(main())


def test_a_worker_that_dies_before_the_first_slice_is_replaced(place):
    async def main():
        dispatcher, worker, seat = place()
        waiting = asyncio.ensure_future(dispatcher.run(job()))
        await turns()
        worker.answer(Sliced(["float64[4]"], True, [-1, 0]))
        worker.kill()
        other = Worker()
        seat(other)
        assert other.answer(Sliced(["float64[4]"], True, [-1, 0])) == Evaluate("f", "0", 1, [-1, 0])
        assert other.answer(Slice(DONE, [], None), memoryview(b"data")).cursor == [-1, 0]
        slices = await waiting
        assert [bytes(data) async for _, data in slices] == [b"data"]
        slices.close()
        assert dispatcher.unfinished == 0

    asyncio.run(main())


def test_an_answer_at_once_to_a_call_that_was_resumed_ends_it(place):
    """Whatever a worker answers, nobody waits for ever."""

    async def main():
        dispatcher, worker, seat = place()
        slices = await opened(dispatcher, worker)
        worker.kill()
        other = Worker()
        seat(other)
        other.answer(DONE, memoryview(b"a whole result"))
        await slices.__anext__()
        with pytest.raises(FarfuncError):
            await slices.__anext__()
        slices.close()
        assert dispatcher.unfinished == 0

    asyncio.run(main())


def test_two_deaths_are_told(place):
    async def main():
        dispatcher, worker, seat = place()
        waiting = asyncio.ensure_future(dispatcher.run(job()))
        await turns()
        worker.kill()
        other = Worker()
        seat(other)
        other.kill()
        with pytest.raises(WorkerDied):
            await waiting
        assert dispatcher.unfinished == 0

    asyncio.run(main())


def test_a_client_that_leaves_while_it_is_found_that_a_call_takes_long(place):
    async def main():
        dispatcher, worker, _ = place()
        waiting = asyncio.ensure_future(dispatcher.run(job()))
        await turns()
        waiting.cancel()
        await turns()
        worker.answer(Sliced(["float64[4]"], True, [0, 0]))
        assert [message for message, _ in worker.asked] == [EndSlices(1)]
        assert dispatcher.unfinished == 0

    asyncio.run(main())


def test_a_client_that_leaves_while_a_slice_is_computed(place):
    async def main():
        dispatcher, worker, _ = place()
        slices = await opened(dispatcher, worker)
        slices.close()
        assert worker.answer(Slice(DONE, [], [0, 2])).cursor == [0, 1]
        assert [message for message, _ in worker.asked] == [EndSlices(1)]
        assert dispatcher.unfinished == 0

    asyncio.run(main())


def test_companions_of_a_worker_that_died_are_evaluated_one_by_one(place):
    async def main():
        dispatcher, worker, seat = place()
        first, *others = [asyncio.ensure_future(dispatcher.run(job(n, kind="k"))) for n in range(3)]
        await turns()
        worker.answer(DONE)
        assert isinstance(worker.sent[-1], EvaluateMany)
        worker.kill()
        other = Worker()
        seat(other)
        for _ in range(2):
            assert isinstance(other.answer(DONE), Evaluate)
        await asyncio.gather(first, *others)
        assert dispatcher.unfinished == 0

    asyncio.run(main())


def test_whatever_goes_wrong_with_a_functions_file_is_answered_and_the_device_goes_on(place, caplog):
    def file():
        raise MemoryError("a bug, or bad luck")

    async def main():
        dispatcher, worker, _ = place()
        waiting = asyncio.ensure_future(dispatcher.run(job(file=file)))
        await turns()
        worker.answer(UnknownFunction())
        with pytest.raises(ServerError):
            await asyncio.wait_for(waiting, 5)
        other = asyncio.ensure_future(dispatcher.run(job(1)))
        await turns()
        worker.answer(DONE)
        await other
        assert dispatcher.unfinished == 0

    asyncio.run(main())


def test_a_job_goes_on_from_where_another_process_has_left_it(place):
    async def main():
        dispatcher, worker, fresh = place()
        resumed = Job(Evaluate("f", "0"), (), lambda: (), 60.0, resume_at=[0, 2])
        waiting = asyncio.ensure_future(dispatcher.run(resumed))
        await turns()
        assert worker.answer(Sliced(["float64[4]"], True, [0, 0], [4])).resume_at == [0, 2]
        assert worker.asked[0][0].cursor == [0, 2]
        worker.kill()  # before the first slice: the next worker is sent the same cursor
        other = Worker()
        fresh(other)
        assert other.answer(Sliced(["float64[4]"], True, [0, 0], [4])).resume_at == [0, 2]
        other.answer(Slice(DONE, [], [0, 3]))
        slices = await waiting
        assert slices.cursor == [0, 2]
        await slices.__anext__()
        assert (slices.cursor, slices.rows) == ([0, 3], (3, 4))
        other.answer(Slice(DONE, [], None))
        await slices.__anext__()
        assert (slices.cursor, slices.rows) == (None, (4, 4))

    asyncio.run(main())


def test_what_is_computed_as_one_begins_at_its_beginning(place):
    async def main():
        dispatcher, worker, _ = place()
        resumed = Job(Evaluate("f", "0"), (), lambda: (), 60.0, resume_at=[0, 2])
        waiting = asyncio.ensure_future(dispatcher.run(resumed))
        await turns()
        worker.answer(Sliced(["float64[4]"], True, [-1, 0]))
        assert worker.answer(Slice(DONE, [], [-1, 16])).cursor == [-1, 0]
        assert (await waiting).cursor == [-1, 0]

    asyncio.run(main())


def test_while_slices_are_held_no_more_are_computed_than_were_asked_for(place):
    async def main():
        dispatcher, worker, _ = place()
        slices = await opened(dispatcher, worker)
        slices.hold()
        worker.answer(Slice(DONE, [], [0, 2]))  # was on its way
        assert not slices.is_drained
        for _ in range(2):
            await slices.__anext__()
        assert slices.is_drained
        await turns()
        assert worker.asked == []
        slices.go_on()
        assert worker.asked[0][0] == NextSlice(1, [0, 2], worker.asked[0][0].is_alone)
        assert not slices.is_drained

    asyncio.run(main())
