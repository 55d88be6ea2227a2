"""The dispatcher with several devices: which takes what, and what becomes of those that fail or are drained."""

import asyncio

import pytest

from farfunc_protocol.errors import DevicesUnavailable, WorkerDied
from farfunc_server.scheduling import health
from farfunc_server.workers.messages import EndSlices, Healthy, Probe, Problem, Slice, Sliced
from support.fake_workers import DONE, Setting, drained, in_loop, opened, turns, until


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
