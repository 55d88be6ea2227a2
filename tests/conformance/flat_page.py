"""``docs/flat_programs.md``: what came of the flat programs, entry by entry where there is something to say."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from .compare import AGREE, CRASHED, LOCAL_FAILS, UNSUPPORTED, WRONG
from .page import table
from .workers import Result

__all__ = ["flat_page"]

_INTRODUCTION = """\
# Flat programs

A plan that is used again becomes one flat program ([architecture.md](architecture.md), "Plans"). It serves where it
has agreed with the plain one on real calls; that it does so on others is held here. This page is written by `python
tests/conformance/run.py --flat`, which `make conformance` calls: {samples} of PyTorch's operator database, flattened
as `f`, `jacrev(f)`, `jacfwd(f)`, `vmap(jacrev(f))` and, where there are several arguments, `vmap(jacrev(f))` with
some of them the same for all rows. Each program runs on several inputs, one of which holds NaN and infinity (but for
`prod`, where plain and flat programs were seen to differ in which of the two an element becomes), in memory full of
NaN; its results are compared with those of the plain program to the rounding of their dtype. So are those of slices,
put together. torch {version}, on the CPU.

- *agree*: the programs do.
- *unsupported*: at least one has no flat program, and runs the plain way; the others agree.
- *wrong*, *crashed*: another result; an error where the plain program has none.
- *nothing to compare*: the plain program fails.

The samples are programs here: each is counted once for every chain, and again for its slices.
"""


def flat_page(results: Sequence[Result], limit: int | None) -> str:
    """The whole page, of at most so many samples of each entry."""
    results = sorted(results, key=lambda result: result.name)
    known = {None: "all samples", 1: "the first sample of each entry"}
    samples = known.get(limit, f"up to {limit} samples of each entry")
    parts = [_INTRODUCTION.format(version=torch.__version__.partition("+")[0], samples=samples), table(results)]
    for kind, title in ((WRONG, "Wrong"), (CRASHED, "Crashed"), (UNSUPPORTED, "Plain"), (LOCAL_FAILS, "No comparison")):
        lines = [
            f"| `{result.name}` | {result.counts[AGREE]} | {result.counts[kind]} | {_reason(result, kind)} |"
            for result in results
            if result.counts[kind]
        ]
        if lines:
            head = ["| entry | agree | of this kind | the first of them |", "|---|---|---|---|"]
            parts.append("\n".join([f"\n## {title}\n", *head, *lines]))
    return "\n".join(parts) + "\n"


def _reason(result: Result, kind: str) -> str:
    return result.reasons.get(kind, "").replace("|", "\\|")
