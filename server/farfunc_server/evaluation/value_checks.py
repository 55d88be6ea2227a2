"""Operators that refuse values, and what would leave their refusals out.

An index out of range, an integer divided by zero, a matrix of NaN: such an operator raises an error where it is
called, whether its result is used or not. In the Jacobian of ``x + table[index].sum()`` with respect to ``x`` it is
not. The plain program calls it all the same, so a faster one does, too: it is no dead code.
"""

from __future__ import annotations

import torch
from torch import fx

__all__ = ["checks_values", "refuse_negative_indices", "remove_dead_code", "why_not_compiled"]

_aten = torch.ops.aten

_CHECKING = frozenset(
    (
        # places
        *("embedding", "_embedding_bag", "_embedding_bag_forward_only", "index", "index_select", "gather", "take"),
        *("put", "index_add", "index_copy", "index_fill", "index_put", "index_reduce", "scatter", "scatter_add"),
        *("scatter_reduce", "max_unpool2d", "max_unpool3d", "searchsorted"),
        # numbers of classes, probabilities, bounds
        *("nll_loss_forward", "nll_loss2d_forward", "multi_margin_loss", "multilabel_margin_loss_forward"),
        *("binary_cross_entropy", "histc"),
        # factorizations that have to converge, or refuse what is not finite
        *("linalg_eig", "_linalg_eigvals", "linalg_eigvals", "_linalg_eigh", "_linalg_svd", "linalg_lstsq"),
    )
)
"""By the name of the packet. The other factorizations have a call of their own that looks at their status."""

_DIVISIONS = frozenset({"div", "floor_divide", "remainder", "fmod"})
"""Those of integers refuse zero."""

_WRAPPING = {_aten.index_select.default: 2, _aten.index_add.default: 2, _aten.index_copy.default: 2}
"""Operators that refuse an index below zero, where compiled code counts from the end; and where the index stands."""


_UNCHECKED = frozenset(
    (
        *("scatter_add", "scatter_reduce", "max_unpool2d", "max_unpool3d", "searchsorted", "histc"),
        *("_embedding_bag", "_embedding_bag_forward_only", "binary_cross_entropy"),
        *("nll_loss_forward", "nll_loss2d_forward", "multi_margin_loss", "multilabel_margin_loss_forward"),
        *_DIVISIONS,
    )
)
"""Operators of those whose compiled code does not check, or not always (torch 2.13, on the CPU): ``scatter_add`` writes
where the index says, outside of its memory as well; a division of integers by zero ends the process; a class number
out of range counts as one to be ignored."""


def checks_values(node: fx.Node) -> bool:
    """Whether a call may be refused for the values of its operands, and was not yet made on the very same."""
    if not isinstance(node.target, torch._ops.OpOverload) or node.meta.get("is_computed"):
        return False
    name = node.target._schema.name.removeprefix("aten::")
    if name in _DIVISIONS:
        value = node.meta.get("val")
        return isinstance(value, torch.Tensor) and not (value.is_floating_point() or value.is_complex())
    return name in _CHECKING


def remove_dead_code(graph: fx.Graph) -> None:
    """Remove calls whose results nobody needs, but for those that check values."""
    graph.eliminate_dead_code(lambda node: node.is_impure() or checks_values(node))


def why_not_compiled(graph: fx.Graph) -> str | None:
    """Why compiled code would not refuse the values that are refused here; None if it would."""
    for node in graph.nodes:
        if checks_values(node):
            if not node.users:
                return f"{node.target} is called for its check of values alone, which compiled code leaves out"
            if node.target._schema.name.removeprefix("aten::") in _UNCHECKED:
                return f"{node.target} checks values, and its compiled code does not"
    return None


def refuse_negative_indices(module: fx.GraphModule) -> None:
    """Put an index that is out of range either way in place of one below zero, for code that is to be compiled."""
    for node in list(module.graph.nodes):
        place = _WRAPPING.get(node.target)
        if place is None:
            continue
        into, dim, index = node.args[0].meta["val"], node.args[1], node.args[place]
        length = into.shape[dim] if into.dim() else 1
        with module.graph.inserting_before(node):
            is_negative = module.graph.call_function(_aten.lt.Scalar, (index, 0))
            refused = module.graph.call_function(_aten.masked_fill.Scalar, (index, is_negative, length))
        node.update_arg(place, refused)
    module.recompile()
