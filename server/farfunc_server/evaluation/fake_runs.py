"""Runs on fake tensors, which have dtypes, shapes and strides and no memory, apart from all others.

Where an exception breaks off a dispatch on fake tensors, the frames in its traceback hold guards
of torch's dispatcher. A guard that is released late, by the garbage collector say, restores the
state of the thread as it was in the middle of that dispatch, and every evaluation after it goes
wrong. So such a run has a thread of its own, in which its frames die before it ends.
"""

from __future__ import annotations

import gc
import logging
import threading
import traceback
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from farfunc_protocol.graph import TensorType

from .tensors import TORCH_DTYPES

__all__ = ["Fakes", "OnDevice", "RunEnded", "empty", "run_apart"]

Result = TypeVar("Result")
Failure = TypeVar("Failure")

# A refused dry run is followed by the real one, whose error is the one to report.
logging.getLogger("torch._subclasses.fake_tensor").setLevel(logging.CRITICAL)


def run_apart(work: Callable[[], Result], explain: Callable[[Exception], Failure]) -> Result | Failure:
    """Do some work on fake tensors; returns its result, or what ``explain`` makes of its exception."""
    outcome: list[Result | Failure] = []

    def run() -> None:
        try:
            outcome.append(work())
            return
        except Exception as error:  # noqa: BLE001 - whatever it is, its frames must not outlive this thread
            failure = explain(error)
            for link in _chain(error):
                traceback.clear_frames(link.__traceback__)
                link.__traceback__ = link.__cause__ = link.__context__ = None
        gc.collect()  # the frames may stand in cycles
        outcome.append(failure)

    thread = threading.Thread(target=run, name="fake-run")
    thread.start()
    thread.join()
    return outcome[0]


def _chain(error: BaseException) -> list[BaseException]:
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
    """A tensor of a type, of the mode that is current."""
    return torch.empty([int(length) for length in type.shape], dtype=TORCH_DTYPES[type.dtype], device=device)


class Fakes(FakeTensorMode):
    """Fake tensors, without a stand-in for the GPUs that a CUDA build of torch looks for in vain.

    torch makes one for each thread that asks, and keeps using that of a thread that has ended:
    the second run would crash (torch 2.11). A worker has no fake tensors on a device that is not there.
    """

    @property
    def avoid_device_init(self) -> bool:
        return False


class RunEnded(Exception):
    """Enough was seen."""


class OnDevice(TorchDispatchMode):
    """Sees every call of an operator, below every transform.

    Parameters
    ----------
    device:
        Where the tensors are to be that torch makes itself. Its C++ knows a fake tensor by its storage, which
        is on meta, and that is where it makes the zeros of a missing tangent (under ``vmap(hessian(f))``, for
        one). In the real run they are on the device. They are zeros here, too: what is written down of this run
        must not read memory that nobody has written.
    most_calls:
        After how many calls the run ends with :class:`RunEnded`.

    Attributes
    ----------
    calls:
        How many it has seen.
    is_blind:
        Whether torch has made a tensor in such a way that is not known to be zeros.
    """

    def __init__(self, device: torch.device, most_calls: int) -> None:
        super().__init__()
        self.calls = 0
        self.is_blind = False
        self._device = device
        self._most_calls = most_calls

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.calls += 1
        if self.calls > self._most_calls:
            raise RunEnded(f"it makes more than {self._most_calls} calls of operators")
        args = [self._on_device(value) for value in args]
        kwargs = {name: self._on_device(value) for name, value in (kwargs or {}).items()}
        result = func(*args, **kwargs)
        self.saw(func, args, kwargs, result)
        return result

    def saw(self, func: Any, args: list[Any], kwargs: dict[str, Any], result: Any) -> None:
        """Called after each call."""

    def _on_device(self, value: Any) -> Any:
        if isinstance(value, torch.device):
            return self._device if value.type == "meta" else value
        if isinstance(value, torch.Tensor):
            if value.device.type != "meta":
                return value
            self.is_blind |= not value._is_zerotensor()
            lengths = [length if stride else 1 for length, stride in zip(value.shape, value.stride(), strict=True)]
            return torch.zeros(lengths, dtype=value.dtype, device=self._device).expand(value.shape)
        if isinstance(value, list | tuple):
            return [self._on_device(item) for item in value]
        return value
