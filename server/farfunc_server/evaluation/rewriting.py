"""What is the same for every row of a batch is computed once: rules that a flat program is written down by.

torch.func batches a function without asking what depends on the batch. A unit tangent is made once for every
row, a weight is multiplied with each row by itself, the derivative of an activation is broadcast as it happens
to lie in memory. While a program is traced every call of an operator passes through here, with the strides that its
operands will have; an operand that is expanded along a dimension (stride 0) is the same along it:

- a constant is one number, expanded;
- an elementwise operator, or one that writes a diagonal, computes along such a dimension once, and expands
  the result;
- a product of matrices for which one factor is shared is one product (:mod:`.products`);
- what is broadcast into a larger result is first put in the order in which that is walked through.

No rule looks at values, and none leaves out a multiplication by zero: NaN and infinities are where torch.func has
them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from .products import baddbmm, bmm, mm

__all__ = ["Rewriting"]

_aten = torch.ops.aten

_ORDER_RATIO = 4
"""An operand that is broadcast to so many times its size is worth copying in the order of the result."""

_ORDER_BYTES = 1 << 12

_CLONES = frozenset({_aten.clone.default, _aten._to_copy.default, _aten.contiguous.default})
"""Pointwise by their tags, but called for the layout of their results."""


class Rewriting(TorchDispatchMode):
    """Writes down what the rules make of each call; entered inside of what is traced."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        rule = _RULES.get(func)
        if rule is None and torch.Tag.pointwise in func.tags and _is_plain(func):
            return _elementwise(func, args, kwargs)
        result = NotImplemented if rule is None else rule(*args, **kwargs)
        return func(*args, **kwargs) if result is NotImplemented else result


def _is_plain(func: Any) -> bool:
    return (
        func not in _CLONES
        and not func._schema.is_mutable
        and torch.Tag.nondeterministic_seeded not in func.tags
        and len(func._schema.returns) == 1
    )


def _elementwise(func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    """An elementwise operator: once along the dimensions along which all operands are the same."""
    operands = [value for value in (*args, *kwargs.values()) if isinstance(value, torch.Tensor)]
    if not operands or any(isinstance(value, list | tuple) for value in args):
        return func(*args, **kwargs)
    shape = torch.broadcast_shapes(*(operand.shape for operand in operands))
    shared = _shared(shape, operands)

    def prepared(value: Any) -> Any:
        if not isinstance(value, torch.Tensor):
            return value
        return _first(value, shared) if shared else _in_order(value, shape, operands)

    result = func(*map(prepared, args), **{name: prepared(value) for name, value in kwargs.items()})
    return result.expand(shape) if shared else result


def _shared(shape: Sequence[int], operands: Sequence[torch.Tensor]) -> list[int]:
    """The dimensions of a result, counted from the end, along which all operands are the same; none of an empty one."""
    if 0 in shape:
        return []
    return [
        dim
        for dim in range(-len(shape), 0)
        if shape[dim] > 1 and all(-dim > o.dim() or o.shape[dim] == 1 or o.stride(dim) == 0 for o in operands)
    ]


def _first(operand: torch.Tensor, shared: Sequence[int]) -> torch.Tensor:
    for dim in shared:
        if -dim <= operand.dim() and operand.shape[dim] > 1:
            operand = operand.narrow(dim, 0, 1)
    return operand


def _in_order(operand: torch.Tensor, shape: Sequence[int], operands: Sequence[torch.Tensor]) -> torch.Tensor:
    """The operand, row by row in memory if it is broadcast into a much larger result that is."""
    size = operand.numel()
    total = 1
    for length in shape:
        total *= length
    if size * operand.element_size() < _ORDER_BYTES or total < _ORDER_RATIO * size or _is_in_order(operand):
        return operand
    large = [other for other in operands if other.numel() * _ORDER_RATIO > total]
    return operand.clone(memory_format=torch.contiguous_format) if all(map(_is_in_order, large)) else operand


def _is_in_order(tensor: torch.Tensor) -> bool:
    """Whether it lies row by row in memory, apart from dimensions along which it is expanded."""
    strides = [s for length, s in zip(tensor.shape, tensor.stride(), strict=True) if length > 1 and s]
    return strides == sorted(strides, reverse=True)


def _filled(shape: Sequence[int], value: complex, dtype: torch.dtype, device: torch.device) -> Any:
    if device.type == "meta":  # a fake tensor of C++'s own, see OnDevice
        return NotImplemented
    one = _aten.full.default([1] * len(shape), value, dtype=dtype, device=device)
    return one.expand(shape)


def _new(value: complex) -> Callable[..., Any]:
    def rule(like: torch.Tensor, size: Sequence[int] | None = None, **options: Any) -> Any:
        return _like(like, like.shape if size is None else size, value, options)

    return rule


def _new_full(like: torch.Tensor, size: Sequence[int], value: complex, **options: Any) -> Any:
    return _like(like, size, value, options)


def _full_like(like: torch.Tensor, value: complex, **options: Any) -> Any:
    return _like(like, like.shape, value, options)


def _like(like: torch.Tensor, size: Sequence[int], value: complex, options: dict[str, Any]) -> Any:
    if options.get("layout") not in (None, torch.strided) or options.get("memory_format") is not None:
        return NotImplemented
    return _filled(size, value, options.get("dtype") or like.dtype, options.get("device") or like.device)


def _fill(like: torch.Tensor, value: complex) -> Any:
    return _filled(like.shape, value, like.dtype, like.device)


def _copy(like: torch.Tensor, source: torch.Tensor, non_blocking: bool = False) -> Any:
    is_same = (like.shape, like.dtype, like.device) == (source.shape, source.dtype, source.device)
    return _aten.alias.default(source) if is_same else NotImplemented


def _tangent_zeros(tangent: torch.Tensor, primal: torch.Tensor, *, self_num_batch_dims: int = 0) -> Any:
    """Forward mode's zeros of a tangent that is missing: of the primal's shape, batched as the tangent is."""
    shape = (*tangent.shape[:self_num_batch_dims], *primal.shape)
    return _filled(shape, 0, tangent.dtype, tangent.device)


def _diagonal_scatter(
    base: torch.Tensor, source: torch.Tensor, offset: int = 0, dim1: int = 0, dim2: int = 1
) -> torch.Tensor:
    taken = (dim1 % base.dim(), dim2 % base.dim())
    rest = [dim for dim in range(base.dim()) if dim not in taken]  # the source's dimensions, before the diagonal
    return _written(_aten.diagonal_scatter.default, base, source, rest, offset, dim1, dim2)


def _select_scatter(base: torch.Tensor, source: torch.Tensor, dim: int, index: int) -> torch.Tensor:
    rest = [own for own in range(base.dim()) if own != dim % base.dim()]
    return _written(_aten.select_scatter.default, base, source, rest, dim, index)


def _slice_scatter(base: torch.Tensor, source: torch.Tensor, dim: int = 0, *bounds: int | None) -> torch.Tensor:
    rest: list[int | None] = [None if own == dim % base.dim() else own for own in range(base.dim())]
    return _written(_aten.slice_scatter.default, base, source, rest, dim, *bounds)


def _written(
    scatter: Any, base: torch.Tensor, source: torch.Tensor, rest: Sequence[int | None], *where: int | None
) -> torch.Tensor:
    """A part of a tensor written, once along the dimensions along which both operands are the same.

    ``rest`` tells which dimension of the base each of the source's first ones is; None for those that are written
    along. What is written to has memory of its own for each element: compilers write to a copy with its strides.
    """
    shape = base.shape
    if 0 not in shape:
        for own, dim in enumerate(rest):
            if dim is not None and shape[dim] > 1 and base.stride(dim) == 0 and source.stride(own) == 0:
                base, source = base.narrow(dim, 0, 1), source.narrow(own, 0, 1)
    if any(length > 1 and stride == 0 for length, stride in zip(base.shape, base.stride(), strict=True)):
        base = base.clone(memory_format=torch.contiguous_format)
    return scatter(base, source, *where).expand(shape)


_RULES: dict[Any, Callable[..., Any]] = {
    _aten.mm.default: mm,
    _aten.bmm.default: bmm,
    _aten.baddbmm.default: baddbmm,
    _aten.new_zeros.default: _new(0),
    _aten.new_ones.default: _new(1),
    _aten.zeros_like.default: _new(0),
    _aten.ones_like.default: _new(1),
    _aten.new_full.default: _new_full,
    _aten.full_like.default: _full_like,
    _aten.fill.Scalar: _fill,
    _aten.copy.default: _copy,
    _aten._new_zeros_with_same_feature_meta.default: _tangent_zeros,
    _aten.diagonal_scatter.default: _diagonal_scatter,
    _aten.select_scatter.default: _select_scatter,
    _aten.slice_scatter.default: _slice_scatter,
}
"""By operator: functions of its arguments, which return NotImplemented where it is best left as it is."""
