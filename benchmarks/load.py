"""Concurrent clients, a mixed load, and peak memory."""

from __future__ import annotations

import contextlib
import statistics
import subprocess
import time
from pathlib import Path
from typing import Any

from cases import case_named
from measure import ENVIRONMENTS, Effort, Machine, say, tolerance
from processes import DriverFailed, DriverProcess, FarfuncServer, peer_servers

__all__ = ["concurrent", "has_option", "memory", "mixed", "two_copies"]

CLIENTS = 32
"""Half of them in each of two processes, so that one interpreter's lock does not bound them."""

MEMORY_BUDGET = 64 << 20


def has_option(python: Path, option: str) -> bool:
    """Whether ``farfunc serve`` knows an option."""
    told = subprocess.run([python.with_name("farfunc"), "serve", "--help"], capture_output=True, text=True, check=False)
    return option in told.stdout.split()


def _loaded(
    machine: Machine,
    drivers: list[DriverProcess],
    way: str,
    case: str,
    addresses: dict[str, str],
    clients: int,
    seconds: float,
) -> dict[str, Any]:
    """One round of a load, shared by the drivers; its results are compared with eager torch.func."""
    share = clients // len(drivers)
    arguments = {"way": way, "case": case, "addresses": addresses, "clients": share, "seconds": seconds}
    paths = [str(machine.folder / f"load-{number}.npz") for number in range(len(drivers))]
    for number, driver in enumerate(drivers):
        driver.send("load", **arguments, seed=number, path=paths[number])
    answers = [driver.answer(seconds + 200.0) for driver in drivers]
    latencies = sorted(latency for answer in answers for latency in answer["latencies"])
    failures = [failure for answer in answers for failure in answer["failures"]]
    error = None
    for answer, path in zip(answers, paths, strict=True):
        if answer["is_checked"]:
            found = machine.drivers["local"].run("error", case=case, path=path)
            error = max(error or 0.0, found)
            Path(path).unlink(missing_ok=True)
    return {
        "calls": len(latencies),
        "seconds": max(answer["seconds"] for answer in answers),
        "per second": sum(len(answer["latencies"]) / answer["seconds"] for answer in answers),
        "p50": _percentile(latencies, 0.5),
        "p99": _percentile(latencies, 0.99),
        "failures": failures[:3],
        "error": error,
        "agrees": error is None or error <= tolerance(case_named(case)),
    }


def _percentile(ordered: list[float], fraction: float) -> float:
    return ordered[min(int(fraction * len(ordered)), len(ordered) - 1)] if ordered else float("nan")


def _rounds(
    machine: Machine,
    key: str,
    runs: dict[str, tuple[list[DriverProcess], str, dict[str, str]]],
    effort: Effort,
    function: str | None,
) -> dict[str, dict[str, Any]]:
    """Interleaved rounds of several loads of one case, after a warm-up of each."""
    results: dict[str, dict[str, Any]] = {name: {"rounds": []} for name in runs}

    def once(name: str, seconds: float) -> dict[str, Any] | None:
        drivers, way, addresses = runs[name]
        try:
            found = _loaded(machine, drivers, way, key, addresses, CLIENTS, seconds)
        except DriverFailed as error:
            results[name]["failure"] = str(error)
        else:
            if found["calls"]:
                return found
            results[name]["failure"] = "".join(found["failures"][:1]) or "no call ended in time"
        say(f"  {name}: {results[name]['failure']}")
        return None

    for name in runs:
        deadline, previous = time.monotonic() + effort.warm_up, 0.0
        while found := once(name, min(effort.load, 2.0)):
            stages = machine.server.stages([function]) if function else None
            # Those of batches are plans of their own: their machine code may come while the load goes on.
            settled = not any("being compiled" in stage for stage in stages or ())
            if settled and abs(found["per second"] - previous) <= 0.1 * found["per second"]:
                break
            if time.monotonic() > deadline:
                break
            previous = found["per second"]
    for _ in range(max(effort.rounds // 3, 1)):
        for name in runs:
            if "failure" not in results[name] and (found := once(name, effort.load)):
                results[name]["rounds"].append(found)
    return results


def _wait_for_plans(machine: Machine, key: str, way: str, effort: Effort) -> str | None:
    """Let a client call until the case's plan is compiled, where the server tells of plans; returns its function."""
    driver = machine.drivers["thin"]
    path = str(machine.folder / "warm.npz")
    with contextlib.suppress(DriverFailed):
        opened = driver.run("open", way=way, case=key, addresses=machine.addresses, path=path)
        deadline = time.monotonic() + effort.warm_up
        while time.monotonic() < deadline:
            driver.run("time", way=way, calls=20 if key != "seconds" else 1)
            stages = machine.server.stages([opened["function"]])
            if stages is None or (stages and all(stage == "compiled" or "for good" in stage for stage in stages)):
                break
        driver.run("close", way=way)
        return opened["function"]
    return None


def _alone(machine: Machine, key: str, way: str) -> float | None:
    """The median seconds of calls that nothing else disturbs."""
    driver, path = machine.drivers[ENVIRONMENTS[way]], str(machine.folder / "alone.npz")
    try:
        driver.run("open", way=way, case=key, addresses=machine.addresses, path=path)
        driver.run("time", way=way, calls=10)
        found = statistics.median(driver.run("time", way=way, calls=40))
        driver.run("close", way=way)
    except DriverFailed:
        return None
    return found


def concurrent(machine: Machine, effort: Effort, without_batching: FarfuncServer | None) -> list[dict[str, Any]]:
    """32 clients with distinct inputs: two functions of about 2 ms, and a tiny one beside the echo."""
    both = [machine.drivers["thin"], machine.thin]
    found = []
    for key in ("two-ms", "two-ms-wide", "sin"):
        say(f"{CLIENTS} clients, {case_named(key).title} ...")
        function = _wait_for_plans(machine, key, "raw", effort)
        with contextlib.ExitStack() as stack:
            runs: dict[str, tuple[list[DriverProcess], str, dict[str, str]]] = {}
            for way in ("raw", "numpy"):
                runs[way] = (both, way, machine.addresses)
                if key != "sin" and without_batching is not None:
                    alone = {**machine.addresses, "farfunc": without_batching.url}
                    runs[f"{way}, without batching"] = (both, way, alone)
            if key == "sin":
                for way in ("numpy-httpx", "echo-raw", "echo-farfunc", "echo-httpx"):
                    runs[way] = (both, way, machine.addresses)
            failures: dict[str, str] = {}
            if key != "sin" and effort.peers:
                addresses, failures = stack.enter_context(
                    peer_servers(machine.peers_python, machine.folder, key, machine.threads, umbridge=False)
                )
                if "tesseract" in addresses:
                    runs["tesseract"] = ([machine.drivers["peers"]], "tesseract", {**machine.addresses, **addresses})
            results = _rounds(machine, key, runs, effort, function)
            if key != "sin" and without_batching is None:
                results["raw, without batching"] = {"rounds": [], "failure": "not available: no such server option"}
            for way, failure in failures.items():
                results[way] = {"rounds": [], "failure": failure}
        alone = {way: _alone(machine, key, way) for way in ("eager", "raw")}
        title = case_named(key).title
        found.append({"key": key, "title": title, "clients": CLIENTS, "alone": alone, "runs": results})
    return found


def mixed(machine: Machine, effort: Effort) -> dict[str, Any]:
    """Small calls of four clients alone, then beside two clients whose calls take seconds."""
    say("a mixed load ...")
    small, large = machine.drivers["thin"], machine.thin
    seconds = max(3 * effort.load, 6.0)
    result: dict[str, Any] = {"small": case_named("panda-jacfwd").title, "large": case_named("seconds").title}
    try:
        _wait_for_plans(machine, "panda-jacfwd", "raw", effort)
        _wait_for_plans(machine, "seconds", "raw", effort)
        path = str(machine.folder / "large.npz")
        large.run("open", way="raw", case="seconds", addresses=machine.addresses, path=path)
        result["alone"] = _loaded(machine, [small], "raw", "panda-jacfwd", machine.addresses, 4, seconds)
        large.send(
            "load",
            way="raw",
            case="seconds",
            addresses=machine.addresses,
            clients=2,
            seconds=seconds + 2.0,  # so that it ends after the small ones
            seed=1,
            path=path,
        )
        result["beside"] = _loaded(machine, [small], "raw", "panda-jacfwd", machine.addresses, 4, seconds)
        told = large.answer(300.0)
        result["large calls"] = {
            "calls": len(told["latencies"]),
            "p50": _percentile(sorted(told["latencies"]), 0.5),
            "failures": told["failures"][:3],
            "error": machine.drivers["local"].run("error", case="seconds", path=path),
        }
    except DriverFailed as error:
        result["failure"] = str(error)
        say(f"  {error}")
    return result


def memory(machine: Machine, python: Path, options: list[str]) -> dict[str, Any]:
    """A Jacobian of four times the memory that an evaluation may take: how much each process took on top."""
    say("a Jacobian of four times the memory limit ...")
    result: dict[str, Any] = {"title": case_named("memory").title, "budget": MEMORY_BUDGET}
    server = FarfuncServer(
        "limited", python, machine.folder, machine.threads, ["--memory-limit", str(MEMORY_BUDGET), *options]
    )
    path = str(machine.folder / "memory.npz")
    with server:
        addresses = {**machine.addresses, "farfunc": server.url}
        driver = machine.drivers["thin"]
        try:
            driver.run("open", way="raw", case="sin", addresses=addresses, path=path)  # what any first call takes
            before = {name: _reset_peak(pid) for name, pid in server.processes().items()}
            opened = driver.run("open", way="raw", case="memory", addresses=addresses, path=path)
            peaks = {name: _status(pid, "VmHWM") for name, pid in server.processes().items()}
            result["growth"] = {name: peaks[name] - before[name] for name in before if name in peaks}
            result["error"] = machine.drivers["local"].run("error", case="memory", path=path)
            result["agrees"] = opened["is_checked"] and result["error"] <= tolerance(case_named("memory"))
            driver.run("close", way="raw")
        except (DriverFailed, OSError) as error:
            result["failure"] = str(error)
            say(f"  {error}")
    Path(path).unlink(missing_ok=True)
    return result


def _reset_peak(pid: int) -> int:
    Path(f"/proc/{pid}/clear_refs").write_text("5")
    return _status(pid, "VmRSS")


def _status(pid: int, name: str) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))


def two_copies(machine: Machine, nbytes: int) -> list[float]:
    """Seconds of copying a result of so many bytes."""
    return machine.drivers["local"].run("copy", nbytes=nbytes, calls=9)
