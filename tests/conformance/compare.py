"""One case, computed by torch.func and by farfunc, up to the transport: the client's own transforms trace and write to
bytes; these are read, validated, lowered and differentiated by the server's own code.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils._pytree import tree_leaves

from farfunc_protocol.errors import FarfuncError, TraceError
from support.evaluators import InProcess

from .cases import SEED, Case

__all__ = ["AGREE", "CRASHED", "KINDS", "LOCAL_FAILS", "UNSUPPORTED", "WRONG", "Outcome", "compare"]

AGREE, UNSUPPORTED, WRONG, CRASHED, LOCAL_FAILS = "agree", "unsupported", "wrong", "crashed", "local fails"
KINDS = (CRASHED, WRONG, UNSUPPORTED, AGREE, LOCAL_FAILS)
"""The worst first: an entry is what its worst case is."""

_REFUSALS = (FarfuncError, RuntimeError, ValueError, TypeError, IndexError)
"""What may be raised where local torch.func refuses, too; torch itself finds some of its errors during a trace."""

_GUARDED = "random_samples must be at least 0"
"""A server refuses operands with which torch's kernel would read memory out of bounds; one sample has them."""

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
    counted, refusal = 0, ""
    remote = InProcess()
    for name in ("jacrev", "jacfwd") if case.forward else ("jacrev",):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            expected = _attempt(lambda name=name: _transform(torch.func, name, case))
            given = _attempt(lambda name=name: _transform(remote, name, case))
        if isinstance(expected, Exception):
            refusal = refusal or _shown(expected)
            if isinstance(given, Exception) and not isinstance(given, _REFUSALS):
                return Outcome(CRASHED, f"{name}: {_shown(given)}")
            continue
        counted += 1
        if isinstance(given, Exception):
            refused = isinstance(given, TraceError) or _GUARDED in str(given)
            return Outcome(UNSUPPORTED if refused else CRASHED, _shown(given))
        difference = _difference(expected, given)
        if difference:
            return Outcome(WRONG, f"{name}: {difference}")
    return Outcome(AGREE) if counted else Outcome(LOCAL_FAILS, refusal)


def _transform(transforms: Any, name: str, case: Case) -> list[torch.Tensor]:
    """The Jacobians, and the arguments as the function has left them."""
    torch.manual_seed(SEED)
    arguments = [argument.clone() for argument in case.arguments]
    options = {"randomness": "same"} if name == "jacfwd" else {}
    transformed = getattr(transforms, name)(case.function, case.differentiated, **options)
    return [*tree_leaves(transformed(*arguments)), *arguments]


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
