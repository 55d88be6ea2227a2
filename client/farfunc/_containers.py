"""Containers that torch knows of, as soon as a program has imported it.

``torch.utils._pytree`` has a registry of classes that torch.func takes apart: those of the user
(``register_pytree_node``, ``register_dataclass``), of libraries (the outputs of a model) and torch's own.
"""

from __future__ import annotations

import sys
from typing import Any

from farfunc_protocol.pytree import NodeType, add_registry

__all__: list[str] = []

_known: dict[type, tuple[Any, NodeType]] = {}
"""By class: its entry in torch's registry, and what that says in our words."""


def _registered_with_torch(cls: type) -> NodeType | None:
    entry = getattr(sys.modules.get("torch.utils._pytree"), "SUPPORTED_NODES", {}).get(cls)
    if entry is None:
        return None
    known = _known.get(cls)
    if known is None or known[0] is not entry:
        known = _known[cls] = entry, NodeType(cls.__name__, cls, entry.flatten_fn, entry.unflatten_fn)
    return known[1]


add_registry(_registered_with_torch)
