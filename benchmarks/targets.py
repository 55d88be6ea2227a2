"""What the engine is to show, and whether a run shows it."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ratios import Spread, fastest, per_round, rates, ratio, spread

__all__ = ["Judged", "judge"]


@dataclass(frozen=True)
class Judged:
    """One target of the table.

    Attributes
    ----------
    title:
        What is divided by what.
    bound:
        As it is written: ``≤ 0.5``.
    measured:
        The figure, as text; empty where there is none.
    verdict:
        ``met``, ``missed``, or why it was not measured.
    """

    title: str
    bound: str
    measured: str
    verdict: str


def _judged(title: str, bound: str, measured: Spread | None, reason: str, unit: str = "") -> Judged:
    sign, limit = bound.split()[0], float(bound.split()[1])
    if measured is None:
        return Judged(title, bound, "", f"not measured: {reason}")
    is_met = measured.median <= limit if sign == "≤" else measured.median >= limit
    return Judged(title, bound, f"{measured}{unit}", "met" if is_met else "missed")


class _Run:
    """What a run has measured, found by name."""

    def __init__(self, results: Mapping[str, Any]) -> None:
        self.results = results
        self.cases = {case["key"]: case for case in results["cases"]}
        self.loads = {load["key"]: load["runs"] for load in results.get("concurrent", [])}

    def way(self, case: str, way: str) -> list[float]:
        """Seconds of a call in each round."""
        return per_round(self.cases.get(case, {"ways": {}})["ways"].get(way))

    def why(self, case: str, *ways: str) -> str:
        """Why one of the ways has no figures."""
        if case not in self.cases:
            return "not in this run"
        found = self.cases[case]["ways"]
        return _first_failure(found, ways)

    def compute(self, case: str) -> list[float]:
        """Seconds of computing alone: the faster of the two local ways in each round."""
        return fastest(self.way(case, "eager"), self.way(case, "compiled"))

    def rate(self, case: str, run: str) -> list[float]:
        """Calls per second of a load in each round."""
        return rates(self.loads.get(case, {}).get(run))

    def why_no_load(self, case: str, *runs: str) -> str:
        """Why one of the loads has no figures."""
        return _first_failure(self.loads[case], runs) if case in self.loads else "not in this run"


def _first_failure(found: Mapping[str, Any], names: Sequence[str]) -> str:
    for name in names:
        if name not in found:
            return f"{name} is not in this run"
        if "failure" in found[name]:
            return f"{name}: {found[name]['failure'].splitlines()[0][:120]}"
    return "no rounds"


def judge(results: Mapping[str, Any]) -> list[Judged]:
    """Every target, in the order of the table. "farfunc" is the NumPy client unless a target says otherwise."""
    run = _Run(results)
    return [*_calls(run), *_transfer(run), *_peers(run), *_loads(run), _mixed(run), _memory(run), _agreement(run)]


def _quotient(run: _Run, title: str, bound: str, case: str, way: str, farfunc: str = "numpy") -> Judged:
    return _judged(title, bound, ratio(run.way(case, farfunc), run.way(case, way)), run.why(case, farfunc, way))


def _calls(run: _Run) -> list[Judged]:
    large = "MLP 256-512-512-64, batch 256, farfunc ÷ local"
    return [
        _quotient(run, "Panda arm, one state, farfunc ÷ local eager jacrev", "≤ 0.5", "panda-jacrev", "eager"),
        _quotient(run, "Panda arm, one state, farfunc ÷ local eager jacfwd", "≤ 0.5", "panda-jacfwd", "eager"),
        *(
            _quotient(run, f"sin n = 5, farfunc ÷ echo of the same bytes, both {title}", "≤ 1.6", "sin", echo, farfunc)
            for title, echo, farfunc in (
                ("through farfunc's transport", "echo-farfunc", "numpy"),
                ("through httpx", "echo-httpx", "numpy-httpx"),
            )
        ),
        _quotient(run, f"{large} eager", "≤ 0.8", "mlp-large-batch", "eager"),
        _quotient(run, f"{large} compiled", "≤ 1.3", "mlp-large-batch", "compiled"),
    ]


def _transfer(run: _Run) -> list[Judged]:
    found = []
    copy = run.cases.get("dense-2000", {}).get("copy")
    floor = [seconds + 2 * statistics.median(copy) for seconds in run.compute("dense-2000")] if copy else []
    found.append(
        _judged(
            "2000 x 2000 dense, farfunc ÷ (compute alone + two copies of the result)",
            "≤ 1.5",
            ratio(run.way("dense-2000", "numpy"), floor),
            run.why("dense-2000", "numpy", "eager"),
        )
    )
    for key, title in (("dense-2000", "2000 x 2000 dense"), ("transfer", "2000 x 2000 of jacfwd(sin)")):
        pairs = zip(run.way(key, "numpy"), run.compute(key), strict=False)
        # Programs that beat both local ways leave no time to divide by.
        nbytes = run.cases[key]["nbytes"] / 1e9 if key in run.cases else 0.0
        speeds = [nbytes / (whole - alone) if whole > alone else math.inf for whole, alone in pairs]
        found.append(
            _judged(
                f"{title}, the result's bytes ÷ (farfunc − compute alone; none left: inf)",
                "≥ 1 GB/s",
                spread(speeds),
                run.why(key, "numpy", "eager"),
                " GB/s",
            )
        )
    return found


def _peers(run: _Run) -> list[Judged]:
    return [
        _quotient(run, "64 x 64, farfunc ÷ Tesseract's best encoding", "≤ 0.3", "dense-64", "tesseract"),
        _quotient(run, "64 x 64, farfunc ÷ UM-Bridge", "≤ 0.1", "dense-64", "umbridge"),
    ]


def _loads(run: _Run) -> list[Judged]:
    rows = [
        *(
            (key, f"{title}, {what}", bound, above, below)
            for key, title in (("two-ms", "a recurrent network"), ("two-ms-wide", "a wide MLP"))
            for what, bound, above, below in (
                ("raw HTTP, with batching ÷ without", "≥ 3", "raw", "raw, without batching"),
                ("farfunc ÷ Tesseract", "≥ 5", "numpy", "tesseract"),
            )
        ),
        ("sin", "a tiny function ÷ echo, both raw HTTP", "≥ 0.6", "raw", "echo-raw"),
        ("sin", "a tiny function ÷ echo, both through farfunc's transport", "≥ 0.6", "numpy", "echo-farfunc"),
        ("sin", "a tiny function ÷ echo, both through httpx", "≥ 0.6", "numpy-httpx", "echo-httpx"),
    ]
    return [
        _judged(
            f"32 clients, calls per second of {title}",
            bound,
            ratio(run.rate(key, above), run.rate(key, below)),
            run.why_no_load(key, above, below),
        )
        for key, title, bound, above, below in rows
    ]


def _mixed(run: _Run) -> Judged:
    title, mixed = "small calls' p99 beside calls of seconds ÷ alone", run.results.get("mixed")
    if mixed is None or "failure" in mixed:
        return _judged(title, "≤ 10", None, "not in this run" if mixed is None else mixed["failure"])
    found = mixed["beside"]["p99"] / mixed["alone"]["p99"] if mixed["beside"]["calls"] else float("inf")
    return _judged(title, "≤ 10", Spread(found, found, found), "")


def _memory(run: _Run) -> Judged:
    title, bound = "a Jacobian of 4 x the memory limit: what the worker took on top ÷ the limit", "≤ 1"
    memory = run.results.get("memory")
    if memory is None:
        return _judged(title, bound, None, "not in this run")
    if "failure" in memory:
        return Judged(title, bound, "", f"missed: {memory['failure'].splitlines()[0][:160]}")
    worker = max(grown for name, grown in memory["growth"].items() if name.startswith("worker"))
    found = worker / memory["budget"]
    judged = _judged(title, bound, Spread(found, found, found), "")
    return judged if memory["agrees"] else Judged(title, bound, judged.measured, "missed: the result is wrong")


def _agreement(run: _Run) -> Judged:
    checked = wrong = 0
    for case in run.cases.values():
        for found in case["ways"].values():
            checked += "agrees" in found
            wrong += not found.get("agrees", True)
    for runs in run.loads.values():
        for found in runs.values():
            checked += len(found["rounds"])
            wrong += sum(not each["agrees"] for each in found["rounds"])
    for part in ("alone", "beside"):
        if part in (mixed := run.results.get("mixed") or {}):
            checked += 1
            wrong += not mixed[part]["agrees"]
    verdict = "missed" if wrong else "met"
    return Judged("results that agree with local torch.func", "all", f"{checked - wrong} of {checked}", verdict)
