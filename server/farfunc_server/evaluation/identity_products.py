"""Products with rows of the identity, which choose and scale rows of the other factor.

The cotangents of a Jacobian are the rows of an identity matrix. What elementwise operators make of them in reverse mode
still has one element in a row that is not zero, and so a product with a matrix,
``(I * s) @ B``, is ``s[:, None] * B``: a pass over memory in place of n times as much arithmetic. torch.func
multiplies all the zeros, by which a NaN or an infinity in ``B`` or ``s`` spreads over its column or row. So it does
here: values that are not finite take the ordinary way. Sums of zeros are +0.0, and are so here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import fx

from .value_checks import remove_dead_code

__all__ = ["scaled_rows", "use_identity"]

LEAST_PRODUCTS = 1 << 20
"""Smaller products take less time than the looks at what they are made of."""

_aten = torch.ops.aten

_ELEMENTWISE: Mapping[Any, tuple[int, ...]] = {
    _aten.mul.Tensor: (0, 1),
    _aten.div.Tensor: (0,),
    _aten.neg.default: (0,),
    _aten.tanh_backward.default: (0,),
    _aten.sigmoid_backward.default: (0,),
    _aten.threshold_backward.default: (0,),
    _aten.clone.default: (0,),
}
"""Operators that are linear in one operand, element by element, and where that stands."""

_TRANSPOSES: Mapping[Any, Callable[..., bool]] = {
    _aten.t.default: lambda matrix: True,
    _aten.permute.default: lambda matrix, axes: list(axes) == [1, 0],
    _aten.transpose.int: lambda matrix, first, second: {first % 2, second % 2} == {0, 1},
}
"""Operators that may transpose a matrix, and whether they do, told by their arguments."""


@dataclass(frozen=True, slots=True)
class _Rows:
    """A matrix that is ``root * s``, where ``s`` is what the chain makes of ones; or its transpose."""

    root: fx.Node
    chain: tuple[fx.Node, ...] = ()
    is_transposed: bool = False


def scaled_rows(root: torch.Tensor, scale: torch.Tensor, matrix: torch.Tensor, is_finite: bool) -> torch.Tensor:
    """``(root * scale) @ matrix``, where each row of ``root`` has one element at most that is not zero.

    Parameters
    ----------
    root:
        Shape (r, n).
    scale:
        Shape (n,).
    matrix:
        Shape (n, m).
    is_finite:
        Whether ``matrix`` is known to hold finite numbers only.

    >>> eye, scale = torch.eye(2), torch.tensor([2.0, 3.0])
    >>> scaled_rows(eye, scale, torch.tensor([[1.0, -1.0], [0.0, 5.0]]), False)
    tensor([[ 2., -2.],
            [ 0., 15.]])
    >>> scaled_rows(eye, scale, torch.tensor([[1.0, math.inf], [0.0, 5.0]]), False)
    tensor([[2., inf],
            [0., nan]])
    """
    # A sum of finite numbers may overflow; then the ordinary way is taken, which is right as well.
    if not math.isfinite(float(scale.sum())) or not (is_finite or math.isfinite(float(matrix.sum()))):
        return (root * scale) @ matrix
    index = root.abs().argmax(1)
    weight = root.gather(1, index.unsqueeze(1)).squeeze(1)
    return torch.addcmul(_zero(matrix), matrix.index_select(0, index), (weight * scale[index]).unsqueeze(1))


def scaled_matrix(root: torch.Tensor, scale: torch.Tensor, matrix: torch.Tensor, is_finite: bool) -> torch.Tensor:
    """The same for a diagonal ``root``."""
    if not math.isfinite(float(scale.sum())) or not (is_finite or math.isfinite(float(matrix.sum()))):
        return (root * scale) @ matrix
    return torch.addcmul(_zero(matrix), matrix, (root.diagonal() * scale).unsqueeze(1))


def _zero(matrix: torch.Tensor) -> torch.Tensor:
    return torch.zeros((), dtype=matrix.dtype, device=matrix.device)


def use_identity(module: fx.GraphModule, basis: int | None = None) -> None:
    """Replace products with rows of the identity, in place.

    Parameters
    ----------
    module:
        A simplified flat program.
    basis:
        The number of an input whose rows have one 1 each and else zeros, if there is one.
    """
    graph = module.graph
    inputs = [node for node in graph.nodes if node.op == "placeholder"]
    rows: dict[fx.Node, _Rows] = {}
    if basis is not None and _is_matrix(inputs[basis]):
        rows[inputs[basis]] = _Rows(inputs[basis])
    for node in graph.nodes:
        if node.op == "get_attr" and _is_matrix(node) and _has_single_elements(_constant(module, node)):
            rows[node] = _Rows(node)
        elif node.op == "call_function":
            if node.target is _aten.mm.default:
                _replace(module, node, rows)
            elif (found := _followed(node, rows)) is not None:
                rows[node] = found
    remove_dead_code(graph)
    module.recompile()


def _is_matrix(node: fx.Node) -> bool:
    value = node.meta.get("val")
    return isinstance(value, torch.Tensor) and value.dim() == 2 and value.dtype in (torch.float32, torch.float64)


def _constant(module: fx.GraphModule, node: fx.Node) -> torch.Tensor:
    return getattr(module, str(node.target))


def _has_single_elements(value: Any) -> bool:
    if not isinstance(value, torch.Tensor) or value.numel() < 2:
        return False
    return bool(torch.isfinite(value).all()) and bool((value.count_nonzero(1) <= 1).all())


def _followed(node: fx.Node, rows: Mapping[fx.Node, _Rows]) -> _Rows | None:
    """What an operator makes of such a matrix, if it stays one."""
    if node.kwargs:
        return None
    if node.target in _TRANSPOSES and isinstance(node.args[0], fx.Node) and node.args[0] in rows:
        found = rows[node.args[0]]
        return replace(found, is_transposed=not found.is_transposed) if _TRANSPOSES[node.target](*node.args) else None
    for place in _ELEMENTWISE.get(node.target, ()):
        operand = node.args[place]
        found = rows.get(operand) if isinstance(operand, fx.Node) else None
        others = [other for i, other in enumerate(node.args) if i != place]
        if (
            found is not None
            and not found.is_transposed
            and not any(other in rows for other in others if isinstance(other, fx.Node))
            and all(_is_same_for_rows(other, found.root) for other in others)
            and _shape(node) == _shape(found.root)
        ):
            return replace(found, chain=(*found.chain, node))
    return None


def _shape(node: fx.Node) -> tuple[int, ...]:
    return tuple(node.meta["val"].shape)


def _is_same_for_rows(operand: Any, root: fx.Node) -> bool:
    """Whether an operand is a number, or has an element for each column."""
    if not isinstance(operand, fx.Node):
        return isinstance(operand, int | float)
    value = operand.meta.get("val")
    return isinstance(value, torch.Tensor) and tuple(value.shape) in ((), (_shape(root)[1],), (1, _shape(root)[1]))


def _replace(module: fx.GraphModule, node: fx.Node, rows: Mapping[fx.Node, _Rows]) -> None:
    first, second = node.args
    if isinstance(first, fx.Node) and (found := rows.get(first)) is not None and not found.is_transposed:
        matrix, is_left = second, True
    elif isinstance(second, fx.Node) and (found := rows.get(second)) is not None and found.is_transposed:
        matrix, is_left = first, False
    else:
        return
    assert isinstance(matrix, fx.Node)
    value = node.meta["val"]
    if not isinstance(value, torch.Tensor) or value.numel() * _shape(found.root)[1] < LEAST_PRODUCTS:
        return
    is_finite = False
    if matrix.op == "get_attr":
        if not math.isfinite(float(_constant(module, matrix).sum())):
            return
        is_finite = True
    graph = module.graph
    with graph.inserting_before(node):
        scale = _scale(graph, found, value)
        if not is_left:
            matrix = _call(graph, _aten.t.default, (matrix,), (_shape(matrix)[1], _shape(matrix)[0]), value)
        is_whole = found.root.op == "get_attr" and _is_diagonal(_constant(module, found.root))
        function = scaled_matrix if is_whole else scaled_rows
        shape = tuple(value.shape)
        new = _call(
            graph, function, (found.root, scale, matrix, is_finite), shape if is_left else (shape[1], shape[0]), value
        )
        if not is_left:
            new = _call(graph, _aten.t.default, (new,), shape, value)
    node.replace_all_uses_with(new)


def _is_diagonal(value: torch.Tensor) -> bool:
    return value.shape[0] == value.shape[1] and torch.equal(value, torch.diag(value.diagonal()))


def _scale(graph: fx.Graph, rows: _Rows, like: torch.Tensor) -> fx.Node:
    """What the chain makes of a row of ones."""
    count = _shape(rows.root)[1]
    options = {"dtype": like.dtype, "device": like.device}
    made = graph.call_function(_aten.full.default, ([1, count], 1), options)
    source = rows.root
    for step in rows.chain:
        args = tuple(made if operand is source else operand for operand in step.args)
        source, made = step, _call(graph, step.target, args, (1, count), like)
    return _call(graph, _aten.view.default, (made, [count]), (count,), like)


def _call(graph: fx.Graph, target: Any, args: tuple[Any, ...], shape: tuple[int, ...], like: torch.Tensor) -> fx.Node:
    node = graph.call_function(target, args)
    node.meta["val"] = torch.empty(shape, dtype=like.dtype, device="meta")
    return node
