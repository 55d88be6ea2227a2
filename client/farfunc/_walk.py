"""The walk from a function through what it reaches: the mechanism, not what is particular to each kind of object."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

__all__ = [
    "HANDLERS",
    "PLAIN",
    "ArrayKind",
    "Fingerprint",
    "Handler",
    "Same",
    "register_array",
    "register_class",
    "special_class",
]

_MOST_TOKENS = 50_000
"""A function that reaches more than this is traced anew: that is cheaper than the comparison."""


class ArrayKind(Protocol):
    """How arrays of one class are compared."""

    def describe(self, array: Any, /) -> tuple[Any, ...] | None:
        """Dtype, shape and the like, hashable; None for an array whose elements cannot be compared."""
        ...

    def snapshot(self, array: Any, /) -> Any:
        """The elements as they are now."""
        ...

    def unchanged(self, array: Any, snapshot: Any, /) -> bool: ...


class Fingerprint:
    """What one walk found.

    Attributes
    ----------
    tokens:
        Hashable; equal for two functions that reach the same things, but for the elements of arrays.
    arrays:
        The arrays, in the order of the walk.
    alive:
        Objects whose ``id`` is among the tokens; as long as they live, an id means one object.
    opaque:
        What could not be looked into, None if everything could.
    """

    __slots__ = ("_held", "_seen", "alive", "arrays", "opaque", "tokens")

    def __init__(self) -> None:
        self.tokens: list[Any] = []
        self.arrays: list[tuple[ArrayKind, Any]] = []
        self.alive: list[Any] = []
        self.opaque: str | None = None
        self._seen: dict[int, int] = {}
        self._held: list[Any] = []
        """Objects made for the walk, such as bound methods: an id among the seen ones must not be given twice."""

    def snapshot(self) -> list[Any]:
        """The elements of all arrays as they are now."""
        return [kind.snapshot(array) for kind, array in self.arrays]

    def unchanged(self, snapshot: list[Any]) -> bool:
        """Whether all arrays have the elements they had."""
        return all(kind.unchanged(array, old) for (kind, array), old in zip(self.arrays, snapshot, strict=True))

    def add(self, thing: Any) -> None:
        """Take down one object and what it reaches."""
        kind = type(thing)
        if kind in PLAIN:
            self.tokens += (kind, thing)
            return
        key = id(thing)
        if key in self._seen:
            self.tokens += ("again", self._seen[key])
            return
        self._seen[key] = len(self._seen)
        if len(self.tokens) > _MOST_TOKENS:
            self.opaque = "more than can be compared"
        if self.opaque is None:
            HANDLERS[kind](self, thing)

    def same(self, thing: Any) -> None:
        """Take down an object by identity."""
        self.tokens += ("id", id(thing))
        self.alive.append(thing)

    def temporary(self, thing: Any) -> None:
        """Take down an object that may be gone before the walk ends."""
        self._held.append(thing)
        self.add(thing)


Handler = Callable[[Fingerprint, Any], None]
PLAIN = {type(None), bool, int, str, bytes, type(Ellipsis), type(NotImplemented)}


class _Handlers(dict[type, Handler]):
    """How the instances of each class are taken down; a class that is new here is looked at once."""

    choose: Callable[[type], Handler]

    def __missing__(self, cls: type) -> Handler:
        handler = self[cls] = self.choose(cls)
        return handler


HANDLERS = _Handlers()
_SPECIAL: dict[type, Handler] = {}


class Same:
    """An object that is to be compared by identity, whatever it holds."""

    __slots__ = ("thing",)

    def __init__(self, thing: Any) -> None:
        self.thing = thing


def register_array(cls: type, kind: ArrayKind) -> None:
    """Compare the instances of a class as arrays."""

    def handler(found: Fingerprint, array: Any) -> None:
        description = kind.describe(array)
        if description is None:
            found.opaque = f"a {type(array).__name__} of an unusual kind"
        else:
            found.tokens += (cls, *description)
            found.arrays.append((kind, array))

    HANDLERS[cls] = handler


def register_class(cls: type, handler: Handler) -> None:
    """Take down the instances of a class and of its subclasses in a way of their own."""
    _SPECIAL[cls] = handler


def special_class(cls: type) -> Handler | None:
    """What :func:`register_class` was told about a class, or the nearest of its bases."""
    return next((_SPECIAL[base] for base in cls.__mro__ if base in _SPECIAL), None)
