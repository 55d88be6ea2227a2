"""Which arguments a derivative is taken with respect to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..errors import TransformError
from .base import arrays_of

__all__ = ["Argnums", "select", "wrap_argnums"]

Argnums = int | tuple[int, ...]


def wrap_argnums(argnums: Any, count: int) -> Argnums:
    """Check ``argnums`` against the number of positional arguments, and count negative ones from the end.

    >>> wrap_argnums((0, -1), 3)
    (0, 2)
    >>> wrap_argnums(2, 1)
    Traceback (most recent call last):
        ...
    farfunc_protocol.errors.TransformError: Got argnum=2, but only 1 positional inputs
    """
    if not isinstance(argnums, int | tuple):
        raise TransformError(f"argnums must be int or Tuple[int, ...], got: {type(argnums)}")
    if isinstance(argnums, int):
        return _wrap(argnums, count)
    wrapped = tuple(_wrap(argnum, count) for argnum in argnums)
    if not wrapped:
        raise TransformError("argnums must be non-empty")
    if len(set(wrapped)) != len(wrapped):
        raise TransformError(f"argnums elements must be unique, got {wrapped}")
    return wrapped


def _wrap(argnum: Any, count: int) -> int:
    if not isinstance(argnum, int):
        raise TransformError(f"argnum must be int, got: {type(argnum)}")
    if not -count <= argnum < count:
        raise TransformError(f"Got argnum={argnum}, but only {count} positional inputs")
    return argnum % count


def select(args: Sequence[Any], argnums: Argnums) -> Any:
    """The differentiated arguments: one tree for an int, a tuple of trees for a tuple."""
    return args[argnums] if isinstance(argnums, int) else tuple(args[argnum] for argnum in argnums)


def leaf_positions(args: Sequence[Any], argnums: Argnums) -> tuple[int, ...]:
    """The places of the differentiated array leaves among all of ``args``, in the order of ``argnums``."""
    counts = [len(arrays_of(arg)) for arg in args]
    chosen = (argnums,) if isinstance(argnums, int) else argnums
    return tuple(sum(counts[:argnum]) + leaf for argnum in chosen for leaf in range(counts[argnum]))
