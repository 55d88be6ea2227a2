"""What an operator returns, without its elements: found by calling it on fake tensors."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import torch
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    UnsupportedOperatorException,
)
from torch.utils._pytree import tree_leaves

from .._tracing import current_trace
from .aliases import alias_of

if TYPE_CHECKING:
    from .trace import TorchTrace

__all__ = ["UNKNOWN_TO_FAKES", "fake_call", "fakes", "stand_in", "tensors_in"]

UNKNOWN_TO_FAKES = (DataDependentOutputException, DynamicOutputShapeException, UnsupportedOperatorException)
"""Raised where the result, or its shape, depends on elements."""


def _is_not_ours(record: logging.LogRecord) -> bool:
    return current_trace() is None


# torch logs the traceback of every operator that refuses fake tensors. In a trace its error is raised where the
# user's function is, and is all that there is to say; outside of one the log is the user's own.
logging.getLogger("torch._subclasses.fake_tensor").addFilter(_is_not_ours)


def fake_call(trace: TorchTrace, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The results without their elements: dtype, shape, strides, and what shares memory with what."""
    if "device" in kwargs and not _is_meta(kwargs["device"]):
        kwargs = {**kwargs, "device": trace.device}
    return func(*fakes(trace, args), **fakes(trace, kwargs))


def _is_meta(device: Any) -> bool:
    """Whether a new tensor is to have no elements: torch refuses to compute with it."""
    return device is not None and torch.device(device).type == "meta"


def fakes(trace: TorchTrace, given: Any) -> Any:
    """The arguments, with fakes in place of real tensors."""
    if isinstance(given, torch.Tensor):
        return stand_in(trace, given)
    if isinstance(given, dict):
        return {name: fakes(trace, item) for name, item in given.items()} if given else given
    if isinstance(given, list | tuple) and any(isinstance(item, torch.Tensor | list | tuple) for item in given):
        return type(given)([fakes(trace, item) for item in given])
    return given


def stand_in(trace: TorchTrace, tensor: torch.Tensor) -> torch.Tensor:
    """The fake of a tensor: itself, for one of the trace."""
    trace.alias(tensor)
    return tensor if alias_of(tensor) is not None else trace.constants.fake_of(tensor)


def tensors_in(args: Any, kwargs: Any) -> list[torch.Tensor]:
    """Every tensor in the arguments of a call."""
    return [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
