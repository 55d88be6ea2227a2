"""What torch raises, as errors of farfunc: its own words, with the place and the way out."""

from __future__ import annotations

import re

import torch

from farfunc_protocol.errors import EvaluationError, FarfuncError, ForwardModeUnsupported, LimitExceeded

from .lowering import EquationFailed

__all__ = ["as_farfunc_error"]

_CPP_BACKTRACE = re.compile(r"\n?(Exception raised from |C\+\+ CapturedTraceback:|frame #\d+:).*", re.DOTALL)
_FORWARD_AD = re.compile(r"Trying to use forward AD with (\S+) that does not support it")
_OUT_OF_MEMORY = re.compile(
    r"out of memory|can't allocate memory|not enough memory|std::bad_alloc|can't start new thread", re.IGNORECASE
)
_DEVICE_ASSERT = re.compile(r"device-side assert", re.IGNORECASE)
_REPORT = re.compile(r"\s*Please file an issue to PyTorch at \S+ so that we can prioritize .*", re.DOTALL)
_MAX_MESSAGE = 2_000

_REFUSALS = (
    RuntimeError,  # NotImplementedError and torch's own are subclasses
    ValueError,
    TypeError,
    IndexError,
    ArithmeticError,
    AssertionError,
)
"""What torch.func and operators raise about the request; anything else is a bug of ours."""


def as_farfunc_error(error: Exception) -> FarfuncError:
    """The error to answer with; an exception that is no fault of the request is raised again."""
    where = None
    if isinstance(error, EquationFailed):
        where, error = error.where, error.error
    if isinstance(error, FarfuncError):
        error.where = error.where or where
        return error
    message = _message(error)
    if isinstance(error, MemoryError | torch.OutOfMemoryError) or _OUT_OF_MEMORY.search(message):
        return LimitExceeded(
            "the device has not enough memory for this evaluation",
            where=where,
            remedy="use chunk_size for jacrev or vmap, send a smaller batch, or choose a larger device",
        )
    if isinstance(error, NotImplementedError) and (found := _FORWARD_AD.search(message)):
        return ForwardModeUnsupported(
            f"torch has no forward-mode derivative of {found[1]}: {message}",
            where=where,
            remedy="use jacrev or vjp (reverse mode) instead of jacfwd, jvp or hessian",
        )
    if _DEVICE_ASSERT.search(message):  # where it comes to light is not where it was
        return EvaluationError(
            "an operator met a value on the GPU that it does not take: an index out of range, as a rule",
            remedy="check indices and class numbers; a server with --devices cpu names the operator",
        )
    # Inside a graph whatever an operator raises is about its operands.
    if where is not None or isinstance(error, _REFUSALS):
        return EvaluationError(message, where=where)
    raise error


def _message(error: Exception) -> str:
    text = _REPORT.sub("", _CPP_BACKTRACE.sub("", str(error))).strip()
    if not text:
        text = f"torch raised {type(error).__name__}"
    return text if len(text) <= _MAX_MESSAGE else text[: _MAX_MESSAGE - 3] + "..."
