"""Comparisons, and operations on truth values and on bits."""

from __future__ import annotations

from . import costs
from .op import Op, rows
from .shapes import indexing
from .shapes.elementwise import boolean, integral, isclose, like, ordered_boolean, pointwise, shifted

__all__ = ["ROWS"]

ROWS: tuple[Op, ...] = (
    *rows(
        pointwise(boolean, "self", "other"),
        "Whether self equals other.",
        "eq.Tensor(Tensor self, Tensor other) -> Tensor",
        "eq.Scalar(Tensor self, Scalar other) -> Tensor",
    ),
    *rows(
        pointwise(boolean, "self", "other"),
        "Whether self differs from other.",
        "ne.Tensor(Tensor self, Tensor other) -> Tensor",
        "ne.Scalar(Tensor self, Scalar other) -> Tensor",
    ),
    *rows(
        pointwise(ordered_boolean, "self", "other"),
        "Whether self is less than other.",
        "lt.Tensor(Tensor self, Tensor other) -> Tensor",
        "lt.Scalar(Tensor self, Scalar other) -> Tensor",
    ),
    *rows(
        pointwise(ordered_boolean, "self", "other"),
        "Whether self is at most other.",
        "le.Tensor(Tensor self, Tensor other) -> Tensor",
        "le.Scalar(Tensor self, Scalar other) -> Tensor",
    ),
    *rows(
        pointwise(ordered_boolean, "self", "other"),
        "Whether self is greater than other.",
        "gt.Tensor(Tensor self, Tensor other) -> Tensor",
        "gt.Scalar(Tensor self, Scalar other) -> Tensor",
    ),
    *rows(
        pointwise(ordered_boolean, "self", "other"),
        "Whether self is at least other.",
        "ge.Tensor(Tensor self, Tensor other) -> Tensor",
        "ge.Scalar(Tensor self, Scalar other) -> Tensor",
    ),
    *rows(
        isclose,
        "Whether two elements are equal up to a tolerance.",
        "isclose(Tensor self, Tensor other, float rtol=1.0000000000000001e-05, float atol=1e-08, "
        "bool equal_nan=False) -> Tensor",
    ),
    *rows(
        indexing.isin,
        "Whether each element is among the test elements.",
        "isin.Tensor_Tensor(Tensor elements, Tensor test_elements, *, bool assume_unique=False, "
        "bool invert=False) -> Tensor",
        "isin.Tensor_Scalar(Tensor elements, Scalar test_element, *, bool assume_unique=False, "
        "bool invert=False) -> Tensor",
        "isin.Scalar_Tensor(Scalar element, Tensor test_elements, *, bool assume_unique=False, "
        "bool invert=False) -> Tensor",
        cost=costs.sorting,
    ),
    *rows(
        like(boolean),
        "Whether an element is NaN.",
        "isnan(Tensor self) -> Tensor",
    ),
    *rows(
        like(boolean),
        "Whether an element is infinite.",
        "isinf(Tensor self) -> Tensor",
    ),
    *rows(
        like(boolean),
        "Whether an element is a finite number.",
        "isfinite(Tensor self) -> Tensor",
    ),
    *rows(
        like(ordered_boolean),
        "Whether an element is positive infinity.",
        "isposinf(Tensor self) -> Tensor",
    ),
    *rows(
        like(ordered_boolean),
        "Whether an element is negative infinity.",
        "isneginf(Tensor self) -> Tensor",
    ),
    *rows(
        like(boolean),
        "Whether the imaginary part is 0.",
        "isreal(Tensor self) -> Tensor",
    ),
    *rows(
        like(ordered_boolean),
        "Whether the sign bit is set.",
        "signbit(Tensor self) -> Tensor",
    ),
    *rows(
        pointwise(boolean),
        "Logical and of two truth values.",
        "logical_and(Tensor self, Tensor other) -> Tensor",
    ),
    *rows(
        pointwise(boolean),
        "Logical or of two truth values.",
        "logical_or(Tensor self, Tensor other) -> Tensor",
    ),
    *rows(
        pointwise(boolean),
        "Logical exclusive or of two truth values.",
        "logical_xor(Tensor self, Tensor other) -> Tensor",
    ),
    *rows(
        like(boolean),
        "The opposite truth value.",
        "logical_not(Tensor self) -> Tensor",
    ),
    *rows(
        pointwise(integral, "self", "other"),
        "Bitwise and.",
        "bitwise_and.Tensor(Tensor self, Tensor other) -> Tensor",
        "bitwise_and.Scalar(Tensor self, Scalar other) -> Tensor",
        "bitwise_and.Scalar_Tensor(Scalar self, Tensor other) -> Tensor",
    ),
    *rows(
        pointwise(integral, "self", "other"),
        "Bitwise or.",
        "bitwise_or.Tensor(Tensor self, Tensor other) -> Tensor",
        "bitwise_or.Scalar(Tensor self, Scalar other) -> Tensor",
        "bitwise_or.Scalar_Tensor(Scalar self, Tensor other) -> Tensor",
    ),
    *rows(
        pointwise(integral, "self", "other"),
        "Bitwise exclusive or.",
        "bitwise_xor.Tensor(Tensor self, Tensor other) -> Tensor",
        "bitwise_xor.Scalar(Tensor self, Scalar other) -> Tensor",
        "bitwise_xor.Scalar_Tensor(Scalar self, Tensor other) -> Tensor",
    ),
    *rows(
        like(integral),
        "All bits inverted.",
        "bitwise_not(Tensor self) -> Tensor",
    ),
    *rows(
        pointwise(shifted, "self", "other"),
        "Bits shifted to the left.",
        "bitwise_left_shift.Tensor(Tensor self, Tensor other) -> Tensor",
        "bitwise_left_shift.Tensor_Scalar(Tensor self, Scalar other) -> Tensor",
        "bitwise_left_shift.Scalar_Tensor(Scalar self, Tensor other) -> Tensor",
    ),
    *rows(
        pointwise(shifted, "self", "other"),
        "Bits shifted to the right.",
        "bitwise_right_shift.Tensor(Tensor self, Tensor other) -> Tensor",
        "bitwise_right_shift.Tensor_Scalar(Tensor self, Scalar other) -> Tensor",
        "bitwise_right_shift.Scalar_Tensor(Scalar self, Tensor other) -> Tensor",
    ),
)
