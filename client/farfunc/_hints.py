"""What earlier traces of a function have taught: before it is traced again, or its trace is found."""

from __future__ import annotations

import weakref
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from farfunc_protocol.pytree import TreeSpec, flatten

__all__ = ["Hint", "Structure", "hint_for", "take_apart"]


@dataclass(slots=True, eq=False)
class Hint:
    """What earlier traces of a function have taught about it.

    Attributes
    ----------
    subject:
        Returns the function's code, or the callable itself, which it does not keep alive.
    needs_torch:
        Whether the function hands its arrays to torch.
    static:
        The places of the Python numbers whose values it needs, and with them the error for where
        they cannot be static.
    """

    subject: Callable[[], Any]
    needs_torch: bool = False
    static: frozenset[int] = frozenset()
    error: Exception | None = None


class Structure:
    """A tree of arguments, one object for equal trees: compared in no time."""

    __slots__ = ("tree",)

    def __init__(self, tree: TreeSpec) -> None:
        self.tree = tree


_MOST_STRUCTURES = 1024
_structures: dict[TreeSpec, Structure] = {}


def _structure_of(tree: TreeSpec) -> Structure:
    found = _structures.get(tree)
    if found is None:
        if len(_structures) >= _MOST_STRUCTURES:
            _structures.clear()
        found = _structures.setdefault(tree, Structure(tree))
    return found


_LEAF_CLASSES = {np.ndarray, np.float64, np.float32, float, complex, int, bool, str, type(None)}


def take_apart(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[list[Any], TreeSpec, Structure]:
    """The leaves of a call's arguments, and their structure."""
    if not kwargs and _LEAF_CLASSES.issuperset(map(type, args)):  # as in most calls: the structure is their number
        tree, structure = _of_leaves(len(args))
        return list(args), tree, structure
    leaves, tree = flatten((args, kwargs))
    return leaves, tree, _structure_of(tree)


@lru_cache(64)
def _of_leaves(count: int) -> tuple[TreeSpec, Structure]:
    _, tree = flatten(((None,) * count, {}))
    return tree, _structure_of(tree)


_MOST_HINTS = 1024
_hints: OrderedDict[tuple[int, Structure], Hint] = OrderedDict()


def hint_for(func: Any, structure: Structure) -> Hint:
    subject = getattr(func, "__code__", func)
    key = (id(subject), structure)
    hint = _hints.get(key)
    if hint is None or hint.subject() is not subject:
        hint = _hints[key] = Hint(_reference(subject))
        if len(_hints) > _MOST_HINTS:
            _hints.popitem(last=False)
    return hint


def _reference(thing: Any) -> Callable[[], Any]:
    try:
        return weakref.ref(thing)
    except TypeError:  # not all builtins can be referred to weakly
        return lambda: thing
