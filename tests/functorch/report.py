"""Write docs/functorch.md from the records that run.py left in build/functorch.

    python tests/functorch/report.py

A test is *meaningful* when left_out.py does not name it and torch's own transforms pass it on this machine: what is
skipped for want of a GPU or of torchvision, or marked by PyTorch as a known fault, shows nothing about ours.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import left_out
import suite
from fetch import BUILD, VERSION

PAGE = Path(__file__).resolve().parents[2] / "docs" / "functorch.md"
COLUMNS = {
    "farfunc": "farfunc",
    "make_fx": "make_fx stand-in",
}

PREAMBLE = """\
<!-- Written by `make functorch-tests`; edit tests/functorch/report.py instead. -->
# PyTorch's functorch tests

farfunc promises the same call and the same answer as `torch.func`. PyTorch's own tests of `torch.func` are the
yardstick: they are taken from PyTorch {version}'s source package and run, on the CPU with torch {torch}, as they
stand, with `jacfwd`, `jacrev`, `hessian`, `vmap`, `grad`, `grad_and_value`, `jvp`, `vjp`, `linearize`,
`functional_call` and `stack_module_state` replaced by farfunc's wherever a test names them.

`make functorch-tests` fetches the tests, runs them three times and writes this page: with torch's own transforms
(what those do not pass says nothing about ours), with farfunc's against a server, and with a stand-in that only
traces each call with `torch.fx`'s `make_fx` and runs the flat program in place, which shows how far plain tracing
carries. `meaningful` are the tests that torch's own transforms pass and that are not left out below.
"""


def load(name: str) -> dict[str, Any] | None:
    path = BUILD / f"{name}.json"
    return json.loads(path.read_text()) if path.is_file() else None


def table(rows: Iterable[Iterable[object]]) -> str:
    """A Markdown table; the first row is its head."""
    head, *body = ([str(cell).replace("|", "\\|") for cell in row] for row in rows)
    return "\n".join("| " + " | ".join(row) + " |" for row in (head, ["---"] * len(head), *body))


def page() -> str:
    baseline = load("torch")
    if baseline is None:
        raise SystemExit("no record of the baseline: run tests/functorch/run.py --transforms torch first")
    runs = {name: record for name in COLUMNS if (record := load(name)) is not None}
    results = {
        name: {each["test"]: each for each in record["outcomes"]}
        for name, record in {"torch": baseline, **runs}.items()
    }
    tests = list(results["torch"])
    counted = [test for test in tests if left_out.reason(test) is None]
    meaningful = [test for test in counted if results["torch"][test]["result"] == "passed"]

    def passes(run: str, test: str) -> bool:
        return test in results[run] and results[run][test]["result"] == "passed"

    def row(title: str, within: list[str]) -> list[object]:
        inside = set(within)
        ours = [test for test in meaningful if test in inside]
        left = len(inside.difference(counted))
        passed = [sum(passes(run, test) for test in ours) for run in runs]
        return [title, len(within), left, len(within) - left - len(ours), len(ours), *passed]

    def of_classes(names: Iterable[str]) -> list[str]:
        return [test for test in tests if test.partition(".")[0] in names]

    head = ["class", "tests", "left out", "not passed by torch", "meaningful", *(COLUMNS[run] for run in runs)]
    classes = [name for names in suite.FILES.values() for name in names]
    rows = [
        head,
        *(row(f"`{name}`", of_classes({name})) for name in classes),
        row("the transforms and their composition (the first nine)", of_classes(suite.CORE)),
        row("**all**", tests),
    ]
    parts = [PREAMBLE.format(version=VERSION, torch=baseline["torch"].partition("+")[0]), table(rows)]

    if "farfunc" in runs:
        failed = [test for test in meaningful if not passes("farfunc", test)]
        parts.append("\n## Not passed\n")
        said_by = [[f"`{test}`", said(results["farfunc"].get(test))] for test in failed]
        parts.append(table([["test", "what it said"], *said_by]) if failed else "None.")

    groups: dict[str, list[str]] = {}
    for pattern, why in left_out.LEFT_OUT.items():
        groups.setdefault(why, []).append(f"`{pattern}`")
    reasons = [left_out.reason(test) for test in tests]
    parts.append("\n## Left out\n")
    parts.append(
        table(
            [
                ["tests", "reason", "which"],
                *([reasons.count(why), why, ", ".join(patterns)] for why, patterns in groups.items()),
            ]
        )
    )
    if unchecked := {test for run in runs for test, each in results[run].items() if each["view_unchecked"]}:
        parts.append(
            f"\nIn {len(unchecked)} tests of `TestVmapOperators` that count, the values are compared, and the one "
            "assertion that the result lies in the argument's own memory (`check_view`) is not made."
        )
    return "\n".join(parts) + "\n"


def said(outcome: dict[str, Any] | None) -> str:
    if outcome is None:
        return "not run"
    return outcome["said"].partition("  To execute this test")[0][:200]


def main() -> int:
    text = page()
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(text)
    print(f"wrote {PAGE}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
