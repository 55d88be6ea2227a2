"""``docs/operators.md``: what the conformance run found, entry by entry where there is something to say."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import torch

from farfunc_protocol.ops import DECOMPOSED, EXCLUDED, OPS

from .compare import AGREE, CRASHED, KINDS, LOCAL_FAILS, UNSUPPORTED, WRONG
from .workers import Result

__all__ = ["core_operators", "kind_of", "page", "table"]

_INTRODUCTION = """\
# Operators

A function travels as a graph of torch's own operators (ATen, above autograd). The {rows} rows of the op table are the
operators that a graph may hold; what a function calls beyond them is written in terms of them as it is traced, or
refused by an error that names the line.

This page is written by `make conformance`: for each entry of PyTorch's operator database that supports autograd, every
float64 sample call (another dtype where the entry has no float64) is differentiated by `farfunc.jacrev`, and by
`farfunc.jacfwd` where the database says that forward mode is supported, with respect to all floating-point tensors of
the call at once, or to its first where torch knows no more: traced, written to bytes, read, validated, lowered and
evaluated by the server's code. The Jacobians, and the arguments as the call leaves them, are compared with those of
local `torch.func`. torch {version}, on the CPU.

- *agree*: every sample agrees to the rounding of its dtype. In {closed_over} samples, indices, masks or lengths that
  decide about a shape are constants of the function, not arguments.
- *unsupported*: at least one sample is refused by a typed error that names the user's line and the way out; the others
  agree.
- *wrong*, *crashed*: another result; any other error, or none for half an hour.
- *nothing to compare*: local `torch.func` refuses every sample, or none has a dense floating-point tensor.

Complex tensors go in and come out as pairs of real numbers, for `jacrev` and `jacfwd` take real functions. The Jacobian
of an argument of more than 5,000 elements is contracted with a fixed cotangent. Random operators draw the same numbers
on both sides, by the same seed.
"""


def kind_of(result: Result) -> str:
    """The kind of an entry: that of its worst case."""
    return next((kind for kind in KINDS if result.counts[kind]), LOCAL_FAILS)


def table(results: Iterable[Result]) -> str:
    """The counts, as a table of Markdown."""
    results = list(results)
    counts = Counter(map(kind_of, results))
    cases = sum((result.counts for result in results), Counter())
    lines = ["| | entries | samples |", "|---|---|---|"]
    for kind in (AGREE, UNSUPPORTED, WRONG, CRASHED, LOCAL_FAILS):
        label = "nothing to compare" if kind == LOCAL_FAILS else kind
        lines.append(f"| {label} | {counts[kind]} | {cases[kind]} |")
    lines.append(f"| all | {len(results)} | {cases.total()} |")
    return "\n".join(lines)


def page(results: Sequence[Result]) -> str:
    """The whole page."""
    results = sorted(results, key=lambda result: result.name)
    parts = [
        _INTRODUCTION.format(
            rows=len(OPS),
            version=torch.__version__.partition("+")[0],
            closed_over=sum(result.closed_over for result in results),
        ),
        table(results),
    ]
    for kind, title in (
        (WRONG, "Wrong"),
        (CRASHED, "Crashed"),
        (UNSUPPORTED, "Unsupported"),
        (LOCAL_FAILS, "Nothing to compare"),
    ):
        chosen = [result for result in results if kind_of(result) == kind]
        if chosen:
            parts.append(f"\n## {title}\n\n{_reasons(chosen, kind)}")
    parts.append(f"\n## The core operators of ATen\n\n{_core()}")
    return "\n".join(parts) + "\n"


def _reasons(results: Sequence[Result], kind: str) -> str:
    lines = ["| entry | samples that agree | reason |", "|---|---|---|"]
    for result in results:
        reason = result.reasons.get(kind, "its samples hold sparse tensors only").replace("|", "\\|")
        agree, counted = result.counts[AGREE], result.counts.total() - result.counts[LOCAL_FAILS]
        lines.append(f"| `{result.name}` | {agree} of {counted} | {reason} |")
    return "\n".join(lines)


def core_operators() -> list[str]:
    """Names of the functional operators that torch tags ``core``, as rows are named."""
    found = []
    for name in torch._C._jit_get_all_schemas():
        if not name.name.startswith("aten::"):
            continue
        packet = getattr(torch.ops.aten, name.name.removeprefix("aten::"))
        overload = getattr(packet, name.overload_name or "default")
        if torch.Tag.core in overload.tags:
            short = name.name.removeprefix("aten::")
            found.append(f"{short}.{name.overload_name}" if name.overload_name else short)
    return sorted(set(found))


def _core() -> str:
    names = core_operators()
    rows = [name for name in names if name in OPS]
    reached = [name for name in names if name not in OPS and name in DECOMPOSED]
    excluded = [name for name in names if name not in OPS and name in EXCLUDED]
    missing = [name for name in names if name not in OPS and name not in DECOMPOSED and name not in EXCLUDED]
    lines = [
        f"torch tags {len(names)} operators `core`: {len(rows)} have a row, {len(reached)} are reached through others, "
        f"{len(excluded)} are left out{f', {len(missing)} are not accounted for' if missing else ''}.",
        "",
        "| operator | |",
        "|---|---|",
    ]
    lines += [f"| `{name}` | through {', '.join(f'`{step}`' for step in DECOMPOSED[name])} |" for name in reached]
    lines += [f"| `{name}` | left out: {EXCLUDED[name]} |" for name in excluded]
    lines += [f"| `{name}` | not accounted for |" for name in missing]
    return "\n".join(lines)
