"""One case, computed locally by torch.func and remotely, up to the transport: traced, written to bytes, read,
validated, lowered and differentiated by the server's own code.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils._pytree import tree_leaves

from farfunc_protocol.errors import FarfuncError, TraceError
from support.local_and_remote import evaluate, traced, travelled

from .cases import SEED, Case

__all__ = ["AGREE", "CRASHED", "KINDS", "LOCAL_FAILS", "UNSUPPORTED", "WRONG", "Outcome", "compare"]

AGREE, UNSUPPORTED, WRONG, CRASHED, LOCAL_FAILS = "agree", "unsupported", "wrong", "crashed", "local fails"
KINDS = (CRASHED, WRONG, UNSUPPORTED, AGREE, LOCAL_FAILS)
"""The worst first: an entry is what its worst case is."""

_TOLERANCE = {torch.float64: 1e-7, torch.float32: 1e-4}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a case.

    Attributes
    ----------
    kind:
        ``agree``; ``unsupported``: a typed error; ``wrong``: another result; ``crashed``: any other error;
        ``local fails``: nothing to compare with, for torch.func itself refuses.
    reason:
        The error or the difference.
    closed_over:
        Agrees where indices and masks are constants, for as arguments they would decide about shapes.
    """

    kind: str
    reason: str = ""
    closed_over: bool = False


def compare(case: Case) -> Outcome:
    """Compare jacrev, and jacfwd where torch says that there is one."""
    outcome = _compare(case)
    if outcome.kind == LOCAL_FAILS and len(case.differentiated) > 1:
        # Torch may differentiate by the operator's first argument alone: a loss, but not by its target.
        outcome = _compare(case.by_first())
    if outcome.kind == UNSUPPORTED and len(case.differentiated) < len(case.arguments):
        retried = _compare(case.with_constants())
        if retried.kind != UNSUPPORTED:
            return Outcome(retried.kind, retried.reason, closed_over=True)
    return outcome


def _compare(case: Case) -> Outcome:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        transforms = ["jacrev", "jacfwd"] if case.forward else ["jacrev"]
        local = {name: _attempt(lambda name=name: _locally(name, case)) for name in transforms}
        try:
            torch.manual_seed(SEED)
            function = travelled(traced(case.function, *case.arguments))
        except FarfuncError as error:
            if all(isinstance(result, Exception) for result in local.values()):
                return Outcome(LOCAL_FAILS, _shown(local["jacrev"]))
            kind = UNSUPPORTED if isinstance(error, TraceError) else CRASHED
            return Outcome(kind, _shown(error))
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the finding
            if all(isinstance(result, Exception) for result in local.values()):
                return Outcome(LOCAL_FAILS, _shown(local["jacrev"]))
            return Outcome(CRASHED, _shown(error))
        counted = 0
        for name, expected in local.items():
            remote = _attempt(
                lambda name=name: evaluate(function, name, case.arguments, case.differentiated, seed=SEED)
            )
            if isinstance(expected, Exception):
                if isinstance(remote, Exception) and not isinstance(remote, FarfuncError):
                    return Outcome(CRASHED, f"{name}: {_shown(remote)}")
                continue
            counted += 1
            if isinstance(remote, Exception):
                return Outcome(CRASHED, f"{name}: {_shown(remote)}")
            difference = _difference(expected, remote)
            if difference:
                return Outcome(WRONG, f"{name}: {difference}")
    return Outcome(AGREE) if counted else Outcome(LOCAL_FAILS, _shown(local["jacrev"]))


def _locally(name: str, case: Case) -> list[torch.Tensor]:
    torch.manual_seed(SEED)
    options = {"randomness": "same"} if name == "jacfwd" else {}
    transformed = getattr(torch.func, name)(case.function, case.differentiated, **options)
    return tree_leaves(transformed(*case.arguments))


def _attempt(call: Callable[[], Any]) -> Any:
    try:
        return call()
    except Exception as error:  # noqa: BLE001 - whatever it is, it is the finding
        return error


def _difference(expected: list[torch.Tensor], given: list[torch.Tensor]) -> str | None:
    if len(expected) != len(given):
        return f"{len(given)} results instead of {len(expected)}"
    for number, (left, right) in enumerate(zip(expected, given, strict=True)):
        if left.dtype != right.dtype or left.shape != right.shape:
            return f"result {number} is {right.dtype}{list(right.shape)}, not {left.dtype}{list(left.shape)}"
        tolerance = _TOLERANCE.get(left.dtype, 2e-2)
        left = left.detach()
        if not torch.allclose(left, right, rtol=tolerance, atol=tolerance, equal_nan=True):
            return f"result {number} differs by up to {(left - right).abs().nan_to_num().max().item():.2g}"
    return None


def _shown(error: Exception) -> str:
    first = str(error).strip().partition("\n")[0]
    return f"{type(error).__name__}: {first[:300]}"
