"""Rules of the operators that read or write at places given by tensors of indices."""

from __future__ import annotations

from typing import Any

from ...graph import TensorType
from ..call import Call, Shape, Symbol
from .axes import axis, broadcast, expand_to, is_length, replace, same_dtype
from .promotion import result_type

__all__ = [
    "INDEX_DTYPES",
    "bucketize",
    "embedding",
    "gather",
    "index",
    "index_add",
    "index_fill",
    "index_put",
    "index_select",
    "isin",
    "masked_scatter",
    "nonzero_static",
    "one_hot",
    "put",
    "repeat_interleave",
    "scatter",
    "searchsorted",
    "take",
    "take_along_dim",
]

INDEX_DTYPES = ("int64", "int32")


def _require_indices(call: Call, type_: TensorType, name: str, dtypes: tuple[str, ...] = INDEX_DTYPES) -> None:
    call.require(
        type_.dtype in dtypes,
        f"indices of dtype {type_.dtype}",
        argument=name,
        remedy="convert them to int64 with to.dtype",
    )


def _indexed(call: Call) -> tuple[Shape, int]:
    """The shape that self[indices] has: NumPy's rules of advanced indexing, without masks."""
    shape, indices = call.self.shape, call.indices
    call.require(
        len(indices) <= len(shape), f"{len(indices)} indices for a tensor with {len(shape)} axes", argument="indices"
    )
    given = [(position, type_) for position, type_ in enumerate(indices) if type_ is not None]
    for _, type_ in given:
        if type_.dtype in ("bool", "uint8"):
            call.refuse(
                "the length of a result that is indexed by a mask depends on its values",
                argument="indices",
                remedy="use where or masked_fill, or an index of integers",
            )
        _require_indices(call, type_, "indices", ("int64", "int32", "int16", "int8"))
    if not given:
        return shape, 0
    block = broadcast(call, *(type_.shape for _, type_ in given))
    positions = [position for position, _ in given]
    adjacent = positions == list(range(positions[0], positions[-1] + 1))
    start = positions[0] if adjacent else 0
    rest = [length for position, length in enumerate(shape) if position not in set(positions)]
    return (*rest[:start], *block, *rest[start:]), start


def index(call: Call) -> TensorType:
    """index.Tensor: x[i, :, j] with tensors of integers."""
    return TensorType(call.self.dtype, _indexed(call)[0])


def index_put(call: Call) -> TensorType:
    """index_put: self with values written at x[i, :, j]; a mask stands for where."""
    indices = call.indices
    masks = [type_ for type_ in indices if type_ is not None and type_.dtype in ("bool", "uint8")]
    same_dtype(call, [call.self, call.values], argument="values")
    if not masks:
        expand_to(call, call.values.shape, _indexed(call)[0], argument="values")
    elif len(indices) == 1 and call.values.shape:
        call.require(
            len(masks[0].shape) <= len(call.self.shape), "the mask has more axes than self", argument="indices"
        )
    return call.self


def index_select(call: Call) -> TensorType:
    """index_select: places of one axis."""
    shape = call.self.shape
    position = axis(call, call.dim, len(shape))
    call.require(len(call.index.shape) <= 1, f"indices with {len(call.index.shape)} axes", argument="index")
    _require_indices(call, call.index, "index")
    length = call.index.shape[0] if call.index.shape else 1
    if not shape:
        call.require(length == 1, f"{length} indices of a tensor without axes", argument="index")
        return call.self
    return TensorType(call.self.dtype, replace(shape, position, length))


def _fits(call: Call, small: Shape, large: Shape, except_axis: int | None, name: str) -> None:
    for position, length in enumerate(small):
        bound = large[position]
        if position == except_axis or isinstance(length, Symbol) or isinstance(bound, Symbol):
            continue
        call.require(
            length <= bound, f"axis {position} of the index has length {length}, more than {bound}", argument=name
        )


def _index_along(call: Call) -> tuple[Shape, int]:
    """Check an index of as many axes as self; returns its shape and the axis."""
    shape, places = call.self.shape, call.index.shape
    position = axis(call, call.dim, len(shape))
    if any(length == 0 for length in places):
        return places, position  # an empty index may have any dtype and any number of axes
    _require_indices(call, call.index, "index")
    call.require(
        max(len(places), 1) == max(len(shape), 1),
        f"the index has {len(places)} axes, self {len(shape)}",
        argument="index",
    )
    return places, position


def gather(call: Call) -> TensorType:
    """gather: one element of self for each element of the index."""
    places, position = _index_along(call)
    if len(places) == len(call.self.shape):
        _fits(call, places, call.self.shape, position, "index")
    return TensorType(call.self.dtype, places)


def scatter(call: Call) -> TensorType:
    """scatter and its kind: self with elements written, or combined, at places of one axis."""
    places, position = _index_along(call)
    if len(places) == len(call.self.shape):
        _fits(call, places, call.self.shape, position, "index")
    source = call.arguments.get("src")
    if source is not None:
        same_dtype(call, [call.self, source], argument="src")
        if len(places) == len(source.shape):
            _fits(call, places, source.shape, None, "src")
        elif all(length != 0 for length in places):
            call.require(
                max(len(source.shape), 1) == max(len(places), 1), f"src has {len(source.shape)} axes", argument="src"
            )
    reduce = call.arguments.get("reduce")
    known = ("sum", "prod", "mean", "amax", "amin", "add", "multiply")
    call.require(reduce is None or reduce in known, f"reduction {reduce!r}", argument="reduce")
    return call.self


def index_add(call: Call) -> TensorType:
    """index_add, index_copy, index_reduce: self with slices of source combined in."""
    shape, source = call.self.shape, call.source.shape
    position = axis(call, call.dim, len(shape))
    _require_indices(call, call.index, "index")
    call.require(len(call.index.shape) <= 1, f"indices with {len(call.index.shape)} axes", argument="index")
    same_dtype(call, [call.self, call.source], argument="source")
    if source and shape:
        length = call.index.shape[0] if call.index.shape else 1
        call.require(
            len(source) == len(shape) and source == replace(shape, position, length),
            f"source has shape {tuple(source)}, not {tuple(replace(shape, position, length))}",
            argument="source",
        )
    return call.self


def index_fill(call: Call) -> TensorType:
    """index_fill: self with a value at places of one axis."""
    axis(call, call.dim, len(call.self.shape))
    _require_indices(call, call.index, "index")
    call.require(len(call.index.shape) <= 1, f"indices with {len(call.index.shape)} axes", argument="index")
    return call.self


def take(call: Call) -> TensorType:
    """take: elements of the flattened tensor."""
    _require_indices(call, call.index, "index", ("int64",))
    return TensorType(call.self.dtype, call.index.shape)


def put(call: Call) -> TensorType:
    """put: self with elements written at places of the flattened tensor."""
    _require_indices(call, call.index, "index", ("int64",))
    same_dtype(call, [call.self, call.source], argument="source")
    return call.self


def take_along_dim(call: Call) -> TensorType:
    """take_along_dim: gather, with broadcasting beside the axis."""
    _require_indices(call, call.indices, "indices", ("int64",))
    shape, places = call.self.shape, call.indices.shape
    if call.dim is None:
        size: Any = 1
        for length in places:
            size = size * length if size != 1 else length
        return TensorType(call.self.dtype, (size,))
    call.require(
        len(shape) == len(places), f"the indices have {len(places)} axes, self {len(shape)}", argument="indices"
    )
    position = axis(call, call.dim, len(shape))
    if not shape:
        return call.self
    ones = replace(shape, position, 1), replace(places, position, 1)
    return TensorType(call.self.dtype, replace(broadcast(call, *ones), position, places[position]))


def masked_scatter(call: Call) -> TensorType:
    """masked_scatter: self with elements of source where the mask is true."""
    call.require(call.mask.dtype == "bool", f"the mask has dtype {call.mask.dtype}", argument="mask")
    same_dtype(call, [call.self, call.source], argument="source")
    return TensorType(call.self.dtype, broadcast(call, call.self.shape, call.mask.shape))


def searchsorted(call: Call) -> TensorType:
    """searchsorted: places in sorted rows, for each value."""
    sorted_rows, values = call.sorted_sequence, call.self
    call.require(bool(sorted_rows.shape), "the sorted sequence has no axes", argument="sorted_sequence")
    shape = values.shape if isinstance(values, TensorType) else ()
    if len(sorted_rows.shape) > 1:
        call.require(
            tuple(sorted_rows.shape[:-1]) == tuple(shape[:-1]) and len(shape) == len(sorted_rows.shape),
            f"rows of shape {tuple(sorted_rows.shape)} for values of shape {tuple(shape)}",
            argument="sorted_sequence",
        )
    call.require(call.arguments.get("side") in (None, "left", "right"), f"side {call.side!r}", argument="side")
    return TensorType("int32" if call.out_int32 else "int64", shape)


def bucketize(call: Call) -> TensorType:
    """bucketize: the bucket of each value."""
    call.require(len(call.boundaries.shape) == 1, "the boundaries are no vector", argument="boundaries")
    shape = call.self.shape if isinstance(call.self, TensorType) else ()
    return TensorType("int32" if call.out_int32 else "int64", shape)


def isin(call: Call) -> TensorType:
    """isin: for each element, whether it is among the others."""
    result_type(
        call, [call.arguments[a.name] for a in call.schema.arguments if a.name.endswith(("elements", "element"))]
    )
    elements = call.arguments.get("elements")
    return TensorType("bool", elements.shape if isinstance(elements, TensorType) else ())


def embedding(call: Call) -> TensorType:
    """embedding: rows of a table."""
    call.require(len(call.weight.shape) == 2, f"the table has {len(call.weight.shape)} axes", argument="weight")
    _require_indices(call, call.indices, "indices")
    return TensorType(call.weight.dtype, (*call.indices.shape, call.weight.shape[1]))


def one_hot(call: Call) -> TensorType:
    """one_hot: a new last axis, of a length that has to be given."""
    call.require(
        call.num_classes > 0,
        "the number of classes depends on the values",
        argument="num_classes",
        remedy="give num_classes",
    )
    call.require(call.self.dtype == "int64", f"indices of dtype {call.self.dtype}", argument="self")
    return TensorType("int64", (*call.self.shape, call.num_classes))


def nonzero_static(call: Call) -> TensorType:
    """nonzero_static: the places that are not 0, cut or filled up to a given number."""
    call.require(is_length(call.size), f"size {call.size} is negative", argument="size")
    return TensorType("int64", (call.size, len(call.self.shape)))


def repeat_interleave(call: Call) -> TensorType:
    """repeat_interleave.self_Tensor: each element its own number of times, of a given total."""
    total = call.output_size
    if total is None:
        call.refuse(
            "the length of the result depends on the values of repeats",
            argument="output_size",
            remedy="give output_size",
        )
    call.require(is_length(total), f"length {total} is negative", argument="output_size")
    _require_indices(call, call.repeats, "repeats")
    shape = call.self.shape
    position = 0 if call.dim is None else axis(call, call.dim, len(shape))
    if call.dim is None or not shape:
        return TensorType(call.self.dtype, (total,))
    return TensorType(call.self.dtype, replace(shape, position, total))
