"""The dispatcher with several tenants and several devices, beside workers that do as the test says."""

import asyncio
from types import SimpleNamespace

import pytest

from farfunc_protocol.errors import DeadlineUnreachable, DevicesUnavailable, TimeLimitExceeded, WorkerDied
from farfunc_server.scheduling import costs, fleet, health, lanes
from farfunc_server.scheduling import dispatcher as dispatcher_module
from farfunc_server.scheduling.dispatcher import Dispatcher, Job
from farfunc_server.scheduling.shares import Share
from farfunc_server.workers.messages import (
    EndSlices,
    Evaluate,
    Healthy,
    NextSlice,
    Probe,
    Problem,
    Result,
    Slice,
    Sliced,
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
        if not isinstance(message, EndSlices):
            self.asked.append((message, on_answer))

    def answer(self, message=DONE, data=NOTHING):
        """Answer the first message that has not been answered; returns that."""
        asked, on_answer = self.asked.pop(0)
        on_answer(message, data)
        return asked

    @property
    def doing(self):
        """What it has not answered yet."""
        return None if not self.asked else getattr(self.asked[0][0], "request_id", self.asked[0][0])

    def kill(self):
        self.is_alive = False
        while self.asked:
            self.answer(None)


class Pool:
    is_ready = True
    on_ready = on_lost = None

    def __init__(self, devices):
        self.devices = devices


class Setting:
    """A dispatcher with a worker on each of its devices, in the loop of the test."""

    def __init__(self, count=1, capacity=100, **settings):
        self.devices = tuple(f"cpu:{n}" for n in range(count))
        self.pool = Pool(self.devices)
        self.dispatcher = Dispatcher(self.pool, capacity, **settings)
        self.workers = [self.seat(device) for device in self.devices]

    def seat(self, device):
        worker = Worker()
        self.pool.on_ready(device, worker)
        return worker

    def ask(self, name, *, seconds=60.0, kind=None, function="f", **settings):
        job = Job(Evaluate(function, name), (), lambda: (), seconds, kind, **settings)
        return asyncio.ensure_future(self.dispatcher.run(job))

    def states(self):
        return [self.dispatcher.fleet.state(device) for device in self.devices]


async def turns(count=5):
    """Let everything go on that can."""
    for _ in range(count):
        await asyncio.sleep(0)


async def opened(setting, worker, **settings):
    """A call of which the first slice has come, and its slices."""
    waiting = setting.ask("long", **settings)
    await turns()
    worker.answer(Sliced(["float64[40]"], True, [0, 0]))
    worker.answer(Slice(DONE, [], [0, 1]))
    return await waiting


@pytest.fixture
def clock(monkeypatch):
    """The time that the scheduling goes by; the test moves it on."""

    class Clock:
        now = 1000.0

    for module in (dispatcher_module, costs, fleet, health, lanes):  # and not the event loop
        monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: Clock.now))
    return Clock


def in_loop(main):
    asyncio.run(asyncio.wait_for(main(), 30))


class TestTenants:
    def test_a_small_request_of_another_tenant_comes_before_what_a_flood_has_waiting(self):
        async def main():
            setting = Setting()
            [worker] = setting.workers
            flood = [setting.ask(f"flood {n}", tenant="flood") for n in range(20)]
            await turns()
            small = setting.ask("small", tenant="small")
            await turns()
            assert worker.doing == "flood 0"
            worker.answer()
            assert worker.doing == "small"
            while worker.asked:
                worker.answer()
            await asyncio.gather(small, *flood)
            assert setting.dispatcher.unfinished == 0

        in_loop(main)

    def test_a_long_evaluation_pays_slice_by_slice_and_others_come_between(self, clock):
        """Slices of 1 s of one tenant, requests of 0.25 s of another: as many seconds each."""

        async def main():
            setting = Setting()
            [worker] = setting.workers
            slices = await opened(setting, worker, tenant="long")
            others = [setting.ask(f"small {n}", tenant="small") for n in range(200)]
            reader = asyncio.ensure_future(drained(slices))
            await turns()
            seconds = {"long": 0.0, "small": 0.0}
            cursor = 1
            while seconds["small"] < 20:
                is_slice = isinstance(worker.doing, NextSlice)
                took = 1.0 if is_slice else 0.25
                clock.now += took
                seconds["long" if is_slice else "small"] += took
                cursor += is_slice
                worker.answer(Slice(DONE, [], [0, cursor + 1]) if is_slice else DONE)
                await turns(8)
                assert abs(seconds["long"] - seconds["small"]) <= 3.0
            reader.cancel()
            slices.close()
            for other in others:
                other.cancel()
            await asyncio.gather(*others, reader, return_exceptions=True)

        in_loop(main)

    def test_no_number_of_small_requests_starves_a_large_one(self, clock):
        """Of the same tenant a slice and a request go in turn."""

        async def main():
            setting = Setting()
            [worker] = setting.workers
            slices = await opened(setting, worker)
            others = [setting.ask(f"small {n}") for n in range(40)]
            reader = asyncio.ensure_future(drained(slices))
            await turns()
            kinds = []
            for n in range(20):
                is_slice = isinstance(worker.doing, NextSlice)
                kinds.append(is_slice)
                clock.now += 0.1
                worker.answer(Slice(DONE, [], [0, n + 2]) if is_slice else DONE)
                await turns(8)
            assert sum(kinds) == 10
            reader.cancel()
            slices.close()
            for other in others:
                other.cancel()
            await asyncio.gather(*others, reader, return_exceptions=True)

        in_loop(main)

    def test_no_more_run_than_a_tenant_may_and_a_call_in_slices_is_one(self):
        async def main():
            setting = Setting(3, shares=lambda tenant: Share(most_running=2))
            slices = await opened(setting, setting.workers[0])
            others = [setting.ask(str(n)) for n in range(2)]
            await turns()
            assert [worker.doing for worker in setting.workers[1:]].count(None) == 1
            slices.close()
            setting.workers[0].answer(Slice(DONE, [], [0, 2]))
            while busy := [worker for worker in setting.workers if worker.asked]:
                busy[0].answer()
            await asyncio.gather(*others)
            assert setting.dispatcher.unfinished == 0

        in_loop(main)


    def test_a_call_that_is_closed_makes_room_for_the_next(self):
        """Nothing runs that moment whose end would tell the dispatcher."""

        async def main():
            setting = Setting(shares=lambda tenant: Share(most_running=1))
            [worker] = setting.workers
            slices = await opened(setting, worker)
            worker.answer(Slice(DONE, [], [0, 2]))
            other = setting.ask("x")
            await turns()
            assert not worker.asked
            slices.close()
            assert worker.doing == "x"
            worker.answer()
            await other
            assert setting.dispatcher.unfinished == 0

        in_loop(main)


async def drained(slices):
    async for _ in slices:
        pass


class TestAdmission:
    def test_what_is_known_to_take_longer_than_its_time_is_refused_at_once(self, clock):
        async def main():
            setting = Setting()
            [worker] = setting.workers
            for n in range(5):
                waiting = setting.ask(str(n), alike=1)
                await turns()
                clock.now += 2.0
                worker.answer()
                await waiting
            with pytest.raises(DeadlineUnreachable, match=r"take 2 s here.*its time limit is 1 s") as caught:
                await setting.ask("short", seconds=1.0, alike=1)
            assert caught.value.retry_after is None
            assert isinstance(caught.value, TimeLimitExceeded)
            assert len(worker.sent) == 5

            first, second = setting.ask("first", alike=1), setting.ask("second", alike=1)
            await turns()
            with pytest.raises(DeadlineUnreachable, match="after 2 s for what waits before") as caught:
                await setting.ask("third", seconds=3.0, alike=1)
            assert caught.value.retry_after >= 1.0
            other = setting.ask("of another tenant", seconds=5.0, alike=1, tenant="other")
            await turns()
            while worker.asked:
                worker.answer()
            await asyncio.gather(first, second, other)

            clock.now += 31.0  # plans become faster: what was measured long ago refuses nobody
            waiting = setting.ask("later", seconds=1.0, alike=1)
            await turns()
            worker.answer()
            await waiting

        in_loop(main)

    def test_what_took_long_at_first_refuses_nobody(self, clock):
        """The first call of a plan makes it."""

        async def main():
            setting = Setting()
            [worker] = setting.workers
            for n in range(7):
                waiting = setting.ask(str(n), seconds=60.0 if n < 2 else 0.1, alike=1)
                await turns()
                clock.now += 3.0 if n < 2 else 0.01
                worker.answer()
                await waiting

        in_loop(main)

    def test_a_few_measures_and_those_of_others_refuse_nobody(self, clock):
        async def main():
            setting = Setting()
            [worker] = setting.workers
            for n in range(8):
                waiting = setting.ask(str(n), seconds=60.0 if n < 4 else 1.0, alike=1 if n < 4 else 2)
                await turns()
                clock.now += 2.0
                worker.answer()
                await waiting

        in_loop(main)


class TestPlacement:
    def test_a_request_goes_where_its_plan_is_warm_and_waits_for_no_device_while_another_is_free(self):
        async def main():
            setting = Setting(2)
            a, b = setting.workers
            for _ in range(3):
                waiting = setting.ask("x", alike="x")
                await turns()
                warm = a if a.asked else b
                warm.answer()
                await waiting
            cold = b if warm is a else a
            assert not cold.sent
            other = setting.ask("y", alike="y", function="g")
            await turns()
            assert cold.doing == "y"  # which has done less
            cold.answer()
            await other
            first, second = setting.ask("x 1", alike="x"), setting.ask("x 2", alike="x")
            await turns()
            assert (warm.doing, cold.doing) == ("x 1", "x 2")
            warm.answer()
            cold.answer()
            await asyncio.gather(first, second)

        in_loop(main)

    def test_calls_in_slices_are_spread(self):
        async def main():
            setting = Setting(2)
            first = await opened(setting, setting.workers[0])
            waiting = setting.ask("long too")
            await turns()
            assert setting.workers[1].doing == "long too"
            waiting.cancel()
            first.close()
            await asyncio.gather(waiting, return_exceptions=True)

        in_loop(main)


class TestFailures:
    def test_what_died_with_a_worker_is_tried_on_another_device(self):
        async def main():
            setting = Setting(2)
            first, second = setting.workers
            waiting = setting.ask("x")
            await turns()
            first.kill()
            assert second.doing == "x"
            second.answer()
            await waiting
            assert setting.dispatcher.unfinished == 0

        in_loop(main)

    def test_a_request_that_kills_everywhere_takes_no_device_out(self):
        async def main():
            setting = Setting(2)
            for n in range(8):
                waiting = setting.ask(f"killer {n}")
                await turns()
                for _ in range(2):
                    [busy] = [k for k in range(2) if setting.workers[k].asked]
                    setting.workers[busy].kill()
                    setting.workers[busy] = setting.seat(setting.devices[busy])
                with pytest.raises(WorkerDied):
                    await waiting
            assert setting.states() == [None, None]

        in_loop(main)

    def test_a_device_that_loses_what_others_can_answer_is_taken_out_and_brought_back(self, monkeypatch):
        monkeypatch.setattr(health, "_FIRST_PAUSE", 0.05)

        async def main():
            setting = Setting(2)
            good = setting.workers[1]
            for n in range(3):
                bad = setting.workers[0]
                keeps_busy = []
                waiting = setting.ask(f"x {n}")
                await turns()
                while not bad.asked:  # it went to the other device
                    keeps_busy.append(waiting)
                    waiting = setting.ask(f"x {n} again")
                    await turns()
                bad.kill()
                while good.asked:
                    good.answer()
                await asyncio.gather(waiting, *keeps_busy)
                setting.workers[0] = setting.seat("cpu:0")
            assert setting.states() == ["out", None]
            bad = setting.workers[0]
            pair = [setting.ask(str(n)) for n in range(2)]
            await turns()
            assert not bad.asked
            good.answer()
            good.answer()
            await asyncio.gather(*pair)

            await until(lambda: bad.asked)
            assert bad.answer(Problem({"code": "server"})) == Probe()
            assert setting.states() == ["out", None]
            await until(lambda: bad.asked)  # after twice the time
            assert bad.answer(Healthy()) == Probe()
            assert setting.states() == [None, None]

        in_loop(main)

    def test_open_calls_go_on_elsewhere_when_their_device_dies(self):
        async def main():
            setting = Setting(2)
            first, second = setting.workers
            slices = await opened(setting, first)
            first.kill()
            assert second.sent[-1].resume_at == [0, 1]
            second.answer(Sliced(["float64[40]"], True, [0, 1]))
            second.answer(Slice(DONE, [], None), memoryview(b"end"))
            assert [bytes(data) async for _, data in slices] == [b"", b"end"]
            slices.close()
            assert setting.dispatcher.unfinished == 0

        in_loop(main)

    def test_where_no_worker_starts_requests_are_refused_and_not_left_waiting(self):
        async def main():
            setting = Setting(1)
            setting.workers[0].kill()
            waiting = setting.ask("x")
            await turns()
            for failures in range(4):
                setting.pool.on_lost("cpu:0", failures)
            with pytest.raises(DevicesUnavailable, match="cpu:0 out"):
                await waiting
            with pytest.raises(DevicesUnavailable):
                await setting.ask("y")
            assert not setting.dispatcher.fleet.is_ready
            worker = setting.seat("cpu:0")
            waiting = setting.ask("z")
            await turns()
            worker.answer()
            await waiting
            assert setting.dispatcher.fleet.is_ready
            assert setting.states() == [None]

        in_loop(main)

    def test_the_last_device_is_kept_whatever_dies_there_if_workers_start(self):
        async def main():
            setting = Setting(1)
            for _ in range(5):
                setting.workers[0].is_alive = False
                setting.pool.on_lost("cpu:0", 0)
                setting.workers[0] = setting.seat("cpu:0")
            assert setting.states() == [None]

        in_loop(main)


async def until(condition):
    while not condition():
        await asyncio.sleep(0.005)


class TestMaintenance:
    def test_a_device_that_is_drained_ends_what_it_runs_and_takes_nothing_new(self):
        async def main():
            setting = Setting(2)
            first, second = setting.workers
            running = setting.ask("x")
            await turns()
            assert first.doing == "x"
            setting.dispatcher.drain("cpu:0")
            assert setting.states() == ["draining", None]
            others = [setting.ask(str(n)) for n in range(3)]
            await turns()
            first.answer()
            await running
            assert setting.states() == ["drained", None]
            for _ in range(3):
                second.answer()
            await asyncio.gather(*others)
            setting.dispatcher.restore("cpu:0")
            assert setting.states() == [None, None]
            pair = [setting.ask(str(n)) for n in range(2)]
            await turns()
            first.answer()
            second.answer()
            await asyncio.gather(*pair)

        in_loop(main)

    def test_an_open_call_moves_to_another_device(self):
        async def main():
            setting = Setting(2)
            first, second = setting.workers
            slices = await opened(setting, first)
            setting.dispatcher.drain("cpu:0")
            first.answer(Slice(DONE, [], [0, 2]))  # the one that ran
            await slices.__anext__()
            assert isinstance(first.sent[-1], EndSlices)
            assert second.asked[0][0].resume_at == [0, 2]
            assert setting.states() == ["drained", None]
            slices.close()

        in_loop(main)

    def test_without_another_device_an_open_call_is_finished_where_it_is(self):
        async def main():
            setting = Setting(1)
            [worker] = setting.workers
            slices = await opened(setting, worker)
            setting.dispatcher.drain("cpu:0")
            with pytest.raises(DevicesUnavailable, match="cpu:0 draining"):
                await setting.ask("new")
            worker.answer(Slice(DONE, [], [0, 2]))
            await slices.__anext__()
            worker.answer(Slice(DONE, [], None))
            await drained(slices)
            assert setting.states() == ["drained"]
            slices.close()

        in_loop(main)

    def test_what_waits_when_the_last_device_is_drained_is_refused(self):
        async def main():
            setting = Setting(1)
            running, waiting = setting.ask("x"), setting.ask("y")
            await turns()
            setting.dispatcher.drain("cpu:0")
            with pytest.raises(DevicesUnavailable):
                await waiting
            setting.workers[0].answer()
            await running
            assert setting.dispatcher.unfinished == 0

        in_loop(main)


class TestWorkThatNobodyWaitsFor:
    @pytest.fixture(autouse=True)
    def soon(self, monkeypatch):
        monkeypatch.setattr(dispatcher_module, "_GRACE_SECONDS", 0.05)

    def test_its_worker_is_replaced(self):
        async def main():
            setting = Setting()
            [worker] = setting.workers
            waiting = setting.ask("x")
            await turns()
            waiting.cancel()
            await until(lambda: not worker.is_alive)
            assert setting.dispatcher.unfinished == 0
            worker = setting.seat("cpu:0")
            waiting = setting.ask("y")
            await turns()
            worker.answer()
            await waiting

        in_loop(main)

    def test_so_it_is_when_the_time_is_over(self):
        async def main():
            setting = Setting()
            [worker] = setting.workers
            with pytest.raises(TimeLimitExceeded):
                await setting.ask("x", seconds=0.01)
            assert worker.is_alive
            await until(lambda: not worker.is_alive)

        in_loop(main)

    def test_one_that_ends_soon_is_kept_and_so_is_one_that_somebody_waits_for(self):
        async def main():
            setting = Setting()
            [worker] = setting.workers
            waiting = setting.ask("x")
            await turns()
            waiting.cancel()
            await turns()
            worker.answer()
            both = [setting.ask(str(n), kind="k") for n in range(3)]
            await turns()
            worker.answer()  # the first; the others run together
            both[1].cancel()
            await asyncio.sleep(0.15)
            assert worker.is_alive
            worker.kill()
            worker = setting.seat("cpu:0")
            assert worker.doing == "2"
            worker.answer()
            await asyncio.gather(both[0], both[2])

        in_loop(main)

    def test_it_is_paid_for_with_the_replacement(self):
        async def main():
            setting = Setting()
            [worker] = setting.workers
            waiting = setting.ask("x", tenant="a")
            await turns()
            waiting.cancel()
            await until(lambda: not worker.is_alive)
            assert setting.dispatcher.queue.clock("a") > 1.0

        in_loop(main)


def test_time_is_that_of_the_device(clock):
    async def main():
        setting = Setting()
        waiting = setting.ask("x")
        await turns()
        clock.now += 3.0
        assert setting.dispatcher.fleet.seconds("cpu:0") == 3.0
        setting.workers[0].answer()
        await waiting
        clock.now += 5.0
        assert setting.dispatcher.fleet.seconds("cpu:0") == 3.0

    in_loop(main)
