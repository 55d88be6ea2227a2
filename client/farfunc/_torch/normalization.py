"""Batch and instance norm: in training their kernels write to the running statistics, which no schema says.

The results do not depend on the statistics then. So they are computed without them, and the statistics are
updated as the kernels do it: without a derivative.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from .inplace import check_writable, write_tensor
from .plans import plan_for
from .recording import record

if TYPE_CHECKING:
    from .trace import TorchTrace

__all__ = ["batch_norm", "instance_norm", "native_batch_norm"]

aten = torch.ops.aten
Args = tuple[Any, ...]
Kwargs = dict[str, Any]


def batch_norm(trace: TorchTrace, func: Any, args: Args, kwargs: Kwargs) -> Any:
    """``batch_norm(input, weight, bias, running_mean, running_var, training, momentum, eps, cudnn_enabled)``."""
    named = _named(func, args, kwargs)
    if not named["training"] or named["running_mean"] is None:
        return record(trace, plan_for(func), args, kwargs)
    return _without_statistics(trace, func, named, axes_kept=(1,))


def instance_norm(trace: TorchTrace, func: Any, args: Args, kwargs: Kwargs) -> Any:
    """``instance_norm(input, ..., running_mean, running_var, use_input_stats, momentum, eps, cudnn_enabled)``."""
    named = _named(func, args, kwargs)
    if not named["use_input_stats"] or named["running_mean"] is None:
        return record(trace, plan_for(func), args, kwargs)
    return _without_statistics(trace, func, named, axes_kept=(0, 1))


def native_batch_norm(trace: TorchTrace, func: Any, args: Args, kwargs: Kwargs) -> Any:
    """The kernels of batch norm themselves, which also return what their backward needs."""
    named = _named(func, args, kwargs)
    head = (named["input"], named["weight"], named["bias"])
    tail = (named["momentum"], named["eps"])
    if named.get("training", True):
        _check(trace, func, named)
        results = record(trace, plan_for(aten._native_batch_norm_legit.no_stats), (*head, True, *tail), {})
        _update(trace, func, named, axes_kept=(1,))
    else:
        statistics = (named["running_mean"], named["running_var"])
        results = record(
            trace, plan_for(aten._native_batch_norm_legit_no_training.default), (*head, *statistics, *tail), {}
        )
    if func is aten._batch_norm_with_update.default:
        results = (*results, trace.run(torch.zeros, 0, dtype=torch.uint8))  # memory for cuDNN
    return results


def _without_statistics(trace: TorchTrace, func: Any, named: dict[str, Any], axes_kept: tuple[int, ...]) -> Any:
    _check(trace, func, named)
    result = record(trace, plan_for(func), tuple({**named, "running_mean": None, "running_var": None}.values()), {})
    _update(trace, func, named, axes_kept)
    return result


def _check(trace: TorchTrace, func: Any, named: dict[str, Any]) -> None:
    for statistic in (named["running_mean"], named["running_var"]):
        if statistic is not None:
            check_writable(trace, statistic, func)


def _update(trace: TorchTrace, func: Any, named: dict[str, Any], axes_kept: tuple[int, ...]) -> None:
    data, momentum = named["input"], named["momentum"]
    if data.numel() == 0:
        return
    axes = [axis for axis in range(data.dim()) if axis not in axes_kept]

    def update(statistic: torch.Tensor | None, reduce: Any) -> None:
        if statistic is not None:
            # Of an instance norm, which has one number for each sample, the mean over the samples.
            now = reduce(data, axes).reshape(-1, data.shape[1]).mean(0).to(statistic.dtype)
            write_tensor(trace, statistic, statistic + momentum * (now - statistic), func)

    with torch.no_grad():
        trace.run(update, named["running_mean"], torch.mean)
        trace.run(update, named["running_var"], torch.var)


def _named(func: Any, args: Args, kwargs: Kwargs) -> dict[str, Any]:
    names = [argument.name for argument in func._schema.arguments]
    return {**dict(zip(names, args, strict=False)), **kwargs}
