"""The type of a tensor: its dtype and shape, where a dimension may be symbolic."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Dimension", "TensorType"]

Dimension = int | str
"""The length of an axis: a number, or the name of a symbol that a call binds."""


@dataclass(frozen=True, slots=True)
class TensorType:
    """The dtype and shape of a tensor.

    >>> print(TensorType("float64", ("n", 3)))
    float64[n,3]
    """

    dtype: str
    shape: tuple[Dimension, ...]

    def __str__(self) -> str:
        return f"{self.dtype}[{','.join(map(str, self.shape))}]"
