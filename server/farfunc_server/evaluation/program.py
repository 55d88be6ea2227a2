"""A function lowered under one chain of transforms: torch.func's own way of computing it."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from farfunc_protocol.graph import Function
from farfunc_protocol.transforms import FlatTransform

from ..batch_form import MOST_ROWS
from .lowering import lower
from .tensors import to_tensor
from .transforms import FlatCallable, transformed

__all__ = ["Constants", "Program"]


class Constants:
    """A function's constants on a device: one copy for all of its programs.

    Attributes
    ----------
    tensors:
        By capture; None for those that come with each call.
    bytes:
        Their memory.
    """

    def __init__(self, function: Function, device: torch.device) -> None:
        self.tensors = tuple(None if array is None else to_tensor(array, device) for array in function.constants)
        self.bytes = sum(tensor.nbytes for tensor in self.tensors if tensor is not None)


class Program:
    """A function lowered under one chain of transforms.

    Attributes
    ----------
    function:
        What is evaluated.
    chain:
        The transforms, outermost first.
    lowered:
        The graph that runs.
    shared:
        The function's constants, which are other programs' as well.
    constants:
        The same as tensors; None for captures that come with each call.
    inputs, outputs:
        How many leaves the outermost transform takes, and how many it returns.
    identity:
        The function's identity, empty where it has none.
    why_alone:
        Why its calls are not put together any more.
    most_together:
        How many of its calls are put together at most: as many as there is memory for.
    wanted:
        How often it was to take so many rows, where it stands for calls put together.
    slicings:
        How its calls are evaluated in slices (:mod:`.slices`), by the types of arguments and captures; None for
        calls of which it was found that they are not.
    bytes:
        About the memory of the graph.
    """

    def __init__(
        self,
        function: Function,
        chain: Sequence[FlatTransform],
        device: torch.device,
        identity: str = "",
        shared: Constants | None = None,
    ) -> None:
        self.identity = identity
        self.why_alone: str | None = None
        self.most_together = MOST_ROWS
        self.wanted: dict[int, int] = {}
        self.slicings: dict[Any, Any] = {}
        self.function = function
        self.chain = tuple(chain)
        self.lowered = lower(function.graph, device)
        self.shared = Constants(function, device) if shared is None else shared
        self.constants = self.shared.tensors
        bound = self._bind(())
        self.inputs, self.outputs = bound.inputs, bound.outputs
        self.bytes = 1024 * sum(1 for _ in function.graph.walk())

    @property
    def is_random(self) -> bool:
        """Whether it draws random numbers."""
        return self.lowered.is_random

    def run(self, leaves: Sequence[torch.Tensor], captures: Sequence[torch.Tensor]) -> tuple[torch.Tensor, ...]:
        """Evaluate."""
        with _determinate():
            return self._bind(captures).function(*leaves)

    def check(self, leaves: Sequence[torch.Tensor], captures: Sequence[torch.Tensor]) -> tuple[torch.Tensor, ...]:
        """Evaluate, and raise InvalidRequest first if the function's own arguments have not their types."""
        with _determinate():
            return self._bind(captures, check=True).function(*leaves)

    def _bind(self, captures: Sequence[torch.Tensor], *, check: bool = False) -> FlatCallable:
        """The transformed function, its captures closed over."""

        def function(*leaves: torch.Tensor) -> tuple[torch.Tensor, ...]:
            if check:
                self.lowered.check(leaves)
            return self.lowered(leaves, captures)

        graph = self.lowered.graph
        callable_ = FlatCallable(function, len(graph.inputs), len(graph.outputs))
        for flat in reversed(self.chain):
            callable_ = transformed(flat, callable_)
        return callable_


@contextlib.contextmanager
def _determinate() -> Iterator[None]:
    """One way of computing, whatever this process was told elsewhere.

    The fused attention kernels have neither forward mode nor batching rules; the math backend
    has both. Warnings of torch.func (a batching rule that falls back to a loop) have no reader here.
    """
    with warnings.catch_warnings(), sdpa_kernel(SDPBackend.MATH):
        warnings.simplefilter("ignore")
        yield
