"""NumPy's functions on traced arrays, one family a module. Importing them registers them."""

from . import (
    building,
    calculus,
    complex_domain,
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
    "complex_domain",
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
