"""Passes over a flat program: what it need not do, it does not do.

A program comes from :mod:`.flattening`, functional unless torch left a write in it. In order:

1. ``detach``, ``alias`` and their like, which without autograd are their operand, are taken out, and
   ``zeros_like(x)``, which looks at the type of ``x`` alone, becomes a constant;
2. of equal computations one is kept;
3. what depends on no input is computed now, and kept where that is not large (the unit tangents of
   ``jacfwd``, say, which torch.func makes anew with every call);
4. what nothing needs is dropped.
"""

from __future__ import annotations

import torch
from torch import fx
from torch._functorch.compile_utils import fx_graph_cse

__all__ = ["MAX_FOLDED_BYTES", "is_random", "simplify", "writes"]

MAX_FOLDED_BYTES = 1 << 26
"""How much memory the values may take that are computed beforehand."""

_aten = torch.ops.aten

_IDENTITIES = frozenset(
    {_aten.detach.default, _aten.alias.default, _aten.lift_fresh.default, _aten.lift_fresh_copy.default}
)
"""Operators that return their operand: its memory is written to by nobody here."""

_FILLED = {
    _aten.new_zeros.default: lambda node: 0,
    _aten.zeros_like.default: lambda node: 0,
    _aten._efficientzerotensor.default: lambda node: 0,  # forward mode's; compiled code finds no memory behind it
    _aten.new_ones.default: lambda node: 1,
    _aten.ones_like.default: lambda node: 1,
    _aten.new_full.default: lambda node: node.args[2],
    _aten.full_like.default: lambda node: node.args[1],
}
"""Operators whose results have one value everywhere, and what tells it."""

_MEMORY = torch.ops.aten.empty.memory_format


def simplify(module: fx.GraphModule, *, fold: bool = True) -> int:
    """Simplify a program in place; returns the bytes of the values that it now holds: none if not to ``fold``."""
    folded = 0
    if not any(writes(node) for node in module.graph.nodes):
        _remove_identities(module.graph)
        _detach_filled(module.graph)
        module.graph = fx_graph_cse(module.graph)
        folded = _fold(module) if fold else 0
    module.graph.eliminate_dead_code()
    module.recompile()
    return folded


def is_random(module: fx.GraphModule) -> bool:
    """Whether a program draws random numbers."""
    return any(_draws(node) for node in module.graph.nodes)


def writes(node: fx.Node) -> bool:
    """Whether a call writes to its operands."""
    return isinstance(node.target, torch._ops.OpOverload) and node.target._schema.is_mutable


def _draws(node: fx.Node) -> bool:
    return isinstance(node.target, torch._ops.OpOverload) and torch.Tag.nondeterministic_seeded in node.target.tags


def _remove_identities(graph: fx.Graph) -> None:
    for node in graph.nodes:
        if node.op == "call_function" and node.target in _IDENTITIES:
            node.replace_all_uses_with(node.args[0])


def _detach_filled(graph: fx.Graph) -> None:
    for node in graph.nodes:
        value = node.meta.get("val")
        if node.op == "call_function" and node.target in _FILLED and isinstance(value, torch.Tensor):
            options = {"dtype": value.dtype, "device": value.device}
            with graph.inserting_before(node):
                operands = (list(value.shape), _FILLED[node.target](node))
                filled = graph.call_function(_aten.full.default, operands, options)
            filled.meta = dict(node.meta)
            node.replace_all_uses_with(filled)


def _fold(module: fx.GraphModule) -> int:
    """Compute what depends on no input; returns the bytes that it takes."""
    values: dict[fx.Node, object] = {}
    for node in module.graph.nodes:
        if (
            node.op == "call_function"
            and not _draws(node)
            and node.target is not _MEMORY
            and all(operand in values for operand in node.all_input_nodes)
            and _bytes(node.meta.get("val")) <= MAX_FOLDED_BYTES
        ):
            args, kwargs = fx.node.map_arg((node.args, node.kwargs), values.__getitem__)
            values[node] = node.target(*args, **kwargs)
    total = 0
    for node, value in values.items():
        is_needed = any(user not in values for user in node.users)
        if is_needed and isinstance(value, torch.Tensor) and total + _bytes(value) <= MAX_FOLDED_BYTES:
            total += _bytes(value)
            _replace(module, node, value)
    return total


def _replace(module: fx.GraphModule, node: fx.Node, value: torch.Tensor) -> None:
    name = f"folded_{node.name}"
    module.register_buffer(name, value.contiguous() if not value.is_conj() else value)
    with module.graph.inserting_before(node):
        constant = module.graph.get_attr(name)
    constant.meta = dict(node.meta)
    node.replace_all_uses_with(constant)


def _bytes(value: object) -> int:
    if isinstance(value, torch.Tensor):
        return value.numel() * value.element_size()
    return sum(map(_bytes, value)) if isinstance(value, tuple | list) else 0
