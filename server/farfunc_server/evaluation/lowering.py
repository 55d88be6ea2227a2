"""A graph as a torch callable over leaves.

Everything that does not depend on the operands is done once (:mod:`.operators`); running a graph
is then one loop over calls. A graph of 50,000 equations is ordinary (an unrolled LSTM), so nothing
recurses over equations and nothing is quadratic; only bodies nest, as deep as ``limits`` allow.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from farfunc_protocol.errors import FarfuncError, InvalidRequest
from farfunc_protocol.graph import Equation, Graph, TensorType, Var, operand_vars
from farfunc_protocol.ops import OPS
from farfunc_protocol.transforms import FlatTransform

from .operators import Dimensions, Environment, Run, lower_operator
from .tensors import type_of
from .transforms import FlatCallable, transformed

__all__ = ["EquationFailed", "LoweredGraph", "fits", "lower"]


class EquationFailed(Exception):
    """An exception on its way out of a graph, with the path of the equation that raised it."""

    def __init__(self, where: str, error: Exception) -> None:
        super().__init__(where)
        self.where = where
        self.error = error


@dataclass(frozen=True, slots=True)
class Step:
    """One equation, ready to run.

    Attributes
    ----------
    run:
        Computes the outputs from the environment.
    outputs:
        The variables it defines.
    is_list:
        Whether ``run`` returns a sequence of tensors rather than one.
    dead:
        The variables that no later step needs: their memory is given back at once.
    """

    run: Run
    outputs: tuple[Var, ...]
    is_list: bool
    dead: tuple[Var, ...]


class LoweredGraph:
    """A graph that runs.

    Attributes
    ----------
    graph:
        What it computes.
    is_random:
        Whether it draws random numbers.
    """

    def __init__(self, graph: Graph, device: torch.device) -> None:
        self.graph = graph
        self.is_random = any(equation.op in OPS and OPS[equation.op].random for equation in graph.walk())
        self._steps = _steps(graph, device)
        self._size = 1 + max(
            (var for equation in graph.equations for var in equation.outputs),
            default=len(graph.inputs) + len(graph.captures) - 1,
        )
        self._symbols = _symbols(graph)

    def __call__(
        self, leaves: Sequence[torch.Tensor], captures: Sequence[torch.Tensor], outer: Dimensions | None = None
    ) -> tuple[torch.Tensor, ...]:
        """Evaluate the graph.

        Parameters
        ----------
        leaves, captures:
            One tensor for each input and each capture.
        outer:
            Symbolic dimensions that the enclosing graph has bound.

        Raises
        ------
        EquationFailed
            From the exception of the operator that failed.
        """
        environment: Environment = [*leaves, *captures]
        dimensions = self._bind(environment, outer)
        environment.extend([None] * (self._size - len(environment)))
        index = 0
        try:
            for index, step in enumerate(self._steps):  # noqa: B007 - read where the error is caught
                result = step.run(environment, dimensions)
                if step.is_list:
                    for var, tensor in zip(step.outputs, result, strict=True):
                        environment[var] = tensor
                else:
                    environment[step.outputs[0]] = result
                for var in step.dead:
                    environment[var] = None
        except EquationFailed as failed:
            raise EquationFailed(f"equations[{index}].body.{failed.where}", failed.error) from failed.error
        except FarfuncError:
            raise
        except Exception as error:
            raise EquationFailed(f"equations[{index}] ({self.graph.equations[index].op})", error) from error
        return tuple(environment[var] for var in self.graph.outputs)

    def check(self, leaves: Sequence[torch.Tensor]) -> None:
        """Raise InvalidRequest unless the leaves have the types that the graph declares."""
        for position, (tensor, declared) in enumerate(zip(leaves, self.graph.inputs, strict=True)):
            given = type_of(tensor)
            if not fits(given, declared):
                raise InvalidRequest(
                    f"the function takes {declared} here, and {given} is given",
                    where=f"arguments[{position}]",
                    remedy="give an array of that dtype and shape, or trace the function with this one",
                )

    def _bind(self, environment: Environment, outer: Dimensions | None) -> Dimensions:
        if not self._symbols:
            return outer or {}
        dimensions = dict(outer or {})
        for var, axis, name in self._symbols:
            length = environment[var].shape[axis]
            if dimensions.setdefault(name, length) != length:
                raise InvalidRequest(
                    f"the dimension {name!r} is {dimensions[name]} in one argument and {length} in another",
                    where=f"arguments[{var}]",
                    remedy="give arrays whose axes of one name have one length",
                )
        return dimensions


def lower(graph: Graph, device: torch.device) -> LoweredGraph:
    """Make a graph runnable on a device."""
    return LoweredGraph(graph, device)


def _steps(graph: Graph, device: torch.device) -> tuple[Step, ...]:
    needed = set(graph.outputs)
    steps: list[Step] = []
    for equation in reversed(graph.equations):
        touched = {var for operand in equation.inputs for var in operand_vars(operand)}.union(equation.outputs)
        dead = tuple(sorted(touched - needed))
        needed |= touched
        run, is_list = _lower_equation(equation, device)
        steps.append(Step(run, equation.outputs, is_list, dead))
    steps.reverse()
    return tuple(steps)


def _symbols(graph: Graph) -> tuple[tuple[Var, int, str], ...]:
    types: tuple[TensorType, ...] = (*graph.inputs, *graph.captures)
    return tuple(
        (var, axis, length)
        for var, declared in enumerate(types)
        for axis, length in enumerate(declared.shape)
        if isinstance(length, str)
    )


def fits(given: TensorType, declared: TensorType) -> bool:
    """Whether a tensor of the type ``given`` may stand where ``declared`` is asked for; a symbol takes any length."""
    if given.dtype != declared.dtype or len(given.shape) != len(declared.shape):
        return False
    return all(isinstance(want, str) or have == want for have, want in zip(given.shape, declared.shape, strict=True))


def _lower_equation(equation: Equation, device: torch.device) -> tuple[Run, bool]:
    if equation.body is not None:
        run, is_list = _higher_order(equation, equation.body, device), True
    else:
        run, is_list = lower_operator(equation, device)
    return (run if equation.grad else _without_grad(run)), is_list


def _without_grad(run: Run) -> Run:
    def run_without_grad(environment: Environment, dimensions: Dimensions) -> Any:
        with torch.no_grad():
            return run(environment, dimensions)

    return run_without_grad


def _higher_order(equation: Equation, body: Graph, device: torch.device) -> Run:
    """A transform inside the user's function: torch.func's own, of the lowered body."""
    lowered = lower(body, device)
    flat = FlatTransform(equation.op, equation.attributes)
    captured = len(body.captures)
    operands = [operand_vars(operand)[0] for operand in equation.inputs]
    leaf_vars, capture_vars = operands[: len(operands) - captured], operands[len(operands) - captured :]

    def run(environment: Environment, dimensions: Dimensions) -> tuple[torch.Tensor, ...]:
        captures = [environment[var] for var in capture_vars]

        def function(*leaves: torch.Tensor) -> tuple[torch.Tensor, ...]:
            return lowered(leaves, captures, dimensions)

        call = transformed(flat, FlatCallable(function, len(body.inputs), len(body.outputs)))
        return call.function(*(environment[var] for var in leaf_vars))

    return run
