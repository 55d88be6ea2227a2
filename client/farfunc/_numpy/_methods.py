"""The methods of a traced array: NumPy's, and those of torch's tensors.

Where both have a method of one name, NumPy's meaning holds (``x.size``, ``x.repeat``, ``x.sort``, ``x.std()``
without Bessel's correction), unless torch's own words are used: ``x.std(dim=0)``, ``x.max(dim=1)``.
"""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable
from typing import Any

import numpy as np

from ._operands import emit, emit_many, lower
from ._refusals import unsupported
from ._registry import METHODS, UFUNCS, method
from ._shaping import axes_of, axis_of, moveaxis, reshape
from ._shaping import transpose as numpy_transpose
from ._tracer import Tracer
from ._ufuncs import SPECIAL

_Extremum = namedtuple("_Extremum", "values indices")


def _ints(sizes: tuple[Any, ...]) -> Any:
    """``x.reshape(2, 3)`` and ``x.reshape((2, 3))``."""
    return sizes[0] if len(sizes) == 1 and not isinstance(sizes[0], int) else sizes


_FUNCTIONS = (
    np.all, np.any, np.argmax, np.argmin, np.argsort, np.argwhere, np.choose, np.clip, np.compress, np.corrcoef,
    np.count_nonzero, np.cov, np.cumprod, np.cumsum, np.diff, np.dot, np.dsplit, np.fix, np.fliplr, np.flipud,
    np.hsplit, np.inner, np.isclose, np.isreal, np.kron, np.mean, np.median, np.moveaxis, np.nan_to_num, np.nanmean,
    np.nansum, np.nonzero, np.outer, np.prod, np.ptp, np.quantile, np.ravel, np.repeat, np.rot90, np.round,
    np.searchsorted, np.sinc, np.squeeze, np.sum, np.swapaxes, np.take, np.tensordot, np.tile, np.trace, np.tril,
    np.triu, np.vdot, np.vsplit,
)  # fmt: skip
"""Functions of NumPy that are methods under their own name; all ufuncs are, too."""

_RENAMED = {
    "abs": np.absolute, "acos": np.arccos, "acosh": np.arccosh, "asin": np.arcsin, "asinh": np.arcsinh,
    "atan": np.arctan, "atan2": np.arctan2, "atanh": np.arctanh, "bitwise_not": np.invert, "conj": np.conjugate,
    "true_divide": np.divide,
    "eq": np.equal, "ne": np.not_equal, "lt": np.less, "le": np.less_equal, "gt": np.greater, "ge": np.greater_equal,
    "sub": np.subtract, "mul": np.multiply, "div": np.divide, "pow": np.power, "neg": np.negative, "sgn": np.sign,
    "mm": np.matmul, "mv": np.matmul, "bmm": np.matmul, "ger": np.outer, "frac": lambda x: np.modf(x)[0],
    "movedim": np.moveaxis, "swapdims": np.swapaxes, "amax": np.max, "amin": np.min, "clone": np.copy,
    "inverse": np.linalg.inv, "det": np.linalg.det, "slogdet": np.linalg.slogdet, "pinverse": np.linalg.pinv,
    "matrix_power": np.linalg.matrix_power, "cholesky": np.linalg.cholesky, "qr": np.linalg.qr, "svd": np.linalg.svd,
}  # fmt: skip
"""Methods that torch calls otherwise than NumPy calls the function."""


def _numpy_words(kwargs: dict[str, Any]) -> dict[str, Any]:
    """``dim`` and ``keepdim``, as torch says, in NumPy's words."""
    words = {"dim": "axis", "keepdim": "keepdims", "dims": "axis", "other": None}
    return {words.get(name) or name: value for name, value in kwargs.items()}


def _as_method(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda self, *args, **kwargs: function(self, *args, **_numpy_words(kwargs))


for _function in (*_FUNCTIONS, *UFUNCS):
    METHODS[_function.__name__] = _as_method(_function)
for _name, _function in _RENAMED.items():
    METHODS[_name] = _as_method(_function)


def _unary(op: str) -> Callable[[Tracer], Tracer]:
    def apply(self: Tracer) -> Tracer:
        return emit(op, self if self.dtype.kind in "fc" else self.astype(np.float64))

    return apply


for _name in (
    "relu",
    "erf",
    "erfc",
    "erfinv",
    "sigmoid",
    "lgamma",
    "digamma",
    "logit",
    "rsqrt",
    "softplus",
    "silu",
    "gelu",
):
    METHODS[_name] = _unary(SPECIAL.get(_name) or _name)


@method("transpose")
def _transpose(self: Tracer, *axes: Any) -> Any:
    """NumPy's order of axes; two axes of an array that has not two are torch's exchange."""
    if len(axes) == 2 and self.ndim != 2:
        return np.swapaxes(self, *axes)
    return numpy_transpose(self, None if not axes or axes[0] is None else _ints(axes))


@method("permute")
def _permute(self: Tracer, *dims: Any) -> Any:
    return numpy_transpose(self, _ints(dims))


@method("t")
def _t(self: Tracer) -> Any:
    return numpy_transpose(self)


@method("adjoint")
def _adjoint(self: Tracer) -> Any:
    return np.conjugate(np.matrix_transpose(self))


@method("reshape")
def _reshape(self: Tracer, *shape: Any, order: str = "C", copy: bool | None = None) -> Any:
    return reshape(self, _ints(shape), order, copy=copy)


@method("view")
def _view(self: Tracer, *shape: Any, dtype: Any = None) -> Any:
    """torch's: another shape. NumPy's other dtype of the same memory is refused."""
    if not shape and dtype is None:
        return self.through()
    if dtype is not None or not isinstance(_ints(shape), tuple | list | int):
        unsupported("x.view(dtype) reads memory as another dtype, and cannot be traced", remedy="use x.astype(dtype)")
    return reshape(self, _ints(shape))


@method("view_as", "reshape_as")
def _view_as(self: Tracer, other: Any) -> Any:
    return reshape(self, other.shape)


@method("unsqueeze")
def _unsqueeze(self: Tracer, dim: int) -> Any:
    return np.expand_dims(self, dim)


@method("expand")
def _expand(self: Tracer, *sizes: Any) -> Any:
    sizes = tuple(_ints(sizes))
    own = (1,) * (len(sizes) - self.ndim) + self.shape
    return np.broadcast_to(self, [n if size == -1 else size for size, n in zip(sizes, own, strict=True)])


@method("expand_as")
def _expand_as(self: Tracer, other: Any) -> Any:
    return np.broadcast_to(self, other.shape)


@method("broadcast_to")
def _broadcast_to(self: Tracer, *shape: Any) -> Any:
    return np.broadcast_to(self, _ints(shape))


@method("flip")
def _flip(self: Tracer, *dims: Any) -> Any:
    return np.flip(self, _ints(dims) if dims else None)


@method("roll")
def _roll(self: Tracer, shifts: Any, dims: Any = None) -> Any:
    return np.roll(self, shifts, dims)


@method("diag")
def _diag(self: Tracer, diagonal: int = 0) -> Any:
    return np.diag(self, diagonal)


@method("diag_embed")
def _diag_embed(self: Tracer, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Any:
    return emit("diag_embed", self, offset=offset, dim1=dim1, dim2=dim2)


@method("unbind")
def _unbind(self: Tracer, dim: int = 0) -> Any:
    return tuple(moveaxis(self, dim, 0))


@method("split")
def _split(self: Tracer, split_size: Any, dim: int = 0) -> Any:
    """torch's: parts of a size each, or of the sizes given."""
    length = self.shape[dim]
    sizes = (
        range(split_size, length, split_size) if isinstance(split_size, int) else np.cumsum(split_size)[:-1].tolist()
    )
    return tuple(np.array_split(self, list(sizes), axis=dim))


@method("chunk")
def _chunk(self: Tracer, chunks: int, dim: int = 0) -> Any:
    return _split(self, -(-self.shape[dim] // chunks), dim)


@method("select")
def _select(self: Tracer, dim: int, index: int) -> Any:
    return self[(slice(None),) * axis_of(dim, self.ndim) + (index, ...)]


@method("narrow")
def _narrow(self: Tracer, dim: int, start: int, length: int) -> Any:
    return self[(slice(None),) * axis_of(dim, self.ndim) + (slice(start, start + length),)]


@method("index_select")
def _index_select(self: Tracer, dim: int, index: Any) -> Any:
    return np.take(self, index, dim)


@method("gather")
def _gather(self: Tracer, dim: int, index: Any) -> Any:
    return emit("gather", self, Tracer.of(lower(index, np.dtype(np.int64))), dim=dim)


@method("masked_fill")
def _masked_fill(self: Tracer, mask: Any, value: Any) -> Any:
    return np.where(mask, np.asarray(value, self.dtype) if np.isscalar(value) else value, self)


@method("where")
def _where(self: Tracer, condition: Any, other: Any) -> Any:
    return np.where(condition, self, other)


@method("clamp")
def _clamp(self: Tracer, min: Any = None, max: Any = None) -> Any:
    return np.clip(self, min, max)


def _extremum(function: Any, choose: np.ufunc, op: str) -> Callable[..., Any]:
    def reduce(self: Tracer, *args: Any, **kwargs: Any) -> Any:
        if "dim" in kwargs:  # torch's: values and places
            found = emit_many(op, self, dim=kwargs["dim"], keepdim=kwargs.get("keepdim", False))
            return _Extremum(*found)
        if args and isinstance(args[0], Tracer | np.ndarray):
            return choose(self, args[0])
        return function(self, *args, **kwargs)

    return reduce


METHODS["max"] = _extremum(np.max, np.maximum, "max.dim")
METHODS["min"] = _extremum(np.min, np.minimum, "min.dim")


def _spread(function: Any) -> Callable[..., Any]:
    def reduce(self: Tracer, *args: Any, **kwargs: Any) -> Any:
        torch_words = {"dim", "keepdim", "unbiased", "correction"} & set(kwargs)
        if not torch_words:
            return function(self, *args, **kwargs)
        correction = kwargs.pop("correction", int(kwargs.pop("unbiased", True)))
        return function(self, *args, ddof=correction, **_numpy_words(kwargs))

    return reduce


METHODS["var"] = _spread(np.var)
METHODS["std"] = _spread(np.std)


@method("norm")
def _norm(self: Tracer, p: Any = 2, dim: Any = None, keepdim: bool = False) -> Any:
    axes = axes_of(dim, self.ndim)
    return emit("linalg_vector_norm", self, ord=2.0 if p == "fro" else float(p), dim=axes, keepdim=keepdim)


@method("logsumexp")
def _logsumexp(self: Tracer, dim: Any, keepdim: bool = False) -> Any:
    return emit("logsumexp", self, dim=axes_of(dim, self.ndim), keepdim=keepdim)


@method("softmax")
def _softmax(self: Tracer, dim: int) -> Any:
    return emit("softmax.int", self, dim=dim)


@method("log_softmax")
def _log_softmax(self: Tracer, dim: int) -> Any:
    return emit("log_softmax.int", self, dim=dim)


@method("cross")
def _cross(self: Tracer, other: Any, dim: int = -1) -> Any:
    return np.cross(self, other, axis=dim)


@method("addmm")
def _addmm(self: Tracer, mat1: Any, mat2: Any, *, beta: Any = 1, alpha: Any = 1) -> Any:
    return beta * self + alpha * np.matmul(mat1, mat2)


@method("detach")
def _detach(self: Tracer) -> Any:
    """A constant for every derivative."""
    return emit("detach", self)


@method("contiguous", "cpu", "requires_grad_")
def _itself(self: Tracer, *args: Any, **kwargs: Any) -> Any:
    return self


@method("numel", "nelement")
def _numel(self: Tracer) -> int:
    return self.size


@method("dim", "ndimension")
def _dim(self: Tracer) -> int:
    return self.ndim


@method("to", "type")
def _to(self: Tracer, *args: Any, dtype: Any = None, **kwargs: Any) -> Any:
    """Another dtype; devices are the server's affair."""
    for given in (*args, dtype):
        if isinstance(given, Tracer):
            return self.astype(given.dtype)
        if given is not None and not isinstance(given, str | bool):
            return self.astype(_dtype(given))
    return self


@method("type_as")
def _type_as(self: Tracer, other: Any) -> Any:
    return self.astype(other.dtype)


def _dtype(given: Any) -> np.dtype:
    return np.dtype(str(given).removeprefix("torch.")) if type(given).__module__ == "torch" else np.dtype(given)


for _name, _kind in {
    "double": np.float64, "float": np.float32, "half": np.float16, "long": np.int64, "int": np.int32, "bool": np.bool_,
    "cdouble": np.complex128, "cfloat": np.complex64,
}.items():  # fmt: skip
    METHODS[_name] = (lambda kind: lambda self: self.astype(kind))(_kind)


def _like(function: Callable[..., Any]) -> Callable[..., Any]:
    def create(self: Tracer, *size: Any, dtype: Any = None) -> Any:
        return Tracer.of_array(function(_ints(size), dtype=self.dtype if dtype is None else dtype))

    return create


METHODS["new_zeros"], METHODS["new_ones"], METHODS["new_empty"] = _like(np.zeros), _like(np.ones), _like(np.zeros)
