"""NumPy's functions on traced arrays, one family a module. Importing them registers them."""

from . import (
    building,
    calculus,
    einsum,
    facts,
    fft,
    joining,
    linalg,
    products,
    reductions,
    selecting,
    sorting,
    statistics,
    writing,
)

__all__ = [
    "building",
    "calculus",
    "einsum",
    "facts",
    "fft",
    "joining",
    "linalg",
    "products",
    "reductions",
    "selecting",
    "sorting",
    "statistics",
    "writing",
]
