"""The graph: what a user's function becomes, and all that ever travels of it.

Static single assignment. A variable is an integer, numbered in the order of definition: the
argument leaves come first, then the captures, then the outputs of each equation in turn. So
two traces of one function give the same numbers, and with them the same identity.

Each class stands only on those above it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from .arrays import Array
from .pytree import TreeSpec

__all__ = ["Dimension", "Equation", "Function", "Graph", "Operand", "TensorType", "Var", "operand_vars"]

Var = int
"""A variable of a graph."""

Dimension = int | str
"""The length of an axis: a number, or the name of a symbol that a call binds."""

Operand = Var | None | tuple[Var | None, ...]
"""One tensor argument of an operator: ``Tensor``, ``Tensor?``, ``Tensor[]`` or ``Tensor?[]``."""


@dataclass(frozen=True, slots=True)
class TensorType:
    """The dtype and shape of a tensor.

    >>> print(TensorType("float64", ("n", 3)))
    float64[n,3]
    """

    dtype: str
    shape: tuple[Dimension, ...]

    def __str__(self) -> str:
        return f"{self.dtype}[{','.join(map(str, self.shape))}]"


@dataclass(frozen=True, slots=True)
class Equation:
    """One operation.

    Attributes
    ----------
    op:
        The name of a row of the op table (ATen's ``name.overload``, ``.default`` left out), or
        of a transform (``jacfwd``), which makes it a higher-order equation.
    inputs:
        For an operator: one operand for each tensor argument of its schema, in order. For a
        transform: one variable for each leaf of its arguments, then one for each capture of
        ``body``.
    attributes:
        The other arguments by name; those that have their default are left out. For a
        transform: its parameters.
    outputs:
        The variables it defines.
    body:
        The function that a higher-order equation transforms.
    grad:
        False inside ``torch.no_grad()``: reverse mode sees constants, forward mode sees through.
    """

    op: str
    inputs: tuple[Operand, ...]
    attributes: Mapping[str, Any]
    outputs: tuple[Var, ...]
    body: Graph | None = None
    grad: bool = True


@dataclass(frozen=True, slots=True)
class Graph:
    """A function as data.

    Attributes
    ----------
    inputs:
        Types of the argument leaves, in the order of ``in_tree``: variables 0 to n-1.
    captures:
        Types of what the function closes over: variables n to n+m-1. For a body, they are
        given by the equation; for a whole function, by its constants or by the call.
    equations:
        In an order in which each variable is defined before it is used.
    outputs:
        The variables of the result leaves, in the order of ``out_tree``.
    in_tree, out_tree:
        The structure of ``(args, kwargs)`` and of the result.
    """

    inputs: tuple[TensorType, ...]
    captures: tuple[TensorType, ...]
    equations: tuple[Equation, ...]
    outputs: tuple[Var, ...]
    in_tree: TreeSpec
    out_tree: TreeSpec

    def walk(self) -> Iterator[Equation]:
        """Every equation, those of the bodies included, without recursion."""
        pending = [iter(self.equations)]
        while pending:
            equation = next(pending[-1], None)
            if equation is None:
                pending.pop()
                continue
            yield equation
            if equation.body is not None:
                pending.append(iter(equation.body.equations))


@dataclass(frozen=True, slots=True)
class Function:
    """A graph with the constants it captures: the unit that is stored, named and evaluated.

    Attributes
    ----------
    graph:
        The computation.
    constants:
        One array for each capture; None where the value comes with each call instead.
    sources:
        For each top-level equation the user's own line (``arm.py:12, in forward``) or None.
        Kept for error messages; no part of the identity, and never sent.
    """

    graph: Graph
    constants: tuple[Array | None, ...] = ()
    sources: tuple[str | None, ...] = field(default=(), compare=False)


def operand_vars(operand: Operand) -> tuple[Var, ...]:
    """The variables of one operand.

    >>> operand_vars((1, None, 2))
    (1, 2)
    """
    if operand is None:
        return ()
    if isinstance(operand, tuple):
        return tuple(var for var in operand if var is not None)
    return (operand,)
