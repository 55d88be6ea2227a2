"""NumPy's functions, replaced for as long as a function is traced.

NumPy dispatches on its arguments, and ``np.array([[c, -s], [s, c]])`` and ``np.linalg.norm([x, y])`` have
only lists of them, ``np.zeros(6)`` nothing at all. So while a trace runs, the names on the module
``numpy`` lead here, and so do the same functions under the names that the user's own modules have given them
(``from numpy import array, zeros``). Outside the
thread that traces, in code that belongs to NumPy, SciPy and the like, and for arrays of objects or
strings, they lead on to the originals at once; so do calls made by compiled code (:mod:`._call_sites`).
"""

from __future__ import annotations

import functools
import random
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType, ModuleType
from typing import Any

import numpy as np

from farfunc_protocol.errors import TraceError

from .._code_names import is_library
from ._call_sites import calls
from ._creation import CREATED, ConcatenatorByIndex
from ._current import is_tracing
from ._loops import fromiter, ndenumerate, nditer, vectorized
from ._operands import array_of, holds_traced, holds_tracer
from ._refusals import refuse
from ._registry import FUNCTIONS
from ._shaping import as_strided
from ._source import is_of_user, user_line

__all__ = ["patched"]

_OWN = frozenset({"farfunc", "farfunc_protocol", "numpy"})
"""Packages whose own code always calls the originals."""

_FOREIGN = frozenset({"scipy", "torch", "pandas", "matplotlib", "sklearn"})
"""Packages whose own code gets what it expects, plain arrays, unless it gives traced ones."""

_as_strided = np.lib.stride_tricks.as_strided

_lock = threading.Lock()
_depth = 0
_saved: list[tuple[Any, str, Any, Any]] = []


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
        for module, name, original, replacement in (*_replacements(), *_random_replacements()):
            _replace(module, name, original, replacement)
        by_original = _by_original()
        for module in _modules_of_the_user():
            for name, value in list(vars(module).items()):
                if id(value) in by_original:
                    _replace(module, name, value, by_original[id(value)])


@functools.cache
def _by_original() -> dict[int, Any]:
    """The replacements of functions, by the ids of what they stand for; those are never collected."""
    found = {}
    for *_, original, replacement in (*_replacements(), *_random_replacements()):
        if callable(original) and not isinstance(original, type):
            replacement.__farfunc_stands_for__ = original
            found[id(original)] = replacement
    return found


_known_modules: tuple[int, list[ModuleType]] = (0, [])


def _modules_of_the_user() -> list[ModuleType]:
    """The modules that belong to no library, by which a traced function may know NumPy's functions.

    They are looked for again when a module has been imported: with torch there are thousands.
    """
    global _known_modules
    if _known_modules[0] != len(sys.modules):
        modules = list(sys.modules.items())
        others = _OWN | _FOREIGN
        found = [
            module
            for name, module in modules
            if isinstance(module, ModuleType) and name.partition(".")[0] not in others and not is_library(name)
        ]
        _known_modules = (len(modules), found)
    return _known_modules[1]


@functools.cache
def _replacements() -> tuple[tuple[Any, str, Any, Any], ...]:
    """Module, name, original and replacement of every function that leads here."""
    found: list[tuple[Any, str, Any, Any]] = [
        (np, "r_", np.r_, ConcatenatorByIndex(np.r_, columns=False)),
        (np, "c_", np.c_, ConcatenatorByIndex(np.c_, columns=True)),
        (np, "fromiter", np.fromiter, _looping(np.fromiter, fromiter, always=True)),
        (np, "ndenumerate", np.ndenumerate, _looping(np.ndenumerate, ndenumerate)),
        (np, "nditer", np.nditer, _looping(np.nditer, nditer)),
        (np.lib.stride_tricks, "as_strided", _as_strided, _looping(_as_strided, as_strided)),
    ]
    if hasattr(np.vectorize, "_vectorize_call"):
        found.append((np.vectorize, "_vectorize_call", *_vectorizing()))
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


@functools.cache
def _random_replacements() -> tuple[tuple[Any, str, Any, Any], ...]:
    """What draws other numbers at every call: for a traced function these would be one and the same for ever."""
    found: list[tuple[Any, str, Any, Any]] = [
        (np.random, original.__name__, original, _refusing(original)) for original in _drawing(np.random)
    ]
    seeded = np.random.default_rng
    found.append((np.random, "default_rng", seeded, _refusing(seeded, unless_seeded=True)))
    for original in _STDLIB_DRAWS:
        found.append((random, original.__name__, original, _refusing(original, of_numpy=False)))
    return tuple(found)


_STDLIB_DRAWS = (
    *(random.random, random.uniform, random.triangular, random.gauss, random.normalvariate, random.lognormvariate),
    *(random.expovariate, random.betavariate, random.gammavariate, random.vonmisesvariate, random.paretovariate),
    *(random.weibullvariate, random.randint, random.randrange, random.choice, random.choices, random.sample),
    *(random.shuffle, random.getrandbits),
)
"""What draws from the hidden generator of the module ``random``."""


def _leave() -> None:
    global _depth
    with _lock:
        _depth -= 1
        if not _depth:
            while _saved:
                module, name, original, replacement = _saved.pop()
                if getattr(module, name, None) is replacement:  # or the user's code has put something else there
                    setattr(module, name, original)


def _replace(module: Any, name: str, original: Any, replacement: Any) -> None:
    _saved.append((module, name, original, replacement))
    setattr(module, name, replacement)


def _package(frame: FrameType) -> str:
    """The package whose code a frame runs. NumPy's polynomials are written as a user's are, and so traced."""
    name = frame.f_globals.get("__name__") or ""
    return "" if name.startswith("numpy.polynomial") else name.partition(".")[0]


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


def _refusing(
    original: Callable[..., Any], *, of_numpy: bool = True, unless_seeded: bool = False
) -> Callable[..., Any]:
    name = f"np.random.{original.__name__}" if of_numpy else f"random.{original.__name__}"

    @functools.wraps(original)
    def draw(*args: Any, **kwargs: Any) -> Any:
        is_seeded = unless_seeded and (args[0] if args else kwargs.get("seed")) is not None
        frame = sys._getframe(1)
        is_meant = _package(frame) not in _OWN if of_numpy else is_of_user(frame)
        if is_seeded or not (is_tracing() and is_meant):
            return original(*args, **kwargs)
        what = "without a seed is called" if unless_seeded else "is called"
        refuse(
            TraceError(
                f"{name} {what} in a traced function: every call would get the same numbers",
                where=user_line(),
                remedy="draw them outside and pass them as an argument; constants: np.random.default_rng(seed)",
            )
        )

    return draw


def _looping(original: Any, ours: Callable[..., Any], *, always: bool = False) -> Callable[..., Any]:
    """A loop over elements; ``always`` where the elements are an iterator, that cannot be looked at beforehand."""

    @functools.wraps(original, updated=())
    def loop(*args: Any, **kwargs: Any) -> Any:
        if is_tracing() and _package(sys._getframe(1)) not in _OWN and (always or holds_tracer(args)):
            return ours(*args, **kwargs)
        return original(*args, **kwargs)

    return loop


def _vectorizing() -> tuple[Any, Any]:
    """The loop of ``np.vectorize`` and ours."""
    original: Any = vars(np.vectorize)["_vectorize_call"]

    @functools.wraps(original)
    def call(self: Any, func: Any, args: Any) -> Any:
        return vectorized(self, func, args) if is_tracing() and holds_traced(args) else original(self, func, args)

    return original, call
