"""One case, all its ways: opened, checked, warmed up, and timed in interleaved rounds."""

from __future__ import annotations

import contextlib
import statistics
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from cases import Case
from processes import DriverFailed, DriverProcess, FarfuncServer, Server, peer_servers

__all__ = ["ENVIRONMENTS", "LIMITS", "Effort", "Machine", "measure", "say", "tolerance"]

ENVIRONMENTS: Mapping[str, str] = {
    "eager": "local",
    "compiled": "local",
    "numpy": "thin",
    "numpy-httpx": "thin",
    "raw": "thin",
    "echo-farfunc": "thin",
    "echo-httpx": "thin",
    "echo-raw": "thin",
    "torch": "torch",
    "tesseract": "peers",
    "umbridge": "peers",
}
"""The environment of each way, in the order in which a round times them."""

LIMITS = {"float64": 1e-11, "float32": 2e-5}
"""How far a result may be from eager torch.func's, relative to its largest entry: rounding, some operations deep."""


def tolerance(case: Case) -> float:
    """The limit for a case's dtype."""
    return LIMITS[case.argument.dtype.name]


def say(text: str) -> None:
    """Progress, on the standard error."""
    print(text, file=sys.stderr, flush=True)


@dataclass(frozen=True)
class Effort:
    """How much is measured.

    Attributes
    ----------
    rounds:
        Of a case; a way that takes a second and more has fewer.
    seconds:
        What one round of a way may take, in as many calls as fit.
    warm_up:
        The longest that a way is warmed up.
    load:
        Seconds of one round of concurrent clients.
    is_quick:
        Whether peers and local compiling are left to the cases that are marked for it.
    peers:
        Whether Tesseract and UM-Bridge are measured.
    """

    rounds: int = 9
    seconds: float = 0.25
    warm_up: float = 120.0
    load: float = 4.0
    is_quick: bool = False
    peers: bool = True

    def takes(self, case: Case, way: str) -> bool:
        """Whether a way is measured for a case."""
        if way.startswith("echo") or way == "numpy-httpx":
            return case.echo
        if ENVIRONMENTS[way] == "peers" and not self.peers:
            return False
        if way == "umbridge" and (not case.umbridge_calls or (self.is_quick and case.umbridge_calls > 100)):
            return False
        return case.in_quick or not self.is_quick or way not in ("compiled", "tesseract", "umbridge")


@dataclass
class Machine:
    """What runs during a run: drivers by environment, servers, a folder for files.

    Attributes
    ----------
    thin:
        A second driver of the thin environment, for loads of two processes.
    """

    drivers: dict[str, DriverProcess]
    thin: DriverProcess
    server: FarfuncServer
    echo: Server
    folder: Path
    peers_python: Path
    threads: int
    addresses: dict[str, str] = field(default_factory=dict)


def measure(machine: Machine, case: Case, effort: Effort) -> dict[str, Any]:
    """Measure a case: for each way its samples, by round, or why there are none."""
    ways = [way for way in ENVIRONMENTS if effort.takes(case, way)]
    has_peers = any(ENVIRONMENTS[way] == "peers" for way in ways)
    with contextlib.ExitStack() as stack:
        addresses, failures = dict(machine.addresses), {}
        if has_peers:
            found, failures = stack.enter_context(
                peer_servers(
                    machine.peers_python, machine.folder, case.key, machine.threads, umbridge="umbridge" in ways
                )
            )
            addresses.update(found)
        results: dict[str, dict[str, Any]] = {}
        for way in ways:
            results[way] = _opened(machine, case, way, addresses, failures.get(way))
        live = [way for way in ways if "failure" not in results[way]]
        medians = _warm_up(machine, results, live, effort)
        for number in range(effort.rounds):
            for way in list(live):
                median = medians[way]
                if median * number > 2.0 and number >= 3:  # seconds a call: three rounds say what there is to say
                    continue
                calls = int(min(max(effort.seconds / median, 1), 60))
                try:
                    samples = machine.drivers[ENVIRONMENTS[way]].run("time", way=way, calls=calls)
                except DriverFailed as error:
                    results[way]["failure"] = str(error)
                    live.remove(way)
                    continue
                results[way]["rounds"].append(samples)
        if case.echo and "raw" in live:
            with contextlib.suppress(DriverFailed):
                stages = machine.drivers["thin"].run("stages", way="raw", case=case.key, calls=300)
                results["raw"]["stages"] = stages
        for way in live:
            with contextlib.suppress(DriverFailed):
                machine.drivers[ENVIRONMENTS[way]].run("close", way=way)
    return {"key": case.key, "title": case.title, "nbytes": _result_bytes(results), "ways": results}


def _result_bytes(results: Mapping[str, Mapping[str, Any]]) -> int:
    return next((found["nbytes"] for found in results.values() if found.get("nbytes")), 0)


def _opened(machine: Machine, case: Case, way: str, addresses: dict[str, str], failure: str | None) -> dict[str, Any]:
    result: dict[str, Any] = {"rounds": [], "note": ""}
    if failure is not None:
        return {**result, "failure": failure}
    path = str(machine.folder / f"{way}.npz")
    try:
        driver = machine.drivers[ENVIRONMENTS[way]]
        result.update(driver.run("open", way=way, case=case.key, addresses=addresses, path=path, limit=400.0))
        if result["is_checked"]:
            error = machine.drivers["local"].run("error", case=case.key, path=path)
            result["error"], result["agrees"] = error, error <= tolerance(case)
            result["nbytes"] = _array_bytes(path)
            if not result["agrees"]:
                result["failure"] = f"its result differs from eager torch.func's by {error:.1e}"
    except DriverFailed as error:
        result["failure"] = str(error)
        say(f"  {way}: {str(error).splitlines()[0]}")
    finally:
        Path(path).unlink(missing_ok=True)
    return result


def _array_bytes(path: str) -> int:
    with np.load(path) as saved:
        return saved["results"].nbytes


def _warm_up(machine: Machine, results: dict[str, dict[str, Any]], live: list[str], effort: Effort) -> dict[str, float]:
    """Call each way until it has reached its fastest state; returns the median of a call of each.

    That is when two medians in a row agree within 10 %; for farfunc, where ``GET /v1/plans`` tells it, when the
    case's plans are compiled or are said to stay as they are.
    """
    medians: dict[str, float] = {}
    for way in list(live):
        driver, function = machine.drivers[ENVIRONMENTS[way]], results[way].get("function")
        deadline, previous = time.monotonic() + effort.warm_up, 0.0
        is_remote = function is not None
        try:
            while True:
                calls = int(min(max(0.2 / previous, 1), 40)) if previous else 3
                median = statistics.median(driver.run("time", way=way, calls=calls))
                steady = abs(median - previous) <= 0.1 * median
                stages = machine.server.stages([function]) if is_remote else None
                if stages:
                    results[way]["stage"] = "; ".join(stages)
                    steady = all(stage == "compiled" or "for good" in stage for stage in stages)
                previous = median
                if steady or time.monotonic() > deadline:
                    break
            if stages:  # another program may have been swapped in just now
                previous = statistics.median(driver.run("time", way=way, calls=3))
            medians[way] = previous
        except DriverFailed as error:
            results[way]["failure"] = str(error)
            live.remove(way)
    return medians
