"""NumPy's creating functions, replaced for as long as a function is traced.

NumPy dispatches on its arguments, and ``np.array([[c, -s], [s, c]])`` has only lists of them, ``np.zeros(6)``
nothing at all. So while a trace runs, the names on the module ``numpy`` lead here. Outside the
thread that traces, in code that belongs to NumPy, SciPy and the like, and for arrays of objects or
strings, they lead on to the originals at once.
"""

from __future__ import annotations

import functools
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from farfunc_protocol.errors import TraceError

from ._creation import CREATED
from ._current import is_tracing
from ._source import user_line

__all__ = ["patched"]

_FOREIGN = frozenset({"numpy", "scipy", "torch", "pandas", "matplotlib", "sklearn", "farfunc", "farfunc_protocol"})
"""Packages whose own code gets what it expects: plain arrays."""

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
        for original, ours in CREATED.items():
            _replace(np, original, _creating(original, ours))
        random = sys.modules.get("numpy.random")
        for original in _drawing(random) if random is not None else ():
            _replace(random, original, _refusing(original))


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


def _replace(module: Any, original: Callable[..., Any], replacement: Any) -> None:
    name = original.__name__
    _saved.append((module, name, original))
    setattr(module, name, replacement)


def _is_for_user() -> bool:
    """Whether the call two frames up was made by the function that is traced."""
    caller = sys._getframe(2).f_globals.get("__name__") or ""
    return is_tracing() and caller.partition(".")[0] not in _FOREIGN


def _creating(original: Callable[..., Any], ours: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def create(*args: Any, **kwargs: Any) -> Any:
        if not _is_for_user():
            return original(*args, **kwargs)
        return ours(*args, **{key: value for key, value in kwargs.items() if key != "like"})

    return create


def _refusing(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def draw(*args: Any, **kwargs: Any) -> Any:
        if not _is_for_user():
            return original(*args, **kwargs)
        raise TraceError(
            f"np.random.{original.__name__} is called in a traced function: every call would get the same numbers",
            where=user_line(),
            remedy="draw them outside and pass them as an argument; constants: np.random.default_rng(seed)",
        )

    return draw
