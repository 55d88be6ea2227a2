"""farfunc beside local torch.func, Tesseract and UM-Bridge, in one run on one machine.

Each round times every way of making a call, one after another, so that a ratio compares calls made
within the same seconds; the table gives the median of the rounds' ratios with their quartiles.

    make bench
    make bench BENCH_FLAGS='--quick'
    make bench BENCH_FLAGS='--cases sin,dense-64 --rounds 15 --server-option=--queue-size=64'
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import load
from cases import CASES
from measure import Effort, Machine, measure, say
from processes import DriverProcess, FarfuncServer, Server, free_port
from report import write_page, written

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
_GROUPS = ("concurrent", "mixed", "memory")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    keys = [case.key for case in CASES if case.purpose == "calls"]
    parser.add_argument("--thin-python", type=Path, required=True, help="an interpreter with the thin client only")
    parser.add_argument("--peers-python", type=Path, help="an interpreter with the packages of benchmarks/peers.txt")
    parser.add_argument("--cases", default="", help=f"some of {', '.join([*keys, *_GROUPS])}; all without it")
    parser.add_argument("--rounds", type=int, help="of each case [9; 3 in a quick run]")
    parser.add_argument("--quick", action="store_true", help="about three minutes; docs/ stays as it is")
    parser.add_argument("--no-peers", action="store_true", help="without Tesseract and UM-Bridge")
    parser.add_argument("--threads", type=int, default=1, help="torch's threads, everywhere [1]")
    parser.add_argument(
        "--server-option", action="append", default=[], metavar="OPTION", help="given to farfunc serve; may be repeated"
    )
    parser.add_argument(
        "--without-batching",
        default="--batching=false",
        metavar="OPTION",
        help="what switches batching off; where farfunc serve does not know it, the table says so [%(default)s]",
    )
    parser.add_argument("--output", type=Path, default=ROOT / "build" / "benchmark.json")
    parser.add_argument("--docs", action="store_true", help="write docs/benchmarks.md after a partial run as well")
    options = parser.parse_args()
    options.chosen = [key for key in options.cases.split(",") if key] or [*keys, *_GROUPS]
    if unknown := set(options.chosen) - {*keys, *_GROUPS}:
        parser.error(f"no such case: {', '.join(sorted(unknown))}; there are {', '.join([*keys, *_GROUPS])}")
    if not options.no_peers and options.peers_python is None:
        parser.error("--peers-python or --no-peers is needed")
    return options


def _effort(options: argparse.Namespace) -> Effort:
    if options.quick:
        return Effort(options.rounds or 3, 0.1, 6.0, 1.0, is_quick=True, peers=not options.no_peers)
    return Effort(options.rounds or 9, peers=not options.no_peers)


def _described(options: argparse.Namespace, effort: Effort) -> dict[str, Any]:
    commit = subprocess.run(
        ["git", "-C", ROOT, "describe", "--always", "--dirty"], capture_output=True, text=True, check=False
    ).stdout.strip()
    model = "unknown"
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return {
        "commit": commit,
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "processor": model,
        "cores": os.cpu_count(),
        "load before": os.getloadavg()[0],
        "python": platform.python_version(),
        "torch": version("torch"),
        "threads": options.threads,
        "rounds": effort.rounds,
        "is_quick": effort.is_quick,
        "server options": options.server_option,
        "without batching": options.without_batching,
    }


def _run(options: argparse.Namespace, effort: Effort, folder: Path, stack: contextlib.ExitStack) -> dict[str, Any]:
    python = Path(sys.executable)
    port = free_port()
    server = FarfuncServer("farfunc", python, folder, options.threads, options.server_option)
    echo = Server("echo", [python, HERE / "echo.py", port], f"http://127.0.0.1:{port}", "/ready", folder)
    stack.enter_context(server)
    stack.enter_context(echo)
    interpreters = {"local": python, "torch": python, "thin": options.thin_python.absolute()}
    if effort.peers:
        interpreters["peers"] = options.peers_python.absolute()
    drivers = {}
    for name, interpreter in interpreters.items():
        drivers[name] = DriverProcess(interpreter, name, options.threads, folder / "drivers.log")
        stack.callback(drivers[name].close)
    second = DriverProcess(interpreters["thin"], "thin", options.threads, folder / "drivers.log")
    stack.callback(second.close)
    machine = Machine(
        drivers,
        second,
        server,
        echo,
        folder,
        interpreters.get("peers", python),
        options.threads,
        {"farfunc": server.url, "echo": echo.url},
    )
    results: dict[str, Any] = {"machine": _described(options, effort), "cases": []}
    for case in CASES:
        if case.purpose == "calls" and case.key in options.chosen:
            say(f"{case.title} ...")
            found = measure(machine, case, effort)
            if case.key in ("dense-2000", "transfer"):
                found["copy"] = load.two_copies(machine, found["nbytes"])
            results["cases"].append(found)
    if "concurrent" in options.chosen:
        without = None
        if load.has_option(python, options.without_batching.partition("=")[0]):
            extra = [*options.server_option, options.without_batching]
            without = FarfuncServer("without-batching", python, folder, options.threads, extra)
            stack.enter_context(without)
        results["concurrent"] = load.concurrent(machine, effort, without)
    if "mixed" in options.chosen:
        results["mixed"] = load.mixed(machine, effort)
    if "memory" in options.chosen:
        results["memory"] = load.memory(machine, python, options.server_option)
    return results


def main() -> int:
    options = _arguments()
    effort = _effort(options)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that all that was started is stopped then, too
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="farfunc-bench-") as folder, contextlib.ExitStack() as stack:
        results = _run(options, effort, Path(folder), stack)
    results["machine"]["minutes"] = (time.monotonic() - started) / 60
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(results, indent=1) + "\n")
    print(written(results))
    is_whole = not (options.cases or options.quick or options.no_peers)
    if is_whole or options.docs:
        write_page(results, ROOT / "docs")
    return 0


if __name__ == "__main__":
    sys.exit(main())
