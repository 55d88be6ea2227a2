"""What an evaluation would take, found without taking it: a dry run on fake tensors.

Fake tensors have dtypes, shapes and strides and no memory. The very callable that will run is
run on them once, transforms included, so nothing has to be modelled: a batching rule that
materialises a large intermediate is seen to do so.
"""

from __future__ import annotations

import gc
import logging
import threading
import traceback
import weakref
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from farfunc_protocol.errors import FarfuncError, LimitExceeded
from farfunc_protocol.graph import TensorType

from .lowering import EquationFailed
from .tensors import TORCH_DTYPES, type_of

__all__ = ["Budget", "Inference", "infer"]

# A refused dry run is followed by the real one, whose error is the one to report.
logging.getLogger("torch._subclasses.fake_tensor").setLevel(logging.CRITICAL)

MAX_CALLS = 10_000
"""A dry run ends after so many calls of operators, within a second: chunked transforms repeat
themselves, and the memory they take shows in the first chunks."""

_LONGEST_FAILURE = 500


@dataclass(frozen=True, slots=True)
class Budget:
    """What one evaluation may take.

    Attributes
    ----------
    memory_bytes:
        Tensors alive at one time, arguments and results included.
    operations:
        Scalar operations.
    """

    memory_bytes: int
    operations: float = 1e18


@dataclass(frozen=True, slots=True)
class Inference:
    """The findings of a dry run.

    Attributes
    ----------
    outputs:
        Types of the result leaves; None where the run did not come to its end: the real run will say why.
    peak_bytes:
        The most memory that was in use at one time, so far as the run came.
    operations:
        Scalar operations, so far as the run came: products by their formulas, one for each
        element of every other result.
    failure:
        Why the run did not come to its end, and where.
    """

    outputs: tuple[TensorType, ...] | None
    peak_bytes: int
    operations: float
    failure: str | None = None


def infer(
    function: Callable[..., Any],
    leaves: Sequence[TensorType],
    captures: Sequence[TensorType],
    device: torch.device,
    budget: Budget,
) -> Inference:
    """Run ``function(leaves, captures)`` on fake tensors.

    An operator that refuses its operands here would do so in the real run, at the same place;
    but some operators have no fake implementation, or one with a fault. So a failure is noted,
    not raised: only the budget is enforced.

    Raises
    ------
    LimitExceeded
        As soon as the run is seen to need more than the budget.
    InvalidRequest
        For leaves that do not fit the function.
    """
    outcome: list[Inference | FarfuncError] = []

    def run() -> None:
        outcome.append(_dry_run(function, leaves, captures, device, budget))

    thread = threading.Thread(target=run, name="dry-run")
    thread.start()
    thread.join()
    found = outcome[0]
    if isinstance(found, FarfuncError):
        raise found
    return found


def _dry_run(
    function: Callable[..., Any],
    leaves: Sequence[TensorType],
    captures: Sequence[TensorType],
    device: torch.device,
    budget: Budget,
) -> Inference | FarfuncError:
    """The dry run, in a thread that does nothing else and then ends.

    Where an exception breaks off a dispatch on fake tensors, the frames in its traceback hold
    guards of torch's dispatcher. A guard that is released late, by the garbage collector say,
    restores the state of the thread as it was in the middle of that dispatch, and every
    evaluation after it goes wrong. So such frames die here, before their thread does.
    """
    meter = _Meter(budget, device)
    try:
        with _Fakes(allow_non_fake_inputs=True), meter:  # torch.func's own, in vmap(hessian)
            fake_leaves = [_empty(type, device) for type in leaves]
            fake_captures = [_empty(type, device) for type in captures]
            results = function(fake_leaves, fake_captures)
            return Inference(tuple(type_of(result) for result in results), meter.peak_bytes, meter.operations)
    except Exception as error:  # noqa: BLE001 - whatever it is, the real run will say it with authority
        cause = error.error if isinstance(error, EquationFailed) else error
        place = f"{error.where}: " if isinstance(error, EquationFailed) else ""
        failure = f"{place}{str(cause).strip()[:_LONGEST_FAILURE] or type(cause).__name__}"
        incomplete = Inference(None, meter.peak_bytes, meter.operations, failure)
        answer = cause if isinstance(cause, FarfuncError) else incomplete
        for link in _chain(error):
            traceback.clear_frames(link.__traceback__)
            link.__traceback__ = link.__cause__ = link.__context__ = None
        del error, cause
    gc.collect()  # the frames may stand in cycles
    return answer


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


def _empty(type: TensorType, device: torch.device) -> torch.Tensor:
    return torch.empty([int(length) for length in type.shape], dtype=TORCH_DTYPES[type.dtype], device=device)


class _Fakes(FakeTensorMode):
    """Fake tensors, without a stand-in for the GPUs that a CUDA build of torch looks for in vain.

    torch makes one for each thread that asks, and keeps using that of a thread that has ended:
    the second dry run would crash (torch 2.11). A worker has no fake tensors on a device that is not there.
    """

    avoid_device_init = False


class _DryRunEnded(Exception):
    """Enough was seen."""


class _Meter(TorchDispatchMode):
    """Counts the bytes of all storages alive, and the operations, below every transform."""

    def __init__(self, budget: Budget, device: torch.device) -> None:
        super().__init__()
        self._device = device
        self.peak_bytes = 0
        self.operations = 0.0
        self._budget = budget
        self._calls = 0
        self._bytes = 0
        self._alive: dict[int, tuple[weakref.ref[Any], int]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self._calls += 1
        if self._calls > MAX_CALLS:
            raise _DryRunEnded(f"more than {MAX_CALLS} calls")
        args = [self._on_device(value) for value in args]
        kwargs = {name: self._on_device(value) for name, value in (kwargs or {}).items()}
        result = func(*args, **kwargs)
        tensors = [item for item in _items(result) if isinstance(item, torch.Tensor)]
        formula = flop_registry.get(func._overloadpacket)
        if formula is None:
            self.operations += sum(tensor.numel() for tensor in tensors)
        else:
            self.operations += formula(*args, **kwargs, out_val=result)
        self.count(tensors)
        return result

    def _on_device(self, value: Any) -> Any:
        """An operand of torch's own making, beside those of the evaluation.

        torch's C++ knows a fake tensor by its storage, which is on meta, and that is where it makes the
        zeros of a missing tangent (under ``vmap(hessian(f))``, for one). In the real run they are on the device.
        """
        if isinstance(value, torch.device):
            return self._device if value.type == "meta" else value
        if isinstance(value, torch.Tensor):
            if value.device.type != "meta":
                return value
            return torch.empty_strided(value.shape, value.stride(), dtype=value.dtype, device=self._device)
        if isinstance(value, list | tuple):
            return [self._on_device(item) for item in value]
        return value

    def count(self, tensors: Iterable[torch.Tensor]) -> None:
        """Add the storages that are new, and compare with the budget."""
        for tensor in tensors:
            storage = tensor.untyped_storage()
            key = storage._cdata
            if key in self._alive:
                continue
            size = storage.nbytes()
            self._alive[key] = (weakref.ref(storage, lambda _, key=key: self._release(key)), size)
            self._bytes += size
        self.peak_bytes = max(self.peak_bytes, self._bytes)
        if self.peak_bytes > self._budget.memory_bytes:
            raise LimitExceeded(
                f"the evaluation would take at least {_amount(self.peak_bytes)} of memory, and "
                f"{_amount(self._budget.memory_bytes)} are allowed",
                remedy="use chunk_size for jacrev or vmap, or send a smaller batch",
            )
        if self.operations > self._budget.operations:
            raise LimitExceeded(
                f"the evaluation would take at least {self.operations:.0e} operations, and "
                f"{self._budget.operations:.0e} are allowed",
                remedy="send a smaller batch, or ask the server's operator for a higher limit",
            )

    def _release(self, key: int) -> None:
        _, size = self._alive.pop(key)
        self._bytes -= size


def _items(result: Any) -> Iterable[Any]:
    return result if isinstance(result, tuple | list) else (result,)


def _amount(count: float) -> str:
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.4g} {unit}"
        count /= 1024
    return f"{count:.4g} TiB"
