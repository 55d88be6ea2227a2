"""Pytrees as torch.func knows them, without torch: nested containers with arrays at the leaves.

A tuple, a list, a dict, an ``OrderedDict``, a ``defaultdict``, a ``deque``, a namedtuple and
what :func:`register_node` and :func:`add_registry` add are containers; everything else is a
leaf, None and instances of unregistered subclasses included. :func:`flatten` can set leaves that
are no arrays aside as static values, which then belong to the structure.

A *spec tree* is a tree whose leaves tell of arrays (``TensorType``) instead of being some. What
a registered class makes of such leaves is nobody's concern but its own: it may ask for their
norm. So in spec trees a :class:`Node` stands for its instances, see :func:`spec_tree`.
"""

from __future__ import annotations

from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, NoReturn

from .errors import LimitExceeded, TransformValueError
from .tree_json import from_json, to_json
from .treespec import LEAF, MAX_DEPTH, NodeType, Opaque, TreeSpec, same_context

__all__ = [
    "LEAF",
    "MAX_DEPTH",
    "Node",
    "NodeType",
    "Opaque",
    "TreeSpec",
    "add_registry",
    "broadcast_prefix",
    "flatten",
    "from_json",
    "register_node",
    "spec_map",
    "spec_tree",
    "to_json",
    "tree_map",
    "unflatten",
]

_REGISTERED: dict[type, NodeType] = {}
_REGISTRIES: list[Callable[[type], NodeType | None]] = []
_ORDERED_DICT = NodeType("OrderedDict", OrderedDict, is_mapping=True)
_DEFAULT_DICT = NodeType("defaultdict", defaultdict, is_mapping=True)
_DEQUE = NodeType("deque", deque)
_BUILTIN = (tuple, list, dict, OrderedDict, defaultdict, deque)


def register_node(
    cls: type,
    flatten: Callable[[Any], tuple[Sequence[Any], Any]],
    unflatten: Callable[[Sequence[Any], Any], Any],
    name: str | None = None,
) -> None:
    """Make the instances of a class containers, as ``torch.utils._pytree.register_pytree_node`` does.

    Parameters
    ----------
    cls:
        The class itself; its subclasses stay leaves.
    flatten:
        ``flatten(instance) -> (children, context)``.
    unflatten:
        ``unflatten(children, context) -> instance``.
    name:
        What the class is called in messages and on the wire: its own name, if not given.

    >>> class Pair:
    ...     def __init__(self, left, right):
    ...         self.left, self.right = left, right
    >>> register_node(Pair, lambda pair: ((pair.left, pair.right), None), lambda children, _: Pair(*children))
    >>> flatten([Pair(1, 2), 3])
    ([1, 2, 3], TreeSpec([Pair(*, *), *]))
    """
    if cls in _REGISTERED or cls in _BUILTIN:
        raise TransformValueError(
            f"{cls.__qualname__} is a container already", remedy="register a class once, where it is defined"
        )
    _REGISTERED[cls] = NodeType(name or cls.__name__, cls, flatten, unflatten)


def add_registry(find: Callable[[type], NodeType | None]) -> None:
    """Make containers of what is registered elsewhere.

    Parameters
    ----------
    find:
        How the instances of a class are taken apart; None for a class that it does not know. It is
        asked anew for each instance that no rule of ours covers, so it should be quick.
    """
    _REGISTRIES.append(find)


@dataclass(frozen=True, slots=True)
class Node:
    """In a spec tree, what stands for an instance of a registered class.

    Attributes
    ----------
    type:
        How the instances are taken apart.
    children, context:
        What they are taken apart into.
    """

    type: NodeType
    children: tuple[Any, ...]
    context: Any = None

    def __repr__(self) -> str:
        return f"{self.type.name}({', '.join(map(repr, self.children))})"


class _Branch(NamedTuple):
    """A container, one level taken apart."""

    kind: str
    children: Sequence[Any]
    keys: tuple[Any, ...] | None = None
    context: Any = None
    node: NodeType | None = None


def _take_apart(tree: Any) -> _Branch | None:
    """One level of a container; None for a leaf."""
    cls = type(tree)
    if cls is tuple:
        return _Branch("tuple", tree)
    if cls is list:
        return _Branch("list", tree)
    if cls is dict:
        return _Branch("dict", list(tree.values()), tuple(tree))
    node = _REGISTERED.get(cls)
    if node is not None:
        children, context = node.flatten(tree)  # type: ignore[misc]  # a registered class has both functions
        return _Branch("node", list(children), context=context, node=node)
    if cls is OrderedDict:
        return _Branch("node", list(tree.values()), tuple(tree), node=_ORDERED_DICT)
    if cls is defaultdict:
        return _Branch("node", list(tree.values()), tuple(tree), tree.default_factory, _DEFAULT_DICT)
    if cls is deque:
        return _Branch("node", list(tree), context=tree.maxlen, node=_DEQUE)
    if cls is Node:
        return _Branch("node", tree.children, context=tree.context, node=tree.type)
    fields = _field_names(cls)
    if fields is not None:
        return _Branch("node", list(tree), fields, node=NodeType(cls.__name__, cls))
    for find in _REGISTRIES:
        node = find(cls)
        if node is not None:
            children, context = node.flatten(tree)  # type: ignore[misc]  # as above
            return _Branch("node", list(children), context=context, node=node)
    return None


def _field_names(cls: type) -> tuple[str, ...] | None:
    """The fields of a namedtuple, or of one of C's named tuples such as ``torch.return_types.max``."""
    if not issubclass(cls, tuple):
        return None
    fields = getattr(cls, "_fields", None)
    if fields is None and hasattr(cls, "n_sequence_fields"):
        fields = getattr(cls, "__match_args__", None)
    if isinstance(fields, tuple) and all(isinstance(name, str) for name in fields):
        return fields
    return None


def flatten(
    tree: Any,
    *,
    is_leaf: Callable[[Any], bool] | None = None,
    is_array: Callable[[Any], bool] | None = None,
) -> tuple[list[Any], TreeSpec]:
    """Take a tree apart into its leaves and its structure.

    Parameters
    ----------
    is_leaf:
        Where it is true, a container is left whole.
    is_array:
        Where it is false, a leaf becomes a static value of the structure.

    Raises :class:`LimitExceeded` for a tree of more than ``MAX_DEPTH`` levels, or one that
    contains itself.

    >>> flatten({"w": 1.0, "b": [2.0, None]})
    ([1.0, 2.0, None], TreeSpec({'w': *, 'b': [*, *]}))
    >>> flatten({"w": 1.0, "b": [2.0, None]}, is_array=lambda leaf: leaf is not None)
    ([1.0, 2.0], TreeSpec({'w': *, 'b': [*, None]}))
    """
    leaves: list[Any] = []
    return leaves, _flatten(tree, leaves, is_leaf, is_array, 0)


def _flatten(
    tree: Any,
    leaves: list[Any],
    is_leaf: Callable[[Any], bool] | None,
    is_array: Callable[[Any], bool] | None,
    depth: int,
) -> TreeSpec:
    branch = None if is_leaf is not None and is_leaf(tree) else _take_apart(tree)
    if branch is None:
        if is_array is not None and not is_array(tree):
            return TreeSpec("static", value=tree)
        leaves.append(tree)
        return LEAF
    if depth > MAX_DEPTH:
        raise LimitExceeded(
            f"a tree of more than {MAX_DEPTH} levels, or one that contains itself",
            remedy="pass the arrays in a flatter structure",
        )
    children = tuple([_flatten(child, leaves, is_leaf, is_array, depth + 1) for child in branch.children])
    return TreeSpec(branch.kind, children, branch.keys, branch.context, branch.node)


def unflatten(spec: TreeSpec, leaves: Sequence[Any]) -> Any:
    """Put a tree together again.

    >>> leaves, spec = flatten(({"x": 1}, 2))
    >>> unflatten(spec, [10, 20])
    ({'x': 10}, 20)
    """
    return _unflatten(spec, _counted(spec, leaves), as_spec=False)


def spec_tree(spec: TreeSpec, leaves: Sequence[Any]) -> Any:
    """Put a spec tree together: as :func:`unflatten`, with a :class:`Node` for each instance of a registered class.

    >>> class Square:
    ...     def __init__(self, side):
    ...         self.area = side**2
    ...         self.side = side
    >>> register_node(Square, lambda square: ((square.side,), None), lambda children, _: Square(*children))
    >>> spec_tree(flatten([Square(2.0)])[1], ["float64[]"])
    [Square('float64[]')]
    """
    return _unflatten(spec, _counted(spec, leaves), as_spec=True)


def _counted(spec: TreeSpec, leaves: Sequence[Any]) -> Iterator[Any]:
    leaves = list(leaves)
    if len(leaves) != spec.num_leaves:
        raise TransformValueError(
            f"{len(leaves)} leaves were given to a structure of {spec.num_leaves}: {spec}",
            remedy="give one leaf for each *",
        )
    return iter(leaves)


def _unflatten(spec: TreeSpec, leaves: Iterator[Any], *, as_spec: bool) -> Any:
    if spec.kind == "leaf":
        return next(leaves)
    if spec.kind == "static":
        return spec.value
    children = [_unflatten(child, leaves, as_spec=as_spec) for child in spec.children]
    if spec.kind == "list":
        return children
    if spec.kind == "tuple":
        return tuple(children)
    if spec.kind == "dict":
        return dict(zip(spec.keys or (), children, strict=True))
    if as_spec and spec.node is not None and spec.node.unflatten is not None:
        return Node(spec.node, tuple(children), spec.value)
    return _build(spec, children)


def _build(spec: TreeSpec, children: list[Any]) -> Any:
    cls = spec.node.cls if spec.node is not None else None
    if spec.is_mapping:
        pairs = zip(spec.keys or (), children, strict=True)
        if cls is defaultdict:
            return defaultdict(spec.value, pairs)
        return OrderedDict(pairs) if cls is OrderedDict else dict(pairs)
    if cls is None:
        return tuple(children)
    if spec.node is not None and spec.node.unflatten is not None:
        return spec.node.unflatten(children, spec.value)
    if cls is deque:
        return deque(children, maxlen=spec.value)
    make = getattr(cls, "_make", cls)  # a namedtuple has _make; C's named tuples take one sequence
    return make(children)


def tree_map(function: Callable[..., Any], tree: Any, *rest: Any, is_leaf: Callable[[Any], bool] | None = None) -> Any:
    """Apply a function to each leaf, or to the leaves that stand in the same place of several trees.

    >>> tree_map(lambda a, b: a + b, {"x": 1, "y": (2,)}, {"x": 10, "y": (20,)})
    {'x': 11, 'y': (22,)}
    """
    leaves, spec = flatten(tree, is_leaf=is_leaf)
    columns = [leaves]
    for number, other in enumerate(rest, 1):
        others, other_spec = flatten(other, is_leaf=is_leaf)
        if other_spec != spec:
            raise TransformValueError(
                f"tree {number} has the structure {other_spec}, the first one {spec}",
                remedy="pass trees of one structure",
            )
        columns.append(others)
    return unflatten(spec, [function(*row) for row in zip(*columns, strict=True)])


def spec_map(function: Callable[..., Any], tree: Any) -> Any:
    """The spec tree whose leaves tell of the leaves of a tree.

    >>> spec_map(type, [1, (2.0,)])
    [<class 'int'>, (<class 'float'>,)]
    """
    leaves, spec = flatten(tree)
    return spec_tree(spec, [function(leaf) for leaf in leaves])


def broadcast_prefix(
    prefix: Any, spec: TreeSpec, *, is_leaf: Callable[[Any], bool] | None = None, where: str = "in_dims"
) -> list[Any]:
    """Give each leaf of ``spec`` the leaf of ``prefix`` that stands at its place or above it.

    So vmap's ``in_dims=(0, None)`` is spread over its arguments
    (``torch.utils._pytree._broadcast_to_and_flatten``). The entries of dicts are matched by key,
    whatever their order. What the prefix says at a static value is not among the answers.

    Raises :class:`TransformValueError` where the prefix goes deeper than ``spec``, or has
    another structure.

    >>> _, spec = flatten(((1, 2), {"x": 3, "y": 4}))
    >>> broadcast_prefix((0, {"x": None, "y": 1}), spec)
    [0, 0, None, 1]
    """
    answers: list[Any] = []
    _broadcast(prefix, spec, is_leaf, where, answers)
    return answers


def _broadcast(
    prefix: Any, spec: TreeSpec, is_leaf: Callable[[Any], bool] | None, where: str, answers: list[Any]
) -> None:
    branch = None if is_leaf is not None and is_leaf(prefix) else _take_apart(prefix)
    if branch is None:
        answers.extend([prefix] * spec.num_leaves)
        return
    if len(branch.children) != len(spec.children) or not _same_container(branch, spec):
        _refuse_prefix(prefix, spec, where)
    children: Sequence[Any] = branch.children
    if spec.is_mapping:  # whichever class of dict, as in torch
        by_key = dict(zip(branch.keys or (), branch.children, strict=True))
        if set(by_key) != set(spec.keys or ()):
            _refuse_prefix(prefix, spec, where)
        children = [by_key[key] for key in spec.keys or ()]
    for index, (child, child_spec) in enumerate(zip(children, spec.children, strict=True)):
        _broadcast(child, child_spec, is_leaf, where + spec.step(index), answers)


def _same_container(branch: _Branch, spec: TreeSpec) -> bool:
    if spec.is_mapping:
        return branch.kind == "dict" or (branch.node is not None and branch.node.is_mapping)
    if spec.node is None:
        return branch.kind == spec.kind
    if spec.node.cls is None:  # a class of the other side: its instances are tuples here
        return branch.kind == "tuple" or (branch.node is not None and branch.node.name == spec.node.name)
    if branch.node != spec.node:
        return False
    return spec.node.cls is deque or same_context(branch.context, spec.value)  # torch does not ask for maxlen


def _refuse_prefix(prefix: Any, spec: TreeSpec, where: str) -> NoReturn:
    given = flatten(prefix)[1]
    raise TransformValueError(
        f"{where.split('[')[0].split('.')[0]} is not compatible with the structure of the inputs: "
        f"it has {given} where the inputs have {spec}",
        where=where,
        remedy="give one entry for all, or the structure of the inputs down to where the entries differ",
    )
