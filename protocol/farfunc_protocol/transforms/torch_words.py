"""How torch prints structures and shapes: programs match its messages, so ours have the same words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..pytree import TreeSpec, flatten, spec_tree

__all__ = ["size_text", "structure_text", "tree_text"]


class _Star:
    def __repr__(self) -> str:
        return "*"


def size_text(shape: Sequence[Any]) -> str:
    """A shape as a ``torch.Size``.

    >>> size_text((2, 3))
    'torch.Size([2, 3])'
    """
    return f"torch.Size([{', '.join(map(str, shape))}])"


def tree_text(tree: Any) -> str:
    """A tree with a star in the place of each leaf (``torch.utils._pytree.treespec_pprint``).

    >>> tree_text({"a": 1, "b": (2, 3)})
    "{'a': *, 'b': (*, *)}"
    """
    leaves, spec = flatten(tree)
    return repr(spec_tree(spec, [_Star()] * len(leaves)))


def structure_text(tree: Any) -> str:
    """The structure of a tree as torch's ``TreeSpec`` prints itself.

    >>> print(structure_text({"a": 1, "b": (2, 3)}))
    TreeSpec(dict, ['a', 'b'], [*,
      TreeSpec(tuple, None, [*,
        *])])
    """
    return _structure(flatten(tree)[1], 0)


def _structure(spec: TreeSpec, indent: int) -> str:
    if spec.kind == "leaf":
        return "*"
    indent += 2
    children = (",\n" + " " * indent).join(_structure(child, indent) for child in spec.children)
    name, context = _name_and_context(spec)
    return f"TreeSpec({name}, {context}, [{children}])"


def _name_and_context(spec: TreeSpec) -> tuple[str, Any]:
    keys = list(spec.keys or ())
    if spec.node is None:
        return spec.kind, keys if spec.kind == "dict" else None
    if spec.node.name == "defaultdict":
        return "defaultdict", [spec.value, keys]
    if spec.is_mapping:
        return spec.node.name, keys
    if spec.keys is not None:
        return "namedtuple", spec.node.cls
    return spec.node.name, spec.value
