"""Local eager torch.func beside farfunc, warm, in one run on one machine.

Each round times all three ways of making a call, one after another, so that a ratio compares
calls made within the same second. The table gives medians of the calls, and the median of the
rounds' ratios with their range.

    make bench
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import chain
from pathlib import Path
from typing import Any

import torch
import torch.func

import farfunc
from cases import CASES  # which puts the examples on the path

import run_demo  # isort: skip

HERE = Path(__file__).resolve().parent


def timed(call: Callable[[Any], Any], argument: Any, calls: int) -> list[float]:
    """Seconds of each of some calls."""
    seconds = []
    for _ in range(calls):
        started = time.perf_counter()
        call(argument)
        seconds.append(time.perf_counter() - started)
    return seconds


class ThinClient:
    """The NumPy client, in a process without torch."""

    def __init__(self, python: Path) -> None:
        command = [python, HERE / "thin.py"]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def run(self, number: int) -> list[float]:
        """Seconds of each call of one round of case ``number``."""
        assert self.process.stdin
        assert self.process.stdout
        print(number, file=self.process.stdin, flush=True)
        return json.loads(self.process.stdout.readline())

    def close(self) -> None:
        """End the process."""
        assert self.process.stdin
        self.process.stdin.close()
        self.process.wait(10)


def measure(number: int, thin: ThinClient, rounds: int) -> dict[str, Any]:
    """Time one case."""
    case = CASES[number]
    argument = torch.from_numpy(case.argument)
    function = case.function(torch)
    local, remote = case.transform(torch.func, function), case.transform(farfunc, function)
    torch.testing.assert_close(remote(argument), local(argument))
    for _ in range(2):
        timed(local, argument, case.calls), timed(remote, argument, case.calls), thin.run(number)
    samples: dict[str, list[list[float]]] = {"local": [], "torch client": [], "numpy client": []}
    for _ in range(rounds):
        samples["local"].append(timed(local, argument, case.calls))
        samples["torch client"].append(timed(remote, argument, case.calls))
        samples["numpy client"].append(thin.run(number))
    medians = {way: 1e3 * statistics.median(chain.from_iterable(found)) for way, found in samples.items()}
    ratios = {}
    for way in ("torch client", "numpy client"):
        pairs = zip(samples[way], samples["local"], strict=True)
        each = [statistics.median(there) / statistics.median(here) for there, here in pairs]
        ratios[way] = {"median": statistics.median(each), "low": min(each), "high": max(each)}
    return {"case": case.name, "milliseconds": medians, "ratio to local": ratios}


def table(results: list[dict[str, Any]]) -> str:
    """The results as Markdown."""
    lines = [
        "| case | local eager, ms | torch client, ms | ÷ local | NumPy client, ms | ÷ local |",
        "|---|---|---|---|---|---|",
    ]
    for result in results:
        ms, ratio = result["milliseconds"], result["ratio to local"]
        shown = {way: f"{r['median']:.2f} ({r['low']:.2f} to {r['high']:.2f})" for way, r in ratio.items()}
        lines.append(
            f"| {result['case']} | {ms['local']:.2f} | {ms['torch client']:.2f} | {shown['torch client']} "
            f"| {ms['numpy client']:.2f} | {shown['numpy client']} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--thin-python", type=Path, required=True, help="an interpreter with the thin client only")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--output", type=Path, default=HERE.parent / "build" / "benchmark.json")
    options = parser.parse_args()

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="farfunc-bench-") as folder, run_demo.server(Path(folder)) as url:
        os.environ["FARFUNC_URL"] = url
        thin = ThinClient(options.thin_python.absolute())
        try:
            results = []
            for number, case in enumerate(CASES):
                print(f"{case.name} ...", file=sys.stderr, flush=True)
                results.append(measure(number, thin, options.rounds))
        finally:
            thin.close()
    machine = f"{os.cpu_count()} cores, Python {platform.python_version()}, torch {torch.__version__}, one thread"
    print(f"{machine}; {options.rounds} rounds, medians\n\n{table(results)}")
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps({"machine": machine, "results": results}, indent=2) + "\n")


if __name__ == "__main__":
    main()
