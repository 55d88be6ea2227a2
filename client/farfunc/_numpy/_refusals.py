"""The errors of the NumPy front end: what the user's line asked for, and what to write instead."""

from __future__ import annotations

import difflib
import re
import sys
from collections.abc import Iterable
from types import FrameType
from typing import NoReturn

from farfunc_protocol.builder import Value
from farfunc_protocol.errors import DataDependentError, TraceError, UnsupportedOperator

from .._signals import NeedsStatic
from ._current import current_trace
from ._source import user_line, user_text

__all__ = [
    "UnknownAttribute",
    "data_dependent",
    "no_such_attribute",
    "not_hashable",
    "refuse",
    "unsupported",
    "value_needed",
]

_BRANCH = (
    "compute both sides and choose: np.where(condition, a, b), np.minimum, np.maximum, np.clip; "
    "np.logical_and/or/not instead of and/or/not"
)
_REMEDIES = {
    "bool": _BRANCH,
    "in": "compare element by element: np.any(x == value) is an array, too",
    "index": "index with the traced integer (x[i], np.take), or loop over a static length; range() needs a number",
    "shape": "shapes must not depend on traced values: use a mask with np.where, or pad to a fixed length",
    "text": "print the array itself: its dtype and shape are known, its value is not",
}
_NUMBER = "keep it an array: x.astype(float) instead of float(x), np.sin instead of math.sin, x[0] instead of x.item()"
_ARRAY = (
    "stack traced arrays with np.stack, farfunc.numpy.array or np.array called through the module; "
    "for a function of another library, write it with NumPy or torch"
)
_WRITE = (
    "an array from outside, or its .copy(), holds numbers only: inside the function make it with np.array(table), "
    "np.zeros or the like, so that it can hold traced values; or use np.stack"
)
_TEXT = "print the array itself, print(x) or f'{x}': its dtype and shape are known, its value is not"


class UnknownAttribute(UnsupportedOperator, AttributeError):
    """An attribute that a traced array does not have; ``hasattr`` is False."""


def no_such_attribute(name: str, alternatives: Iterable[str]) -> NoReturn:
    """Raise for an attribute of a traced array that there is not."""
    what = f"a traced array has no attribute {name!r}"
    raise UnknownAttribute(what, where=user_line(), remedy=_near(name, alternatives))


def unsupported(what: str, alternatives: Iterable[str] = (), *, name: str = "", remedy: str | None = None) -> NoReturn:
    """Raise UnsupportedOperator, with the nearest of the alternatives as the remedy."""
    if remedy is None:
        remedy = _near(name, alternatives)
    refuse(UnsupportedOperator(what, where=user_line(), remedy=remedy))


def refuse(error: TraceError | NeedsStatic) -> NoReturn:
    """Raise, and remember it: a function that catches this and goes on is not the one that NumPy runs.

    ``try: v = float(x) except Exception: v = 1.0`` would otherwise be differentiated with v = 1.0.
    """
    trace = current_trace()
    if trace.refused is None and not _is_logging():
        trace.refused = error
    raise error


def _is_logging() -> bool:
    """Whether the value is asked for by ``logging.debug("%.2f", x)``, which reports the error and changes nothing."""
    frame: FrameType | None = sys._getframe(2)
    while frame is not None:
        if frame.f_globals.get("__name__") == "logging":
            return True
        frame = frame.f_back
    return False


def _near(name: str, alternatives: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, sorted(set(alternatives)), n=3, cutoff=0.5)
    return f"near to it: {', '.join(near)}" if near else "write it with other functions of NumPy"


def data_dependent(what: str, kind: str = "shape") -> NoReturn:
    """Raise DataDependentError for a result that depends on traced values."""
    refuse(DataDependentError(what, where=user_line(), remedy=_REMEDIES[kind]))


def value_needed(value: Value, asked: str, kind: str) -> NoReturn:
    """Refuse to give the value of something traced to Python.

    Where it follows from Python numbers among the call's arguments alone, those can be static instead.
    """
    error = DataDependentError(
        f"{asked} needs the value of a traced {value.type}, which is only known when the function is evaluated",
        where=user_line(),
        remedy=_remedy(kind),
    )
    inputs = _python_numbers(value)
    refusal = NeedsStatic(inputs, error) if inputs else error
    if _numpy_has_one(value, kind):
        refuse(refusal)
    raise refusal


def not_hashable(value: Value) -> NoReturn:
    """Refuse a traced number as a key."""
    raise DataDependentError(
        f"a set, a dict or functools.lru_cache needs the value of a traced {value.type} as a key, which is only known "
        "when the function is evaluated",
        where=user_line(),
        remedy="use a name or a position as the key; leave functools.lru_cache away from functions of traced numbers",
    )


def _numpy_has_one(value: Value, kind: str) -> bool:
    """Whether NumPy would have given a value, and not raised an error of its own."""
    if kind == "index":
        return not value.type.shape and value.type.dtype.startswith(("int", "uint", "bool"))
    return kind not in ("bool", "number") or all(length == 1 for length in value.type.shape)


def _remedy(kind: str) -> str:
    if kind in _REMEDIES:
        return _REMEDIES[kind]
    text = user_text()
    if re.match(r"[\w.]+\s*\[.*\]\s*([-+*/@&|^%]|//|\*\*)?=(?!=)", text):
        return _WRITE
    if re.search(r"%[-+ #0-9.]*[diouxXeEfFgG]", text):
        return _TEXT
    converted = re.search(r"\bnp\.((?:float|int|complex|uint)\d+|bool_|double|single|intp)\(", text)
    if converted:
        return f"use x.astype(np.{converted[1]}) instead of np.{converted[1]}(x)"
    called = re.search(r"\bmath\.(\w+)", text)
    if called:
        return f"use np.{called[1]} instead of math.{called[1]}"
    return _ARRAY if kind == "array" else _NUMBER


def _python_numbers(value: Value) -> tuple[Value, ...]:
    """The inputs that a value follows from, if all of them are Python numbers in the call."""
    numbers = current_trace().python_numbers
    found: dict[int, Value] = {}
    seen: set[int] = set()
    pending = [value]
    while pending:
        value = pending.pop()
        if id(value) in seen or not value.varies:
            continue
        seen.add(id(value))
        if value.equation is None:
            if id(value) not in numbers:
                return ()
            found[id(value)] = value
            continue
        for operand in value.equation.inputs:
            pending.extend(v for v in (operand if isinstance(operand, tuple) else (operand,)) if v is not None)
    return tuple(found.values())
