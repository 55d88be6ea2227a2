"""A graph as a JSON document: what is written, and what is accepted.

Here only the form is checked; :mod:`farfunc_protocol.validate` checks what a graph means.

=========== ==========================================================================
``inputs``  types of the argument leaves, ``"float64[7,n]"``
``captures`` types of what is closed over
``equations`` objects with ``op``, ``in``, ``out`` and, where needed, ``at`` (attributes),
            ``body`` (the graph that a transform transforms) and ``grad`` (false inside no_grad)
``outputs`` variables
=========== ==========================================================================
"""

from __future__ import annotations

import math
import re
from typing import Any

from .dtypes import dtype
from .errors import InvalidGraph
from .graph import Equation, Graph, Operand, TensorType
from .limits import DEFAULT_LIMITS, Limits
from .strict_json import list_of, members_of, shown

__all__ = ["graph_from_json", "graph_to_json", "tensor_type_from_text"]

_TYPE = re.compile(r"([a-z0-9]{1,16})\[([A-Za-z0-9_,]{0,4096})\]")
_SYMBOL = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
_MAX_LENGTH = 2**63 - 1


def graph_to_json(graph: Graph) -> dict[str, Any]:
    """The JSON document of a graph.

    >>> from farfunc_protocol.graph import Equation, Graph, TensorType
    >>> vector = TensorType("float64", (3,))
    >>> graph_to_json(Graph((vector,), (), (Equation("sin", (0,), {}, (1,)),), (1,)))["equations"]
    [{'op': 'sin', 'in': [0], 'out': [1]}]
    """
    return {
        "inputs": [str(type) for type in graph.inputs],
        "captures": [str(type) for type in graph.captures],
        "equations": [_equation_to_json(equation) for equation in graph.equations],
        "outputs": list(graph.outputs),
    }


def _equation_to_json(equation: Equation) -> dict[str, Any]:
    document: dict[str, Any] = {
        "op": equation.op,
        "in": [list(operand) if isinstance(operand, tuple) else operand for operand in equation.inputs],
        "out": list(equation.outputs),
    }
    if equation.attributes:
        document["at"] = {name: _attribute_to_json(value) for name, value in equation.attributes.items()}
    if equation.body is not None:
        document["body"] = graph_to_json(equation.body)
    if not equation.grad:
        document["grad"] = False
    return document


def _attribute_to_json(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return {"float": {math.inf: "Infinity", -math.inf: "-Infinity"}.get(value, "NaN")}
    if isinstance(value, complex):
        return {"complex": [_attribute_to_json(value.real), _attribute_to_json(value.imag)]}
    if isinstance(value, list | tuple):
        return [_attribute_to_json(item) for item in value]
    return value


def graph_from_json(document: Any, *, limits: Limits = DEFAULT_LIMITS, where: str = "graph") -> Graph:
    """Read the document of a graph.

    Raises
    ------
    InvalidGraph
        With the path of the first element that has not the form of the format.
    LimitExceeded
    """
    return _Reader(limits).graph(document, where, depth=0)


class _Reader:
    """Reads one document; counts its equations over all bodies."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.equations = 0

    def graph(self, document: Any, where: str, depth: int) -> Graph:
        self.limits.check("body_depth", depth, where)
        members = members_of(document, where, required=("inputs", "captures", "equations", "outputs"))
        equations = list_of(members["equations"], f"{where}.equations")
        self.equations += len(equations)
        self.limits.check("equations", self.equations, f"{where}.equations")
        return Graph(
            inputs=self._types(members["inputs"], f"{where}.inputs"),
            captures=self._types(members["captures"], f"{where}.captures"),
            equations=tuple(
                self._equation(equation, f"{where}.equations[{i}]", depth) for i, equation in enumerate(equations)
            ),
            outputs=self._vars(members["outputs"], f"{where}.outputs"),
        )

    def _types(self, document: Any, where: str) -> tuple[TensorType, ...]:
        items = list_of(document, where)
        self.limits.check("leaves", len(items), where)
        return tuple(
            tensor_type_from_text(item, limits=self.limits, where=f"{where}[{i}]") for i, item in enumerate(items)
        )

    def _vars(self, document: Any, where: str) -> tuple[int, ...]:
        items = list_of(document, where)
        self.limits.check("leaves", len(items), where)
        return tuple(_var(item, f"{where}[{i}]") for i, item in enumerate(items))

    def _equation(self, document: Any, where: str, depth: int) -> Equation:
        members = members_of(document, where, required=("op", "in", "out"), optional=("at", "body", "grad"))
        if not isinstance(members["op"], str):
            raise InvalidGraph(f"the name of an op must be a string, not {shown(members['op'])}", where=f"{where}.op")
        attributes = members.get("at", {})
        if not isinstance(attributes, dict):
            raise InvalidGraph(f"attributes must be an object, not {shown(attributes)}", where=f"{where}.at")
        grad = members.get("grad", True)
        if not isinstance(grad, bool):
            raise InvalidGraph(f"grad must be true or false, not {shown(grad)}", where=f"{where}.grad")
        budget = _Budget(self.limits, f"{where}.at")
        inputs = list_of(members["in"], f"{where}.in")
        self.limits.check("leaves", len(inputs), f"{where}.in")
        return Equation(
            op=members["op"],
            inputs=tuple(self._operand(operand, f"{where}.in[{i}]") for i, operand in enumerate(inputs)),
            attributes={
                name: _attribute_from_json(value, f"{where}.at.{name}", budget)
                for name, value in sorted(attributes.items())
            },
            outputs=self._vars(members["out"], f"{where}.out"),
            body=self.graph(members["body"], f"{where}.body", depth + 1) if "body" in members else None,
            grad=grad,
        )

    def _operand(self, document: Any, where: str) -> Operand:
        if document is None:
            return None
        if isinstance(document, list):
            self.limits.check("leaves", len(document), where)
            return tuple(None if item is None else _var(item, f"{where}[{i}]") for i, item in enumerate(document))
        return _var(document, where)


def tensor_type_from_text(text: Any, *, limits: Limits = DEFAULT_LIMITS, where: str = "type") -> TensorType:
    """Read ``float64[7,n]``.

    >>> tensor_type_from_text("float64[7,n]")
    TensorType(dtype='float64', shape=(7, 'n'))
    """
    match = _TYPE.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        raise InvalidGraph(
            f"{shown(text)} is not the type of a tensor", where=where, remedy='write it as "float64[7,n]"'
        )
    dtype(match[1], where=where)
    names = match[2].split(",") if match[2] else []
    limits.check("rank", len(names), where)
    shape: list[int | str] = []
    elements = 1
    for name in names:
        if name.isascii() and name.isdigit() and len(name) < 20 and (name == "0" or name[0] != "0"):
            if int(name) > _MAX_LENGTH:
                raise InvalidGraph(f"an axis of {name} elements is too long", where=where)
            shape.append(int(name))
            elements *= int(name)
        elif _SYMBOL.fullmatch(name):
            shape.append(name)
        else:
            raise InvalidGraph(f"{name!r} is neither a length nor the name of a dimension", where=where)
    limits.check("elements", elements, where)
    return TensorType(match[1], tuple(shape))


class _Budget:
    """Counts the numbers in the attributes of one equation."""

    def __init__(self, limits: Limits, where: str) -> None:
        self.limits = limits
        self.where = where
        self.used = 0

    def spend(self, items: int) -> None:
        self.used += items
        self.limits.check("attribute_items", self.used, self.where)


def _attribute_from_json(document: Any, where: str, budget: _Budget, depth: int = 0) -> Any:
    if document is None or isinstance(document, bool | int | float | str):
        budget.spend(1)
        return document
    if isinstance(document, list):
        if depth == 4:
            raise InvalidGraph("an attribute is nested too deeply", where=where)
        budget.spend(len(document))
        return tuple(_attribute_from_json(item, f"{where}[{i}]", budget, depth + 1) for i, item in enumerate(document))
    match document:
        case {"float": "NaN" | "Infinity" | "-Infinity" as name, **rest} if not rest:
            return float(name)
        case {"complex": [real, imag], **rest} if not rest:
            parts = [_attribute_from_json(part, where, budget, depth=4) for part in (real, imag)]
            if all(isinstance(part, int | float) and not isinstance(part, bool) for part in parts):
                return complex(*parts)
        case {"dim": str(name), **rest} if not rest and _SYMBOL.fullmatch(name):
            return {"dim": name}
    raise InvalidGraph(
        f"{shown(document)} is not the value of an attribute",
        where=where,
        remedy='beside plain JSON there are {"float": "NaN"}, {"complex": [re, im]} and {"dim": "n"}',
    )


def _var(document: Any, where: str) -> int:
    if not isinstance(document, int) or isinstance(document, bool) or document < 0:
        raise InvalidGraph(f"a variable is a number from 0 up, not {shown(document)}", where=where)
    return document
