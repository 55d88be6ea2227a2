"""Passes over a flat program: what it need not do, it does not do.

A program comes from :mod:`.flattening`, functional unless torch left a write in it. In order:

1. ``detach``, ``alias`` and their like, which without autograd are their operand, are taken out, and
   ``zeros_like(x)``, which looks at the type of ``x`` alone, becomes a constant;
2. of equal computations one is kept;
3. what depends on no argument is computed now, and kept where that is not large: the unit tangents of ``jacfwd``,
   which torch.func makes anew with every call, and their product with a weight;
4. what nothing needs is dropped.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

import torch
from torch import fx
from torch._functorch.compile_utils import fx_graph_cse
from torch.fx.node import map_arg

from .value_checks import remove_dead_code

__all__ = ["MAX_FOLDED_BYTES", "is_random", "looks_at_memory", "simplify", "writes"]

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


def simplify(module: fx.GraphModule, *, fold: bool = True, constants: Mapping[int, torch.Tensor] | None = None) -> int:
    """Simplify a program in place; returns the bytes of the values that it now holds: none if not to ``fold``.

    ``constants`` are the values of inputs, by number, that are the same in every call.
    """
    folded = 0
    if not writes(module):
        _remove_identities(module.graph)
        _detach_filled(module.graph)
        module.graph = fx_graph_cse(module.graph)
        folded = _fold(module, constants or {}) if fold else 0
    remove_dead_code(module.graph)
    module.recompile()
    return folded


def writes(module: fx.GraphModule) -> bool:
    """Whether a program writes to memory that it was given or has made."""
    return any(_writes(node) for node in module.graph.nodes)


def looks_at_memory(module: fx.GraphModule) -> bool:
    """Whether what a program computes depends on how its values lie in memory."""
    return any(str(node.target).startswith("aten.as_strided") for node in module.graph.nodes)


def is_random(module: fx.GraphModule) -> bool:
    """Whether a program draws random numbers."""
    return any(_draws(node) for node in module.graph.nodes)


def _writes(node: fx.Node) -> bool:
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


def _fold(module: fx.GraphModule, constants: Mapping[int, torch.Tensor]) -> int:
    """Compute what depends on no argument; returns the bytes that it takes."""
    inputs = [node for node in module.graph.nodes if node.op == "placeholder"]
    given = {inputs[number]: value for number, value in constants.items()}
    values: dict[fx.Node, Any] = dict(given)
    kept: dict[fx.Node, torch.Tensor] = {}
    waiting = {node: len(node.users) for node in module.graph.nodes}
    total = held = 0
    paid = {value.untyped_storage().data_ptr() for value in given.values()}  # memory that is there anyway
    with torch.inference_mode():
        for node in list(module.graph.nodes):
            operands = node.all_input_nodes
            if _is_folded(node, values) and held + _bytes(node.meta.get("val")) <= 4 * MAX_FOLDED_BYTES:
                args, kwargs = map_arg((node.args, node.kwargs), values.__getitem__)
                with contextlib.suppress(Exception):  # then the call fails, and says so
                    values[node] = node.target(*args, **kwargs)
                    held += _bytes(values[node])
                    node.meta["is_computed"] = True
            else:  # it is run with every call: what it takes that was computed is kept
                for operand in operands:
                    value = values.get(operand)
                    if operand in given or operand in kept or not isinstance(value, torch.Tensor):
                        continue
                    storage = value.untyped_storage()
                    price = 0 if storage.data_ptr() in paid else storage.nbytes()
                    if total + price <= MAX_FOLDED_BYTES:
                        total += price
                        paid.add(storage.data_ptr())
                        kept[operand] = value
            for operand in operands:
                waiting[operand] -= 1
                if not waiting[operand] and operand in values and operand not in given:
                    held -= _bytes(values.pop(operand))
    for node, value in kept.items():
        _replace(module, node, value)
    return total


def _is_folded(node: fx.Node, values: Mapping[fx.Node, Any]) -> bool:
    return (
        node.op == "call_function"
        and not _draws(node)
        and node.target is not _MEMORY
        and all(operand in values for operand in node.all_input_nodes)
        and _bytes(node.meta.get("val")) <= MAX_FOLDED_BYTES
    )


def _replace(module: fx.GraphModule, node: fx.Node, value: torch.Tensor) -> None:
    name = f"folded_{node.name}"
    module.register_buffer(name, value)  # with its strides, which the views of the program were written down for
    with module.graph.inserting_before(node):
        constant = module.graph.get_attr(name)
    constant.meta = dict(node.meta)
    node.replace_all_uses_with(constant)


def _bytes(value: object) -> int:
    """The memory of what a call returns; an expanded tensor takes no more than what it is expanded from."""
    if isinstance(value, torch.Tensor):
        last = sum((n - 1) * stride for n, stride in zip(value.shape, value.stride(), strict=True))
        return (last + 1) * value.element_size() if value.numel() else 0
    return sum(map(_bytes, value)) if isinstance(value, tuple | list) else 0
