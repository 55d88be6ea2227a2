"""The user's own line: the first frame on the stack that belongs to no library that farfunc knows of."""

from __future__ import annotations

import os
import sys
import traceback
from types import FrameType, TracebackType
from typing import Any

import numpy
import torch
import torch.utils.checkpoint

from .. import _tracing

__all__ = ["LosesDerivative", "user_line", "user_line_of"]


def _folder(file: str | None) -> str:
    return os.path.dirname(os.path.abspath(file or "")) + os.sep


_CLIENT = os.path.dirname(_folder(__file__).rstrip(os.sep)) + os.sep
_STANDARD_LIBRARY = _folder(os.__file__)
_LIBRARIES = (_folder(torch.__file__), _folder(numpy.__file__), _CLIENT, "<frozen ", "<__array_function__")
_APPLY = torch.autograd.Function.apply.__func__.__code__  # pyright: ignore[reportAttributeAccessIssue]
_FUNCTIONAL = torch.autograd.functional.__file__
_HOOKED = next(
    code for code in torch.nn.Module._call_impl.__code__.co_consts if getattr(code, "co_name", None) == "inner"
)
"""How a module with hooks is called; one without takes a short cut."""
_TRACE = _tracing.trace.__code__
_CHECKPOINT = getattr(torch.utils.checkpoint, "_NoopSaveInputs", None)
"""torch 2.11's way for a checkpoint to keep what it is given; nothing is ever differentiated through it."""

_is_library: dict[str, bool] = {}
"""By file name; a trace asks for each frame of each operator."""


class LosesDerivative(Exception):
    """The operator was called by something whose derivative is not that of its operators.

    Attributes
    ----------
    what:
        ``Function``, ``functional`` or ``hooks``.
    subject:
        The ``torch.autograd.Function``, the names of functions of ``torch.autograd.functional``, or the module.
    """

    def __init__(self, what: str, subject: Any) -> None:
        super().__init__(what)
        self.what, self.subject = what, subject


def user_line(*, keep_derivatives: bool = False) -> str | None:
    """The line that called, as ``arm.py:12, in forward``; None where there is no user's frame.

    Parameters
    ----------
    keep_derivatives:
        Look at the stack as far as the trace's beginning, and raise :class:`LosesDerivative` where it holds
        the call of a ``torch.autograd.Function`` and the like: torch says so nowhere else.
    """
    frame = sys._getframe(1)
    found = None
    while frame is not None:
        code = frame.f_code
        library = _is_library.get(code.co_filename)
        if library is None:
            library = _is_library[code.co_filename] = _belongs_to_library(code.co_filename)
        if not library and found is None:
            found = (code.co_filename, frame.f_lineno, code.co_name)
            if not keep_derivatives:
                break
        elif keep_derivatives:
            if code is _TRACE:
                break
            if code is _APPLY and frame.f_locals.get("cls") is not _CHECKPOINT:
                raise LosesDerivative("Function", frame.f_locals.get("cls"))
            if code is _HOOKED and _has_backward_hooks(frame.f_locals):
                raise LosesDerivative("hooks", frame.f_locals["self"])
            if code.co_filename == _FUNCTIONAL:
                raise LosesDerivative("functional", _names_in(_FUNCTIONAL, frame))
        frame = frame.f_back
    return None if found is None else _shown(*found)


def _names_in(file: str, frame: FrameType | None) -> list[str]:
    """The functions of one file on the stack, innermost first."""
    names = []
    while frame is not None:
        if frame.f_code.co_filename == file:
            names.append(frame.f_code.co_name)
        frame = frame.f_back
    return names


def _has_backward_hooks(names: dict[str, Any]) -> bool:
    return any(names.get(name) for name in ("full_backward_hooks", "non_full_backward_hooks", "backward_pre_hooks"))


def user_line_of(raised: TracebackType | None) -> str | None:
    """The user's innermost line in the traceback of an exception."""
    found = None
    for frame, line in traceback.walk_tb(raised):
        if not _belongs_to_library(frame.f_code.co_filename):
            found = (frame.f_code.co_filename, line, frame.f_code.co_name)
    return None if found is None else _shown(*found)


def _belongs_to_library(file: str) -> bool:
    if file.startswith(_LIBRARIES):
        return True
    return file.startswith(_STANDARD_LIBRARY) and "-packages" + os.sep not in file


def _shown(file: str, line: int | None, function: str) -> str:
    return f"{os.path.basename(file)}:{line}, in {function}"
