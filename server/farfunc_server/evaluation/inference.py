"""What an evaluation would take, found without taking it: a dry run on fake tensors.

Fake tensors have dtypes, shapes and strides and no memory. The very callable that will run is
run on them once, transforms included, so nothing has to be modelled: a batching rule that
materialises a large intermediate is seen to do so.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.flop_counter import flop_registry

from farfunc_protocol.errors import FarfuncError, LimitExceeded
from farfunc_protocol.graph import TensorType

from .fake_runs import Fakes, OnDevice, empty, run_apart
from .lowering import EquationFailed
from .tensors import type_of

__all__ = ["Budget", "Inference", "infer"]

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
    calls:
        Calls of operators, so far as it came.
    failure:
        Why the run did not come to its end, and where.
    """

    outputs: tuple[TensorType, ...] | None
    peak_bytes: int
    operations: float
    calls: int
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
    meter = _Meter(budget, device)

    def run() -> Inference:
        with Fakes(allow_non_fake_inputs=True), meter:  # torch.func's own, in vmap(hessian)
            fake_leaves = [empty(type, device) for type in leaves]
            fake_captures = [empty(type, device) for type in captures]
            results = function(fake_leaves, fake_captures)
            return Inference(tuple(map(type_of, results)), meter.peak_bytes, meter.operations, meter.calls)

    def explain(error: Exception) -> Inference | FarfuncError:
        cause = error.error if isinstance(error, EquationFailed) else error
        if isinstance(cause, FarfuncError):
            return cause
        place = f"{error.where}: " if isinstance(error, EquationFailed) else ""
        failure = f"{place}{str(cause).strip()[:_LONGEST_FAILURE] or type(cause).__name__}"
        return Inference(None, meter.peak_bytes, meter.operations, meter.calls, failure)

    found = run_apart(run, explain)
    if isinstance(found, FarfuncError):
        raise found
    return found


class _Meter(OnDevice):
    """Counts the bytes of all storages alive, and the operations, below every transform."""

    def __init__(self, budget: Budget, device: torch.device) -> None:
        super().__init__(device, MAX_CALLS)
        self.peak_bytes = 0
        self.operations = 0.0
        self._budget = budget
        self._bytes = 0
        self._alive: dict[int, tuple[weakref.ref[Any], int]] = {}

    def saw(self, func: Any, args: list[Any], kwargs: dict[str, Any], result: Any) -> None:
        """Account for the result."""
        tensors = [item for item in _items(result) if isinstance(item, torch.Tensor)]
        formula = flop_registry.get(func._overloadpacket)
        if formula is None:
            self.operations += sum(tensor.numel() for tensor in tensors)
        else:
            self.operations += formula(*args, **kwargs, out_val=result)
        self.count(tensors)

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
