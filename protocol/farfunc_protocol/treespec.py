"""The structure of a pytree, as a value that can be compared, hashed and printed.

Six kinds of nodes:

========== ===================================================================================
``leaf``   one array
``tuple``  a tuple
``list``   a list
``dict``   a dict; its keys keep the order of insertion, as in ``torch.utils._pytree``
``static`` a leaf that is no array (``None``, ``3``, ``"mean"``), kept with its value
``node``   an instance of any other known class: a namedtuple, an ``OrderedDict``, a registered
           class
========== ===================================================================================
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

__all__ = ["LEAF", "MAX_DEPTH", "NodeType", "Opaque", "TreeSpec"]

MAX_DEPTH = 64
"""Containers nested deeper than this are refused: what is built here must fit a peer's stack."""


@dataclass(frozen=True, slots=True)
class Opaque:
    """A static value of the other side, of which only the name of its type has travelled.

    >>> Opaque("Activation")
    Opaque(type_name='Activation')
    """

    type_name: str


@dataclass(frozen=True, slots=True)
class NodeType:
    """How the instances of one class are taken apart and put together.

    Attributes
    ----------
    name:
        The name under which its instances travel.
    cls:
        The class; None for a class of the other side, whose instances come back as tuples (or
        as dicts, if ``is_mapping``).
    flatten:
        ``flatten(instance) -> (children, context)``.
    unflatten:
        ``unflatten(children, context) -> instance``.
    is_mapping:
        Whether the children stand under keys, as in a dict.
    """

    name: str
    cls: type | None
    flatten: Callable[[Any], tuple[Sequence[Any], Any]] | None = field(default=None, compare=False, repr=False)
    unflatten: Callable[[Sequence[Any], Any], Any] | None = field(default=None, compare=False, repr=False)
    is_mapping: bool = False


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class TreeSpec:
    """One node of the structure, with those below it.

    Two specs are equal where trees of one can be rebuilt by the other. Static values are
    compared with their type (``3``, ``3.0`` and ``True`` differ; NaN equals NaN), and those
    that cannot be hashed by identity.

    Attributes
    ----------
    kind:
        One of the six kinds above.
    children:
        The nodes below.
    keys:
        For a dict or another mapping its keys, for a namedtuple its fields; one for each child.
    value:
        For a static node its value; for a ``node`` the context that its class's flatten gave.
    node:
        The class of a ``node``.
    num_leaves:
        How many arrays stand below; a static value is none.
    contexts:
        The values of all instances of registered classes, here and below.

    >>> spec = TreeSpec("tuple", (LEAF, TreeSpec("dict", (LEAF, TreeSpec("static", value=3)), keys=("w", "n"))))
    >>> spec
    TreeSpec((*, {'w': *, 'n': 3}))
    >>> spec.num_leaves, spec.leaf_paths("args")
    (2, ['args[0]', "args[1]['w']"])
    """

    kind: str
    children: tuple[TreeSpec, ...] = ()
    keys: tuple[Any, ...] | None = None
    value: Any = None
    node: NodeType | None = None
    num_leaves: int = field(init=False)
    contexts: tuple[Any, ...] = field(init=False)
    _identity: Hashable = field(init=False)

    def __post_init__(self) -> None:
        count = 1 if self.kind == "leaf" else sum([child.num_leaves for child in self.children])
        object.__setattr__(self, "num_leaves", count)
        own = (self.value,) if self.node is not None and self.node.unflatten is not None else ()
        below = [child.contexts for child in self.children if child.contexts]
        object.__setattr__(self, "contexts", (*own, *chain.from_iterable(below)))
        # Taken now: a set that is changed later must not make two different calls look alike.
        object.__setattr__(self, "_identity", _identity(self.value) if self.kind == "static" else None)

    @property
    def is_mapping(self) -> bool:
        """Whether the children stand under keys: a dict, an ``OrderedDict``, a ``defaultdict``."""
        return self.kind == "dict" or (self.node is not None and self.node.is_mapping)

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        if not isinstance(other, TreeSpec):
            return NotImplemented
        return self.num_leaves == other.num_leaves and self._is_like(other) and self.children == other.children

    def _is_like(self, other: TreeSpec) -> bool:
        """Whether two nodes are equal, whatever is below."""
        return (
            self.kind == other.kind
            and _same_keys(self.keys, other.keys)
            and self.node == other.node
            and (
                _same_identity(self._identity, other._identity)
                if self.kind == "static"
                else same_context(self.value, other.value)
            )
        )

    def accepts(self, other: TreeSpec) -> bool:
        """Whether a tree of another structure can be given where this one is expected.

        It can if they are equal, but for classes of the other side: in their place stands an instance of any
        class of that name, or a tuple (a dict, for a mapping).

        >>> pair = TreeSpec("node", (LEAF, LEAF), node=NodeType("Pair", None))
        >>> pair.accepts(TreeSpec("tuple", (LEAF, LEAF))), pair.accepts(TreeSpec("list", (LEAF, LEAF)))
        (True, False)
        """
        if self.node is None or self.node.cls is not None:
            fits = self._is_like(other)
        elif self.is_mapping and not (other.is_mapping and _same_keys(self.keys, other.keys)):
            fits = False
        elif other.node is None:
            fits = other.kind == ("dict" if self.is_mapping else "tuple")
        else:
            fits = other.node.name == self.node.name
        return (
            fits
            and len(self.children) == len(other.children)
            and all(mine.accepts(given) for mine, given in zip(self.children, other.children, strict=True))
        )

    def __hash__(self) -> int:
        # A node's context is left out: it need not be hashable.
        return hash((self.kind, self.keys, self.node, self._identity, self.children))

    def __str__(self) -> str:
        if self.kind == "leaf":
            return "*"
        if self.kind == "static":
            return repr(self.value) if is_scalar(self.value) else f"<{static_type_name(self.value)}>"
        if self.is_mapping:
            inside = ", ".join(f"{key!r}: {child}" for key, child in zip(self.keys or (), self.children, strict=True))
            return f"{self.node.name}({{{inside}}})" if self.node else f"{{{inside}}}"
        if self.keys is not None:
            inside = ", ".join(f"{key}={child}" for key, child in zip(self.keys, self.children, strict=True))
        else:
            inside = ", ".join(map(str, self.children))
        if self.kind == "list":
            return f"[{inside}]"
        if self.kind == "tuple":
            return f"({inside},)" if len(self.children) == 1 else f"({inside})"
        return f"{self.node.name if self.node else 'node'}({inside})"

    def __repr__(self) -> str:
        return f"TreeSpec({self})"

    def leaf_paths(self, root: str | Sequence[str] = "") -> list[str]:
        """Where each leaf stands, written as the Python expression that reaches it.

        ``root`` names the tree, or each of its children: the leaves of a call are
        ``in_tree.leaf_paths(("args", "kwargs"))``.

        >>> call = TreeSpec("tuple", (TreeSpec("tuple", (LEAF,)), TreeSpec("dict", (LEAF,), keys=("x",))))
        >>> call.leaf_paths(("args", "kwargs"))
        ['args[0]', "kwargs['x']"]
        """
        if isinstance(root, str):
            return list(self._walk(root))
        return [path for name, child in zip(root, self.children, strict=True) for path in child._walk(name)]

    def _walk(self, path: str) -> Iterator[str]:
        if self.kind == "leaf":
            yield path
        for index, child in enumerate(self.children):
            yield from child._walk(path + self.step(index))

    def step(self, index: int) -> str:
        """The part of a path that leads from this node to one of its children.

        >>> TreeSpec("dict", (LEAF,), keys=("w",)).step(0)
        "['w']"
        """
        if self.keys is None:
            return f"[{index}]"
        return f"[{self.keys[index]!r}]" if self.is_mapping else f".{self.keys[index]}"


LEAF = TreeSpec("leaf")


def is_scalar(value: Any) -> bool:
    """Whether a static value travels with its value: None, bool, int, float, complex or str.

    Subclasses (an ``IntEnum``, NumPy's ``float64``) are objects like any other. So are an int of
    more than 64 bits and a str that has no UTF-8 form, which a peer could not read.
    """
    if type(value) is int:
        return -(2**63) <= value < 2**64
    if type(value) is str:
        return value.isascii() or not any("\ud800" <= character <= "\udfff" for character in value)
    return value is None or type(value) in (bool, float, complex)


def static_type_name(value: Any) -> str:
    """The name that stands for a static value which cannot travel; never its repr, which may hold an address."""
    return value.type_name if type(value) is Opaque else type(value).__qualname__


def _identity(value: Any) -> Hashable:
    """A hashable stand-in for a static value, equal for equal values of one type."""
    kind = type(value)
    if kind is float:
        return kind, value.hex()  # tells -0.0 from 0.0, and NaN is equal to NaN
    if kind is complex:
        return kind, value.real.hex(), value.imag.hex()
    if kind is slice:
        return kind, _identity(value.start), _identity(value.stop), _identity(value.step)
    if kind is set:
        return kind, frozenset(value)
    if kind is bytearray:
        return kind, bytes(value)
    try:
        hash(value)
    except Exception:  # noqa: BLE001 - whatever a user's __hash__ raises: the value is not hashable
        return kind, "by identity", id(value)
    return kind, value


def _same_identity(left: Hashable, right: Hashable) -> bool:
    # The hashes first: where == answers with an array (a tensor as a static value), it is not asked.
    return hash(left) == hash(right) and same_context(left, right)


def same_context(left: Any, right: Any) -> bool:
    """Whether two contexts of a class are known to be equal."""
    if left is right:
        return True
    try:
        return bool(left == right)
    except Exception:  # noqa: BLE001 - == of a user's own objects may do anything; what cannot be compared differs
        return False


def _same_keys(left: tuple[Any, ...] | None, right: tuple[Any, ...] | None) -> bool:
    if left is None or right is None:
        return left is right
    return left == right and all(type(a) is type(b) for a, b in zip(left, right, strict=True))
