"""A process of one environment that makes calls: python driver.py ENVIRONMENT THREADS.

It reads one JSON command a line and answers each with one line: ``{"ok": …}``, or ``{"error": …}`` for
whatever went wrong. So every way is timed in the environment that its users have, with the same clock.
"""

from __future__ import annotations

import contextlib
import json
import resource
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from cases import case_named
from ways import Addresses, Opened, Way, ways_of

__all__ = ["Driver"]


def timed(call: Callable[[], Any]) -> float:
    """Seconds of one call."""
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


class Driver:
    """Carries out the commands: each public method is one."""

    def __init__(self, ways: dict[str, Way]) -> None:
        self.ways = ways
        self.opened: dict[str, Opened] = {}
        self.calls: dict[str, Callable[[], Any]] = {}

    def open(self, way: str, case: str, addresses: dict[str, str], path: str) -> dict[str, Any]:
        """Open a case, call it once, and save the argument and the result at ``path``."""
        self.close(way)
        chosen = case_named(case)
        opened = self.opened[way] = self.ways[way](chosen, Addresses(**addresses))
        self.calls[way] = opened.bind(chosen.argument)
        array = opened.array(self.calls[way]())
        if array is not None:
            np.savez(path, arguments=chosen.argument[None], results=array[None])
        return {"note": opened.note, "function": opened.function, "is_checked": array is not None}

    def time(self, way: str, calls: int) -> list[float]:
        """Seconds of each of some calls."""
        call = self.calls[way]
        return [timed(call) for _ in range(calls)]

    def stages(self, way: str, case: str, calls: int) -> dict[str, float]:
        """Where the time of a call goes, in seconds, as the server tells it."""
        opened: Any = self.opened[way]
        return opened.stages(case_named(case).argument, calls)

    def close(self, way: str) -> None:
        """Forget a case."""
        if way in self.opened:
            self.opened.pop(way).close()
            self.calls.pop(way, None)

    def copy(self, nbytes: int, calls: int) -> list[float]:
        """Seconds of copying so many bytes, from and to memory that has been touched."""
        source, destination = np.ones(nbytes, np.uint8), np.zeros(nbytes, np.uint8)
        return [timed(lambda: np.copyto(destination, source)) for _ in range(calls)]

    def peak(self) -> int:
        """The most memory that this process has had, in bytes."""
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

    def error(self, case: str, path: str) -> float:
        """The largest difference of saved results to eager torch.func, relative to its largest entry."""
        local = self.ways["eager"](case_named(case), Addresses())
        largest = 0.0
        with np.load(path) as saved:
            for argument, result in zip(saved["arguments"], saved["results"], strict=True):
                truth = local.array(local.bind(argument)())
                if truth is None or result.shape != truth.shape or result.dtype != truth.dtype:
                    return float("inf")
                scale = float(np.abs(truth).max(initial=0.0)) or 1.0
                found = float(np.abs(result - truth).max(initial=0.0)) / scale
                if not np.isfinite(found):
                    return float("inf")
                largest = max(largest, found)
        return largest

    def load(
        self, way: str, case: str, addresses: dict[str, str], clients: int, seconds: float, seed: int, path: str
    ) -> dict[str, Any]:
        """Let clients call without pause for some seconds, each with inputs of its own.

        Returns the seconds of each call and how long all of it took; the last result of each client is
        saved at ``path``.
        """
        chosen = case_named(case)
        arguments = chosen.arguments(clients, seed)
        sessions = [self.ways[way](chosen, Addresses(**addresses)) for _ in range(clients)]
        bound = [session.bind(argument) for session, argument in zip(sessions, arguments, strict=True)]
        latencies: list[list[float]] = [[] for _ in range(clients)]
        results: list[Any] = [None] * clients
        failures: list[str] = []
        start = threading.Barrier(clients + 1)
        until = 0.0

        def client(number: int) -> None:
            call, own = bound[number], latencies[number]
            start.wait()
            try:
                while (begun := time.perf_counter()) < until:
                    results[number] = call()
                    own.append(time.perf_counter() - begun)
            except Exception as error:  # noqa: BLE001, what ended it is reported
                failures.append(f"{type(error).__name__}: {error}"[:500])

        threads = [threading.Thread(target=client, args=(number,), daemon=True) for number in range(clients)]
        for thread in threads:
            thread.start()
        begun = time.perf_counter()
        until = begun + seconds
        start.wait()
        for thread in threads:
            thread.join()
        elapsed = time.perf_counter() - begun
        done = [number for number in range(clients) if results[number] is not None]
        arrays = [sessions[number].array(results[number]) for number in done]
        is_checked = bool(arrays) and arrays[0] is not None
        if is_checked:
            np.savez(path, arguments=np.stack([arguments[number] for number in done]), results=np.stack(arrays))
        for session in sessions:
            session.close()
        return {
            "latencies": [latency for own in latencies for latency in own],
            "seconds": elapsed,
            "failures": failures,
            "is_checked": is_checked,
        }


def main() -> None:
    environment, threads = sys.argv[1], int(sys.argv[2])
    if environment in ("local", "torch"):
        import torch

        torch.set_num_threads(threads)
    sys.path.insert(0, str(Path(__file__).resolve().parent))
    driver, answers = Driver(dict(ways_of(environment))), sys.stdout
    with contextlib.redirect_stdout(sys.stderr):  # a way may print; answers alone go to the standard output
        for line in sys.stdin:
            command = json.loads(line)
            try:
                answer = {"ok": getattr(driver, command.pop("do"))(**command)}
            except Exception as error:  # noqa: BLE001, whatever it is, the table says so and the run goes on
                answer = {"error": f"{type(error).__name__}: {error}"[:2000]}
            print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
