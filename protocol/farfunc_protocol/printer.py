"""A graph as text, for people: one equation a line, the user's own source line beside it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .graph import Equation, Function, Graph, Operand, TensorType

__all__ = ["format_equation", "format_function", "format_graph", "format_neighbours"]


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
