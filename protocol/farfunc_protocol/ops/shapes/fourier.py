"""Rules of the Fourier transforms: one axis or several, complex, half-complex or Hermitian."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...graph import TensorType
from ..call import Call
from .axes import axes, axis
from .promotion import complex_of, floating, is_complex, real_of

__all__ = [
    "COMPLEX",
    "FROM_HALF",
    "TO_HALF",
    "raw_complex",
    "raw_from_half",
    "raw_to_half",
    "shift",
    "transform",
]

COMPLEX, TO_HALF, FROM_HALF = "complex", "to half", "from half"
"""Complex to complex; real to the half of a Hermitian spectrum; and back."""


def transform(kind: str, *, several: bool = False) -> Callable[[Call], TensorType]:
    """A rule: a transform of one axis (``n``, ``dim``) or of several (``s``, ``dim``).

    Half-complex transforms halve, or double, the last of the transformed axes.
    """

    def rule(call: Call) -> TensorType:
        call.require(
            call.norm in (None, "forward", "backward", "ortho"),
            f"norm {call.norm!r}",
            argument="norm",
            remedy="use 'forward', 'backward' or 'ortho'",
        )
        shape = list(call.self.shape)
        call.require(bool(shape), "a tensor without axes has no spectrum", argument="self")
        positions, lengths = _several(call, shape) if several else _one(call, shape)
        dtype = floating(call.self.dtype)
        for position, length in zip(positions, lengths, strict=True):
            shape[position] = length
        if not positions:
            call.require(kind == COMPLEX, "it needs an axis to transform", argument="dim")
            return TensorType(complex_of(call, dtype), tuple(shape))
        last = positions[-1]
        if kind == TO_HALF:
            call.require(not is_complex(dtype), f"it takes real tensors, not {dtype}", argument="self")
            shape[last] = shape[last] // 2 + 1
        result = real_of(complex_of(call, dtype)) if kind == FROM_HALF else complex_of(call, dtype)
        return TensorType(result, tuple(shape))

    def _one(call: Call, shape: list[Any]) -> tuple[tuple[int, ...], list[Any]]:
        position = axis(call, call.dim, len(shape), scalar=False)
        length = shape[position] if kind != FROM_HALF or call.n is not None else 2 * (shape[position] - 1)
        return (position,), [_positive(call, length if call.n is None else call.n, "n")]

    def _several(call: Call, shape: list[Any]) -> tuple[tuple[int, ...], list[Any]]:
        if call.dim is not None:
            positions = axes(call, call.dim, len(shape))
            call.require(call.s is None or len(call.s) == len(positions), "s and dim differ in length", argument="s")
        elif call.s is not None:
            call.require(len(call.s) <= len(shape), f"{len(call.s)} lengths for {len(shape)} axes", argument="s")
            positions = tuple(range(len(shape) - len(call.s), len(shape)))
        else:
            positions = tuple(range(len(shape)))
        given = call.s if call.s is not None else (-1,) * len(positions)
        lengths = [shape[at] if length == -1 else length for at, length in zip(positions, given, strict=True)]
        if kind == FROM_HALF and positions and given[-1] == -1:
            lengths[-1] = 2 * (shape[positions[-1]] - 1)
        return positions, [_positive(call, length, "s") for length in lengths]

    return rule


def _positive(call: Call, length: Any, argument: str) -> Any:
    if isinstance(length, int):
        call.require(length >= 1, f"a transform of length {length}", argument=argument, remedy="give a length above 0")
    return length


def shift(call: Call) -> TensorType:
    """fftshift, ifftshift: the operand's own type."""
    if call.dim is not None:
        for dim in call.dim:
            axis(call, dim, len(call.self.shape))
    return call.self


def raw_complex(call: Call) -> TensorType:
    """_fft_c2c: a complex transform of given axes."""
    call.require(is_complex(call.self.dtype), f"it takes complex tensors, not {call.self.dtype}", argument="self")
    axes(call, call.dim, len(call.self.shape))
    return call.self


def raw_to_half(call: Call) -> TensorType:
    """_fft_r2c: real to complex, the last of the axes halved where onesided."""
    positions = axes(call, call.dim, len(call.self.shape))
    call.require(bool(positions), "it needs an axis to transform", argument="dim")
    shape = list(call.self.shape)
    call.require(len(shape) > 0, "a tensor without axes has no spectrum", argument="self")
    if call.onesided:
        shape[positions[-1]] = shape[positions[-1]] // 2 + 1
    return TensorType(complex_of(call, call.self.dtype), tuple(shape))


def raw_from_half(call: Call) -> TensorType:
    """_fft_c2r: complex to real, with the length of the last of the axes given."""
    call.require(is_complex(call.self.dtype), f"it takes complex tensors, not {call.self.dtype}", argument="self")
    positions = axes(call, call.dim, len(call.self.shape))
    call.require(bool(positions) and bool(call.self.shape), "it needs an axis to transform", argument="dim")
    shape = list(call.self.shape)
    shape[positions[-1]] = _positive(call, call.last_dim_size, "last_dim_size")
    return TensorType(real_of(call.self.dtype), tuple(shape))
