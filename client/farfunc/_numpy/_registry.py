"""Which of our functions stands for which of NumPy's.

``@implements(np.trace)`` registers a function of the same parameters; :class:`~._tracer.Tracer`
looks it up when NumPy dispatches. Methods are registered by their name.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

__all__ = [
    "FUNCTIONS",
    "METHODS",
    "SELECTION_METHODS",
    "UFUNCS",
    "VIEWS",
    "implements",
    "method",
    "name_of",
    "selection_method",
]

Implementation = TypeVar("Implementation", bound=Callable[..., Any])

UFUNCS: dict[np.ufunc, Callable[..., Any]] = {}
"""From a ufunc to a function of operands that already have the dtypes of its loop."""

FUNCTIONS: dict[Callable[..., Any], Callable[..., Any]] = {}
"""From a function of NumPy to ours."""

VIEWS: set[Callable[..., Any]] = set()
"""Functions whose result shares memory with their argument, or that write to it: ours are called for
concrete arrays, too."""

METHODS: dict[str, Callable[..., Any]] = {}
"""Methods of a traced array, as functions that take it first."""

SELECTION_METHODS: dict[str, Callable[..., Any]] = {}
"""How a selection by a traced mask answers Python and NumPy, as functions that take it first."""


def implements(
    *functions: Callable[..., Any] | None, view: bool = False, methods: tuple[str, ...] = ()
) -> Callable[[Implementation], Implementation]:
    """Register an implementation of functions of NumPy (None: one that this version lacks)."""

    def register(implementation: Implementation) -> Implementation:
        for function in functions:
            if function is not None:
                FUNCTIONS[function] = implementation
                if view:
                    VIEWS.add(function)
        for name in methods:
            METHODS[name] = implementation
        return implementation

    return register


def method(*names: str) -> Callable[[Implementation], Implementation]:
    """Register methods."""
    return implements(methods=names)


def selection_method(name: str) -> Callable[[Implementation], Implementation]:
    """Register a method of selections."""

    def register(implementation: Implementation) -> Implementation:
        SELECTION_METHODS[name] = implementation
        return implementation

    return register


def name_of(function: Callable[..., Any]) -> str:
    """The name by which people call a function: ``np.linalg.solve``.

    >>> name_of(np.sin), name_of(np.linalg.solve)
    ('np.sin', 'np.linalg.solve')
    """
    module = getattr(function, "__module__", None) or "numpy"
    name = getattr(function, "__name__", repr(function))
    return f"{module.replace('numpy', 'np', 1)}.{name}"
