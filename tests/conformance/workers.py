"""The cases of each entry, run in processes of their own: one that dies or hangs is a finding, and stops no other."""

from __future__ import annotations

import multiprocessing
import resource
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from typing import Any

__all__ = ["Result", "run_entries", "run_entry", "run_flat_entry"]

TIME_LIMIT = 1800.0
"""Seconds for one entry: the slowest take three minutes on an idle machine."""

_MEMORY = 12 << 30


@dataclass(slots=True)
class Result:
    """What came of an entry.

    Attributes
    ----------
    name:
        The entry, and its variant after a dot.
    counts:
        Cases by the kind of their outcome.
    reasons:
        For each kind but ``agree``, one reason.
    closed_over:
        How many cases agree with indices and masks as constants only.
    seconds:
        How long it took.
    """

    name: str
    counts: Counter[str] = field(default_factory=Counter)
    reasons: dict[str, str] = field(default_factory=dict)
    closed_over: int = 0
    seconds: float = 0.0


def run_entry(name: str, limit: int | None) -> Result:
    """Compare the cases of one entry, in this process."""
    from .cases import cases_of, entries
    from .compare import AGREE, compare

    result, started = Result(name), time.monotonic()
    for case in cases_of(entries()[name], limit):
        outcome = compare(case)
        result.counts[outcome.kind] += 1
        result.closed_over += outcome.closed_over and outcome.kind == AGREE
        if outcome.kind != AGREE:
            result.reasons.setdefault(outcome.kind, outcome.reason)
    result.seconds = time.monotonic() - started
    return result


def run_flat_entry(name: str, limit: int | None) -> Result:
    """Compare the flat programs of one entry's cases with the plain ones, in this process."""
    from .cases import cases_of, entries
    from .compare import AGREE
    from .flat import compare_flat

    result, started = Result(name), time.monotonic()
    for number, case in enumerate(cases_of(entries()[name], limit)):
        for kind, reason in compare_flat(case):
            result.counts[kind] += 1
            if kind != AGREE:
                result.reasons.setdefault(kind, f"sample {number}, {reason}")
    result.seconds = time.monotonic() - started
    return result


def run_entries(
    names: Sequence[str], limit: int | None, processes: int, run: Callable[[str, int | None], Result] = run_entry
) -> Iterator[Result]:
    """Compare the cases of many entries; results come as they are ready."""
    pending = list(reversed(names))
    workers = [_Worker(limit, run) for _ in range(min(processes, len(names)))]
    for worker in workers:
        worker.give(pending.pop())
    while busy := [worker for worker in workers if worker.name]:
        patience = min(worker.deadline for worker in busy) - time.monotonic()
        ready = wait([worker.pipe for worker in busy], timeout=max(0.0, patience))
        for worker in busy:
            if worker.pipe in ready or time.monotonic() > worker.deadline:
                yield worker.take()
                worker.give(pending.pop() if pending else "")
    for worker in workers:
        worker.stop()


class _Worker:
    """A process that takes one entry after the other, and is replaced when it dies."""

    def __init__(self, limit: int | None, run: Callable[[str, int | None], Result]) -> None:
        self._limit = limit
        self._run = run
        self.name = ""
        self._start()

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, other = context.Pipe()
        self._process = context.Process(target=_serve, args=(other, self._limit, self._run), daemon=True)
        self._process.start()
        other.close()

    def give(self, name: str) -> None:
        self.name = name
        self.deadline = time.monotonic() + TIME_LIMIT
        if name:
            self.pipe.send(name)

    def take(self) -> Result:
        """The result; that of a process which died or hangs says so."""
        try:
            if self.pipe.poll():
                return self.pipe.recv()
            reason = f"no answer after {TIME_LIMIT:.0f} seconds"
        except (EOFError, OSError):
            reason = "the process died"
        name = self.name
        self.stop()
        self._start()
        return Result(name, Counter({"crashed": 1}), {"crashed": reason})

    def stop(self) -> None:
        self._process.kill()
        self._process.join()


def _serve(pipe: Connection, limit: int | None, run: Callable[[str, int | None], Result]) -> None:
    import torch

    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    torch.set_num_threads(1)
    torch.set_warn_always(False)
    while True:
        name: Any = pipe.recv()
        try:
            pipe.send(run(name, limit))
        except Exception as error:  # noqa: BLE001 - the harness itself failed, or torch's samples
            pipe.send(Result(name, Counter({"crashed": 1}), {"crashed": f"no samples: {error}"}))
