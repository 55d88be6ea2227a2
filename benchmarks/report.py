"""A run's results as Markdown, and the page of the documentation with its charts."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from charts import Bar, Group, chart
from ratios import Spread, milliseconds, per_round, rates, ratio, spread
from targets import judge
from ways import TITLES

__all__ = ["write_page", "written"]

_BESIDE_EAGER = ("compiled", "numpy", "torch", "raw", "tesseract", "umbridge")
_HOW = """\
Made by `make bench`, which overwrites this page. Everything runs on one machine in one go, over HTTP on the loopback
interface. A round times every way of making a call, one after another; a ratio is taken within each round, and the
tables give the median of the rounds' ratios with their quartiles. Before that each result is compared with local
eager torch.func, and each way is warmed up until it is steady; where the server tells of plans, until the case's plan
is compiled or is said to stay as it is, at most two minutes.

- **local, eager** and **local, compiled** are torch.func in a process of their own, plain and under `torch.compile`,
  with torch's defaults; farfunc's workers set `THP_MEM_ALLOC_ENABLE=1`, with which torch asks for large pages.
- **NumPy client** runs in an environment without torch, **torch client** in one with it; both have farfunc's own
  transport, except **over httpx**. **raw HTTP** sends a prepared binary request through `http.client` and reads the
  answer without decoding it.
- **echo** is a bare FastAPI route that answers with the bytes it was sent, under the server's own uvicorn settings,
  asked through the transport of farfunc's client, through httpx and through `http.client`.
- **Tesseract** and **UM-Bridge** serve the same torch function by the same transform through their own servers and
  clients, in an environment of their own (`benchmarks/peers.txt`): Tesseract by its jacobian endpoint (`apply` for the
  Jacobian of each sample of a batch, which that endpoint does not allow), in whichever of its encodings measured
  fastest; UM-Bridge, which has no call for a Jacobian, by one call a column (jacfwd) or row (jacrev). No entry: not
  measured, since thousands of calls would be needed.
"""


def written(results: Mapping[str, Any]) -> str:
    """All tables, the targets last."""
    parts = [_machine(results["machine"])]
    if results["cases"]:
        parts += [_ratio_table(results), _time_table(results), _stages(results), _copies(results), _notes(results)]
    if "concurrent" in results:
        parts.append(_load_tables(results))
    if "mixed" in results:
        parts.append(_mixed(results["mixed"]))
    if "memory" in results:
        parts.append(_memory(results["memory"]))
    parts.append(_targets(results))
    return "\n".join(part for part in parts if part)


def write_page(results: Mapping[str, Any], docs: Path) -> None:
    """Write docs/benchmarks.md and its charts."""
    folder = docs / "benchmarks"
    folder.mkdir(exist_ok=True)
    pictures = []
    for name, picture, alternative in _charts(results):
        (folder / name).write_text(picture, encoding="utf-8")
        pictures.append(f"![{alternative}](benchmarks/{name})\n")
    text = "\n".join(["# Benchmarks\n", _HOW, *pictures, written(results)])
    (docs / "benchmarks.md").write_text(text, encoding="utf-8")


def _machine(machine: Mapping[str, Any]) -> str:
    options = " ".join(machine["server options"]) or "none"
    quick = ", a quick run" if machine["is_quick"] else ""
    return (
        f"{machine['processor']}, {machine['cores']} cores (load {machine['load before']:.1f} at the start); Python "
        f"{machine['python']}, torch {machine['torch']}, {machine['threads']} thread(s) of torch in every process; "
        f"{machine['rounds']} rounds{quick}, {machine['minutes']:.0f} minutes in all; commit {machine['commit']}, "
        f"{machine['date']}; options of the server: {options}.\n"
    )


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines) + "\n"


def _failed(found: Mapping[str, Any] | None) -> str:
    return "" if found is None else "fails" if "failure" in found else "–"


def _agreement(case: Mapping[str, Any]) -> str:
    errors = [found["error"] for found in case["ways"].values() if "error" in found]
    if not errors:
        return "not checked"
    wrong = [TITLES[way] for way, found in case["ways"].items() if not found.get("agrees", True)]
    return f"NO: {', '.join(wrong)}" if wrong else f"all {len(errors)} (≤ {max(errors):.0e})"


def _ratio_table(results: Mapping[str, Any]) -> str:
    rows = []
    for case in results["cases"]:
        ways = case["ways"]
        base = per_round(ways.get("eager"))
        row = [case["title"]]
        for way in _BESIDE_EAGER:
            found = ratio(per_round(ways.get(way)), base)
            row.append(str(found) if found else _failed(ways.get(way)))
        rows.append([*row, _agreement(case)])
    head = ["case", *(TITLES[way] for way in _BESIDE_EAGER), "results that agree"]
    return "## Ratios to local eager torch.func\n\n" + _table(head, rows)


def _time_table(results: Mapping[str, Any]) -> str:
    rows = []
    for case in results["cases"]:
        row = [case["title"]]
        for way in TITLES:
            found = milliseconds(case["ways"].get(way))
            row.append(_failed(case["ways"].get(way)) if found is None else f"{found:,.2f}")
        rows.append(row)
    return "## Medians, in milliseconds\n\n" + _table(["case", *TITLES.values()], rows)


_PARTS = {
    "read": "the body arrives",
    "parse": "the request is read, and its function looked up",
    "queue": "it waits for a device",
    "ipc": "to the worker and back: two wake-ups of processes, and all of the worker but the program",
    "compute": "the program",
    "reply": "the answer's head is made",
}


def _stages(results: Mapping[str, Any]) -> str:
    """Where the time of small calls goes."""
    rows = []
    for case in results["cases"]:
        stages = case["ways"].get("raw", {}).get("stages")
        if not stages:
            continue
        rest = stages["call"] - stages["total"]
        echo = milliseconds(case["ways"].get("echo-raw"))
        cells = [*(stages.get(name) for name in _PARTS), rest, stages["call"], echo and echo / 1e3]
        rows.append([case["title"], *("" if cell is None else f"{1e6 * cell:.0f}" for cell in cells)])
    if not rows:
        return ""
    meanings = "\n".join(f"- **{name}**: {meaning}." for name, meaning in _PARTS.items())
    head = ["case", *_PARTS, "outside", "whole call", "whole call of the echo"]
    return (
        "## Where the time of a small call goes, in microseconds\n\n"
        "Medians over 300 calls by raw HTTP, as `Server-Timing` tells them; **outside** is the rest of the call: the "
        "client, the kernel, the event loop before and behind.\n\n" + meanings + "\n\n" + _table(head, rows)
    )


def _copies(results: Mapping[str, Any]) -> str:
    lines = []
    for case in results["cases"]:
        if "copy" in case:
            copied = statistics.median(case["copy"])
            lines.append(
                f"One copy in memory of the result of *{case['title']}* ({case['nbytes'] / 1e6:.0f} MB): "
                f"{1e3 * copied:.1f} ms, {case['nbytes'] / 1e9 / copied:.1f} GB/s.\n"
            )
    return "\n".join(lines)


def _notes(results: Mapping[str, Any]) -> str:
    lines = []
    for case in results["cases"]:
        for way, found in case["ways"].items():
            said = [found["note"], found.get("stage") and f"plan: {found['stage']}"]
            if "failure" in found:
                said.append("fails: " + " ".join(found["failure"].split())[:300])
            told = "; ".join(part for part in said if part)
            if told:
                lines.append(f"- {case['title']}, {TITLES[way]}: {told}")
    return "## Notes\n\n" + "\n".join(lines) + "\n" if lines else ""


def _load_tables(results: Mapping[str, Any]) -> str:
    parts = []
    for load in results["concurrent"]:
        rows = []
        for name, run in load["runs"].items():
            if "failure" in run:
                rows.append([_run_title(name), " ".join(run["failure"].split())[:120], "", "", ""])
                continue
            p50, p99 = (spread([1e3 * each for each in rates(run, key)]) for key in ("p50", "p99"))
            errors = [each["error"] for each in run["rounds"] if each["error"] is not None]
            agrees = all(each["agrees"] for each in run["rounds"])
            told = "" if not errors else f"{'all' if agrees else 'NO'} (≤ {max(errors):.0e})"
            failed = sum(len(each["failures"]) for each in run["rounds"])
            if failed:
                told += f"; {failed} clients failed: {run['rounds'][0]['failures'][:1]}"
            rows.append([_run_title(name), str(spread(rates(run))), str(p50), str(p99), told])
        parts.append(f"## {load['clients']} concurrent clients with distinct inputs: {load['title']}\n")
        alone = [f"{1e3 * each:.2f} ms by {TITLES[way]}" for way, each in load["alone"].items() if each]
        parts.append(f"One call alone takes {', '.join(alone)}.\n")
        parts.append(_table(["way", "calls per second", "p50, ms", "p99, ms", "results that agree"], rows))
    return "\n".join(parts)


def _run_title(name: str) -> str:
    way, _, rest = name.partition(", ")
    return TITLES[way] + (f", {rest}" if rest else "")


def _mixed(mixed: Mapping[str, Any]) -> str:
    head = f"## Small calls beside large ones: {mixed['small']}; {mixed['large']}\n\n"
    if "failure" in mixed:
        return f"{head}Not measured: {' '.join(mixed['failure'].split())[:300]}\n"
    rows = []
    for title, key in (("alone", "alone"), ("beside the large calls", "beside")):
        found = mixed[key]
        rows.append([title, f"{found['per second']:.0f}", f"{1e3 * found['p50']:.2f}", f"{1e3 * found['p99']:.2f}"])
    large = mixed["large calls"]
    told = f"Four clients of small calls, two of large ones, which made {large['calls']} calls of {large['p50']:.2f} s."
    return head + told + "\n\n" + _table(["small calls", "per second", "p50, ms", "p99, ms"], rows)


def _memory(memory: Mapping[str, Any]) -> str:
    head = f"## A Jacobian of four times the memory limit: {memory['title']}\n\n"
    limit = f"The limit is {memory['budget'] / 2**20:.0f} MiB."
    if "failure" in memory:
        return f"{head}{limit} Refused or failed: {' '.join(memory['failure'].split())[:300]}\n"
    grown = ", ".join(f"{name} {grown / 2**20:.0f} MiB" for name, grown in memory["growth"].items())
    right = "agrees with torch.func" if memory["agrees"] else "IS WRONG"
    return f"{head}{limit} Peak of resident memory above that before the call: {grown}. The result {right}.\n"


def _targets(results: Mapping[str, Any]) -> str:
    rows = [[each.title, each.bound, each.measured, each.verdict] for each in judge(results)]
    note = (
        "*farfunc* is the NumPy client over HTTP, except where a row says raw HTTP. A target whose words leave open\n"
        "what it is measured with has a row for each: the echo through farfunc's transport, httpx and raw HTTP; as a\n"
        "function of 2 ms one whose weights stay in the cache, which batching helps least, and one whose weights do\n"
        "not. The table of the parts of a small call says what lies between farfunc and the echo.\n\n"
    )
    return "## Targets\n\n" + note + _table(["target", "bound", "measured (quartiles)", ""], rows)


def _charts(results: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    groups = []
    for case in results["cases"]:
        base = per_round(case["ways"].get("eager"))
        found: dict[str, Spread | None] = {
            way: ratio(per_round(case["ways"].get(way)), base) for way in _BESIDE_EAGER if way != "raw"
        }
        groups.append(Group(case["title"], [Bar(TITLES[way], each.median) for way, each in found.items() if each]))
    title = "Time of a call ÷ local eager torch.func (left of the line is faster)"
    made = [("calls.svg", chart(title, "ratio, logarithmic", groups, line=1.0), title)]
    for load in results.get("concurrent", []):
        bars = []
        for name, run in load["runs"].items():
            found_rate = spread(rates(run))
            if found_rate:
                bars.append(Group(_run_title(name), [Bar("calls per second", found_rate.median)]))
        title = f"{load['clients']} concurrent clients: {load['title']}"
        made.append((f"load-{load['key']}.svg", chart(title, "calls per second, logarithmic", bars), title))
    return made
