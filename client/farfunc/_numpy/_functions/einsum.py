"""``np.einsum`` in all its forms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .._emit import add
from .._operands import as_array, lower
from .._registry import implements
from .._shaping import astype
from .._tracer import Tracer
from .._ufunc_calls import store

_LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"


@implements(np.einsum)
def _einsum(
    *operands: Any, out: Any = None, optimize: Any = False, dtype: Any = None, casting: str = "safe", order: str = "K"
) -> Any:
    equation, arrays = _parse(operands)
    kind = np.result_type(*(array.dtype for array in arrays)) if dtype is None else np.dtype(dtype)
    computed = np.dtype(np.int64) if kind.kind == "b" else kind
    values = tuple(lower(array, computed) for array in arrays)
    result = Tracer.of(add("einsum", values, equation=equation))
    return store(astype(result, kind) if computed != kind else result, out)


@implements(np.einsum_path, view=True)
def _einsum_path(*operands: Any, optimize: Any = "greedy", einsum_call: bool = False) -> Any:
    equation, arrays = _parse(operands)
    return np.einsum_path(equation, *(np.broadcast_to(0.0, array.shape) for array in arrays), optimize=optimize)


def _parse(operands: Sequence[Any]) -> tuple[str, list[Any]]:
    """The equation with its output written out, and the arrays."""
    if isinstance(operands[0], str):
        equation, arrays = operands[0].replace(" ", ""), [as_array(operand) for operand in operands[1:]]
    else:
        equation, arrays = _from_sublists(operands)
    inputs, arrow, output = equation.partition("->")
    if not arrow:
        # The output that is left out: "..." first, then what occurs once, in the order of the characters.
        letters = inputs.replace("...", "").replace(",", "")
        once = sorted(letter for letter in set(letters) if letters.count(letter) == 1)
        output = ("..." if "..." in inputs else "") + "".join(once)
    if len(inputs.split(",")) != len(arrays):
        raise ValueError("the number of operands does not fit the einsum equation")
    return f"{inputs}->{output}", arrays


def _from_sublists(operands: Sequence[Any]) -> tuple[str, list[Any]]:
    """``np.einsum(a, [0, 1], b, [1, 2], [0, 2])``."""
    arrays = [as_array(operand) for operand in operands[: len(operands) // 2 * 2 : 2]]
    lists = list(operands[1 : len(arrays) * 2 : 2])
    labels = sorted(
        {label for part in (*lists, *operands[len(arrays) * 2 :]) for label in part if label is not Ellipsis}
    )
    letter = dict(zip(labels, sorted(_LETTERS), strict=False))

    def text(part: Sequence[Any]) -> str:
        return "".join("..." if label is Ellipsis else letter[label] for label in part)

    equation = ",".join(map(text, lists))
    if len(operands) % 2:
        equation += "->" + text(operands[-1])
    return equation, arrays
