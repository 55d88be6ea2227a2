"""Differences, integrals, interpolation, convolution and polynomials."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from .._dtypes import is_inexact
from .._operands import array_of, as_array, emit, holds_traced, to_tracer
from .._refusals import unsupported
from .._registry import implements
from .._shaping import astype, axes_of, axis_of, moveaxis, reshape

_NoValue = np._NoValue


def _along(axis: int, part: Any) -> tuple[Any, ...]:
    return (slice(None),) * axis + (part,)


@implements(np.diff)
def _diff(a: Any, n: int = 1, axis: int = -1, prepend: Any = _NoValue, append: Any = _NoValue) -> Any:
    if n < 0:
        raise ValueError(f"order must be non-negative but got {n}")
    a = to_tracer(a)
    axis = axis_of(axis, a.ndim)

    def side(value: Any) -> list[Any]:
        if value is _NoValue:
            return []
        value = as_array(value)
        return [value if value.ndim else np.broadcast_to(value, [1 if p == axis else s for p, s in enumerate(a.shape)])]

    if n:
        parts = [*side(prepend), a, *side(append)]
        a = np.concatenate(parts, axis) if len(parts) > 1 else a
    for _ in range(n):
        later, earlier = a[_along(axis, slice(1, None))], a[_along(axis, slice(None, -1))]
        a = np.not_equal(later, earlier) if a.dtype == bool else np.subtract(later, earlier)
    return a


@implements(np.ediff1d)
def _ediff1d(ary: Any, to_end: Any = None, to_begin: Any = None) -> Any:
    differences: Any = np.diff(np.ravel(ary))
    parts: list[Any] = [differences]
    if to_begin is not None:
        parts.insert(0, astype(np.ravel(as_array(to_begin)), differences.dtype))
    if to_end is not None:
        parts.append(astype(np.ravel(as_array(to_end)), differences.dtype))
    return np.concatenate(parts) if len(parts) > 1 else differences


@implements(np.gradient)
def _gradient(f: Any, *varargs: Any, axis: Any = None, edge_order: int = 1) -> Any:
    f = to_tracer(f)
    f = f if is_inexact(f.dtype) else astype(f, np.float64)
    axes = axes_of(axis, f.ndim)
    spacings: list[Any] = [1.0] * len(axes) if not varargs else list(varargs)
    if len(spacings) == 1:
        spacings *= len(axes)
    if len(spacings) != len(axes):
        raise TypeError("invalid number of arguments")
    if edge_order > 2:
        raise ValueError("'edge_order' greater than 2 not supported")
    results = [_gradient_along(f, place, h, edge_order) for place, h in zip(axes, spacings, strict=True)]
    return results[0] if len(axes) == 1 else tuple(results)


def _gradient_along(f: Any, axis: int, spacing: Any, edge_order: int) -> Any:
    if f.shape[axis] < edge_order + 1:
        raise ValueError(
            "Shape of array too small to calculate a numerical gradient, "
            "at least (edge_order + 1) elements are required."
        )
    spacing = as_array(spacing)
    # Distances between neighbours, in a shape that broadcasts along the axis.
    widths = np.diff(spacing) if spacing.ndim else np.broadcast_to(spacing, (f.shape[axis] - 1,))
    widths = astype(widths, f.dtype) if spacing.dtype.kind in "biu" else widths
    wide = reshape(widths, (-1,) + (1,) * (f.ndim - axis - 1))
    moved = [f[_along(axis, slice(start, stop))] for start, stop in ((None, -2), (1, -1), (2, None))]
    before, after = wide[:-1], wide[1:]
    if spacing.ndim:
        inner = (
            moved[0] * (-after / (before * (before + after)))
            + moved[1] * ((after - before) / (before * after))
            + moved[2] * (before / (after * (before + after)))
        )
    else:
        inner = (moved[2] - moved[0]) / (2.0 * spacing)

    def at(place: int) -> Any:
        return f[_along(axis, slice(place, place + 1 or None))]

    def edge(places: tuple[int, int, int], h1: Any, h2: Any) -> Any:
        sign = 1.0 if places[0] == 0 else -1.0
        if edge_order == 1:
            return sign * (at(places[1]) - at(places[0])) / h1
        a = -(2.0 * h1 + h2) / (h1 * (h1 + h2))
        b, c = (h1 + h2) / (h1 * h2), -h1 / (h2 * (h1 + h2))
        return sign * (a * at(places[0]) + b * at(places[1]) + c * at(places[2]))

    first = edge((0, 1, 2), wide[:1], wide[1:2] if edge_order == 2 else None)
    last = edge((-1, -2, -3), wide[-1:], wide[-2:-1] if edge_order == 2 else None)
    return astype(np.concatenate([first, inner, last], axis), f.dtype, copy=False)


@implements(getattr(np, "trapezoid", None), getattr(np, "trapz", None) if np.__version__ < "2.0" else None)
def _trapezoid(y: Any, x: Any = None, dx: Any = 1.0, axis: int = -1) -> Any:
    y = to_tracer(y)
    axis = axis_of(axis, y.ndim)
    if x is not None:
        dx = np.diff(to_tracer(x), axis=-1 if np.ndim(x) == 1 else axis)
        if np.ndim(x) == 1:
            dx = reshape(dx, (-1,) + (1,) * (y.ndim - axis - 1))
    return np.sum(dx * (y[_along(axis, slice(1, None))] + y[_along(axis, slice(None, -1))]) / 2.0, axis)


@implements(np.interp)
def _interp(x: Any, xp: Any, fp: Any, left: Any = None, right: Any = None, period: Any = None) -> Any:
    kind = np.dtype(np.complex128 if as_array(fp).dtype.kind == "c" else np.float64)
    x, xp = (astype(as_array(array), np.float64, copy=False) for array in (x, xp))
    fp = astype(as_array(fp), kind, copy=False)
    if period is not None:
        x, xp = np.remainder(x, abs(period)), np.remainder(xp, abs(period))
        order = np.argsort(xp)
        xp, fp = xp[order], fp[order]
        xp = np.concatenate([xp[-1:] - abs(period), xp, xp[:1] + abs(period)])
        fp = np.concatenate([fp[-1:], fp, fp[:1]])
        left = right = None
    if xp.shape[0] == 1:
        inside = fp[0] + 0.0 * x
    else:
        place = np.clip(np.searchsorted(xp, x, "right") - 1, 0, xp.shape[0] - 2)
        slope = np.diff(fp) / np.diff(xp)
        inside = np.take(slope, place) * (x - np.take(xp, place)) + np.take(fp, place)
    result = np.where(x < xp[0], fp[0] if left is None else left, inside)
    result = np.where(x > xp[-1], fp[-1] if right is None else right, result)
    return astype(np.where(x == xp[-1], fp[-1], result), kind, copy=False)


@implements(np.unwrap)
def _unwrap(p: Any, discont: Any = None, axis: int = -1, *, period: float = 2 * np.pi) -> Any:
    p = to_tracer(p)
    axis = axis_of(axis, p.ndim)
    steps = np.diff(p, axis=axis)
    discont = period / 2 if discont is None else discont
    wrapped = np.remainder(steps + period / 2, period) - period / 2
    wrapped = np.where(np.logical_and(wrapped == -period / 2, steps > 0), period / 2, wrapped)
    correction = np.where(np.abs(steps) < discont, 0.0, wrapped - steps)
    first = p[_along(axis, slice(0, 1))]
    return np.concatenate([first, p[_along(axis, slice(1, None))] + np.cumsum(correction, axis)], axis)


@implements(np.convolve)
def _convolve(a: Any, v: Any, mode: str = "full") -> Any:
    a, v = np.ravel(to_tracer(a)), np.ravel(to_tracer(v))
    if len(a) < len(v):
        a, v = v, a
    n, m = len(a), len(v)
    if not m:
        raise ValueError("v cannot be empty")
    # Row k of the matrix holds a[k], a[k-1], ..., a[k-m+1], with zeros outside.
    kind = np.result_type(a.dtype, v.dtype)
    padded = np.pad(astype(a, kind), (m - 1, m - 1))
    windows = padded[np.arange(n + m - 1)[:, None] + np.arange(m - 1, -1, -1)]
    full = np.matmul(windows, astype(v, kind))
    if mode == "full":
        return full
    if mode == "same":
        return full[(m - 1) // 2 : (m - 1) // 2 + n]
    if mode == "valid":
        return full[m - 1 : n]
    raise ValueError("mode must be one of 'valid', 'same', or 'full'")


@implements(np.correlate)
def _correlate(a: Any, v: Any, mode: str = "valid") -> Any:
    a, v = np.ravel(to_tracer(a)), np.ravel(to_tracer(v))
    full = np.convolve(a, np.conjugate(np.flip(v)), "full")
    n, m = len(a), len(v)
    if mode == "full":
        return full
    short, length = min(n, m), max(n, m)
    if mode == "valid":
        return full[short - 1 : length]
    if mode == "same":
        # numpy/_core/src/multiarray/multiarraymodule.c: the longer operand decides where it starts.
        start = (short - 1) // 2 if n >= m else short - 1 - (short - 1) // 2
        return full[start : start + length]
    raise ValueError("mode must be one of 'valid', 'same', or 'full'")


@implements(np.polyval)
def _polyval(p: Any, x: Any) -> Any:
    coefficients = list(as_array(p))
    x = as_array(x)
    zero = np.zeros_like(x) if not holds_traced(x) else x * 0
    return functools.reduce(lambda value, coefficient: value * x + coefficient, coefficients, zero)


@implements(np.polyder)
def _polyder(p: Any, m: int = 1) -> Any:
    p = to_tracer(p)
    for _ in range(m):
        p = p[:-1] * np.arange(len(p) - 1, 0, -1)
    return p


@implements(np.polyint)
def _polyint(p: Any, m: int = 1, k: Any = None) -> Any:
    p = to_tracer(p)
    constants = np.broadcast_to(np.zeros(m) if k is None else np.asarray(k, float), (m,))
    for place in range(m):
        p = np.concatenate([p / np.arange(len(p), 0, -1), constants[place : place + 1]])
    return p


@implements(np.polymul)
def _polymul(a1: Any, a2: Any) -> Any:
    return np.convolve(a1, a2)


@implements(np.polyfit)
def _polyfit(x: Any, y: Any, deg: int, rcond: Any = None, full: bool = False, w: Any = None, cov: Any = False) -> Any:
    if full or cov is not False:
        unsupported("np.polyfit with full= or cov= cannot be traced", remedy="use np.linalg.lstsq and np.linalg.inv")
    x, y = np.add(to_tracer(x), 0.0), np.add(to_tracer(y), 0.0)
    left = np.vander(x, int(deg) + 1)
    if w is not None:
        w = as_array(w) + 0.0
        left, y = left * w[:, None], y * (w[:, None] if y.ndim == 2 else w)
    scale = np.sqrt(np.sum(left * left, 0))
    solution = np.linalg.lstsq(left / scale, y, len(x) * np.finfo(x.dtype).eps if rcond is None else rcond)[0]
    return np.transpose(np.transpose(solution) / scale)


@implements(np.poly)
def _poly(seq_of_zeros: Any) -> Any:
    zeros = np.atleast_1d(to_tracer(seq_of_zeros))
    is_real_matrix = zeros.ndim == 2 and zeros.dtype.kind != "c"
    if zeros.ndim == 2 and zeros.shape[0] == zeros.shape[1] and zeros.shape[0]:
        zeros = np.linalg.eigvals(zeros)
    elif zeros.ndim != 1:
        raise ValueError("input must be 1d or non-empty square 2d array.")
    kind = zeros.dtype if is_inexact(zeros.dtype) else np.dtype(np.float64)
    coefficients: Any = np.ones(1, kind)
    for zero in zeros:
        coefficients = np.convolve(coefficients, array_of([np.ones((), kind), -zero]))
    # Complex zeros may be pairs of conjugates: that is not known, the coefficients stay complex.
    return np.real(coefficients) if is_real_matrix else coefficients


@implements(np.roots)
def _roots(p: Any) -> Any:
    """The eigenvalues of the companion matrix, always complex. The first and the last coefficient must not be zero."""
    p = to_tracer(p)
    if p.ndim != 1:
        raise ValueError("Input must be a rank-1 array.")
    degree = p.shape[0] - 1
    if degree < 1:
        return np.zeros(0)
    p = p if is_inexact(p.dtype) else astype(p, np.float64)
    companion = np.diag(np.ones(degree - 1, p.dtype), -1)
    companion = np.concatenate([(-p[1:] / p[0])[None], companion[1:]])
    return np.linalg.eigvals(companion)


def _poly_sum(a1: Any, a2: Any, combine: np.ufunc) -> Any:
    a1, a2 = np.atleast_1d(to_tracer(a1)), np.atleast_1d(to_tracer(a2))
    length = max(len(a1), len(a2))
    return combine(np.pad(a1, (length - len(a1), 0)), np.pad(a2, (length - len(a2), 0)))


@implements(np.polyadd)
def _polyadd(a1: Any, a2: Any) -> Any:
    return _poly_sum(a1, a2, np.add)


@implements(np.polysub)
def _polysub(a1: Any, a2: Any) -> Any:
    return _poly_sum(a1, a2, np.subtract)


@implements(np.sinc)
def _sinc(x: Any) -> Any:
    x = as_array(x)
    return emit("sinc", x if is_inexact(x.dtype) else astype(x, np.float64))


@implements(np.i0)
def _i0(x: Any) -> Any:
    x = as_array(x)
    return emit("i0", x if is_inexact(x.dtype) else astype(x, np.float64))


@implements(np.angle)
def _angle(z: Any, deg: bool = False) -> Any:
    z = as_array(z)
    result = emit("angle", z if is_inexact(z.dtype) else astype(z, np.float64))
    return np.degrees(result) if deg else result


@implements(np.round, np.around, methods=("round",))
def _round(a: Any, decimals: int = 0, out: Any = None) -> Any:
    from .._ufunc_calls import store

    a = as_array(a)
    if a.dtype.kind == "c":
        return store(emit("complex", _round(np.real(a), decimals), _round(np.imag(a), decimals)), out)
    if a.dtype == bool:
        a = astype(a, np.float16)
    if a.dtype.kind in "iu" and decimals >= 0:
        return store(np.copy(a), out)
    if a.dtype.kind in "iu":
        # To the nearest multiple, ties to the even one; float64 would lose the last digits of large numbers.
        unit = 10 ** min(-decimals, 18)
        below = np.floor_divide(a, unit)
        rest = a - below * unit
        up = np.logical_or(2 * rest > unit, np.logical_and(2 * rest == unit, below % 2 == 1))
        return store(astype((below + up) * unit, a.dtype), out)
    if decimals == 0:
        return store(emit("round", a), out)
    return store(emit("round.decimals", a, decimals=decimals), out)


@implements(np.fix)
def _fix(x: Any, out: Any = None) -> Any:
    return np.trunc(x, out=None if out is None else (out,))


@implements(np.apply_along_axis, view=True)
def _apply_along_axis(func1d: Any, axis: int, arr: Any, *args: Any, **kwargs: Any) -> Any:
    arr = to_tracer(arr)
    axis = axis_of(axis, arr.ndim)
    moved = moveaxis(arr, axis, -1)
    outer = moved.shape[:-1]
    results = [as_array(func1d(moved[place], *args, **kwargs)) for place in np.ndindex(*outer)]
    inner = results[0].shape
    stacked = reshape(np.stack(results), (*outer, *inner))
    return moveaxis(stacked, tuple(range(len(outer), len(outer) + len(inner))), tuple(range(axis, axis + len(inner))))


@implements(np.apply_over_axes)
def _apply_over_axes(func: Any, a: Any, axes: Any) -> Any:
    a = to_tracer(a)
    for axis in np.atleast_1d(axes).tolist():
        result = func(a, axis)
        a = np.expand_dims(result, axis) if result.ndim != a.ndim else result
    return a


_sliding_window_view = np.lib.stride_tricks.sliding_window_view


@implements(_sliding_window_view)
def _sliding_windows(
    x: Any, window_shape: Any, axis: Any = None, *, subok: bool = False, writeable: bool = False
) -> Any:
    x = to_tracer(x)
    lengths = tuple(window_shape) if np.iterable(window_shape) else (window_shape,)
    axes = axes_of(axis, x.ndim)
    for place, length in zip(axes, lengths, strict=True):
        starts = np.arange(x.shape[place] - length + 1)
        windows = np.take(x, starts[:, None] + np.arange(length), place)
        x = moveaxis(windows, place + 1, -1)
    return x
