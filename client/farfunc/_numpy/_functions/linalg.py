"""``np.linalg``."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .._operands import as_array, dtype_of, emit, emit_many, holds_traced, lower, to_tracer
from .._refusals import unsupported
from .._registry import implements
from .._shaping import astype, axes_of, expand_dims, moveaxis, ravel, reshape
from .._tracer import Tracer
from .._ufunc_calls import store

_linalg = np.linalg


def _new(name: str) -> Any:
    """A function that newer versions of NumPy have."""
    return getattr(_linalg, name, None)


def _matrix(a: Any, *, square: bool = False) -> Tracer:
    """A stack of matrices in a dtype that LAPACK has."""
    a = as_array(a)
    if a.ndim < 2:
        raise _linalg.LinAlgError(f"{a.ndim}-dimensional array given. Array must be at least two-dimensional")
    if square and a.shape[-1] != a.shape[-2]:
        raise _linalg.LinAlgError("Last 2 dimensions of the array must be square")
    if a.dtype == np.float16:
        raise TypeError("array type float16 is unsupported in linalg")
    return to_tracer(a if a.dtype.kind in "fc" else astype(a, np.float64))


def _of_triangle(a: Any, uplo: str) -> Any:
    """The Hermitian matrix that one triangle stands for: NumPy and LAPACK do not look at the other one.

    torch does not either, but its derivatives are those for matrices that are Hermitian as a whole: of a matrix
    of which a program has filled in one triangle only, they are wrong.
    """
    if uplo not in ("L", "U", "l", "u"):
        raise ValueError("UPLO argument must be 'L' or 'U'")
    lower = uplo in "Ll"
    half = emit("tril" if lower else "triu", a)
    strict = emit("tril" if lower else "triu", a, diagonal=-1 if lower else 1)
    return half + np.conjugate(np.matrix_transpose(strict))


@functools.cache
def _result(function: Callable[..., Any]) -> Callable[..., Any]:
    """The named tuple that a function of NumPy returns."""
    return type(function(np.eye(1)))


def _named(function: Callable[..., Any], parts: Sequence[Any]) -> Any:
    return _result(function)(*parts)


@implements(_linalg.solve)
def _solve(a: Any, b: Any) -> Any:
    a, b = _matrix(a, square=True), as_array(b)
    kind = dtype_of(a, b if b.dtype.kind in "fc" else np.float64(0))
    a, b = Tracer.of(lower(a, kind)), Tracer.of(lower(b, kind))
    if b.ndim == 1:
        return emit("linalg_solve", a, expand_dims(b, -1))[..., 0]
    # torch would take a B of one axis less for a stack of vectors; NumPy 2 does not.
    return emit("linalg_solve", a, b if b.ndim >= a.ndim else reshape(b, (1,) * (a.ndim - b.ndim) + b.shape))


@implements(_linalg.inv)
def _inv(a: Any) -> Any:
    return emit("linalg_inv", _matrix(a, square=True))


@implements(_linalg.det)
def _det(a: Any) -> Any:
    return emit("linalg_det", _matrix(a, square=True))


@implements(_linalg.slogdet)
def _slogdet(a: Any) -> Any:
    return _named(_linalg.slogdet, emit_many("linalg_slogdet", _matrix(a, square=True)))


@implements(_linalg.cholesky)
def _cholesky(a: Any, /, *, upper: bool = False) -> Any:
    return emit("linalg_cholesky", _of_triangle(_matrix(a, square=True), "U" if upper else "L"), upper=upper)


@implements(_linalg.qr)
def _qr(a: Any, mode: str = "reduced") -> Any:
    if mode not in ("reduced", "complete", "r"):
        unsupported(f"np.linalg.qr with mode={mode!r} cannot be traced", remedy="use 'reduced', 'complete' or 'r'")
    q, r = emit_many("linalg_qr", _matrix(a), mode=mode if mode == "complete" else "reduced")
    return r if mode == "r" else _named(_linalg.qr, (q, r))


@implements(_linalg.svd)
def _svd(a: Any, full_matrices: bool = True, compute_uv: bool = True, hermitian: bool = False) -> Any:
    a = _matrix(a)
    if not compute_uv:
        return emit("linalg_svdvals", a)
    return _named(_linalg.svd, emit_many("linalg_svd", a, full_matrices=full_matrices))


@implements(_new("svdvals"))
def _svdvals(x: Any, /) -> Any:
    return emit("linalg_svdvals", _matrix(x))


@implements(_linalg.eigh)
def _eigh(a: Any, UPLO: str = "L") -> Any:
    a = _of_triangle(_matrix(a, square=True), UPLO)
    return _named(_linalg.eigh, emit_many("linalg_eigh", a, UPLO=UPLO.upper()))


@implements(_linalg.eigvalsh)
def _eigvalsh(a: Any, UPLO: str = "L") -> Any:
    return emit("linalg_eigvalsh", _of_triangle(_matrix(a, square=True), UPLO), UPLO=UPLO.upper())


@implements(_linalg.eig)
def _eig(a: Any) -> Any:
    # Always complex: whether all imaginary parts vanish is not known.
    return _named(_linalg.eig, emit_many("linalg_eig", _matrix(a, square=True)))


@implements(_linalg.eigvals)
def _eigvals(a: Any) -> Any:
    return emit("linalg_eigvals", _matrix(a, square=True))


@implements(_linalg.pinv)
def _pinv(a: Any, rcond: Any = None, hermitian: bool = False, *, rtol: Any = np._NoValue) -> Any:
    a = _matrix(a)
    if rcond is None:
        rcond = 1e-15 if rtol is np._NoValue else rtol
    if rcond is None:
        rcond = max(a.shape[-2:]) * float(np.finfo(a.dtype).eps)
    if holds_traced(rcond) or np.ndim(rcond):
        unsupported("np.linalg.pinv with an array of tolerances cannot be traced", remedy="give rcond as a number")
    return emit("linalg_pinv.atol_rtol_float", a, rtol=float(rcond), hermitian=hermitian)


@implements(_linalg.lstsq)
def _lstsq(a: Any, b: Any, rcond: Any = None) -> Any:
    a, b = _matrix(a), to_tracer(b)
    m, n = a.shape
    if rcond is None or rcond == -1:
        rcond = float(np.finfo(a.dtype).eps) * (max(m, n) if rcond is None else 1)
    x = np.matmul(_pinv(a, rcond), b)
    s = emit("linalg_svdvals", a)
    rank = np.sum(s > rcond * s[0]).astype(np.int32)
    # NumPy leaves the residuals out where the rank turns out to be deficient; that is not known here.
    shape = b.shape[1:] or (1,)
    residuals = np.reshape(np.sum(np.square(np.abs(b - np.matmul(a, x))), 0), shape) if m > n else np.zeros(0, s.dtype)
    return x, residuals, rank, s


@implements(_linalg.matrix_rank)
def _matrix_rank(A: Any, tol: Any = None, hermitian: bool = False, *, rtol: Any = None) -> Any:
    A = as_array(A)
    if A.ndim < 2:
        return np.any(A != 0).astype(np.int64)
    s = emit("linalg_svdvals", _matrix(A))
    if tol is None:
        rtol = max(A.shape[-2:]) * np.finfo(s.dtype).eps if rtol is None else np.asarray(rtol)[..., None]
        tol = np.max(s, -1, keepdims=True) * rtol
    else:
        tol = np.expand_dims(as_array(tol), -1)
    return np.sum(s > tol, -1)


@implements(_linalg.cond)
def _cond(x: Any, p: Any = None) -> Any:
    x = _matrix(x)
    if p is None or p in (2, -2):
        s = emit("linalg_svdvals", x)
        return s[..., -1] / s[..., 0] if p == -2 else s[..., 0] / s[..., -1]
    return _norm(x, p, (-2, -1)) * _norm(_inv(x), p, (-2, -1))


@implements(_linalg.matrix_power)
def _matrix_power(a: Any, n: int) -> Any:
    a = to_tracer(a)
    if n == 0:
        return np.broadcast_to(np.eye(a.shape[-1], dtype=a.dtype), a.shape)
    if n < 0:
        a, n = _inv(a), -n
    result = None
    while n:
        n, odd = divmod(n, 2)
        if odd:
            result = a if result is None else np.matmul(result, a)
        a = np.matmul(a, a) if n else a
    return result


@implements(_linalg.multi_dot)
def _multi_dot(arrays: Any, *, out: Any = None) -> Any:
    parts = [as_array(array) for array in arrays]
    if len(parts) < 2:
        raise ValueError("Expecting at least two arrays.")
    rows = parts[0].ndim == 1
    columns = parts[-1].ndim == 1
    parts[0], parts[-1] = np.atleast_2d(parts[0]), expand_dims(parts[-1], 1) if columns else parts[-1]
    result = _in_best_order(parts)
    result = result[..., 0] if columns else result
    return store(result[0] if rows else result, out)


def _in_best_order(parts: list[Any]) -> Any:
    """Multiply a chain of matrices with the fewest operations (Cormen et al., section 15.2)."""
    lengths = [parts[0].shape[0], *(part.shape[1] for part in parts)]
    count = len(parts)
    cost = [[0] * count for _ in range(count)]
    split = [[0] * count for _ in range(count)]
    for width in range(1, count):
        for start in range(count - width):
            stop = start + width
            cost[start][stop], split[start][stop] = min(
                (cost[start][k] + cost[k + 1][stop] + lengths[start] * lengths[k + 1] * lengths[stop + 1], k)
                for k in range(start, stop)
            )

    def multiply(start: int, stop: int) -> Any:
        if start == stop:
            return parts[start]
        k = split[start][stop]
        return np.matmul(multiply(start, k), multiply(k + 1, stop))

    return multiply(0, count - 1)


@implements(_linalg.tensorsolve)
def _tensorsolve(a: Any, b: Any, axes: Any = None) -> Any:
    a, b = to_tracer(a), to_tracer(b)
    if axes is not None:
        a = moveaxis(a, axes, range(a.ndim - len(axes), a.ndim))
    shape = a.shape[b.ndim :]
    return reshape(_solve(reshape(a, (b.size, -1)), ravel(b)), shape)


@implements(_linalg.tensorinv)
def _tensorinv(a: Any, ind: int = 2) -> Any:
    a = to_tracer(a)
    rows = int(np.prod(a.shape[:ind]))
    return reshape(_inv(reshape(a, (rows, -1))), a.shape[ind:] + a.shape[:ind])


# Norms.


def _vector_norm(x: Any, order: Any, axes: tuple[int, ...], keepdims: bool) -> Any:
    return emit("linalg_vector_norm", x, ord=float(order), dim=axes, keepdim=keepdims)


@implements(_linalg.norm)
def _norm(x: Any, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Any:
    x = as_array(x)
    x = to_tracer(x if x.dtype.kind in "fc" else astype(x, np.float64))
    if axis is None and (ord is None or (ord in ("f", "fro") and x.ndim == 2) or (ord == 2 and x.ndim == 1)):
        return _vector_norm(x, 2, tuple(range(x.ndim)), keepdims)
    axes = axes_of(axis, x.ndim)
    if len(axes) == 1:
        if isinstance(ord, str):
            raise ValueError(f"Invalid norm order '{ord}' for vectors")
        return _vector_norm(x, 2 if ord is None else ord, axes, keepdims)
    if len(axes) == 2:
        return _matrix_norm(x, "fro" if ord is None else ord, axes, keepdims)
    raise ValueError("Improper number of dimensions to norm.")


def _matrix_norm(x: Any, order: Any, axes: tuple[int, ...], keepdims: bool) -> Any:
    if order in ("fro", "f"):
        return _vector_norm(x, 2, axes, keepdims)
    rows, columns = axes
    if order in (1, -1, np.inf, -np.inf):
        inner, outer = (rows, columns) if abs(order) == 1 else (columns, rows)
        sums = np.sum(np.abs(x), inner, keepdims=True)
        result = (np.max if order > 0 else np.min)(sums, outer, keepdims=True)
    elif order in (2, -2, "nuc"):
        s = emit("linalg_svdvals", moveaxis(x, axes, (-2, -1)))
        chosen = {2: np.max, -2: np.min, "nuc": np.sum}[order](s, -1)
        result = expand_dims(chosen, tuple(sorted(axes)))
    else:
        raise ValueError("Invalid norm order for matrices.")
    return result if keepdims else np.squeeze(result, axes)


@implements(_new("matrix_norm"))
def _standard_matrix_norm(x: Any, /, *, keepdims: bool = False, ord: Any = "fro") -> Any:
    return _norm(x, ord, (-2, -1), keepdims)


@implements(_new("vector_norm"))
def _standard_vector_norm(x: Any, /, *, axis: Any = None, keepdims: bool = False, ord: Any = 2) -> Any:
    x = as_array(x)
    x = to_tracer(x if x.dtype.kind in "fc" else astype(x, np.float64))
    return _vector_norm(x, ord, axes_of(axis, x.ndim), keepdims)


# The names that the array API standard puts into linalg.


@implements(_new("cross"))
def _cross(x1: Any, x2: Any, /, *, axis: int = -1) -> Any:
    return np.cross(x1, x2, axis=axis)


@implements(_new("outer"))
def _outer(x1: Any, x2: Any, /) -> Any:
    return np.outer(x1, x2)


@implements(_new("tensordot"))
def _tensordot(x1: Any, x2: Any, /, *, axes: Any = 2) -> Any:
    return np.tensordot(x1, x2, axes)


@implements(_new("matmul"))
def _matmul(x1: Any, x2: Any, /) -> Any:
    return np.matmul(x1, x2)


@implements(_new("vecdot"))
def _vecdot(x1: Any, x2: Any, /, *, axis: int = -1) -> Any:
    return np.vecdot(x1, x2, axis=axis)  # type: ignore[call-overload]


@implements(_new("trace"))
def _trace(x: Any, /, *, offset: int = 0, dtype: Any = None) -> Any:
    return np.trace(x, offset, -2, -1, dtype)
