"""The graph: what a user's function becomes, and all that ever travels of it; and its text, for people.

Static single assignment. A variable is an integer, numbered in the order of definition: the
argument leaves come first, then the captures, then the outputs of each equation in turn. So
two traces of one function give the same numbers, and with them the same identity.

Each class stands only on those above it. The text has one equation a line, the user's own source line beside it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .arrays import Array
from .pytree import TreeSpec
from .tensor_type import Dimension, TensorType

__all__ = [
    "Dimension",
    "Equation",
    "Function",
    "Graph",
    "Operand",
    "TensorType",
    "Var",
    "format_equation",
    "format_function",
    "format_graph",
    "format_neighbours",
    "operand_vars",
]

Var = int
"""A variable of a graph."""

Operand = Var | None | tuple[Var | None, ...]
"""One tensor argument of an operator: ``Tensor``, ``Tensor?``, ``Tensor[]`` or ``Tensor?[]``."""


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
        transform: one variable for each argument leaf of the transformed function, then one
        for each capture of ``body``.
    attributes:
        The other arguments by name; those that have their default are left out. For a
        transform: the parameters of its flat form (see :mod:`farfunc_protocol.transforms`).
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
    """A function of flat leaves, as data.

    Attributes
    ----------
    inputs:
        Types of the argument leaves: variables 0 to n-1.
    captures:
        Types of what the function closes over: variables n to n+m-1. For a body, the equation
        gives them; for a whole function, its constants or the call do. Transforms never
        differentiate or batch them.
    equations:
        In an order in which each variable is defined before it is used.
    outputs:
        The variables of the result leaves.
    """

    inputs: tuple[TensorType, ...]
    captures: tuple[TensorType, ...]
    equations: tuple[Equation, ...]
    outputs: tuple[Var, ...]

    def __str__(self) -> str:
        return format_graph(self)

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


@dataclass(frozen=True, slots=True, weakref_slot=True)
class Function:
    """A graph with its constants and the shape of its Python signature: what is stored, named and evaluated.

    Attributes
    ----------
    graph:
        The computation.
    constants:
        One array for each capture; None where the value comes with each call instead.
    in_tree, out_tree:
        The structure of ``(args, kwargs)`` and of the result, whose leaves are the graph's
        inputs and outputs. Values that are no arrays stand in the trees, as static nodes.
    sources:
        For each top-level equation the user's own line (``arm.py:12, in forward``) or None.
        Kept for error messages; no part of the identity, and never sent.
    """

    graph: Graph
    constants: tuple[Array | None, ...]
    in_tree: TreeSpec
    out_tree: TreeSpec
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


def format_function(function: Function) -> str:
    """A whole function, with its constants' types and the user's lines."""
    return format_graph(function.graph, sources=function.sources)


def format_graph(graph: Graph, *, sources: Sequence[str | None] = (), indent: str = "") -> str:
    """A graph with the bodies of its higher-order equations.

    >>> from farfunc_protocol.graph import Equation, Graph, TensorType
    >>> vector = TensorType("float64", (3,))
    >>> equations = (Equation("sin", (0,), {}, (1,)), Equation("add.Tensor", (1, 0), {"alpha": 2}, (2,)))
    >>> print(format_graph(Graph((vector,), (), equations, (2,))))
    graph(%0: float64[3]) {
      %1 = sin(%0)
      %2 = add.Tensor(%1, %0, alpha=2)
      return %2
    }
    """
    inputs = _typed(graph.inputs, 0)
    captures = _typed(graph.captures, len(graph.inputs))
    head = f"graph({inputs}{'; captures ' + captures if captures else ''}) {{"
    lines = [head]
    for index, equation in enumerate(graph.equations):
        source = sources[index] if index < len(sources) else None
        lines.append(format_equation(equation, source=source, indent=indent + "  "))
    lines.append(f"{indent}  return {', '.join(f'%{var}' for var in graph.outputs)}".rstrip())
    lines.append(f"{indent}}}")
    return "\n".join(lines)


def format_equation(equation: Equation, *, source: str | None = None, indent: str = "") -> str:
    """One equation, with its body if it has one."""
    results = ", ".join(f"%{var}" for var in equation.outputs)
    operands = [_operand(operand) for operand in equation.inputs]
    attributes = [f"{name}={_attribute(value)}" for name, value in equation.attributes.items()]
    line = f"{indent}{results} = {equation.op}({', '.join(operands + attributes)})"
    if not equation.grad:
        line += " no_grad"
    if equation.body is not None:
        line += " " + format_graph(equation.body, indent=indent)
    return f"{line}  # {source}" if source else line


def format_neighbours(equations: Sequence[Equation], index: int) -> str:
    """The equations around a faulty one, which is marked: what a validator's error shows."""
    lines = []
    for i in range(max(index - 2, 0), min(index + 2, len(equations))):
        text = format_equation(equations[i]).split("\n")[0]
        mark = ">" if i == index else " "
        lines.append(f"{mark} [{i}] {text if len(text) <= 160 else text[:157] + '...'}")
    return "\n".join(lines)


def _typed(types: Sequence[TensorType], first: int) -> str:
    return ", ".join(f"%{first + i}: {type}" for i, type in enumerate(types))


def _operand(operand: Operand) -> str:
    if isinstance(operand, tuple):
        return f"[{', '.join(_operand(item) for item in operand)}]"
    return "None" if operand is None else f"%{operand}"


def _attribute(value: Any) -> str:
    if isinstance(value, list | tuple):
        return f"[{', '.join(_attribute(item) for item in value)}]"
    if isinstance(value, dict) and set(value) == {"dim"}:
        return str(value["dim"])
    return repr(value)
