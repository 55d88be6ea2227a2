"""Writing equations: operators applied to the values of the graph."""

from __future__ import annotations

from typing import Any

import numpy as np

from farfunc_protocol.builder import ForeignValue, Value, ValueOperand
from farfunc_protocol.errors import InvalidGraph, TraceError, UnsupportedOperator
from farfunc_protocol.ops import OPS

from ._current import current_trace
from ._dtypes import graph_dtype
from ._source import user_line

__all__ = ["add", "add_many", "cast", "constant"]


def add(op: str, *operands: ValueOperand, **attributes: Any) -> Value:
    """Add an equation of one output."""
    return add_many(op, *operands, **attributes)[0]


def add_many(op: str, *operands: ValueOperand, **attributes: Any) -> tuple[Value, ...]:
    """Add an equation, and put the user's line into whatever refuses it."""
    row = OPS.get(op)
    if row is None:
        raise UnsupportedOperator(f"{op} has no row in the op table", where=user_line())
    try:
        return current_trace().add(op, operands, row.schema.normalise(attributes))
    except ForeignValue as error:
        raise TraceError(
            f"a traced array of another trace is used: {error}",
            where=user_line(),
            remedy="keep no traced array in a variable, attribute or cache that outlives its function",
        ) from None
    except InvalidGraph as error:
        if "defined for" in error.detail:  # the operator exists, but not for such numbers
            raise UnsupportedOperator(error.detail, where=user_line(), remedy=error.remedy) from None
        raise InvalidGraph(error.detail, where=user_line(), remedy=error.remedy) from None
    except UnsupportedOperator as error:
        raise UnsupportedOperator(error.detail, where=user_line(), remedy=error.remedy) from None


def cast(value: Value, dtype: np.dtype) -> Value:
    """Convert, where that is needed at all."""
    name = graph_dtype(dtype)
    return value if value.type.dtype == name else add("to.dtype", value, dtype=name)


def constant(array: Any, dtype: np.dtype | None = None) -> Value:
    """Bring in the present content of a concrete array."""
    return current_trace().constant(np.asarray(array, dtype))
