"""The dispatcher with several tenants: whose turn it is, what is refused, and what is stopped."""

import asyncio
from types import SimpleNamespace

import pytest

from farfunc_protocol.errors import DeadlineUnreachable, TimeLimitExceeded
from farfunc_server.scheduling import costs, fleet, health, lanes
from farfunc_server.scheduling import dispatcher as dispatcher_module
from farfunc_server.scheduling.shares import Share
from farfunc_server.workers.messages import NextSlice, Slice
from support.fake_workers import DONE, Setting, drained, in_loop, opened, turns, until


@pytest.fixture
def clock(monkeypatch):
    """The time that the scheduling goes by; the test moves it on."""

    class Clock:
        now = 1000.0

    for module in (dispatcher_module, costs, fleet, health, lanes):  # and not the event loop
        monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: Clock.now))
    return Clock


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
