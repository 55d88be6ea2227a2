"""bfloat16 without a library for it: its bits are the upper half of a float32.

NumPy has no bfloat16, so its values are held as ``uint16`` and turned into numbers here.
"""

from __future__ import annotations

import numpy as np

__all__ = ["bfloat16_to_float32", "float_to_bfloat16"]


def float_to_bfloat16(values: np.ndarray) -> np.ndarray:
    """Round real numbers to bfloat16: to the nearest, ties to even, as the bits in ``uint16``.

    Every value is rounded once: float64 is not rounded to float32 on the way. Numbers beyond
    3.39e38 become infinite, a NaN keeps its sign and the upper bits of its payload.

    >>> float_to_bfloat16(np.array([1.0, 1.00390625, -np.inf])).tolist() == [0x3F80, 0x3F80, 0xFF80]
    True
    """
    if values.dtype == np.float32:
        bits = np.asarray(values, "<f4", order="C").view("<u4")
    else:
        bits = _round_to_odd(np.asarray(values, np.float64, order="C"))
    is_nan = (bits & 0x7FFFFFFF) > 0x7F800000
    rounded = (bits + (0x7FFF + ((bits >> 16) & 1))) >> 16
    # A NaN whose payload is in the lower half only would become an infinity, hence the quiet bit.
    quiet = (bits >> 16) | 0x40
    return np.where(is_nan, quiet, rounded).astype("<u2")


def _round_to_odd(values: np.ndarray) -> np.ndarray:
    """float64 to float32 so that rounding once more gives what one rounding would have given.

    Boldo and Melquiond, "Emulation of FMA and correctly rounded sums: proved algorithms using
    rounding to odd", IEEE Transactions on Computers 57(4), 2008: truncate, and set the last bit
    where something was cut off.
    """
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        nearest = values.astype("<f4")
        widened = nearest.astype(np.float64)
        inexact = (widened != values) & ~np.isnan(values)
        away = inexact & (np.abs(widened) > np.abs(values))
    # Without the sign a float32's bits are in the order of its magnitude: one less is one step towards zero.
    return (nearest.view("<u4") - away.astype("<u4")) | inexact.astype("<u4")


def bfloat16_to_float32(bits: np.ndarray) -> np.ndarray:
    """The values of bfloat16 bits, which float32 holds exactly.

    >>> bfloat16_to_float32(np.array([0x3F80, 0xC000], "<u2")).tolist()
    [1.0, -2.0]
    """
    wide = np.asarray(bits, order="C").astype("<u4") << 16
    return np.asarray(wide, "<u4").view("<f4")  # NumPy made a scalar of a 0-d array
