"""What torch takes on trust, checked.

A few of its operators read outside their operands, or crash, where others refuse: their callers
inside torch have checked before. Here callers are strangers. Each guard is given the operands
and attributes by their names in the schema, and raises what the operator should have raised. In
a dry run there are no values, and only shapes are checked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch._C._functorch import get_unwrapped, is_functorch_wrapped_tensor
from torch._subclasses.fake_tensor import FakeTensor

__all__ = ["GUARDS", "Guard"]

Guard = Callable[[Mapping[str, Any]], None]


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise RuntimeError(message)


def _batch_norm(given: Mapping[str, Any]) -> None:
    data = given["input"]
    _require(data.dim() >= 2, "batch_norm: the input needs a batch axis and a channel axis")
    for name in ("weight", "bias", "running_mean", "running_var"):
        tensor = given.get(name)
        _require(
            tensor is None or tuple(tensor.shape) == (data.shape[1],),
            f"batch_norm: {name} must have one element for each of {data.shape[1]} channels",
        )
    has_statistics = given.get("running_mean") is not None and given.get("running_var") is not None
    _require(given.get("training", False) or has_statistics, "running_mean must be defined in evaluation mode")


def _convolution_backward(given: Mapping[str, Any]) -> None:
    weight, spatial = given["weight"], given["weight"].dim() - 2
    _require(spatial >= 1, "weight should have at least three dimensions")
    _require(given["groups"] >= 1, f"expected groups to be greater than 0, but got groups={given['groups']}")
    for name in ("grad_output", "input"):
        _require(given[name].dim() == weight.dim(), f"{name} should have {weight.dim()} dimensions, as the weight has")
    for name in ("stride", "padding", "dilation", "output_padding"):
        _require(len(given[name]) in (1, spatial), f"expected {name} to have {spatial} elements")


def _ctc_loss(given: Mapping[str, Any]) -> None:
    classes = given["log_probs"].shape[-1] if given["log_probs"].dim() else 0
    _within(given["targets"], 0, classes - 1, "ctc_loss: targets")


def _segment_reduce(given: Mapping[str, Any]) -> None:
    lengths, offsets, data, axis = given["lengths"], given["offsets"], given["data"], given["axis"]
    _require(0 <= axis < data.dim(), "segment_reduce: axis is out of range")
    size = data.shape[axis]
    if offsets is not None:
        _within(offsets, 0, size, "segment_reduce: offsets")
        _require(_hold(offsets.diff(dim=-1) >= 0), "segment_reduce: offsets must not decrease")
    if lengths is not None:  # which unsafe=True takes on trust
        _require(_hold(lengths >= 0), "segment_reduce: lengths must not be negative")
        _require(_hold(lengths.sum(dim=-1) <= size), f"segment_reduce: lengths must not add up to more than {size}")


_LARGEST_SAMPLE = 1024.0
"""Windows start at ``int((i + s) * a) - int(s * a)``: within the input for every ``s`` that is not so large that
rounding, or the integer's range, spoils the difference. Only those of 0 to 1 make sense, and torch takes others."""


def _fractional_max_pool(given: Mapping[str, Any]) -> None:
    is_right = _hold(given["random_samples"].abs() <= _LARGEST_SAMPLE)
    _require(is_right, f"fractional_max_pool: random_samples must be numbers of at most {_LARGEST_SAMPLE:g} in size")


def _masked_index(given: Mapping[str, Any]) -> None:
    _require(any(index is not None for index in given["indices"]), "at least one index must be a tensor")


def _within(tensor: torch.Tensor, smallest: int, largest: int, what: str) -> None:
    _require(_hold((tensor >= smallest) & (tensor <= largest)), f"{what} must be from {smallest} to {largest}")


def _hold(conditions: torch.Tensor) -> bool:
    """Whether all hold, in every slice of the batches that the tensor stands in; a dry run has no values to tell."""
    while is_functorch_wrapped_tensor(conditions):
        conditions = get_unwrapped(conditions)
    return isinstance(conditions, FakeTensor) or bool(conditions.all())


GUARDS: Mapping[str, Guard] = {
    "native_batch_norm": _batch_norm,
    "_native_batch_norm_legit.no_stats": _batch_norm,
    "_native_batch_norm_legit_no_training": _batch_norm,
    "_native_batch_norm_legit_functional": _batch_norm,
    "_batch_norm_with_update_functional": lambda given: _batch_norm({**given, "training": True}),
    "convolution_backward": _convolution_backward,
    "ctc_loss.IntList": _ctc_loss,
    "ctc_loss.Tensor": _ctc_loss,
    "segment_reduce": _segment_reduce,
    "fractional_max_pool2d": _fractional_max_pool,
    "fractional_max_pool3d": _fractional_max_pool,
    "_unsafe_masked_index": _masked_index,
    "_unsafe_masked_index_put_accumulate": _masked_index,
}
"""By the names of the op table's rows."""
