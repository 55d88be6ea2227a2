"""Rules of the operators that reduce axes, or scan along one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...graph import TensorType
from ..call import Call, shape_of
from . import promotion
from .axes import axes, axis, broadcast, replace, without
from .elementwise import DTypeChoice, floating, floating_only, real
from .promotion import category, is_complex, real_of

__all__ = [
    "accumulated",
    "aminmax",
    "argsort",
    "averaged",
    "count",
    "covariance",
    "diff",
    "dist",
    "extremum",
    "gradient",
    "histogram",
    "histogram_and_edges",
    "mean_and_spread",
    "nansummed",
    "norm",
    "position",
    "quantile",
    "raw_softmax",
    "reduce",
    "scan",
    "selection",
    "softmax",
    "sort",
    "spread",
    "trapezoid",
    "truth",
]


def reduce(choice: DTypeChoice, *, outputs: int = 1, empty_is_all: bool = True, identity: bool = True) -> Any:
    """A rule: reduce the axes ``dim`` (None: all), keeping them as 1 where ``keepdim`` is set.

    ``empty_is_all``: whether an empty list of axes means all of them. ``identity``: whether the
    reduction of nothing has a value; where it has none, an empty axis is refused.
    """

    def rule(call: Call) -> TensorType | tuple[TensorType, ...]:
        shape = call.tensors[0].shape
        reduced = _reduced(call, len(shape), empty_is_all)
        if not identity:
            for position in reduced:
                if position < len(shape) and shape[position] == 0:
                    call.refuse(f"axis {position} has length 0, of which there is no value", argument="dim")
        result = TensorType(choice(call, call.tensors[0].dtype), _kept(call, shape, reduced))
        return (result,) * outputs if outputs > 1 else result

    return rule


def _reduced(call: Call, rank: int, empty_is_all: bool = True) -> tuple[int, ...]:
    dims = call.arguments.get("dim")
    if isinstance(dims, int):
        dims = (dims,)
    if dims is None or (not dims and empty_is_all):
        return tuple(range(rank))
    return axes(call, dims, rank)


def _kept(call: Call, shape: tuple[Any, ...], reduced: tuple[int, ...]) -> tuple[Any, ...]:
    if call.arguments.get("keepdim"):
        return tuple(1 if position in reduced else length for position, length in enumerate(shape))
    return without(shape, reduced)


def accumulated(call: Call, dtype: str) -> str:
    """sum, prod, cumsum: integers and booleans become int64, unless a dtype is given."""
    if call.arguments.get("dtype") is not None:
        return call.dtype
    return "int64" if category(dtype) in ("bool", "integral") else dtype


def gradient(call: Call) -> tuple[TensorType, ...]:
    """gradient: one derivative for each axis, of the operand's shape."""
    rank = len(call.self.shape)
    dims = call.arguments.get("dim")
    chosen = tuple(range(rank)) if dims is None else axes(call, (dims,) if isinstance(dims, int) else dims, rank)
    call.require(call.edge_order in (1, 2), f"edge order {call.edge_order}", argument="edge_order", remedy="use 1 or 2")
    for position in chosen:
        call.require(
            position < rank and call.self.shape[position] >= call.edge_order + 1,
            f"axis {position} has fewer than {call.edge_order + 1} places",
            argument="self",
        )
    spacing = call.arguments.get("spacing")
    if isinstance(spacing, tuple):
        call.require(len(spacing) == len(chosen), f"{len(spacing)} spacings for {len(chosen)} axes", argument="spacing")
        ticks = [[item] if isinstance(item, TensorType) else [] for item in spacing]
    else:
        ticks = [[]] * len(chosen)
    return tuple(
        TensorType(promotion.floating(promotion.result_type(call, [call.self, *coordinates])), call.self.shape)
        for coordinates in ticks
    )


def averaged(call: Call, dtype: str) -> str:
    """mean: a floating dtype is given, or is that of the operand."""
    given = call.arguments.get("dtype") or dtype
    if category(given) in ("bool", "integral"):
        call.refuse(f"the mean of {given} has no dtype", remedy='give dtype="float64", or convert with to.dtype')
    return given


def truth(call: Call, dtype: str) -> str:
    """any, all: booleans (uint8 stays, as in torch)."""
    return "uint8" if dtype == "uint8" else "bool"


def count(call: Call, dtype: str) -> str:
    """Counts and positions."""
    return "int64"


def spread(call: Call, dtype: str) -> str:
    """var, std: the real dtype of a floating operand."""
    return real_of(floating_only(call, dtype))


def norm(call: Call, dtype: str) -> str:
    """Norms: the real dtype of the operand, or of the dtype given."""
    floating_only(call, dtype)
    given = call.arguments.get("dtype")
    if given is not None:
        floating_only(call, given)
        call.require(is_complex(given) == is_complex(dtype), f"dtype {given} does not fit {dtype}", argument="dtype")
    return real_of(given or dtype)


def mean_and_spread(call: Call) -> tuple[TensorType, ...]:
    """var_mean, std_mean: the mean keeps a complex dtype."""
    first = reduce(spread)(call)
    return first, TensorType(call.self.dtype, first.shape)


def extremum(call: Call) -> tuple[TensorType, ...]:
    """max.dim, cummax and their kind: values, and where they were found."""
    shape = call.self.shape
    real(call, call.self.dtype)
    position = axis(call, call.dim, len(shape))
    if shape and "keepdim" in call.arguments and shape[position] == 0:
        call.refuse(f"axis {call.dim} has length 0, of which there is no value", argument="dim")
    kept = _kept(call, shape, (position,)) if "keepdim" in call.arguments else shape
    return TensorType(call.self.dtype, kept), TensorType("int64", kept)


def selection(call: Call) -> tuple[TensorType, ...]:
    """kthvalue, topk: k smallest or largest along an axis."""
    shape = call.self.shape
    real(call, call.self.dtype)
    position = axis(call, call.dim, len(shape))
    length = shape[position] if shape else 1
    if "keepdim" in call.arguments:
        call.require(1 <= call.k <= length, f"k = {call.k} of an axis of length {length}", argument="k")
        kept = _kept(call, shape, (position,))
    else:
        call.require(0 <= call.k <= length, f"k = {call.k} of an axis of length {length}", argument="k")
        kept = replace(shape, position, call.k) if shape else shape
    return TensorType(call.self.dtype, kept), TensorType("int64", kept)


def aminmax(call: Call) -> tuple[TensorType, ...]:
    """aminmax: both extrema of one axis, or of all."""
    return reduce(real, outputs=2, identity=False)(call)


def position(call: Call) -> TensorType:
    """argmax, argmin: positions along an axis, or in the flattened tensor."""
    real(call, call.self.dtype)
    return reduce(count, identity=False)(call)


def scan(choice: DTypeChoice) -> Callable[[Call], TensorType]:
    """A rule: an accumulation along one axis, of the operand's shape."""

    def rule(call: Call) -> TensorType:
        axis(call, call.dim, len(call.self.shape))
        return TensorType(choice(call, call.self.dtype), call.self.shape)

    return rule


def softmax(call: Call) -> TensorType:
    """softmax.int, log_softmax.int: a scan that may convert."""
    axis(call, call.dim, len(call.self.shape))
    given = call.arguments.get("dtype")
    dtype = given or call.self.dtype
    if category(dtype) != "floating":
        call.refuse(f"it is not defined for {dtype}", remedy="convert to a floating dtype with to.dtype")
    return TensorType(dtype, call.self.shape)


def dist(call: Call) -> TensorType:
    """dist: the norm of a difference."""
    broadcast(call, call.self.shape, call.other.shape)
    return TensorType(real_of(floating_only(call, promotion.result_type(call, call.tensors))), ())


def quantile(call: Call) -> TensorType:
    """quantile: one result, or a first axis of them where q is a vector."""
    shape = call.self.shape
    dtype = call.self.dtype
    call.require(
        dtype in ("float32", "float64"), f"it is defined for float32 and float64, not {dtype}", argument="self"
    )
    q = call.q
    prefix: tuple[Any, ...] = ()
    if isinstance(q, TensorType):
        call.require(len(q.shape) <= 1, f"q has {len(q.shape)} axes", argument="q", remedy="give a scalar or a vector")
        call.require(q.dtype == dtype, f"q is {q.dtype}, self is {dtype}", argument="q", remedy="convert q")
        prefix = q.shape
    if call.dim is None:
        kept = (1,) * len(shape) if call.keepdim else ()
    else:
        kept = _kept(call, shape, (axis(call, call.dim, len(shape)),))
    return TensorType(dtype, (*prefix, *kept))


def trapezoid(cumulative: bool) -> Callable[[Call], TensorType]:
    """A rule: trapezoid and its cumulative form."""

    def rule(call: Call) -> TensorType:
        shape = call.y.shape
        position = axis(call, call.dim, len(shape), scalar=False)
        operands = [call.y, call.x] if "x" in call.arguments else [call.y]
        dtype = floating(call, promotion.result_type(call, operands))
        length = max(shape[position] - 1, 0) if cumulative else None
        if "x" in call.arguments and len(call.x.shape) > 1:
            shape = broadcast(call, shape, call.x.shape)
        kept = replace(shape, position, length) if cumulative else without(shape, (position,))
        return TensorType(dtype, kept)

    return rule


def diff(call: Call) -> TensorType:
    """diff: n differences make an axis n shorter; prepend and append make it longer."""
    shape = call.self.shape
    position = axis(call, call.dim, len(shape), scalar=False)
    call.require(call.n >= 0, f"n = {call.n} is negative", argument="n")
    length = shape[position]
    if call.n == 0:
        return call.self
    for name in ("prepend", "append"):
        extra = getattr(call, name)
        if extra is not None:
            call.require(len(extra.shape) == len(shape), f"it has {len(extra.shape)} axes", argument=name)
            length = length + extra.shape[position]
    return TensorType(promotion.result_type(call, call.tensors), replace(shape, position, max(length - call.n, 0)))


def nansummed(call: Call, dtype: str) -> str:
    """nansum: complex numbers are refused."""
    return accumulated(call, real(call, dtype))


def raw_softmax(call: Call) -> TensorType:
    """_softmax, _log_softmax: half_to_float widens float16."""
    axis(call, call.dim, len(call.self.shape))
    dtype = "float32" if call.half_to_float and call.self.dtype == "float16" else call.self.dtype
    return TensorType(dtype, call.self.shape)


def sort(call: Call) -> tuple[TensorType, ...]:
    """sort: the elements in order, and their places."""
    real(call, call.self.dtype)
    axis(call, call.dim, len(call.self.shape))
    return call.self, TensorType("int64", call.self.shape)


def argsort(call: Call) -> TensorType:
    """argsort: the places alone."""
    return sort(call)[1]


def covariance(call: Call) -> TensorType:
    """cov, corrcoef: rows are variables, columns observations."""
    shape = call.self.shape
    call.require(len(shape) <= 2, f"it takes a matrix, not {len(shape)} axes", argument="self")
    for name in ("fweights", "aweights"):
        weights = call.arguments.get(name)
        if weights is not None:
            call.require(len(weights.shape) <= 1, f"weights with {len(weights.shape)} axes", argument=name)
    rows = (shape[0], shape[0]) if len(shape) == 2 and shape[0] != 1 else ()
    weights = [call.arguments[name] for name in ("aweights",) if call.arguments.get(name) is not None]
    return TensorType(floating(call, promotion.result_type(call, [call.self, *weights])), rows)


def histogram(call: Call) -> TensorType:
    """histc: so many counts."""
    call.require(call.bins > 0, f"{call.bins} bins", argument="bins")
    return TensorType(floating_only(call, real(call, call.self.dtype)), (call.bins,))


def histogram_and_edges(call: Call) -> tuple[TensorType, ...]:
    """histogram: so many counts, or one less than the edges given."""
    dtype = floating_only(call, real(call, call.self.dtype))
    edges = call.bins
    if isinstance(edges, TensorType):
        call.require(len(edges.shape) == 1, f"edges with {len(edges.shape)} axes", argument="bins")
        call.require(edges.dtype == dtype, f"edges of {edges.dtype} for {dtype}", argument="bins")
        count = shape_of(edges)[0] - 1
    else:
        count = edges
    call.require(count > 0, f"{count} bins", argument="bins")
    return TensorType(dtype, (count,)), TensorType(dtype, (count + 1,))
