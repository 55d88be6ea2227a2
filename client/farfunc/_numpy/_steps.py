"""One step from an array to a view of it: how it is read, and how a write through it is undone.

A view of NumPy shares memory with its base. Here it is a chain of steps: reading a view replays
them on the base, writing to it puts the new content back through them, so that the base and all
its other views see it. Each step knows three things: the same view of an ndarray, the operator
that reads it in a graph, and the operator that writes it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np

from farfunc_protocol.builder import Value

from ._emit import add

__all__ = [
    "Component",
    "Diagonal",
    "Expand",
    "Flip",
    "NewAxis",
    "Permute",
    "Reshape",
    "Select",
    "Slice",
    "Squeeze",
    "Step",
]


class Step(ABC):
    """One step of a view."""

    @abstractmethod
    def view(self, array: np.ndarray) -> np.ndarray:
        """The view of a concrete array; it shares memory."""

    @abstractmethod
    def read(self, base: Value) -> Value:
        """The content of the view, given that of its base."""

    @abstractmethod
    def write(self, base: Value, content: Value) -> Value:
        """The new content of the base, given that of the view."""


@dataclass(frozen=True, slots=True)
class Select(Step):
    """``x[2]``: one place along an axis, which vanishes."""

    dim: int
    index: int

    def view(self, array: np.ndarray) -> Any:
        return array[(slice(None),) * self.dim + (self.index, ...)]

    def read(self, base: Value) -> Value:
        return add("select.int", base, dim=self.dim, index=self.index)

    def write(self, base: Value, content: Value) -> Value:
        return add("select_scatter", base, content, dim=self.dim, index=self.index)


@dataclass(frozen=True, slots=True)
class Slice(Step):
    """``x[start:stop:step]`` with bounds inside the axis and a positive step."""

    dim: int
    start: int
    stop: int
    step: int

    def view(self, array: np.ndarray) -> Any:
        return array[(slice(None),) * self.dim + (slice(self.start, self.stop, self.step),)]

    def read(self, base: Value) -> Value:
        return add("slice.Tensor", base, dim=self.dim, start=self.start, end=self.stop, step=self.step)

    def write(self, base: Value, content: Value) -> Value:
        return add("slice_scatter", base, content, dim=self.dim, start=self.start, end=self.stop, step=self.step)


@dataclass(frozen=True, slots=True)
class Flip(Step):
    """``x[::-1]``."""

    dims: tuple[int, ...]

    def view(self, array: np.ndarray) -> Any:
        return np.flip(array, self.dims)

    def read(self, base: Value) -> Value:
        return add("flip", base, dims=self.dims)

    def write(self, base: Value, content: Value) -> Value:
        return add("flip", content, dims=self.dims)


@dataclass(frozen=True, slots=True)
class NewAxis(Step):
    """``x[None]``: an axis of length one."""

    dim: int

    def view(self, array: np.ndarray) -> Any:
        return np.expand_dims(array, self.dim)

    def read(self, base: Value) -> Value:
        return add("unsqueeze", base, dim=self.dim)

    def write(self, base: Value, content: Value) -> Value:
        return add("squeeze.dim", content, dim=self.dim)


@dataclass(frozen=True, slots=True)
class Squeeze(Step):
    """An axis of length one taken away."""

    dim: int

    def view(self, array: np.ndarray) -> Any:
        return np.squeeze(array, self.dim)

    def read(self, base: Value) -> Value:
        return add("squeeze.dim", base, dim=self.dim)

    def write(self, base: Value, content: Value) -> Value:
        return add("unsqueeze", content, dim=self.dim)


@dataclass(frozen=True, slots=True)
class Permute(Step):
    """``x.transpose(dims)``."""

    dims: tuple[int, ...]

    def view(self, array: np.ndarray) -> Any:
        return np.transpose(array, self.dims)

    def read(self, base: Value) -> Value:
        return add("permute", base, dims=self.dims)

    def write(self, base: Value, content: Value) -> Value:
        inverse = tuple(sorted(range(len(self.dims)), key=self.dims.__getitem__))
        return add("permute", content, dims=inverse)


@dataclass(frozen=True, slots=True)
class Reshape(Step):
    """``x.reshape(shape)`` where NumPy need not copy (see :mod:`._layout`)."""

    shape: tuple[int, ...]

    def view(self, array: np.ndarray) -> Any:
        return np.reshape(array, self.shape)

    def read(self, base: Value) -> Value:
        return add("reshape", base, shape=self.shape)

    def write(self, base: Value, content: Value) -> Value:
        return add("reshape", content, shape=base.type.shape)


@dataclass(frozen=True, slots=True)
class Expand(Step):
    """``np.broadcast_to(x, shape)``, which nobody may write to."""

    shape: tuple[int, ...]

    def view(self, array: np.ndarray) -> Any:
        return np.broadcast_to(array, self.shape)

    def read(self, base: Value) -> Value:
        return add("expand", base, size=self.shape)

    def write(self, base: Value, content: Value) -> Value:
        raise AssertionError("read-only")


@dataclass(frozen=True, slots=True)
class Diagonal(Step):
    """``np.diagonal(x, offset, dim1, dim2)``, but writable: ``np.fill_diagonal`` writes through it."""

    offset: int
    dim1: int
    dim2: int

    def view(self, array: np.ndarray) -> Any:
        view = np.diagonal(array, self.offset, self.dim1, self.dim2)
        if array.flags.writeable and not view.flags.writeable:
            view.flags.writeable = True
        return view

    def read(self, base: Value) -> Value:
        return add("diagonal", base, offset=self.offset, dim1=self.dim1, dim2=self.dim2)

    def write(self, base: Value, content: Value) -> Value:
        return add("diagonal_scatter", base, content, offset=self.offset, dim1=self.dim1, dim2=self.dim2)


@dataclass(frozen=True, slots=True)
class Component(Step):
    """``z.real`` or ``z.imag`` of a complex array."""

    name: str

    def view(self, array: np.ndarray) -> Any:
        return getattr(array, self.name)

    def read(self, base: Value) -> Value:
        return add(self.name, base)

    def write(self, base: Value, content: Value) -> Value:
        if self.name == "real":
            return add("complex", content, add("imag", base))
        return add("complex", add("real", base), content)
