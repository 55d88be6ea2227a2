"""What of a flat program depends on all inputs but the last, taken out of it.

The slices of one call differ in their last input, the cotangents or tangents. Whatever does not depend on
them, the function's own values above all, is the same in each: it is computed with the first and kept for the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import fx
from torch.fx.node import map_arg

from .flattening import FlatProgram
from .simplification import writes
from .value_checks import remove_dead_code

__all__ = ["HoistedProgram", "SliceLeaves", "hoist"]

Tensors = Sequence[torch.Tensor]


class SliceLeaves(list[torch.Tensor]):
    """The argument leaves of a slice, and what programs have kept of the slices before it.

    Attributes
    ----------
    kept:
        By program; the same object for all slices of a call, whose leaves but the last are the same as well.
    """

    def __init__(self, leaves: Tensors, kept: dict[Any, Tensors]) -> None:
        super().__init__(leaves)
        self.kept = kept


@dataclass(frozen=True, slots=True, eq=False)
class HoistedProgram:
    """A flat program in two parts.

    Attributes
    ----------
    first:
        Takes all inputs, and returns what the second part needs and does not compute.
    second:
        Takes all inputs and that, and returns the results.
    """

    first: fx.GraphModule
    second: fx.GraphModule
    flat: FlatProgram = field(repr=False)

    def __call__(self, leaves: Tensors, captures: Tensors) -> tuple[torch.Tensor, ...]:
        """Run both parts, or where the first one has run for the call, the second."""
        with torch.inference_mode():
            if not isinstance(leaves, SliceLeaves):
                return self.second(*leaves, *captures, *self.first(*leaves, *captures))
            values = leaves.kept.get(self)
            if values is None:
                leaves.kept.clear()  # of slices of another size: one is enough
                values = leaves.kept[self] = self.first(*leaves, *captures)
            return self.second(*leaves, *captures, *values)


def hoist(flat: FlatProgram, position: int) -> FlatProgram | HoistedProgram:
    """Split a program at what depends on its input number ``position``; one that writes to memory stays whole."""
    if writes(flat.module):
        return flat
    graph = flat.module.graph
    inputs = [node for node in graph.nodes if node.op == "placeholder"]
    depends = {inputs[position]}
    for node in graph.nodes:
        if node.op != "placeholder" and any(source in depends for source in node.all_input_nodes):
            depends.add(node)
    (output,) = (node for node in graph.nodes if node.op == "output")
    is_first = {node for node in graph.nodes if node.op == "call_function" and node not in depends}
    users = {node: [user for user in node.users if user in depends or user is output] for node in is_first}
    kept = [node for node in graph.nodes if node in is_first and users[node]]
    first, second = fx.Graph(), fx.Graph()
    ours: dict[fx.Node, fx.Node] = {}
    theirs: dict[fx.Node, fx.Node] = {}
    for node in graph.nodes:
        if node.op in ("placeholder", "get_attr") or node in is_first:
            ours[node] = first.node_copy(node, ours.__getitem__)
    first.output(tuple(ours[node] for node in kept))
    for node in inputs:
        theirs[node] = second.node_copy(node, theirs.__getitem__)
    for number, node in enumerate(kept):
        theirs[node] = second.placeholder(f"kept_{number}")
    for node in graph.nodes:
        if node.op == "get_attr" or (node.op == "call_function" and node in depends):
            theirs[node] = second.node_copy(node, theirs.__getitem__)
    second.output(map_arg(output.args[0], theirs.__getitem__))
    for part in (first, second):
        remove_dead_code(part)
    return HoistedProgram(fx.GraphModule(flat.module, first), fx.GraphModule(flat.module, second), flat)
