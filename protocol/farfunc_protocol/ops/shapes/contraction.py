"""Rules of the products: matrices, vectors, batches of them, and Einstein sums."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any

from ...graph import TensorType
from ..call import Call, Shape
from .axes import axes, axis, broadcast, expand_to, same_dtype, without
from .promotion import category, result_type

__all__ = [
    "addr",
    "bilinear",
    "cdist",
    "einsum",
    "inner",
    "kron",
    "linear",
    "matmul",
    "matrix_product",
    "multi_dot",
    "outer",
    "tensordot",
    "vecdot",
]


def _rank(call: Call, name: str, rank: int) -> Shape:
    shape = call.arguments[name].shape
    call.require(len(shape) == rank, f"{name} has {len(shape)} axes, not {rank}", argument=name)
    return shape


def _contracted(call: Call, left: Any, right: Any, argument: str | None = None) -> None:
    call.require(left == right, f"lengths {left} and {right} of the contracted axes differ", argument=argument)


def matmul(call: Call) -> TensorType:
    """matmul: of vectors, matrices and batches that broadcast."""
    names = [argument.name for argument in call.schema.tensor_arguments]
    left, right = (call.arguments[name].shape for name in names)
    dtype = same_dtype(call, call.tensors)
    for name, shape in zip(names, (left, right), strict=True):
        call.require(bool(shape), f"{name} has no axes", argument=name, remedy="use mul")
    _contracted(call, left[-1], right[-2:][0], names[1])
    batch = broadcast(call, left[:-2], right[:-2])
    rows = left[-2:-1]
    columns = right[-1:] if len(right) > 1 else ()
    return TensorType(dtype, (*batch, *rows, *columns))


def matrix_product(call: Call) -> TensorType:
    """mm, bmm, mv, dot, addmm, baddbmm, addmv: operands of a fixed number of axes."""
    ranks = _RANKS[call.schema.name]
    names = list(ranks)
    left, right = (_rank(call, name, rank) for name, rank in ranks.items())
    dtype = same_dtype(call, call.tensors)
    if len(left) == 3:
        call.require(left[0] == right[0], f"batches of {left[0]} and {right[0]}", argument=names[1])
    _contracted(call, left[-1], right[-2:][0], names[1])
    result = (*left[:-1], *(right[-1:] if len(right) > 1 else ()))
    if call.schema.name == "addbmm":
        result = result[1:]
    if "self" in call.arguments and "self" not in ranks:
        expand_to(call, call.self.shape, result, argument="self")
    return TensorType(dtype, result)


_RANKS = {
    "mm": {"self": 2, "mat2": 2},
    "bmm": {"self": 3, "mat2": 3},
    "mv": {"self": 2, "vec": 1},
    "dot": {"self": 1, "tensor": 1},
    "vdot": {"self": 1, "other": 1},
    "addmm": {"mat1": 2, "mat2": 2},
    "addmv": {"mat": 2, "vec": 1},
    "baddbmm": {"batch1": 3, "batch2": 3},
    "addbmm": {"batch1": 3, "batch2": 3},
}


def outer(call: Call) -> TensorType:
    """outer: every product of two vectors."""
    rows, columns = _rank(call, "self", 1), _rank(call, "vec2", 1)
    return TensorType(result_type(call, call.tensors), (*rows, *columns))


def addr(call: Call) -> TensorType:
    """addr: a matrix and the outer product of two vectors."""
    shape = (*_rank(call, "vec1", 1), *_rank(call, "vec2", 1))
    expand_to(call, call.self.shape, shape, argument="self")
    return TensorType(result_type(call, call.tensors), shape)


def inner(call: Call) -> TensorType:
    """inner: along the last axis of both."""
    left, right = call.self.shape, call.other.shape
    dtype = same_dtype(call, call.tensors)
    if not left or not right:
        return TensorType(dtype, left or right)
    _contracted(call, left[-1], right[-1], "other")
    return TensorType(dtype, (*left[:-1], *right[:-1]))


def vecdot(call: Call) -> TensorType:
    """linalg_vecdot: along one axis, the others broadcast."""
    shape = broadcast(call, call.x.shape, call.y.shape)
    position = axis(call, call.dim, len(shape))
    return TensorType(same_dtype(call, call.tensors), without(shape, (position,)))


def kron(call: Call) -> TensorType:
    """kron: lengths multiply."""
    left, right = call.self.shape, call.other.shape
    rank = max(len(left), len(right))
    left, right = ((1,) * (rank - len(shape)) + tuple(shape) for shape in (left, right))
    lengths = (n if m == 1 else m if n == 1 else m * n for m, n in zip(left, right, strict=True))
    return TensorType(result_type(call, call.tensors), tuple(lengths))


def tensordot(call: Call) -> TensorType:
    """tensordot: along pairs of axes."""
    left, right = call.self.shape, call.other.shape
    call.require(
        len(call.dims_self) == len(call.dims_other),
        f"{len(call.dims_self)} axes against {len(call.dims_other)}",
        argument="dims_other",
    )
    first = axes(call, call.dims_self, len(left), argument="dims_self")
    second = axes(call, call.dims_other, len(right), argument="dims_other")
    for one, other in zip(first, second, strict=True):
        if left and right and left[one] != 1 and right[other] != 1:
            _contracted(call, left[one], right[other], "dims_other")
    return TensorType(same_dtype(call, call.tensors), (*without(left, first), *without(right, second)))


def linear(call: Call) -> TensorType:
    """linear: input @ weight.T + bias."""
    shape, weight = call.input.shape, call.weight.shape
    call.require(bool(shape), "the input has no axes", argument="input")
    call.require(len(weight) in (1, 2), f"the weight has {len(weight)} axes", argument="weight")
    _contracted(call, shape[-1], weight[-1], "weight")
    result = (*shape[:-1], *weight[:-1])
    if call.bias is not None:
        expand_to(call, call.bias.shape, result, argument="bias")
    return TensorType(same_dtype(call, call.tensors), result)


def bilinear(call: Call) -> TensorType:
    """bilinear: x1 A x2 + b for each of several matrices."""
    left, right, weight = call.input1.shape, call.input2.shape, _rank(call, "weight", 3)
    call.require(bool(left) and len(left) == len(right), "the inputs differ in their axes", argument="input2")
    call.require(left[:-1] == right[:-1], "the inputs differ in their batch axes", argument="input2")
    _contracted(call, left[-1], weight[1], "weight")
    _contracted(call, right[-1], weight[2], "weight")
    return TensorType(same_dtype(call, call.tensors), (*left[:-1], weight[0]))


def multi_dot(call: Call) -> TensorType:
    """linalg_multi_dot: a chain of matrices, vectors allowed at its ends."""
    tensors = call.tensors
    call.require(len(tensors) >= 2, "a chain has two factors or more", argument="tensors")
    shapes = [type_.shape for type_ in tensors]
    for position, shape in enumerate(shapes):
        inside = 0 < position < len(shapes) - 1
        call.require(
            len(shape) == 2 or (len(shape) == 1 and not inside),
            f"factor {position} has {len(shape)} axes",
            argument="tensors",
        )
    for one, other in pairwise(shapes):
        _contracted(call, one[-1], other[0], "tensors")
    return TensorType(same_dtype(call, tensors), (*shapes[0][:-1], *shapes[-1][1:]))


_LABELS = re.compile(r"[A-Za-z]|\.\.\.")


def einsum(call: Call) -> TensorType:
    """einsum: one letter for each axis, ``...`` for those that broadcast."""
    left, arrow, right = call.equation.replace(" ", "").partition("->")
    terms = left.split(",")
    call.require(
        len(terms) == len(call.tensors), f"{len(terms)} terms for {len(call.tensors)} tensors", argument="equation"
    )
    lengths: dict[str, Any] = {}
    batch: Shape = ()
    for term, type_ in zip(terms, call.tensors, strict=True):
        labels = _labels(call, term)
        named = len(labels) - ("..." in labels)
        extra = len(type_.shape) - named
        call.require(
            extra == 0 or (extra > 0 and "..." in labels),
            f"the term {term!r} names {named} axes, its tensor has {len(type_.shape)}",
            argument="equation",
        )
        position = 0
        for label in labels:
            if label == "...":
                batch = broadcast(call, batch, type_.shape[position : position + extra])
                position += extra
                continue
            lengths[label] = _common(call, label, lengths.get(label, 1), type_.shape[position])
            position += 1
    dtype = same_dtype(call, call.tensors)
    if not arrow:
        _refuse_widening(call, dtype, terms, "".join(label for label in lengths if left.count(label) == 1) + "...")
        letters = sorted(label for label in lengths if left.count(label) == 1)
        return TensorType(dtype, (*batch, *(lengths[label] for label in letters)))
    result: list[Any] = []
    labels = _labels(call, right)
    call.require(len(set(labels)) == len(labels), f"a letter comes twice in the result {right!r}", argument="equation")
    for label in labels:
        if label == "...":
            result.extend(batch)
            continue
        call.require(label in lengths, f"{label!r} is in the result, but in no term", argument="equation")
        result.append(lengths[label])
    _refuse_widening(call, dtype, terms, right)
    return TensorType(dtype, tuple(result))


def _refuse_widening(call: Call, dtype: str, terms: list[str], result: str) -> None:
    # A label that one term has alone is summed by ``sum``, which widens integers to int64; one
    # that two terms share by ``bmm``, which does not. torch's result then depends on the order.
    if category(dtype) not in ("bool", "integral") or dtype == "int64":
        return
    for term in terms:
        for label in set(_LABELS.findall(term)) - set(_LABELS.findall(result)):
            if sum(label in other for other in terms) == 1:
                call.refuse(f"a sum of {dtype}", remedy="convert the operands to int64 with to.dtype")


def _labels(call: Call, term: str) -> list[str]:
    labels = _LABELS.findall(term)
    call.require("".join(labels) == term, f"the term {term!r} is not made of letters and '...'", argument="equation")
    call.require(labels.count("...") <= 1, f"the term {term!r} has '...' twice", argument="equation")
    return labels


def _common(call: Call, label: str, known: Any, length: Any) -> Any:
    if known == 1:
        return length
    if length != 1:
        call.require(known == length, f"axis {label!r} has lengths {known} and {length}", argument="equation")
    return known


def cdist(call: Call) -> TensorType:
    """cdist: the distance of every pair of rows."""
    left, right = call.x1.shape, call.x2.shape
    call.require(len(left) >= 2 and len(right) >= 2, "it takes two axes or more")
    _contracted(call, left[-1], right[-1], "x2")
    dtype = same_dtype(call, call.tensors)
    call.require(dtype in ("float32", "float64"), f"it is not defined for {dtype}")
    return TensorType(dtype, (*broadcast(call, left[:-2], right[:-2]), left[-2], right[-2]))
