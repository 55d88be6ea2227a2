"""The operators that need more than their row: each is handled by a function of the call."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch._subclasses.fake_tensor import FakeTensor

from .aliases import Alias, Memory, View, alias_of, attach, shares_memory, write
from .fakes import fake_call
from .indexing import index, index_put, masked_select, repeat_interleave
from .normalization import batch_norm, instance_norm, native_batch_norm
from .plans import plan_for
from .recording import record
from .refusals import refuse_dual, refuse_write
from .strided import as_strided, as_strided_copy, as_strided_scatter
from .values import python_value

if TYPE_CHECKING:
    from .trace import TorchTrace

__all__ = ["SPECIAL"]

aten = torch.ops.aten
Args = tuple[Any, ...]
Kwargs = dict[str, Any]


def _device(trace: TorchTrace, func: Any, args: Args, kwargs: Kwargs) -> Any:
    tensor = args[0]
    return tensor.fake_device if isinstance(tensor, FakeTensor) else func(*args, **kwargs)


def _lift_fresh(trace: TorchTrace, func: Any, args: Args, kwargs: Kwargs) -> Any:
    """``torch.tensor([1.0, 2.0])``: a new tensor, which the function may write to."""
    tensor = args[0]
    if alias_of(tensor) is not None:
        return tensor
    if not _owns_its_memory(tensor):
        trace.alias(tensor)
        return trace.constants.fake_of(tensor)
    return trace.constants.adopt(tensor)


def _owns_its_memory(tensor: torch.Tensor) -> bool:
    # A tensor made by torch.from_numpy shares memory with the array, which is not the trace's own.
    return tensor.untyped_storage().resizable()


def _same_elements(trace: TorchTrace, func: Any, args: Args, kwargs: Kwargs) -> Any:
    """``clone``, ``contiguous``, ``alias``: the same elements, in the same memory or other. It takes no equation."""
    result = fake_call(trace, func, args, kwargs)
    return _sharing(trace, func, args[0], result)


def _sharing(trace: TorchTrace, func: Any, source: torch.Tensor, result: torch.Tensor) -> torch.Tensor:
    alias = trace.alias(source)
    stand_in = source if alias_of(source) is not None else trace.constants.fake_of(source)
    if result is stand_in:
        return result
    value = trace.lower(source)
    if value.varies and not (trace.grad_enabled and torch._C._is_fwd_grad_enabled()):
        # Under no_grad() the copy has no derivative: it takes an equation that says so.
        value = trace.lower(record(trace, plan_for(aten.clone.default), (source,), {}))
    if shares_memory(result, stand_in):
        shape = tuple(result.shape)
        back = _back_to(tuple(source.shape))
        view = View(alias, lambda tensor: tensor.reshape(shape), back)
        attach(result, Alias(trace, value, alias.memory, view))
    else:
        attach(result, Alias(trace, value, Memory("local", trace.builder)))
    return result


def _back_to(shape: tuple[int, ...]) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    return lambda parent, new: new.reshape(shape)


def _convert(trace: TorchTrace, func: Any, args: Args, kwargs: Kwargs) -> Any:
    """``x.to(...)``: only the dtype matters to a graph."""
    named = _named(func, args, kwargs)
    source = named["self"]
    dtype = named["other"].dtype if isinstance(named.get("other"), torch.Tensor) else named.get("dtype")
    if not isinstance(source, torch.Tensor):  # torch.vmap converts the number of `x * 2` so
        return trace.run(lambda: torch.tensor(source, dtype=dtype))
    dtype = source.dtype if dtype is None else dtype
    copy = bool(named.get("copy", func is aten._to_copy.default))
    if dtype == source.dtype:
        if copy:
            return trace.call(aten.clone.default, (source,), {})
        trace.alias(source)
        return source if alias_of(source) is not None else trace.constants.fake_of(source)
    return record(trace, plan_for(aten.to.dtype), (source, dtype), {})


def _named(func: Any, args: Args, kwargs: Kwargs) -> dict[str, Any]:
    names = [argument.name for argument in func._schema.arguments]
    return {**dict(zip(names, args, strict=False)), **kwargs}


def _reshape(trace: TorchTrace, func: Any, args: Args, kwargs: Kwargs) -> Any:
    """A view holds for one layout in memory only; ``reshape`` also holds for what vmap and strides make of it."""
    result = fake_call(trace, func, args, kwargs)
    source = args[0]
    parent = trace.alias(source)
    if result is source:
        return result
    reshaped = record(trace, plan_for(aten.reshape.default), (source, tuple(result.shape)), {})
    # The strides are those of the call: reshape may copy where the view did not.
    value, shape = trace.lower(reshaped), tuple(result.shape)
    view = View(parent, lambda tensor: tensor.reshape(shape), _back_to(tuple(source.shape)))
    attach(result, Alias(trace, value, parent.memory, view))
    return result


def _slice(trace: TorchTrace, func: Any, args: Args, kwargs: Kwargs) -> Any:
    """Bounds as positions in the axis: an open end is written as 2**63 - 1, which slice_scatter takes literally."""
    named = {"dim": 0, "start": None, "end": None, "step": 1, **_named(func, args, kwargs)}
    source, dim = named["self"], named["dim"]
    if source.dim() == 0 or not -source.dim() <= dim < source.dim():
        return fake_call(trace, func, args, kwargs)  # torch's own error
    start, end, step = slice(named["start"], named["end"], named["step"]).indices(source.shape[dim])
    end = max(start, end)
    if (start, end, step) == (0, source.shape[dim], 1):
        return trace.call(aten.alias.default, (source,), {})
    return record(trace, plan_for(func), (source, dim % source.dim(), start, end, step), {})


def _select_scatter(trace: TorchTrace, func: Any, args: Args, kwargs: Kwargs) -> Any:
    """As a slice of length 1: the reverse mode of select_scatter is wrong under vmap (torch 2.13: it sums too much)."""
    tensor, source, dim, index = _named(func, args, kwargs).values()
    if not -tensor.dim() <= dim < tensor.dim() or not -tensor.shape[dim] <= index < tensor.shape[dim]:
        return fake_call(trace, func, args, kwargs)  # torch's own error
    index %= tensor.shape[dim]
    return trace.run(lambda: torch.slice_scatter(tensor, source.unsqueeze(dim), dim, index, index + 1))


def _conj(trace: TorchTrace, func: Any, args: Args, kwargs: Kwargs) -> Any:
    """Conjugation is done at once: a bit that says 'later' is nothing that a graph could carry.

    The tensor that the function sees has the bit, and its value is conjugated already.
    """
    source = args[0]
    if not source.is_complex() or func is aten._conj_physical.default:
        return trace.call(aten.conj_physical.default, args, {}) if source.is_complex() else source
    parent = trace.alias(source)
    result = fake_call(trace, aten._conj.default, args, {})
    conjugated = trace.call(aten.conj_physical.default, args, {})
    view = View(parent, torch.conj_physical, lambda old, new: torch.conj_physical(new))
    attach(result, Alias(trace, trace.lower(conjugated), parent.memory, view))
    return result


def _all_true(trace: TorchTrace, func: Any, args: Args, kwargs: Kwargs) -> Any:
    return trace.call(aten.all.default, args, {})


def _any_true(trace: TorchTrace, func: Any, args: Args, kwargs: Kwargs) -> Any:
    return trace.call(aten.any.default, args, {})


def _neg_view(trace: TorchTrace, func: Any, args: Args, kwargs: Kwargs) -> Any:
    return trace.call(aten.neg.default, args, {})


def _detach(trace: TorchTrace, func: Any, args: Args, kwargs: Kwargs) -> Any:
    source = args[0]
    if trace.lower(source).varies:
        return record(trace, plan_for(aten.detach.default), args, kwargs)
    return _same_elements(trace, aten.alias.default, args, kwargs)


def _detach_(trace: TorchTrace, func: Any, args: Args, kwargs: Kwargs) -> Any:
    tensor = args[0]
    alias = trace.alias(tensor)
    if trace.lower(tensor).varies:
        if alias.view is not None or alias.memory.origin != "local":
            refuse_write(func, "an argument or a view: only a tensor of its own can be detached in place")
        write(alias, trace.run(torch.detach, tensor))
    return tensor


def _empty(trace: TorchTrace, func: Any, args: Args, kwargs: Kwargs) -> Any:
    """``torch.empty``: any elements will do, and zeros are the same ones each time.

    Those that are made like a tensor are mapped where it is: ``torch.empty_like(x).exponential_()`` under vmap.
    """
    result = fake_call(trace, func, args, kwargs)
    shape, dtype = tuple(result.shape), {"dtype": result.dtype}
    if args and isinstance(args[0], torch.Tensor):
        zeros = trace.call(aten.new_zeros.default, (args[0], shape), dtype)
    else:
        zeros = trace.call(aten.zeros.default, (shape,), dtype)
    attach(result, Alias(trace, trace.lower(zeros), Memory("local", trace.builder)))
    return result


def _resolved(trace: TorchTrace, func: Any, args: Args, kwargs: Kwargs) -> Any:
    """What an operator returned with a bit that says 'conjugate later': done at once."""
    return record(trace, plan_for(func), args, kwargs) if args[0].is_conj() or args[0].is_neg() else args[0]


def _dual(trace: TorchTrace, func: Any, args: Args, kwargs: Kwargs) -> Any:
    refuse_dual(func)


SPECIAL: dict[Any, Callable[[TorchTrace, Any, Args, Kwargs], Any]] = {
    torch.ops.prim.device.default: _device,
    aten.item.default: python_value,
    aten._local_scalar_dense.default: python_value,
    aten.is_nonzero.default: python_value,
    aten.equal.default: python_value,
    aten.allclose.default: python_value,
    aten.lift_fresh.default: _lift_fresh,
    aten.lift_fresh_copy.default: _lift_fresh,
    aten.lift.default: _lift_fresh,
    aten.clone.default: _same_elements,
    aten.contiguous.default: _same_elements,
    aten.alias.default: _same_elements,
    aten.resolve_conj.default: _resolved,
    aten.resolve_neg.default: _resolved,
    aten.to.dtype: _convert,
    aten.to.dtype_layout: _convert,
    aten.to.device: _convert,
    aten.to.other: _convert,
    aten._to_copy.default: _convert,
    aten.type_as.default: _convert,
    aten.view.default: _reshape,
    aten._unsafe_view.default: _reshape,
    aten._reshape_alias.default: _reshape,
    aten.view_as.default: _reshape,
    aten.slice.Tensor: _slice,
    aten.select_scatter.default: _select_scatter,
    aten.conj.default: _conj,
    aten._conj.default: _conj,
    aten._conj_physical.default: _conj,
    aten._neg_view.default: _neg_view,
    aten._is_all_true.default: _all_true,
    aten._is_any_true.default: _any_true,
    aten.detach.default: _detach,
    aten.detach_.default: _detach_,
    aten.empty.memory_format: _empty,
    aten.empty_strided.default: _empty,
    aten.empty_permuted.default: _empty,
    aten.empty_like.default: _empty,
    aten.new_empty.default: _empty,
    aten.new_empty_strided.default: _empty,
    aten._efficientzerotensor.default: _empty,
    aten.as_strided.default: as_strided,
    aten.as_strided_copy.default: as_strided_copy,
    aten.as_strided_scatter.default: as_strided_scatter,
    aten.batch_norm.default: batch_norm,
    aten.instance_norm.default: instance_norm,
    aten._native_batch_norm_legit.default: native_batch_norm,
    aten._batch_norm_with_update.default: native_batch_norm,
    aten.index.Tensor: index,
    aten.index_put.default: index_put,
    aten.masked_select.default: masked_select,
    aten.repeat_interleave.self_Tensor: repeat_interleave,
    aten._fw_primal.default: _dual,
    aten._make_dual.default: _dual,
    aten._unpack_dual.default: _dual,
}
