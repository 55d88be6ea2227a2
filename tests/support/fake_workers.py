"""A dispatcher beside workers that do as the test says."""

from __future__ import annotations

import asyncio

from farfunc_server.scheduling.dispatcher import Dispatcher, Job
from farfunc_server.workers.messages import EndSlices, Evaluate, Result, Slice, Sliced

__all__ = ["DONE", "NOTHING", "FakeWorker", "Setting", "drained", "in_loop", "opened", "turns", "until"]

DONE = Result(0.0, "plain", [], [])
NOTHING = memoryview(b"")


class FakeWorker:
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
        worker = FakeWorker()
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


def in_loop(main):
    asyncio.run(asyncio.wait_for(main(), 30))


async def drained(slices):
    async for _ in slices:
        pass


async def until(condition):
    while not condition():
        await asyncio.sleep(0.005)
