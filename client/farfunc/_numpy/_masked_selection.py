"""``x[mask]`` for a mask that is traced: elements whose number nobody knows.

A graph holds arrays of fixed shapes only. So a selection is carried as the whole array beside its mask, and what
NumPy would compute of the selected elements is computed at every place. That is the same as long as each element
goes its own way (:mod:`._masked_calls`), and until the selection is written back through its mask
(:mod:`._masked_indexing`) or reduced.

At the places that the mask leaves out stands anything. Two rules keep it from being seen:

1. Nothing of it reaches a result: it is written back, and reduced, through the mask.
2. Nothing of it reaches a derivative. The derivative of what is computed and then dropped is zero times a factor,
   which is NaN where the factor is not finite (``sqrt`` of a negative number, ``1 / 0``). So the operands of whatever
   has such factors are *shielded* first: harmless numbers are put there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NoReturn

import numpy as np

from farfunc_protocol.builder import Value
from farfunc_protocol.errors import DataDependentError

from ._operands import as_array, lower
from ._refusals import UnknownAttribute, refuse
from ._registry import SELECTION_METHODS
from ._source import user_line
from ._tracer import Tracer, define_operators, is_traced

__all__ = [
    "MaskedSelection",
    "align",
    "flat_mask",
    "holds_selection",
    "is_same_value",
    "is_selection",
    "is_traced_mask",
    "refuse_selection",
    "selections_among",
    "shield",
    "where_selected",
]

_REMEDIES = {
    "returned": "return an array of a fixed shape: np.where(mask, values, 0.0), or y[mask] = values and then y",
    "mixed": "select from all of them by one mask: x[m] * b[m], with m = m1 & m2 for two conditions",
    "wide": "select from the array, too: x[m] * b[m] (an array from outside: np.array(b)[m]), y[m] = v[m]",
    "length": "count with np.count_nonzero(mask) or mask.sum(), which are arrays",
    "place": "a traced integer is an index: x[np.argmax(mask)] is the first that is selected; or choose with np.where",
    "truth": "ask the mask: np.where(mask.any(), a, b); np.where instead of if",
    "general": "take it element by element (x[m] * b[m], np.sqrt(x[m])), reduce it (sum, mean, max), or write it back: "
    "y[m] = ...; for anything else keep the whole array: np.where(mask, x, 0.0)",
}


class MaskedSelection:
    """``x[mask]``, the elements of an array where a traced mask is true.

    It has NumPy's operators, and NumPy's functions that take element by element or reduce work on it. Its length is
    a traced number. Whatever needs more than that (a place, another shape, Python's ``len``) is refused.
    """

    __slots__ = ("__weakref__", "_axis", "_block", "_is_finite", "_mask", "_places", "_where")

    _is_scalar = False

    def __init__(
        self,
        block: Any,
        mask: Value,
        axis: int,
        *,
        is_finite: bool = False,
        places: tuple[tuple[int, ...], int] | None = None,
    ) -> None:
        """Keep the whole of an array beside the mask.

        Parameters
        ----------
        block:
            The whole, of shape ``(*before, N, *after)``: the axes that the mask covers are one. It becomes the
            selection's own.
        mask:
            The mask as N truth values.
        axis:
            The axis of length N, counted from the end, as broadcasting counts.
        is_finite:
            Whether the elements that are left out are finite numbers in any case.
        places:
            For what ``np.nonzero(mask)`` gives: the shape of the mask, and along which of its axes the places are.
        """
        self._block = block
        self._mask = mask
        self._axis = axis
        self._is_finite = is_finite or block.dtype.kind in "biu"
        self._places = places
        self._where = user_line()

    @property
    def __class__(self) -> type:  # type: ignore[override]
        """What NumPy has here, for ``isinstance``."""
        return np.ndarray

    # What is known of it.

    @property
    def dtype(self) -> np.dtype:
        """Its dtype."""
        return self._block.dtype

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return self._block.ndim

    @property
    def shape(self) -> tuple[Any, ...]:
        """Its lengths; that of the selected axis is a traced integer."""
        shape: list[Any] = list(self._block.shape)
        shape[self._axis] = self._count()
        return tuple(shape)

    @property
    def size(self) -> Any:
        """The number of elements, a traced integer."""
        others = self._block.size // max(self._block.shape[self._axis], 1)
        count = self._count()
        return count if others == 1 else count * others

    @property
    def itemsize(self) -> int:
        """Bytes of one element."""
        return self.dtype.itemsize

    def _count(self) -> Any:
        return np.sum(Tracer.of(self._mask), dtype=np.int64)

    # What the other modules of the front end use.

    def mask_of(self) -> Any:
        """The mask, with axes of length one so that it broadcasts against the whole."""
        mask = Tracer.of(self._mask)
        return np.reshape(mask, (*mask.shape, *(1,) * (-self._axis - 1)))

    def filled(self, number: Any) -> Any:
        """The whole with a number where the mask is false."""
        return np.where(self.mask_of(), self._block, np.asarray(number, self.dtype))

    def like(self, block: Any, axis: int | None = None, *, is_finite: bool = False) -> MaskedSelection:
        """Another selection by the same mask."""
        return MaskedSelection(block, self._mask, self._axis if axis is None else axis, is_finite=is_finite)

    def overwrite(self, whole: Any) -> None:
        """Replace the elements, as ``s += 1`` and ``out=s`` do."""
        self._block[...] = whole
        self._is_finite = self.dtype.kind in "biu"
        self._places = None

    # Protocols.

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        return SELECTION_METHODS["__array_ufunc__"](self, ufunc, method, inputs, kwargs)

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        return SELECTION_METHODS["__array_function__"](self, function, args, kwargs)

    def __getitem__(self, index: Any) -> Any:
        return SELECTION_METHODS["__getitem__"](self, index)

    def __setitem__(self, index: Any, value: Any) -> None:
        SELECTION_METHODS["__setitem__"](self, index, value)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return SELECTION_METHODS["__getattr__"](self, name)

    def unknown_attribute(self, name: str) -> NoReturn:
        """Raise for an attribute that arrays do not have, either."""
        raise UnknownAttribute(
            f"a selection by a traced mask has no attribute {name!r}",
            where=user_line(),
            remedy=_REMEDIES["general"],
        )

    def __repr__(self) -> str:
        lengths = [str(length) for length in self._block.shape]
        lengths[self._axis] = "?"
        return f"traced {self.dtype}[{','.join(lengths)}], selected by a mask"

    def __format__(self, specification: str) -> str:
        return repr(self)

    # What needs the number of elements, or their values.

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        refuse_selection("is used as a whole array")

    def __len__(self) -> int:
        refuse_selection("is asked for its length", "length")

    def __iter__(self) -> Iterator[Any]:
        refuse_selection("is iterated over", "place")

    def __bool__(self) -> bool:
        refuse_selection("is asked for its truth value", "truth")

    def __float__(self) -> float:
        refuse_selection("is asked for a number", "place")

    def __int__(self) -> int:
        refuse_selection("is asked for a number", "place")

    def __complex__(self) -> complex:
        refuse_selection("is asked for a number", "place")

    def __index__(self) -> int:
        refuse_selection("is used as an index", "place")

    def __contains__(self, item: Any) -> bool:
        refuse_selection("is searched by `in`", "truth")

    def __reduce__(self) -> Any:
        raise TypeError("a traced array lives as long as its trace, and cannot be stored")

    def __copy__(self) -> Any:
        return np.copy(self)

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        return np.copy(self)

    __hash__ = None  # type: ignore[assignment]


define_operators(MaskedSelection)


def is_selection(item: Any) -> bool:
    """Whether it is a selection by a traced mask."""
    return type(item) is MaskedSelection


def where_selected(selection: Any) -> str | None:
    """The user's line that made a selection."""
    return selection._where


def selections_among(nested: Any) -> list[MaskedSelection]:
    """The selections among arguments, in lists and dicts, too."""
    if is_selection(nested):
        return [nested]
    if isinstance(nested, dict):
        nested = list(nested.values())
    if isinstance(nested, list | tuple):
        return [found for item in nested for found in selections_among(item)]
    return []


def holds_selection(nested: Any) -> bool:
    """Whether a selection is among the arguments."""
    return bool(selections_among(nested))


def refuse_selection(what: str, kind: str = "general", where: str | None = None) -> NoReturn:
    """Raise DataDependentError for what a selection cannot do.

    Parameters
    ----------
    what:
        What was asked, as it follows "a selection by a traced mask".
    kind:
        Which remedy fits.
    where:
        The user's line, where it is not the one that runs now.
    """
    refuse(
        DataDependentError(
            f"a selection by a traced mask {what}: how many elements it has, and which, depends on traced values",
            where=where or user_line(),
            remedy=_REMEDIES[kind],
        )
    )


def align(operands: Sequence[Any], *, what: str = "is combined") -> tuple[MaskedSelection, list[Any]]:
    """Operands that are taken element by element, as wholes that broadcast as NumPy broadcasts the selected.

    Returns
    -------
    The first selection among them, by whose mask and axis the result is one, and for each operand its whole.

    Raises
    ------
    DataDependentError
        Where they fit each other only by chance: selections by other masks, or an array with more than one element
        along the selected axis.
    """
    first = selections_among(list(operands))[0]
    wholes: list[Any] = []
    for operand in operands:
        if is_selection(operand):
            if not is_same_value(operand._mask, first._mask):
                refuse_selection(f"{what} with one by another mask", "mixed")
            if operand._axis != first._axis:
                refuse_selection(f"{what} with one whose selected elements lie along another axis", "mixed")
            wholes.append(operand._block)
            continue
        shape = np.shape(operand) if not isinstance(operand, Tracer) else operand.shape
        if len(shape) >= -first._axis and shape[first._axis] != 1:
            refuse_selection(f"{what} with an array of {shape[first._axis]} elements", "wide")
        wholes.append(operand)
    return first, wholes


def shield(whole: Any, selection: MaskedSelection, harmless: float = 0.5) -> Any:
    """Put a harmless number wherever the mask is false."""
    whole = as_array(whole)
    if whole.dtype.kind == "b":
        return whole
    number = np.asarray(1 if whole.dtype.kind in "iu" else harmless, whole.dtype)
    return np.where(selection.mask_of(), whole, number)


def is_same_value(a: Value, b: Value) -> bool:
    """Whether two values of a graph are computed in the same way: ``x > 0`` written twice, also in nested functions."""
    pending = [(a, b)]
    seen: set[tuple[int, int]] = set()
    while pending:
        a, b = pending.pop()
        a, b = a.builder.origin(a), b.builder.origin(b)
        if a is b or (id(a), id(b)) in seen:
            continue
        seen.add((id(a), id(b)))
        left, right = a.equation, b.equation
        if left is None or right is None or left.op != right.op or left.body is not None or right.body is not None:
            return False
        if left.outputs.index(a) != right.outputs.index(b) or len(left.inputs) != len(right.inputs):
            return False
        if repr(dict(left.attributes)) != repr(dict(right.attributes)):
            return False
        for one, other in zip(left.inputs, right.inputs, strict=True):
            ones, others = (item if isinstance(item, tuple) else (item,) for item in (one, other))
            if len(ones) != len(others):
                return False
            for x, y in zip(ones, others, strict=True):
                if x is None or y is None:
                    if x is not y:
                        return False
                    continue
                pending.append((x, y))
    return True


def flat_mask(mask: Any) -> Value:
    """A mask of any number of axes as a value of one, the same whichever shapes it has had on the way."""
    value: Any = lower(mask)
    while value.equation is not None and value.equation.op == "reshape":
        (value,) = value.equation.inputs
    return value if len(value.type.shape) == 1 else lower(np.reshape(Tracer.of(value), (mask.size,)))


def is_traced_mask(item: Any) -> bool:
    """Whether it is a boolean array whose values are not known."""
    return is_traced(item) and item.dtype == bool
