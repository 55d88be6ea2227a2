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

A plan that is used again becomes one flat program (docs/architecture.md, "Plans"). It serves where it has agreed with
the plain one on real calls; that it does in general is held here. This page is written by `make conformance`: the
samples of PyTorch's operator database are flattened as `f`, `jacrev(f)`, `jacfwd(f)`, `vmap(jacrev(f))` and, where there
are several arguments, `vmap(jacrev(f))` with the same arguments for all rows. Each program runs on several inputs, in
memory full of NaN, and its results are compared with those of the plain program to the rounding of their dtype; so are
those of slices, put together. torch {version}, on the CPU.

- *agree*: the programs do.
- *unsupported*: at least one has no flat program, and runs the plain way; the others agree.
- *wrong*, *crashed*: another result; an error where the plain program has none.
- *nothing to compare*: the plain program fails.

The samples are programs here: each is counted once for every chain, and again for its slices.
"""


def flat_page(results: Sequence[Result]) -> str:
    """The whole page."""
    results = sorted(results, key=lambda result: result.name)
    parts = [_INTRODUCTION.format(version=torch.__version__.partition("+")[0]), table(results)]
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
