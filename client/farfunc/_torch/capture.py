"""Closed-over tensors, and the values of what follows from constants alone.

A real tensor that a traced function meets (a parameter, a buffer, ``torch.tensor([1.0, 2.0])``) is a constant. What
is computed from constants is recorded like everything else; but where Python needs such a value, for a branch or a
boolean mask, the equations it follows from are evaluated here, and the trace goes on.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch.utils._python_dispatch import _disable_current_modes

from farfunc_protocol.arrays import Array
from farfunc_protocol.builder import PendingEquation, Value
from farfunc_protocol.errors import InvalidArray, UnsupportedOperator
from farfunc_protocol.ops import OPS

from .aliases import Alias, Memory, attach
from .conversion import to_array, to_tensor, torch_dtype
from .location import user_line

if TYPE_CHECKING:
    from .trace import TorchTrace

__all__ = ["Captured", "Constants", "NotConstant", "WithoutElements", "outside_traces"]


_SMALL = 4096
"""Bytes."""


class NotConstant(Exception):
    """The value depends on an argument, or on random numbers."""


class WithoutElements(UnsupportedOperator):
    """The function closes over a tensor of the device meta. Where it does no more than copy it, nothing is amiss."""


@dataclass(frozen=True, slots=True, eq=False)
class Captured:
    """A tensor that was made outside the trace.

    Attributes
    ----------
    tensor:
        The tensor itself.
    version:
        torch's count of the writes to it, when it was read.
    array:
        Its elements at that time: a copy.
    """

    tensor: torch.Tensor
    version: int
    array: Array


@contextlib.contextmanager
def outside_traces() -> Iterator[None]:
    """Torch as it is without a trace: for real numbers."""
    with _disable_current_modes(), torch.no_grad():
        yield


def _elements(tensor: torch.Tensor, whence: str = "the function closes over") -> Array:
    try:
        return to_array(tensor, copy=True)
    except InvalidArray as error:
        kind = WithoutElements if tensor.is_meta else UnsupportedOperator
        detail = f"{whence} a tensor that cannot travel: {error.detail}"
        raise kind(detail, where=user_line(), remedy=error.remedy) from None


class Constants:
    """The constants of one trace."""

    def __init__(self, trace: TorchTrace) -> None:
        self._trace = trace
        self._captured: dict[int, tuple[Captured, torch.Tensor]] = {}
        """By the id of the tensor, which the entry keeps alive: the tensor, and the fake that stands for it."""
        self._known: dict[int, tuple[Value, torch.Tensor]] = {}
        """By the id of the value: the elements."""
        self._adopted: dict[tuple[str, tuple[int, ...], bytes], Array] = {}
        """Small constants of the trace's own, by their content."""
        self._origins: dict[int, tuple[Value, Value]] = {}
        """By the id of a body's own value of an outer one: both."""

    @property
    def captured(self) -> tuple[Captured, ...]:
        """Every tensor that the function closes over and has used, whether the graph needs it or not."""
        return tuple(captured for captured, _ in self._captured.values())

    def fake_of(self, tensor: torch.Tensor) -> torch.Tensor:
        """The stand-in of a real tensor; captures it at the first call."""
        entry = self._captured.get(id(tensor))
        if entry is None:
            with outside_traces():
                array = _elements(tensor)
                elements = to_tensor(array)  # on the CPU, like all constants that are computed with here
                version = 0 if tensor.is_inference() else tensor._version
            captured = Captured(tensor, version, array)
            value = self._trace.outermost.constant(array)
            fake = self._trace.fake_like(tensor)
            memory = Memory("captured", self._trace.outermost)
            attach(fake, Alias(self._trace, value, memory))
            entry = self._captured[id(tensor)] = captured, fake
            self._remember(value, elements)
        return entry[1]

    def adopt(self, tensor: torch.Tensor) -> torch.Tensor:
        """A real tensor that was computed here: a constant of the trace's own, free to be written to."""
        with outside_traces():
            array = _elements(tensor, "the function makes")
            if array.nbytes <= _SMALL:
                # A loop over x[0] = 1.0 makes the same constant each time.
                array = self._adopted.setdefault((array.dtype, array.shape, array.data.tobytes()), array)
            elements = to_tensor(array)
        value = self._trace.outermost.constant(array)
        self._remember(value, elements)
        return self._trace.lift_like(value)

    def local(self, value: Value) -> Value:
        """The value by which the innermost builder knows ``value``."""
        builder = self._trace.builder
        if value.builder is builder:
            return value
        local = builder.bring(value)
        self._origins[id(local)] = (local, value)
        return local

    def elements(self, value: Value) -> torch.Tensor:
        """Evaluate a value that follows from constants; raises NotConstant for any other."""
        pending = [value]
        while pending:
            current = pending[-1]
            if id(current) in self._known:
                pending.pop()
                continue
            sources = self._sources(current)
            missing = [source for source in sources if id(source) not in self._known]
            if missing:
                pending.extend(missing)
            elif current.equation is None:
                self._remember(current, self._known[id(sources[0])][1])
            else:
                self._evaluate(current.equation)
        return self._known[id(value)][1]

    def _sources(self, value: Value) -> list[Value]:
        equation = value.equation
        if value.varies:
            raise NotConstant
        if equation is None:
            if id(value) not in self._origins:
                raise NotConstant
            return [self._origins[id(value)][1]]
        if equation.op not in OPS or OPS[equation.op].random:
            raise NotConstant
        items = (
            item for operand in equation.inputs for item in (operand if isinstance(operand, tuple) else (operand,))
        )
        return [item for item in items if item is not None]

    def _evaluate(self, equation: PendingEquation) -> None:
        schema = OPS[equation.op].schema
        operands = iter(equation.inputs)
        arguments: dict[str, Any] = {}
        for argument in schema.arguments:
            if argument.is_tensor:
                arguments[argument.name] = self._operand(next(operands))
            elif argument.name in equation.attributes:
                value = equation.attributes[argument.name]
                if argument.type.base == "ScalarType" and value is not None:
                    value = torch_dtype(value)
                arguments[argument.name] = value
        packet = getattr(torch.ops.aten, schema.name)
        with outside_traces():
            result = getattr(packet, schema.overload)(**arguments)
        results = [result] if isinstance(result, torch.Tensor) else result
        for output, tensor in zip(equation.outputs, results, strict=True):
            self._remember(output, tensor)

    def _operand(self, operand: Any) -> Any:
        if isinstance(operand, tuple):
            return [self._operand(item) for item in operand]
        return None if operand is None else self._known[id(operand)][1]

    def _remember(self, value: Value, tensor: torch.Tensor) -> None:
        self._known[id(value)] = (value, tensor)
