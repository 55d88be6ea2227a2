"""NumPy's functions, replaced for as long as a function is traced.

NumPy dispatches on its arguments, and ``np.array([[c, -s], [s, c]])`` and ``np.linalg.norm([x, y])`` have
only lists of them, ``np.zeros(6)`` nothing at all. So while a trace runs, the names on the module
``numpy`` lead here. Outside the
thread that traces, in code that belongs to NumPy, SciPy and the like, and for arrays of objects or
strings, they lead on to the originals at once; so do calls made by compiled code (:mod:`._call_sites`).
"""

from __future__ import annotations

import functools
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import numpy as np

from farfunc_protocol.errors import TraceError

from ._call_sites import calls
from ._creation import CREATED, ConcatenatorByIndex
from ._current import is_tracing
from ._operands import array_of, holds_traced, holds_tracer
from ._registry import FUNCTIONS
from ._source import user_line

__all__ = ["patched"]

_OWN = frozenset({"farfunc", "farfunc_protocol", "numpy"})
"""Packages whose own code always calls the originals."""

_FOREIGN = frozenset({"scipy", "torch", "pandas", "matplotlib", "sklearn"})
"""Packages whose own code gets what it expects, plain arrays, unless it gives traced ones."""

_lock = threading.Lock()
_depth = 0
_saved: list[tuple[Any, str, Any]] = []


@contextmanager
def patched() -> Iterator[None]:
    """Replace the functions meanwhile; the last trace of all threads to end restores them."""
    _enter()
    try:
        yield
    finally:
        _leave()


def _enter() -> None:
    global _depth
    with _lock:
        _depth += 1
        if _depth > 1:
            return
        for module, name, original, replacement in _replacements():
            _replace(module, name, original, replacement)
        random = sys.modules.get("numpy.random")
        for original in _drawing(random) if random is not None else ():
            _replace(random, original.__name__, original, _refusing(original))


@functools.cache
def _replacements() -> tuple[tuple[Any, str, Any, Any], ...]:
    """Module, name, original and replacement of every function that leads here."""
    found: list[tuple[Any, str, Any, Any]] = [
        (np, "r_", np.r_, ConcatenatorByIndex(np.r_, columns=False)),
        (np, "c_", np.c_, ConcatenatorByIndex(np.c_, columns=True)),
    ]
    for module in (np, np.linalg, np.fft):
        for name, original in vars(module).items():
            if not callable(original) or isinstance(original, type):
                continue
            if original in CREATED:
                found.append((module, name, original, _creating(original, CREATED[original])))
            elif original in FUNCTIONS and original not in _TAKE_LISTS:
                found.append((module, name, original, _stacking(original)))
    return tuple(found)


_TAKE_LISTS = frozenset(
    {
        *(np.concatenate, np.stack, np.hstack, np.vstack, np.dstack, np.column_stack, np.block),
        *(np.select, np.piecewise, np.choose, np.linalg.multi_dot, np.result_type),
    }
)
"""Functions that dispatch on the items of a list. To all others a list is an array, and does not dispatch."""


def _drawing(random: Any) -> tuple[Callable[..., Any], ...]:
    """The functions that draw from NumPy's global generator."""
    return (
        random.rand, random.randn, random.random, random.random_sample, random.ranf, random.sample, random.randint,
        random.normal, random.uniform, random.standard_normal, random.choice, random.exponential, random.gamma,
        random.beta, random.poisson, random.binomial, random.multivariate_normal, random.permutation,
    )  # fmt: skip


def _leave() -> None:
    global _depth
    with _lock:
        _depth -= 1
        if not _depth:
            while _saved:
                module, name, original = _saved.pop()
                setattr(module, name, original)


def _replace(module: Any, name: str, original: Any, replacement: Any) -> None:
    _saved.append((module, name, original))
    setattr(module, name, replacement)


def _package(frame: FrameType) -> str:
    """The package whose code a frame runs."""
    return (frame.f_globals.get("__name__") or "").partition(".")[0]


def _creating(original: Callable[..., Any], ours: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def create(*args: Any, **kwargs: Any) -> Any:
        if not is_tracing():
            return original(*args, **kwargs)
        frame = sys._getframe(1)
        package = _package(frame)
        if package in _OWN or not calls(frame, original.__name__, create):
            return original(*args, **kwargs)
        if package not in _FOREIGN or holds_traced(args):
            return ours(*args, **{key: value for key, value in kwargs.items() if key != "like"})
        return original(*args, **kwargs)

    return create


def _stacking(original: Callable[..., Any]) -> Callable[..., Any]:
    """``np.linalg.norm([x, y])``: NumPy would ask the traced numbers for their values."""

    @functools.wraps(original)
    def call(*args: Any, **kwargs: Any) -> Any:
        if is_tracing() and _package(sys._getframe(1)) not in _OWN:
            args = tuple(map(_stacked, args))
            kwargs = {name: _stacked(value) for name, value in kwargs.items()}
        return original(*args, **kwargs)

    return call


def _stacked(argument: Any) -> Any:
    return array_of(argument) if isinstance(argument, list | tuple) and holds_tracer(argument) else argument


def _refusing(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def draw(*args: Any, **kwargs: Any) -> Any:
        if not (is_tracing() and _package(sys._getframe(1)) not in _OWN):
            return original(*args, **kwargs)
        raise TraceError(
            f"np.random.{original.__name__} is called in a traced function: every call would get the same numbers",
            where=user_line(),
            remedy="draw them outside and pass them as an argument; constants: np.random.default_rng(seed)",
        )

    return draw
