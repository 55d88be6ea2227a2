"""From what a call is given (traced arrays, ndarrays, numbers, nested lists of them) to operands of an equation, and
from the values of the graph back to arrays.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from farfunc_protocol.builder import Value, ValueOperand
from farfunc_protocol.errors import UnsupportedOperator

from .._signals import NeedsTorch
from ._emit import add, add_many, cast, constant
from ._source import user_line
from ._tracer import Tracer, is_traced

__all__ = [
    "array_of",
    "as_array",
    "dtype_of",
    "emit",
    "emit_many",
    "ensure_sequence",
    "holds_traced",
    "holds_tracer",
    "lower",
    "plain",
    "shape_of",
    "to_tracer",
    "traced_among",
]


def emit(op: str, *operands: Any, **attributes: Any) -> Tracer:
    """Add an equation of one output to arrays, and return the traced result.

    The operands are anything that :func:`lower` takes, None, or tuples of these.
    """
    return Tracer.of(add(op, *map(_operand, operands), **attributes))


def emit_many(op: str, *operands: Any, **attributes: Any) -> tuple[Tracer, ...]:
    """Add an equation to arrays, and return all its results."""
    return tuple(map(Tracer.of, add_many(op, *map(_operand, operands), **attributes)))


def _operand(operand: Any) -> ValueOperand:
    if operand is None:
        return None
    if isinstance(operand, tuple):
        return tuple(None if item is None else lower(item) for item in operand)
    return lower(operand)


def lower(operand: Any, dtype: np.dtype | None = None) -> Value:
    """The value of an array, traced or concrete, converted to ``dtype`` where one is given."""
    operand = as_array(operand)
    content = operand.content() if isinstance(operand, Tracer) else operand
    if isinstance(content, Value):
        return content if dtype is None else cast(content, dtype)
    return constant(content, dtype)


def as_array(operand: Any) -> Any:
    """A Tracer, or an ndarray or NumPy scalar: lists are stacked, Python numbers become NumPy's."""
    if isinstance(operand, Tracer | np.ndarray | np.generic):
        return operand
    if isinstance(operand, list | tuple):
        return array_of(operand)
    if type(operand).__module__.partition(".")[0] == "torch":
        raise NeedsTorch(f"a torch tensor, at {user_line()}")
    array = np.asarray(operand)
    if array.dtype == object:
        raise UnsupportedOperator(
            f"a {type(operand).__qualname__} is no operand of an array", where=user_line(), remedy="give an array"
        )
    return array


def array_of(nested: Any, dtype: Any = None) -> Any:
    """What ``np.array`` makes of nested lists: a traced array where anything in them is traced, else an ndarray.

    The dtype is the one that NumPy gives the elements, where Python's numbers are float64 and int64.
    """
    if not holds_traced(nested):
        return np.array(plain(nested), dtype)
    leaves: list[Any] = []
    shape = _collect(nested, leaves)
    if dtype is None:
        dtype = np.result_type(
            *{np.asarray(leaf).dtype if not isinstance(leaf, Tracer) else leaf.dtype for leaf in leaves}
        )
    dtype = np.dtype(dtype)
    if not shape:
        return Tracer.of(lower(leaves[0], dtype))
    values = tuple(lower(leaf, dtype) for leaf in leaves)
    inner = tuple(values[0].type.shape)
    if any(tuple(value.type.shape) != inner for value in values):
        raise ValueError(
            "setting an array element with a sequence. The requested array has an inhomogeneous shape; "
            f"the parts have shapes {sorted({tuple(map(int, v.type.shape)) for v in values})}"
        )
    stacked = add("stack", values)
    if len(shape) > 1:
        stacked = add("reshape", stacked, shape=(*shape, *inner))
    return Tracer.of(stacked)


def _collect(nested: Any, leaves: list[Any]) -> tuple[int, ...]:
    """Gather the arrays in nested lists, in order; return the shape of the nesting."""
    if not isinstance(nested, list | tuple):
        leaves.append(nested)
        return ()
    if any(isinstance(item, list | tuple) for item in nested):
        # An array beside a list stands for the list of its rows.
        nested = [list(item) if getattr(item, "shape", ()) else item for item in nested]
    shapes = {_collect(item, leaves) for item in nested}
    if len(shapes) != 1:
        raise ValueError(
            "setting an array element with a sequence. The requested array has an inhomogeneous shape: "
            f"lists of shapes {sorted(shapes)} stand side by side"
        )
    return (len(nested), *shapes.pop())


def traced_among(nested: Any) -> list[Tracer]:
    """The traced arrays among the arguments."""
    if isinstance(nested, dict):
        nested = list(nested.values())
    if isinstance(nested, list | tuple):
        return [found for item in nested for found in traced_among(item)]
    return [nested] if is_traced(nested) else []


def holds_traced(nested: Any) -> bool:
    """Whether a traced array is among the arguments, lists and dicts of them included."""
    if isinstance(nested, list | tuple):
        return any(map(holds_traced, nested))
    if isinstance(nested, dict):
        return any(map(holds_traced, nested.values()))
    return is_traced(nested)


def holds_tracer(nested: Any) -> bool:
    """Whether a Tracer, traced or concrete, is among them."""
    if isinstance(nested, list | tuple):
        return any(map(holds_tracer, nested))
    return isinstance(nested, Tracer)


def plain(nested: Any) -> Any:
    """The same arguments with the ndarrays of concrete tracers in their place."""
    if isinstance(nested, Tracer):
        return nested.content()
    if isinstance(nested, list | tuple):
        items = [plain(item) for item in nested]
        return type(nested)(*items) if hasattr(nested, "_fields") else type(nested)(items)
    if isinstance(nested, dict):
        return {key: plain(item) for key, item in nested.items()}
    return nested


def to_tracer(operand: Any) -> Tracer:
    """A traced array of anything: a concrete one becomes a constant of the graph."""
    return operand if is_traced(operand) else Tracer.of(lower(operand))


def shape_of(operand: Any) -> tuple[int, ...]:
    """The shape of an array, a number or nested lists."""
    return as_array(operand).shape


def dtype_of(*operands: Any) -> np.dtype:
    """``np.result_type``: Python's numbers (and those of the call's arguments) do not promote arrays."""
    kinds: list[Any] = []
    for operand in operands:
        if isinstance(operand, Tracer):
            kinds.append({"f": 1.0, "c": 1j}[operand.dtype.kind] if operand._is_weak else operand.dtype)
        elif type(operand) in (int, float, complex):
            kinds.append(operand)
        else:
            kinds.append(as_array(operand).dtype)
    return np.result_type(*kinds)


def ensure_sequence(arrays: Any) -> Sequence[Any]:
    """The parts of an argument that is a list of arrays, or an array that stands for its rows."""
    return [arrays[i] for i in range(arrays.shape[0])] if isinstance(arrays, Tracer | np.ndarray) else list(arrays)
