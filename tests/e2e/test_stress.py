"""Hundreds of requests of all kinds at once, clients that leave, limits, and workers that are killed.

The plan is drawn from a seed: who asks for what, who leaves when, after how many answers a worker is killed. Each
answer is compared with its own truth, and each failure is one that what was done to the request allows. Afterwards the
server is idle, holds nothing, and works.

``FARFUNC_STRESS_SECONDS=300`` repeats it with other seeds for so long, ``FARFUNC_STRESS_SEED`` begins with another one.
"""

from __future__ import annotations

import asyncio
import gc
import os
import random
import re
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import httpx
import pytest
from torch.utils._pytree import tree_leaves

import farfunc
from farfunc_protocol.errors import FarfuncError
from support import environments
from support.http import open_client
from support.serving import RunningServer
from support.stress import LONG, SHORT, Case, RawCase, Registered, Results, differs, drawn

SEED = int(os.environ.get("FARFUNC_STRESS_SEED", "0"))
SECONDS = float(os.environ.get("FARFUNC_STRESS_SECONDS", "0"))
DEVICES = os.environ.get("FARFUNC_STRESS_DEVICES", "cpu")

THREADS, TASKS, STEPS, KILLS = 6, 8, 22, 3
_RAW = ("seeded", "lists", "base64")
_LIMIT = 120.0
_MOST_GROWTH = 96 << 20
"""Of the web process: buffers of answers, which an allocator keeps."""


@dataclass
class Report:
    """What came of a round.

    Attributes
    ----------
    outcomes:
        How often each kind of step ended in which way.
    problems:
        What must not be.
    kills:
        When workers were killed.
    finished:
        How many steps have ended.
    answers:
        What was asked, its truth and what was found: compared at the end, for while torch.func uses forward mode in
        one thread no other can trace.
    """

    outcomes: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)
    kills: list[float] = field(default_factory=list)
    finished: int = 0
    answers: list[tuple[str, Callable[[], Results], Results]] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def ended(self, what: str, problem: str | None = None) -> None:
        """A step has ended."""
        with self._lock:
            self.outcomes[what] += 1
            self.finished += 1
            if problem is not None:
                self.problems.append(f"{what}: {problem}")

    def answered(self, what: str, truth: Callable[[], Results], found: Results) -> None:
        """A step has ended with an answer."""
        self.answers.append((what, truth, found))
        self.ended(what)

    def compare(self) -> None:
        """Hold each answer against its own truth."""
        for what, truth, found in self.answers:
            if (problem := differs(truth(), found)) is not None:
                self.problems.append(f"{what}: {problem}")

    def two_died_since(self, started: float) -> bool:
        """Whether one request may have had two workers killed under it."""
        return sum(kill >= started - 0.5 for kill in self.kills) >= 2


class Round:
    """One run of a plan against a server.

    Parameters
    ----------
    server, registered:
        Where, and the functions there.
    seed:
        Of the plan.
    """

    def __init__(self, server: RunningServer, registered: Registered, seed: int) -> None:
        self._server = server
        self._registered = registered
        self._seed = seed
        self._address = ("127.0.0.1", int(server.url.rpartition(":")[2]))
        self.report = Report()

    def run(self) -> Report:
        """Run all of it."""
        with farfunc.Client(self._server.url, timeout=_LIMIT) as client:
            actors = [threading.Thread(target=self._act, args=(n, client)) for n in range(THREADS)]
            actors += [threading.Thread(target=lambda: asyncio.run(self._act_async()))]
            over = threading.Event()
            killer = threading.Thread(target=self._kill, args=(over,))
            for thread in (*actors, killer):
                thread.start()
            for thread in actors:
                thread.join()
            over.set()
            killer.join()
        self.report.compare()
        return self.report

    def _kill(self, over: threading.Event) -> None:
        """Kill a worker after so many answers, and a moment."""
        choice = random.Random(self._seed)
        total = (THREADS + TASKS) * STEPS
        moments = sorted(choice.uniform(0.1, 0.8) * total for _ in range(KILLS - 1))
        moments.append(moments[-1])  # and once two in a row
        with open_client(self._server.url) as client:
            for moment in moments:
                while self.report.finished < moment:
                    if over.wait(0.02):
                        return
                over.wait(choice.uniform(0, 0.3))
                pids = [device["pid"] for device in client.get("/v1/devices").json()["devices"] if device["pid"]]
                if pids:
                    self.report.kills.append(time.monotonic())
                    try:
                        os.kill(choice.choice(pids), signal.SIGKILL)
                    except ProcessLookupError:
                        continue

    def _act(self, number: int, client: farfunc.Client) -> None:
        """One thread's steps."""
        choice = random.Random(f"{self._seed} {number}")
        steps: list[tuple[Callable[[farfunc.Client, random.Random, httpx.Client], None], int]] = [
            (self._ask, 40), (self._ask_long, 4), (self._ask_raw, 16), (self._ask_raw_long, 2),
            (self._leave_early, 7), (self._leave_in_the_middle, 3), (self._read_slowly, 1), (self._be_short_of_time, 4),
            (self._be_cut_off, 1), (self._pipeline, 5), (self._half_close, 3), (self._talk_nonsense, 5),
        ]  # fmt: skip
        functions, weights = zip(*steps, strict=True)
        with open_client(self._server.url, 2 * _LIMIT) as http:
            for _ in range(STEPS):
                step = choice.choices(functions, weights)[0]
                try:
                    step(client, choice, http)
                except Exception as error:  # noqa: BLE001 - a step that fails is a finding, and stops no other
                    self.report.ended(step.__name__.strip("_"), f"{type(error).__name__}: {error}")

    async def _act_async(self) -> None:
        """The tasks of one client."""
        async with farfunc.AsyncClient(self._server.url, timeout=_LIMIT) as client:

            async def act(number: int) -> None:
                choice = random.Random(f"{self._seed} task {number}")
                for _ in range(STEPS):
                    case = drawn(choice.getrandbits(32), choice.choice(LONG if choice.random() < 0.03 else SHORT))
                    is_left = choice.random() < 0.1
                    started = time.monotonic()
                    try:
                        async with asyncio.timeout(choice.uniform(0, 0.1) if is_left else None):
                            found = tree_leaves(await case.call(client))
                    except TimeoutError:
                        self.report.ended("cancelled task", None if is_left else "nobody cancelled it")
                    except FarfuncError as error:
                        self._failed(f"task {case.name}", error, started)
                    except Exception as error:  # noqa: BLE001 - a finding, too
                        self.report.ended(f"task {case.name}", f"{type(error).__name__}: {error}")
                    else:
                        self.report.answered(f"task {case.name}", case.truth, found)

            await asyncio.gather(*map(act, range(TASKS)))

    def _failed(self, what: str, error: FarfuncError, started: float) -> None:
        allowed = error.code == "worker_died" and self.report.two_died_since(started)
        self.report.ended(f"{what}: {error.code}", None if allowed else str(error))

    # Steps.

    def _ask(self, client: farfunc.Client, choice: random.Random, http: httpx.Client, names=SHORT) -> None:
        case: Case = drawn(choice.getrandbits(32), choice.choice(names))
        started = time.monotonic()
        try:
            found = tree_leaves(case.call(client))
        except FarfuncError as error:
            self._failed(case.name, error, started)
        else:
            self.report.answered(case.name, case.truth, found)

    def _ask_long(self, client: farfunc.Client, choice: random.Random, http: httpx.Client) -> None:
        self._ask(client, choice, http, LONG)

    def _draw(self, choice: random.Random, *names: str) -> RawCase:
        return self._registered.drawn(choice.getrandbits(32), choice.choice(names))

    def _ask_raw(self, client: farfunc.Client, choice: random.Random, http: httpx.Client, names=_RAW) -> None:
        case = self._draw(choice, *names)
        started = time.monotonic()
        try:
            answer = http.post(case.path, content=case.content, headers=case.headers)
        except httpx.RemoteProtocolError:  # an answer that had begun
            cut_off = case.is_long and self.report.two_died_since(started)
            self.report.ended(f"{case.name}: cut off", None if cut_off else "without a reason")
            return
        self._judge(case, answer.status_code, answer.content, started)

    def _ask_raw_long(self, client: farfunc.Client, choice: random.Random, http: httpx.Client) -> None:
        self._ask_raw(client, choice, http, ("diagonal",))

    def _judge(
        self, case: RawCase, status: int, content: bytes, started: float, what: str = "", limit: float | None = None
    ) -> None:
        what = what or case.name
        if status == 200:
            self.report.answered(what, case.truth, case.read(content))
            return
        code = re.search(rb'"code": ?"(\w+)"', content)
        name = code[1].decode() if code else "no code"
        allowed = (status, name) == (503, "worker_died") and self.report.two_died_since(started)
        if limit is not None and (status, name) == (504, "time_limit_exceeded"):
            allowed = time.monotonic() - started >= 0.9 * limit
        if limit is not None and (status, name) == (504, "deadline_unreachable"):
            allowed = True  # refused at once, for a time that was measured to be too short
        self.report.ended(f"{what}: {name}", None if allowed else f"{status} {content[:300]!r}")

    def _leave_early(self, client: farfunc.Client, choice: random.Random, http: httpx.Client) -> None:
        """Send a request, or a part of it, and go."""
        case = self._draw(choice, *_RAW, "diagonal", "power")
        request = _request(case)
        sent = request if choice.random() < 0.7 else request[: choice.randrange(len(request))]
        with socket.create_connection(self._address) as connection:
            connection.sendall(sent)
            time.sleep(choice.choice([0, 0, 0.002, 0.05, 0.3]))
        self.report.ended("left early")

    def _leave_in_the_middle(self, client: farfunc.Client, choice: random.Random, http: httpx.Client) -> None:
        """Read a part of a streamed answer, and go."""
        case = self._draw(choice, "diagonal", "power")
        with (
            open_client(self._server.url, 2 * _LIMIT) as own,
            own.stream("POST", case.path, content=case.content, headers=case.headers) as answer,
        ):
            if answer.status_code != 200:
                self._judge(case, answer.status_code, answer.read(), 0.0, "left in the middle")
                return
            left = choice.randrange(1 << 20)
            for part in answer.iter_raw(1 << 16):
                left -= len(part)
                if left < 0:
                    break
        self.report.ended("left in the middle")

    def _read_slowly(self, client: farfunc.Client, choice: random.Random, http: httpx.Client) -> None:
        """Read a streamed answer a little at a time."""
        case = self._draw(choice, "diagonal")
        started = time.monotonic()
        content = bytearray()
        with http.stream("POST", case.path, content=case.content, headers=case.headers) as answer:
            for part in answer.iter_raw(1 << 17):
                content += part
                time.sleep(0.005)
        self._judge(case, answer.status_code, bytes(content), started, "read slowly")

    def _be_short_of_time(self, client: farfunc.Client, choice: random.Random, http: httpx.Client) -> None:
        """Give a small call little time."""
        case = self._draw(choice, *_RAW)
        limit = choice.choice([0.001, 0.01, 0.05, 0.2])
        started = time.monotonic()
        answer = http.post(case.path, content=case.content, headers={**case.headers, "x-timeout": f"{limit}"})
        self._judge(case, answer.status_code, answer.content, started, "short of time", limit)

    def _be_cut_off(self, client: farfunc.Client, choice: random.Random, http: httpx.Client) -> None:
        """Give a call in slices less time than it takes; the reason is told."""
        case = self._draw(choice, "power")
        limit = choice.uniform(0.05, 0.6)
        name = f"cut-off-{choice.getrandbits(48)}"
        started = time.monotonic()
        try:
            headers = {**case.headers, "x-timeout": f"{limit:.3f}", "x-request-id": name}
            answer = http.post(case.path, content=case.content, headers=headers)
        except httpx.RemoteProtocolError:
            problem = http.get(f"/v1/requests/{name}/problem")
            self._judge(case, problem.status_code, problem.content, started, "cut off", limit)
        else:
            self._judge(case, answer.status_code, answer.content, started, "limited", limit)

    def _pipeline(self, client: farfunc.Client, choice: random.Random, http: httpx.Client) -> None:
        """Several requests one behind another, in pieces that end anywhere."""
        cases = [self._draw(choice, *_RAW) for _ in range(choice.randint(2, 5))]
        data = b"".join(map(_request, cases))
        started = time.monotonic()
        with socket.create_connection(self._address, timeout=_LIMIT) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while data:
                size = choice.choice([1, 7, 100, 1000, 5000])
                connection.sendall(data[:size])
                data = data[size:]
            with connection.makefile("rb") as stream:
                for case in cases:
                    status, content = _answer(stream)
                    self._judge(case, status, content, started, "pipelined")

    def _half_close(self, client: farfunc.Client, choice: random.Random, http: httpx.Client) -> None:
        """Send a request, and say that nothing else will come: it is answered."""
        case = self._draw(choice, *_RAW)
        started = time.monotonic()
        with socket.create_connection(self._address, timeout=_LIMIT) as connection:
            connection.sendall(_request(case))
            connection.shutdown(socket.SHUT_WR)
            with connection.makefile("rb") as stream:
                status, content = _answer(stream)
                if status == 100:  # the server has looked whether someone is still there
                    status, content = _answer(stream)
                self._judge(case, status, content, started, "half-closed")

    def _talk_nonsense(self, client: farfunc.Client, choice: random.Random, http: httpx.Client) -> None:
        """What is no request, or not one for this server: an answer of 4xx, or a closed connection."""
        case = self._draw(choice, *_RAW)
        head, _, body = _request(case).partition(b"\r\n\r\n")
        said = choice.choice(
            [
                b"HEAD /v1/evaluate HTTP/1.1\r\nhost: x\r\n\r\n",
                b"GET /v1/evaluate HTTP/1.1\r\nhost: x\r\n\r\n",
                b"POST /v1/evaluate HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\nhello",
                b"POST /v1/evaluate HTTP/1.1\r\nhost: x\r\ncontent-length: five\r\n\r\nhello",
                b"POST /v1/evaluate HTTP/1.1\r\n\x00\x01\x02\r\n\r\n",
                b"POST /v1/evaluate HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\ncontent-length: 5\r\n\r\nhello",
                choice.randbytes(300) + b"\r\n\r\n",
                head + b"\r\ncontent-type: text/plain\r\n\r\n" + body,
                head + b"\r\n\r\n" + choice.randbytes(len(body)),
            ]
        )
        with socket.create_connection(self._address, timeout=_LIMIT) as connection:
            try:
                cut = choice.randrange(1, len(said))
                connection.sendall(said[:cut])
                connection.sendall(said[cut:])
                connection.shutdown(socket.SHUT_WR)
                answer = connection.recv(1 << 16)
            except TimeoutError:
                raise
            except OSError:  # it had heard enough
                answer = b""
        status = re.match(rb"HTTP/1\.1 4\d\d ", answer)
        self.report.ended("nonsense", None if status or not answer else repr((said[:80], answer[:200])))


def _request(case: RawCase) -> bytes:
    head = [f"POST {case.path} HTTP/1.1", "host: stress", f"content-length: {len(case.content)}"]
    head += [f"{name}: {value}" for name, value in case.headers.items()]
    return "\r\n".join([*head, "", ""]).encode() + case.content


def _answer(stream) -> tuple[int, bytes]:
    """Read one answer, as every farfunc server frames it."""
    status = int(stream.readline().split()[1])
    length = 0
    while line := stream.readline().strip():
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            length = int(value)
    return status, stream.read(length)


def _metric(client: httpx.Client, name: str) -> float:
    lines = client.get("/metrics").text.splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith((f"{name} ", f"{name}{{")))


def _is_idle(client: httpx.Client) -> bool:
    names = ("farfunc_evaluations_running", "farfunc_queue_depth")
    return client.get("/readyz").status_code == 200 and not any(_metric(client, name) for name in names)


def _holdings(pid: int) -> Counter[str]:
    """The files that a process has open, and the answers that it holds in files."""
    found: Counter[str] = Counter()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        try:
            found[re.sub(r"\d+", "N", os.readlink(entry))] += 1
        except OSError:  # it has been closed since
            continue
    found["answers"] = Path(f"/proc/{pid}/maps").read_text().count("answer-")
    return found


def _holds_no_more(pid: int, before: Counter[str]) -> bool:
    return not _holdings(pid) - before


def _resident(pid: int) -> int:
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1]) << 10


def _wait_for(condition: Callable[[], bool], what: str, seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def _works(url: str, registered: Registered, seed: int) -> None:
    """Whether every kind of call is answered, and rightly."""
    with farfunc.Client(url, timeout=_LIMIT) as client:
        for number, name in enumerate((*SHORT, *LONG)):
            case = drawn(seed + number, name)
            assert differs(case.truth(), tree_leaves(case.call(client))) is None, name
    with open_client(url) as http:
        for number, name in enumerate((*_RAW, "diagonal", "power")):
            raw = registered.drawn(seed + number, name)
            answer = http.post(raw.path, content=raw.content, headers=raw.headers)
            assert answer.status_code == 200, answer.text
            assert differs(raw.truth(), raw.read(answer.content)) is None, name


@pytest.mark.timeout(180 + 2 * SECONDS)
def test_stress(tmp_path):
    devices = ("--devices", DEVICES, "--threads", "1", "--queue-size", "1000")
    with RunningServer(environments.full_python(), tmp_path, *devices) as server:
        pid, started, seed = server.process.pid, time.monotonic(), SEED
        with open_client(server.url) as client:
            registered = Registered(client)
        _works(server.url, registered, 1000)
        before, resident = None, 0
        while True:
            begun = time.monotonic()
            report = Round(server, registered, seed).run()
            print(f"{time.monotonic() - begun:.1f} s")
            print(f"seed {seed}: {dict(sorted(report.outcomes.items()))}, {len(report.kills)} kills")
            assert not report.problems, "\n".join(report.problems[:20])
            gc.collect()
            with open_client(server.url) as client:
                _wait_for(lambda client=client: _is_idle(client), "something still runs or waits")
            _works(server.url, registered, seed)
            if before is None:
                before, resident = _holdings(pid), _resident(pid)
            # A worker and its spare are replaced in their own time.
            _wait_for(partial(_holds_no_more, pid, before), f"more is held than was: {_holdings(pid) - before}")
            grown = _resident(pid) - resident
            print(f"the web process has grown by {grown >> 20} MiB")
            assert grown < _MOST_GROWTH
            assert " 500" not in server.output()
            assert "Traceback" not in server.output(), server.output()
            if time.monotonic() - started > SECONDS:
                break
            seed += 1
        assert server.stop() == 0
        closing = [line for line in server.output().splitlines() if "unfinished" in line]
        assert closing
        assert re.search(r"unfinished\W+0\b", closing[-1]), closing
