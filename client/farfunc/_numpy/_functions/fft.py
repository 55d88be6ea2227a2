"""``np.fft``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .._operands import as_array, emit, to_tracer
from .._registry import implements
from .._shaping import astype, axes_of, axis_of
from .._ufunc_calls import store

_fft = np.fft


def _sampled(a: Any, to_complex: bool = False) -> Any:
    """Samples in single or double precision, as NumPy transforms them."""
    a = as_array(a)
    if a.dtype.kind in "biu":
        a = astype(a, np.float64)
    elif a.dtype == np.float16:
        a = astype(a, np.float32)
    if to_complex and a.dtype.kind == "f":
        a = astype(a, np.result_type(a.dtype, np.complex64))
    return to_tracer(a)


def _one(function: Callable[..., Any], op: str, takes_complex: bool) -> None:
    def transform(a: Any, n: Any = None, axis: int = -1, norm: Any = None, out: Any = None) -> Any:
        a = _sampled(a, takes_complex)
        _refuse_complex(op, a)
        return store(emit(f"fft_{op}", a, n=n, dim=axis_of(axis, a.ndim), norm=norm), out)

    implements(function)(transform)


def _refuse_complex(op: str, a: Any) -> None:
    if a.dtype.kind == "c" and op in ("rfft", "ihfft", "rfftn"):
        raise TypeError(f"ufunc '{op}' did not contain a loop with signature matching types <class '{a.dtype}'>")


for _function, _op, _takes_complex in (
    (_fft.fft, "fft", False),
    (_fft.ifft, "ifft", False),
    (_fft.rfft, "rfft", False),
    (_fft.irfft, "irfft", True),
    (_fft.hfft, "hfft", True),
    (_fft.ihfft, "ihfft", False),
):
    _one(_function, _op, _takes_complex)


def _many(function: Callable[..., Any], op: str, axes_by_default: tuple[int, ...] | None, takes_complex: bool) -> None:
    def transform(a: Any, s: Any = None, axes: Any = axes_by_default, norm: Any = None, out: Any = None) -> Any:
        a = _sampled(a, takes_complex)
        _refuse_complex(op, a)
        if axes is None:
            axes = range(a.ndim) if s is None else range(a.ndim - len(s), a.ndim)
        places = axes_of(tuple(axes), a.ndim)
        if s is not None:
            s = [a.shape[place] if length == -1 else length for place, length in zip(places, s, strict=True)]
        return store(emit(f"fft_{op}", a, s=s, dim=places, norm=norm), out)

    implements(function)(transform)


for _function, _op, _takes_complex in (
    (_fft.fftn, "fftn", False),
    (_fft.ifftn, "ifftn", False),
    (_fft.rfftn, "rfftn", False),
    (_fft.irfftn, "irfftn", True),
):
    _many(_function, _op, None, _takes_complex)
for _function, _op, _takes_complex in (
    (_fft.fft2, "fftn", False),
    (_fft.ifft2, "ifftn", False),
    (_fft.rfft2, "rfftn", False),
    (_fft.irfft2, "irfftn", True),
):
    _many(_function, _op, (-2, -1), _takes_complex)


def _shift(direction: int) -> Callable[..., Any]:
    def shift(x: Any, axes: Any = None) -> Any:
        x = to_tracer(x)
        places: Sequence[int] = axes_of(axes, x.ndim)
        shifts = [x.shape[place] // 2 if direction > 0 else -(x.shape[place] // 2) for place in places]
        return np.roll(x, shifts, tuple(places))

    return shift


implements(_fft.fftshift)(_shift(1))
implements(_fft.ifftshift)(_shift(-1))
