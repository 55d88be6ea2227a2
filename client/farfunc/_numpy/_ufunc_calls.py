"""What ``__array_ufunc__`` is asked for: ``np.add(x, y, out=..., where=..., dtype=...)``, and the methods of a ufunc
(``np.add.reduce``, ``outer``, ``accumulate``, ``at``, ``reduceat``).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from farfunc_protocol.builder import Value
from farfunc_protocol.errors import MutationError

from ._current import is_tracing
from ._emit import add, cast
from ._layout import elementwise_strides
from ._operands import as_array, holds_traced, lower, plain
from ._refusals import refuse, unsupported
from ._registry import UFUNCS, method
from ._source import user_line
from ._tracer import Tracer
from ._ufuncs import SPECIAL, as_value

__all__ = ["call_ufunc", "store", "wrap"]

_REDUCTIONS: dict[np.ufunc, Callable[..., Any]] = {
    np.add: np.sum,
    np.multiply: np.prod,
    np.maximum: np.max,
    np.minimum: np.min,
    np.logical_and: np.all,
    np.logical_or: np.any,
}
_SCANS: dict[np.ufunc, Callable[..., Any] | str] = {
    np.add: np.cumsum,
    np.multiply: np.cumprod,
    np.maximum: "cummax",
    np.minimum: "cummin",
    np.logaddexp: "logcumsumexp",
}


@method("__array_ufunc__")
def call_ufunc(_: Tracer, ufunc: np.ufunc, method: str, inputs: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    """Apply a ufunc where a Tracer is among the operands."""
    if method == "at":
        return _at(ufunc, *inputs)  # its index may be a tuple, which is no array
    inputs = [item if _is_number(item) else as_array(item) for item in inputs]
    out = kwargs.pop("out", None)
    outs = out if isinstance(out, tuple) else (out,) * ufunc.nout
    if not (holds_traced(inputs) or holds_traced(kwargs) or holds_traced(outs)):
        return _concrete(getattr(ufunc, method), inputs, outs, kwargs)
    results = _METHODS[method](ufunc, inputs, outs, **kwargs)
    results = results if isinstance(results, tuple) else (results,)
    is_call = method == "__call__" and ufunc.signature is None
    stored = tuple(store(result, target, broadcasts=is_call) for result, target in zip(results, outs, strict=True))
    return stored if ufunc.nout > 1 else stored[0]


def store(result: Any, out: Any, *, broadcasts: bool = False) -> Any:
    """What ``out=`` asks for: the result written into a Tracer; an ndarray cannot hold a traced one.

    Only a ufunc's result ``broadcasts``; that of a reduction must have the shape of ``out``.
    """
    if out is None:
        return result
    out = out[0] if isinstance(out, tuple) else out
    if not isinstance(out, Tracer):
        refuse(
            MutationError(
                "a traced result is written into an ndarray, which holds numbers only",
                where=user_line(),
                remedy="make the array inside the function (np.zeros, np.array(y)), or write y = y + x instead of "
                "y += x",
            )
        )
    if tuple(result.shape) != out.shape:
        if np.broadcast_shapes(result.shape, out.shape) != out.shape or not broadcasts:
            raise ValueError(f"the result has the shape {tuple(result.shape)}, and out= an array of shape {out.shape}")
        result = np.broadcast_to(result, out.shape)
    out.overwrite(lower(result, out.dtype) if holds_traced([result, out]) else plain(result))
    return out


def wrap(result: Any) -> Any:
    """What NumPy computed of concrete arrays: an ndarray becomes a concrete Tracer, numbers stay what they are.

    Outside of a trace, where a program has kept an array that was made in one, all stay what they are.
    """
    if not is_tracing():
        return result
    if type(result) is np.ndarray and result.dtype.kind in "biufcV":
        return Tracer.of_array(result)
    if isinstance(result, tuple | list):
        items = [wrap(item) for item in result]
        return type(result)(*items) if hasattr(result, "_fields") else type(result)(items)
    return result


def _concrete(function: Callable[..., Any], inputs: Sequence[Any], outs: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    given = [target for target in outs if target is not None]
    if any(isinstance(target, Tracer) and not target._is_writable for target in given):
        raise ValueError("output array is read-only")
    if given:
        kwargs["out"] = tuple(plain(target) for target in outs)
    result = function(*plain(inputs), **plain(kwargs))
    if given:
        results = result if isinstance(result, tuple) else (result,)
        results = tuple(wrap(r) if target is None else target for r, target in zip(results, outs, strict=True))
        return results if isinstance(result, tuple) else results[0]
    return wrap(result)


def _call(
    ufunc: np.ufunc,
    inputs: Sequence[Any],
    outs: Sequence[Any],
    *,
    where: Any = True,
    dtype: Any = None,
    signature: Any = None,
    sig: Any = None,
    casting: str = "same_kind",
    order: str = "K",
    subok: bool = True,
    **core: Any,
) -> Any:
    implementation = _implementation(ufunc)
    if core:
        return _with_axes(ufunc, inputs, dtype=dtype, casting=casting, **core)
    signature = signature or sig or (None if dtype is None else (None,) * ufunc.nin + (np.dtype(dtype),) * ufunc.nout)
    loop = _loop(ufunc, inputs, outs, signature, casting)
    computed = _computable(ufunc, loop)
    operands = [_operand(item, dtype) for item, dtype in zip(inputs, computed, strict=False)]
    if where is not True:
        operands = [_shielded(ufunc, operand, dtype, where) for operand, dtype in zip(operands, loop, strict=False)]
    if all(not isinstance(operand, Value) for operand in operands):
        operands[0] = lower(operands[0], computed[0])
    results = implementation(*operands)
    results = results if isinstance(results, tuple) else (results,)
    strides = None if ufunc.signature else _strides(results[0], inputs)
    arrays = [
        Tracer.of(cast(result, dtype), strides=strides)
        for result, dtype in zip(results, loop[ufunc.nin :], strict=True)
    ]
    if where is not True:
        arrays = [_masked(array, where, out) for array, out in zip(arrays, outs, strict=True)]
    return tuple(arrays) if len(arrays) > 1 else arrays[0]


def _implementation(ufunc: np.ufunc) -> Callable[..., Any]:
    found = UFUNCS.get(ufunc)
    if found is not None:
        return found
    op = SPECIAL.get(ufunc.__name__)
    if op is None:
        name = ufunc.__name__
        unsupported(f"the ufunc {name} cannot be traced", [u.__name__ for u in UFUNCS], name=name)
    return lambda *operands: add(op, *_same_kind(operands))


def _same_kind(operands: Sequence[Any]) -> list[Value]:
    """Numbers as constants of the dtype of the arrays beside them."""
    value = next(operand for operand in operands if isinstance(operand, Value))
    return [as_value(operand, value) for operand in operands]


def _loop(
    ufunc: np.ufunc, inputs: Sequence[Any], outs: Sequence[Any], signature: Any, casting: str
) -> tuple[np.dtype, ...]:
    """The dtypes in which NumPy computes: of the inputs, then of the results."""
    kinds: list[Any] = [_kind(item) for item in inputs]
    if all(isinstance(kind, type) for kind in kinds):  # numbers alone: the first one is an array
        kinds[0] = np.dtype(kinds[0])
    targets = [None if out is None else out.dtype for out in outs]
    loop = _resolve(ufunc, (*kinds, *targets), signature, casting)
    if any(dtype.kind not in "biufcV" for dtype in loop):
        unsupported(f"{ufunc.__name__} of {', '.join(map(str, kinds))} cannot be traced", remedy="use numeric dtypes")
    return loop


_MODULAR = (np.add, np.subtract, np.multiply, np.negative, np.bitwise_and, np.bitwise_or, np.bitwise_xor, np.invert)
_MODULAR += (np.equal, np.not_equal, np.left_shift)


def _computable(ufunc: np.ufunc, loop: tuple[np.dtype, ...]) -> tuple[np.dtype, ...]:
    """int64 in place of uint16, uint32 and uint64, with which torch does not compute.

    The result is converted back, which drops the bits that unsigned arithmetic drops. What depends on
    the sign of 64 bits (comparisons, division) cannot be done so.
    """
    if any(dtype == np.uint64 for dtype in loop[: ufunc.nin]) and ufunc not in _MODULAR:
        unsupported(f"np.{ufunc.__name__} of uint64 cannot be traced", remedy="convert to int64 or float64 first")
    return tuple(np.dtype(np.int64) if dtype.kind == "u" and dtype.itemsize > 1 else dtype for dtype in loop)


@functools.lru_cache(maxsize=4096)
def _resolve(ufunc: np.ufunc, kinds: tuple[Any, ...], signature: Any, casting: str) -> tuple[np.dtype, ...]:
    if signature is None:
        return ufunc.resolve_dtypes(kinds, casting=casting)  # type: ignore[arg-type]
    return ufunc.resolve_dtypes(kinds, signature=signature, casting=casting)  # type: ignore[arg-type]


def _kind(item: Any) -> Any:
    if isinstance(item, Tracer):
        return {"f": float, "c": complex}[item.dtype.kind] if item._is_weak else item.dtype
    return type(item) if _is_number(item) else item.dtype


def _is_number(item: Any) -> bool:
    return type(item) in (int, float, complex)


def _operand(item: Any, dtype: np.dtype) -> Any:
    """A value of the loop's dtype; a concrete 0-d array becomes a number."""
    if isinstance(item, Tracer):
        content = item.content()
        if isinstance(content, Value):
            return cast(content, dtype)
        item = content
    array = np.asarray(item).astype(dtype)
    return lower(array) if array.ndim else array.item()


def _strides(result: Value, inputs: Sequence[Any]) -> Any:
    """The layout of the result, where an operand is not in C order."""
    if len(result.type.shape) < 2:
        return None
    layouts = []
    for item in inputs:
        if isinstance(item, Tracer):
            layouts.append((item.shape, item.strides_in_elements()))
        elif isinstance(item, np.ndarray) and not item.flags.c_contiguous:
            layouts.append((item.shape, tuple(stride // item.itemsize for stride in item.strides)))
    return elementwise_strides(tuple(map(int, result.type.shape)), layouts)


def _shielded(ufunc: np.ufunc, operand: Any, dtype: np.dtype, where: Any) -> Any:
    """An operand with harmless numbers where the ufunc is not to be applied.

    NumPy does not compute there. The derivative of a value that is computed and then masked can be
    NaN (0 times infinity), so nothing singular may be computed.
    """
    if dtype.kind not in "fc" or (ufunc.nin == 2 and ufunc in (np.add, np.subtract, np.multiply)):
        return operand
    harmless = 2.0 if ufunc is np.arccosh else 0.5
    value = operand if isinstance(operand, Value) else lower(np.asarray(operand, dtype))
    return lower(np.where(where, Tracer.of(value), np.asarray(harmless, dtype)))


def _masked(array: Tracer, where: Any, out: Any) -> Any:
    where = as_array(where)
    shape = np.broadcast_shapes(array.shape, where.shape, *(() if out is None else (out.shape,)))
    kept = np.zeros((), array.dtype) if out is None else out
    return np.where(np.broadcast_to(where, shape), array, kept).astype(array.dtype)


def _with_axes(
    ufunc: np.ufunc,
    inputs: Sequence[Any],
    *,
    axis: int | None = None,
    axes: Any = None,
    keepdims: bool = False,
    **rest: Any,
) -> Any:
    """``axis=``, ``axes=`` and ``keepdims=`` of matmul, vecdot and their kind: the core axes moved to the end."""
    cores = [
        part.count(",") + 1 if part.strip("()?") else 0
        for part in (ufunc.signature or "").split("->")[0].replace("),(", ")|(").split("|")
    ]
    if axis is not None:
        axes = [(axis,)] * ufunc.nin
    axes = [(-2, -1)[2 - core :] for core in cores] if axes is None else list(axes)
    given = [entry if isinstance(entry, tuple) else (entry,) for entry in axes]
    moved = [
        np.moveaxis(as_array(item), place, tuple(range(-len(place), 0)))
        for item, place in zip(inputs, given, strict=False)
    ]
    result = ufunc(*moved, **{name: value for name, value in rest.items() if value is not None})
    if keepdims:
        result = np.expand_dims(result, given[0][0])
    if len(given) > ufunc.nin:
        result = np.moveaxis(result, tuple(range(-len(given[-1]), 0)), given[-1])
    return result


def _reduce(
    ufunc: np.ufunc,
    inputs: Sequence[Any],
    outs: Sequence[Any],
    *,
    axis: Any = 0,
    dtype: Any = None,
    keepdims: bool = False,
    initial: Any = np._NoValue,
    where: Any = True,
) -> Any:
    (array,) = inputs
    if dtype is None and outs and outs[0] is not None:
        dtype = outs[0].dtype
    known = _REDUCTIONS.get(ufunc)
    if known is not None:
        extra: dict[str, Any] = {"dtype": dtype} if ufunc in (np.add, np.multiply) else {}
        if initial is not np._NoValue and ufunc not in (np.logical_and, np.logical_or):
            extra["initial"] = initial
        return known(array, axis=axis, keepdims=keepdims, where=where, **extra)
    if where is not True:
        unsupported(f"np.{ufunc.__name__}.reduce with where= cannot be traced", remedy="choose with np.where first")
    axes = _reduced_axes(ufunc, axis, array.ndim)
    result = array
    for place in sorted(axes, reverse=True):
        parts = [np.take(result, index, axis=place) for index in range(result.shape[place])]
        if initial is not np._NoValue:
            parts.insert(0, np.broadcast_to(initial, parts[0].shape) if parts else initial)
        if not parts:
            raise ValueError(f"zero-size array to reduction operation {ufunc.__name__} which has no identity")
        result = functools.reduce(functools.partial(ufunc, dtype=dtype), parts)
    return np.expand_dims(result, axes) if keepdims else result


def _reduced_axes(ufunc: np.ufunc, axis: Any, rank: int) -> tuple[int, ...]:
    if rank == 0 and axis in (0, -1, (0,), (-1,)):  # as NumPy has it
        return ()
    axes = tuple(range(rank)) if axis is None else np.lib.array_utils.normalize_axis_tuple(axis, rank)
    if len(axes) > 1 and ufunc.identity is None and ufunc not in (np.fmax, np.fmin):
        raise ValueError(
            f"reduction operation '{ufunc.__name__}' is not reorderable, so at most one axis may be specified"
        )
    return axes


def _accumulate(
    ufunc: np.ufunc, inputs: Sequence[Any], outs: Sequence[Any], *, axis: int = 0, dtype: Any = None
) -> Any:
    array = inputs[0]
    if not array.ndim:
        raise TypeError("cannot accumulate on a scalar")
    if axis is None:
        if array.ndim > 1:
            raise ValueError("accumulate does not allow multiple axes")
        axis = 0
    scan = _SCANS.get(ufunc)
    if callable(scan):
        return scan(array, axis=axis, dtype=dtype)
    if scan is not None and array.dtype.kind in "fiub" and (scan != "logcumsumexp" or array.dtype.kind == "f"):
        from ._operands import emit_many

        return emit_many(scan, array, dim=np.lib.array_utils.normalize_axis_index(axis, array.ndim))[0]
    parts = [np.take(array, 0, axis=axis)]
    for index in range(1, array.shape[axis]):
        parts.append(ufunc(parts[-1], np.take(array, index, axis=axis), dtype=dtype))
    return np.stack(parts, axis=axis)


def _outer(ufunc: np.ufunc, inputs: Sequence[Any], outs: Sequence[Any], **kwargs: Any) -> Any:
    left, right = (as_array(item) for item in inputs)
    return _call(ufunc, [np.reshape(left, left.shape + (1,) * right.ndim), right], outs, **kwargs)


def _reduceat(ufunc: np.ufunc, inputs: Sequence[Any], outs: Sequence[Any], *, axis: int = 0, dtype: Any = None) -> Any:
    array, starts = inputs
    starts = np.asarray(starts)
    stops = [*starts[1:], array.shape[axis]]
    parts = []
    for start, stop in zip(starts, stops, strict=True):
        part = np.take(array, np.arange(start, max(stop, start + 1)), axis=axis)
        parts.append(ufunc.reduce(part, axis=axis, dtype=dtype))
    return np.stack(parts, axis=axis)


def _at(ufunc: np.ufunc, array: Any, index: Any, *values: Any) -> None:
    """``np.add.at(x, index, values)``: repeated indices add up."""
    from ._indexing import add_at

    if not isinstance(array, Tracer):
        store(as_array(values[0]) if values else array, array)
    if ufunc is np.add:
        add_at(array, index, values[0])
    elif ufunc is np.subtract:
        add_at(array, index, np.negative(values[0]))
    elif not holds_traced([array, index, *values]):
        ufunc.at(plain(array), plain(index), *plain(values))
    else:
        unsupported(f"np.{ufunc.__name__}.at cannot be traced", remedy="np.add.at and np.subtract.at can")


_METHODS: dict[str, Callable[..., Any]] = {
    "__call__": _call,
    "reduce": _reduce,
    "accumulate": _accumulate,
    "outer": _outer,
    "reduceat": _reduceat,
}
