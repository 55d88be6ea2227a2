"""Writes: ``x.add_(y)`` and ``torch.add(x, y, out=z)`` compute their functional counterpart, and write the result."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch

from farfunc_protocol.builder import Value

from .aliases import Alias, Memory, View, attach, write
from .location import user_line
from .plans import decomposition_of, find_overload
from .refusals import refuse_operator, refuse_write
from .views import make_view

if TYPE_CHECKING:
    from .trace import TorchTrace

__all__ = ["has_derivative", "run_write", "with_derivative_of", "write_tensor"]

aten = torch.ops.aten

_METADATA = {
    "squeeze_", "unsqueeze_", "t_", "transpose_", "swapaxes_", "swapdims_",
}  # fmt: skip
"""They give the tensor itself another shape, and write nothing."""

_REFUSED = {
    "set_": "gives a tensor other memory",
    "set_data": "gives a tensor other memory",
    "resize_": "gives a tensor another size",
    "resize_as_": "gives a tensor another size",
    "as_strided_": "gives a tensor other strides",
    "sparse_resize_": "gives a tensor another size",
}


def run_write(trace: TorchTrace, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """An operator that writes to some of its arguments."""
    name = func._opname
    if name in _REFUSED:
        refuse_operator(f"{func} {_REFUSED[name]}, which values do not have", "make a new tensor instead")
    if name in _METADATA:
        return _change_shape(trace, func, args, kwargs)
    written = [argument.name for argument in func._schema.arguments if argument.alias_info and argument.is_write]
    outs = [argument for argument in func._schema.arguments if argument.name in written and argument.is_out]
    if outs and len(outs) == len(written):
        return _run_out(trace, func, args, kwargs, written)
    if written != ["self"] or not args:
        return _decomposed(trace, func, args, kwargs)
    if func is aten.copy_.default and _same_place(trace, args[0], args[1]):
        return args[0]  # `x[1:3] += y` adds in place, then assigns the view to itself
    functional = _COUNTERPARTS.get(func) or _functional(func)
    if functional is None:
        return _decomposed(trace, func, args, kwargs)
    target = args[0]
    check_writable(trace, target, func)
    result = trace.run(functional, *args, **kwargs)
    if tuple(result.shape) != tuple(target.shape):
        raise RuntimeError(
            f"output with shape {list(target.shape)} doesn't match the broadcast shape {list(result.shape)}"
        )
    write_tensor(trace, target, result, func)
    return target


def write_tensor(trace: TorchTrace, target: torch.Tensor, result: torch.Tensor, func: Any) -> None:
    """Write all elements of a tensor, converted to its dtype."""
    if result.dtype != target.dtype:
        if not torch.can_cast(result.dtype, target.dtype):
            raise RuntimeError(
                f"result type {_title(result.dtype)} can't be cast to the desired output type {_title(target.dtype)}"
            )
        result = trace.run(result.to, target.dtype)
    alias = check_writable(trace, target, func)
    is_seen = trace.grad_enabled and not alias.is_detached
    if is_seen and alias.memory.origin == "argument" and alias.memory.first_write is None:
        alias.memory.first_write = user_line(), alias.view is not None
    if trace.grad_enabled or not _has_derivative(alias):
        reason = write(alias, result)
    else:
        base = alias.base
        old = trace.lift_like(base.value)
        reason = write(alias, result)
        with torch.enable_grad():
            write(base, trace.run(with_derivative_of, old, trace.lift_like(base.value)))
    if reason is not None:
        refuse_write(func, reason)


def check_writable(trace: TorchTrace, tensor: torch.Tensor, func: Any) -> Alias:
    """Refuse what a graph cannot say: a write that is seen outside, or that autograd would not see."""
    alias = trace.alias(tensor)
    if alias.memory.origin == "captured":
        refuse_write(func, "captured")
    if alias.memory.builder is not trace.builder:
        refuse_write(func, "outer")
    if any(stride == 0 and size > 1 for size, stride in zip(tensor.shape, tensor.stride(), strict=True)):
        raise RuntimeError(
            "unsupported operation: more than one element of the written-to tensor refers to a single memory location. "
            "Please clone() the tensor before performing the operation."
        )
    if torch.is_inference_mode_enabled() and _has_derivative(alias):
        refuse_write(func, "inference")
    return alias


def with_derivative_of(old: torch.Tensor, new: torch.Tensor) -> torch.Tensor:
    """The elements of ``new``, and in reverse mode the derivative of ``old``.

    So autograd takes a write under no_grad(): reverse mode keeps the derivative of the old elements, forward mode
    does not know of no_grad().
    """
    with torch.no_grad():
        same = old.clone()
    # Zero, with the derivative of `old` in reverse mode and none in forward mode; but inf - inf is NaN.
    return new + (old - same).nan_to_num(0.0)


def _has_derivative(alias: Alias) -> bool:
    return has_derivative(alias.base.value)


def has_derivative(value: Value) -> bool:
    """Whether a value may have a derivative."""
    if not value.varies or not value.type.dtype.startswith(("float", "bfloat", "complex")):
        return False
    return value.equation is None or (value.equation.grad and value.equation.op != "detach")


def _functional(func: Any) -> Callable[..., torch.Tensor] | None:
    name = func._opname
    if name.startswith("__i") and name.endswith("__"):
        return find_overload(f"__{name[3:]}", func)
    return find_overload(name.removesuffix("_"), func) if name.endswith("_") else None


def _run_out(trace: TorchTrace, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], written: list[str]) -> Any:
    functional = find_overload(func._opname, func, skip=tuple(written))
    if functional is None:
        return _decomposed(trace, func, args, kwargs)
    targets = [kwargs[name] for name in written]
    results = trace.run(functional, *args, **{name: value for name, value in kwargs.items() if name not in written})
    for target, result in zip(targets, [results] if isinstance(results, torch.Tensor) else results, strict=True):
        if tuple(target.shape) == tuple(result.shape):
            write_tensor(trace, target, result, func)
            continue
        alias = check_writable(trace, target, func)
        if target.numel() or alias.view is not None:
            refuse_write(func, f"of shape {tuple(target.shape)}, and the result of shape {tuple(result.shape)}")
        # torch.empty(0) as `out` takes the shape of the result.
        with trace.mode.paused():
            target.resize_(result.shape)
        converted = trace.run(result.to, target.dtype)
        attach(target, Alias(trace, trace.lower(converted), Memory("local", trace.builder)))
    return targets[0] if len(targets) == 1 else tuple(targets)


def _change_shape(trace: TorchTrace, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The tensor becomes a view of what it was."""
    target = args[0]
    alias = trace.alias(target)
    if alias.memory.origin == "captured":
        refuse_write(func, "captured")
    functional: Any = _functional(func)
    # What it was stays the parent: an alias of its own, on a tensor of the same strides.
    before = torch.empty_strided(target.size(), target.stride(), dtype=target.dtype, device=target.device)
    attach(before, alias)
    after = trace.call(functional, (before, *args[1:]), kwargs)
    func(target, *args[1:], **kwargs)
    view: View | None = make_view(alias, before, functional, (before, *args[1:]), kwargs, target, None)
    attach(target, Alias(trace, trace.lower(after), alias.memory, view))
    return target


def _decomposed(trace: TorchTrace, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    if func._can_decompose() or decomposition_of(func) is not None:
        return trace.decompose(func, args, kwargs)
    refuse_operator(f"{func} writes in place, and has no functional counterpart in the op table")


def _copy(target: torch.Tensor, source: torch.Tensor, non_blocking: bool = False) -> torch.Tensor:
    # Any dtype may be copied into any other, unlike the results of arithmetic.
    source = source.to(target.dtype)
    return source if source.shape == target.shape else source.expand(target.shape)


def _same_place(trace: TorchTrace, target: torch.Tensor, source: torch.Tensor) -> bool:
    return (
        trace.alias(target).memory is trace.alias(source).memory
        and target.dtype == source.dtype
        and target.shape == source.shape
        and target.stride() == source.stride()
        and target.storage_offset() == source.storage_offset()
    )


def _fill_diagonal(target: torch.Tensor, value: Any, wrap: bool = False) -> torch.Tensor:
    shape = tuple(target.shape)
    step = sum(math.prod(shape[axis + 1 :]) for axis in range(len(shape)))
    # Of a tall matrix the diagonal starts again below the square, if it is to wrap.
    end = target.numel() if wrap or len(shape) != 2 else min(shape) * shape[1]
    positions = torch.arange(0, end, step)
    return target.reshape(-1).index_fill(0, positions, value).reshape(shape)


def _bernoulli(target: torch.Tensor, p: float = 0.5, *, generator: Any = None) -> torch.Tensor:
    # A number is a 0-d tensor to the server: vmap knows no randomness="same" for bernoulli.p.
    return aten.bernoulli.Tensor(target, torch.full((), p, dtype=torch.float64), generator=generator)


_COUNTERPARTS: dict[Any, Callable[..., torch.Tensor]] = {
    aten.copy_.default: _copy,
    aten.zero_.default: torch.zeros_like,
    aten.fill_.Scalar: torch.full_like,
    aten.fill_.Tensor: _copy,
    aten.fill_diagonal_.default: _fill_diagonal,
    aten.normal_.default: aten.normal_functional.default,
    aten.bernoulli_.float: _bernoulli,
}
"""Where the functional overload is no operator of ours, in plain torch."""


def _title(dtype: torch.dtype) -> str:
    names = {"float32": "Float", "float64": "Double", "int64": "Long", "int32": "Int", "bool": "Bool"}
    name = str(dtype).removeprefix("torch.")
    return names.get(name, name)
