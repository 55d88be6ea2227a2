"""Runs on fake tensors, which have dtypes, shapes and strides and no memory, apart from all others.

Where an exception breaks off a dispatch on fake tensors, the frames in its traceback hold guards
of torch's dispatcher. A guard that is released late, by the garbage collector say, restores the
state of the thread as it was in the middle of that dispatch, and every evaluation after it goes
wrong. So such a run has a thread of its own, in which its frames die before it ends.
"""

from __future__ import annotations

import gc
import threading
import traceback
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from farfunc_protocol.graph import TensorType

from .tensors import TORCH_DTYPES

__all__ = ["CallLimit", "TooManyCalls", "empty", "run_apart"]

Result = TypeVar("Result")


def run_apart(work: Callable[[], Result]) -> tuple[Result | None, str]:
    """Do some work on fake tensors; returns its result, or None and the exception in words."""
    outcome: list[tuple[Result | None, str]] = []

    def run() -> None:
        try:
            outcome.append((work(), ""))
            return
        except Exception as error:  # noqa: BLE001 - whatever it is, it must not outlive this thread
            text = f"{type(error).__name__}: {error}"
            for link in chain(error):
                traceback.clear_frames(link.__traceback__)
                link.__traceback__ = link.__cause__ = link.__context__ = None
        gc.collect()  # the frames may stand in cycles
        outcome.append((None, text))

    thread = threading.Thread(target=run, name="fake-run")
    thread.start()
    thread.join()
    return outcome[0]


def chain(error: BaseException) -> list[BaseException]:
    """An exception with those that led to it."""
    found: list[BaseException] = []
    pending: list[BaseException | None] = [error]
    while pending:
        link = pending.pop()
        if link is not None and link not in found:
            found.append(link)
            pending += [link.__cause__, link.__context__, getattr(link, "error", None)]
    return found


def empty(type: TensorType, device: torch.device) -> torch.Tensor:
    """A tensor of a type, for the mode that is current."""
    return torch.empty([int(length) for length in type.shape], dtype=TORCH_DTYPES[type.dtype], device=device)


class TooManyCalls(Exception):
    """A run was ended by its :class:`CallLimit`."""


class CallLimit(TorchDispatchMode):
    """Ends a run after so many calls of operators."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self._left = most
        self._most = most

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self._left -= 1
        if self._left < 0:
            raise TooManyCalls(f"it makes more than {self._most} calls of operators")
        return func(*args, **(kwargs or {}))
