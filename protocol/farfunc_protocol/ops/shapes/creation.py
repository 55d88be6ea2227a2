"""Rules of the operators that make tensors from numbers, or from the type of another tensor."""

from __future__ import annotations

import math
from collections.abc import Callable

from ...graph import TensorType
from ..call import Call, Shape, Symbol
from .axes import broadcast, is_length
from .elementwise import floating_only
from .promotion import DEFAULT_DTYPE, category, scalar_dtype

__all__ = [
    "arange",
    "eye",
    "filled",
    "filled_like",
    "frequencies",
    "like",
    "linspace",
    "multinomial",
    "new",
    "normal",
    "permutation",
    "scalar_tensor",
    "sized",
    "triangle_indices",
    "window",
]


def _lengths(call: Call, name: str) -> Shape:
    for length in call.arguments[name]:
        if not isinstance(length, Symbol):
            call.require(length >= 0, f"length {length} is negative", argument=name)
    return tuple(call.arguments[name])


def sized(default: str = DEFAULT_DTYPE) -> Callable[[Call], TensorType]:
    """A rule: zeros, ones, rand: a tensor of the given size."""

    def rule(call: Call) -> TensorType:
        return TensorType(call.arguments.get("dtype") or default, _lengths(call, "size"))

    return rule


def filled(call: Call) -> TensorType:
    """full: the dtype of the number, unless one is given."""
    return TensorType(call.dtype or scalar_dtype(call.fill_value), _lengths(call, "size"))


def filled_like(call: Call) -> TensorType:
    """zeros_like, full_like, rand_like: the type of another tensor."""
    return TensorType(call.arguments.get("dtype") or call.self.dtype, call.self.shape)


def new(call: Call) -> TensorType:
    """new_zeros, new_full: another size, the dtype of self unless one is given."""
    return TensorType(call.dtype or call.self.dtype, _lengths(call, "size"))


def scalar_tensor(call: Call) -> TensorType:
    """scalar_tensor: one number; the default dtype unless one is given."""
    return TensorType(call.dtype or DEFAULT_DTYPE, ())


def arange(call: Call) -> TensorType:
    """arange: int64 where all numbers are integers, else the default dtype."""
    start, end, step = call.arguments.get("start", 0), call.end, call.arguments.get("step", 1)
    numbers = (start, end, step)
    call.require(not any(isinstance(number, complex) for number in numbers), "complex bounds")
    call.require(all(map(math.isfinite, numbers)), f"bounds {start} and {end} are not finite")
    call.require(step != 0, "step is 0", argument="step")
    call.require((end - start) * (1 if step > 0 else -1) >= 0, f"{end} is not reached from {start} by steps of {step}")
    whole = all(isinstance(number, int) for number in numbers)
    dtype = call.dtype or ("int64" if whole else DEFAULT_DTYPE)
    if dtype == "int64":
        # As in torch, the numbers are cut off to integers first.
        call.require(int(step) != 0, f"step {step} is 0 as an integer", argument="step")
        length = max(-((int(start) - int(end)) // int(step)), 0)
    else:
        quotient = (float(end) - float(start)) / float(step)
        call.require(math.isfinite(quotient), f"bounds {start} and {end} are too far apart")
        length = math.ceil(quotient)
    return TensorType(dtype, (length,))


def linspace(call: Call) -> TensorType:
    """linspace, logspace: so many numbers; complex where a bound is."""
    call.require(call.steps >= 0, f"{call.steps} steps", argument="steps")
    bounds = (call.start, call.end)
    for name, bound in zip(("start", "end"), bounds, strict=True):
        if isinstance(bound, TensorType):
            call.require(not bound.shape, f"a bound with {len(bound.shape)} axes", argument=name)
    is_complex = any(
        category(bound.dtype) == "complex" if isinstance(bound, TensorType) else isinstance(bound, complex)
        for bound in bounds
    )
    return TensorType(call.dtype or ("complex64" if is_complex else DEFAULT_DTYPE), (call.steps,))


def eye(call: Call) -> TensorType:
    """eye: n rows, and m columns where given."""
    columns = call.arguments.get("m", call.n)
    for name in ("n", "m"):
        length = call.arguments.get(name, 0)
        call.require(is_length(length), f"length {length} is negative", argument=name)
    return TensorType(call.dtype or DEFAULT_DTYPE, (call.n, columns))


def triangle_indices(lower: bool) -> Callable[[Call], TensorType]:
    """A rule: tril_indices, triu_indices."""

    def rule(call: Call) -> TensorType:
        rows, columns, offset = call.row, call.col, call.offset
        call.require(rows >= 0 and columns >= 0, f"a matrix of {rows} by {columns}")
        below = _below(rows, columns, offset if lower else offset - 1)
        return TensorType(call.dtype or "int64", (2, below if lower else rows * columns - below))

    return rule


def _below(rows: int, columns: int, offset: int) -> int:
    """The number of elements on and below a diagonal."""
    first, last = 1 + offset, rows + offset  # the lengths of the first and last row, unclamped
    count = 0
    # Rows whose length runs from 1 to columns are summed as a progression; longer ones are full.
    low, high = max(first, 1), min(last, columns)
    if low <= high:
        count += (low + high) * (high - low + 1) // 2
    return count + columns * max(last - max(first, columns + 1) + 1, 0)


def permutation(call: Call) -> TensorType:
    """randperm: n integers."""
    call.require(call.n >= 0, f"length {call.n} is negative", argument="n")
    return TensorType(call.dtype or "int64", (call.n,))


def multinomial(call: Call) -> TensorType:
    """multinomial: places drawn from each row of weights."""
    shape = call.self.shape
    call.require(len(shape) in (1, 2), f"weights with {len(shape)} axes", argument="self")
    call.require(call.num_samples > 0, f"{call.num_samples} samples", argument="num_samples")
    call.require(
        call.replacement or call.num_samples <= shape[-1],
        f"{call.num_samples} samples of {shape[-1]} without replacement",
        argument="num_samples",
    )
    return TensorType("int64", (*shape[:-1], call.num_samples))


def window(call: Call) -> TensorType:
    """hann_window and its kind."""
    call.require(call.window_length >= 0, f"length {call.window_length} is negative", argument="window_length")
    return TensorType(call.dtype or DEFAULT_DTYPE, (call.window_length,))


def frequencies(half: bool) -> Callable[[Call], TensorType]:
    """A rule: fft_fftfreq, fft_rfftfreq."""

    def rule(call: Call) -> TensorType:
        call.require(call.n >= 1, f"a transform of length {call.n}", argument="n")
        return TensorType(call.dtype or DEFAULT_DTYPE, (call.n // 2 + 1 if half else call.n,))

    return rule


def like(call: Call) -> TensorType:
    """A number drawn for each element, in the dtype of self."""
    shape = broadcast(call, *(type_.shape for type_ in call.tensors))
    call.require(shape == tuple(call.tensors[0].shape), "the parameters are larger than the tensor")
    return TensorType(call.tensors[0].dtype, shape)


def normal(call: Call) -> TensorType:
    """normal: means and deviations broadcast."""
    shape = broadcast(call, *(type_.shape for type_ in call.tensors))
    return TensorType(floating_only(call, call.tensors[0].dtype), shape)
