"""Write a graph one equation at a time.

A front end calls :meth:`GraphBuilder.add` as the user's function runs, and :meth:`~GraphBuilder.finish`
when it has returned. Values of an outer builder may be used in an inner one, as a Python closure
would: they become captures of the inner graph. What no output needs is left out of the graph.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .arrays import Array
from .graph import Equation, Graph, Operand, TensorType, Var

__all__ = ["ForeignValue", "GraphBuilder", "Value", "ValueOperand"]


class ForeignValue(ValueError):
    """A value that belongs to no builder that is being written, which the front end tells in its own words."""


class Value:
    """A variable of a graph that is being written.

    Attributes
    ----------
    type:
        Its dtype and shape.
    builder:
        The builder whose equations may use it, and those nested in it.
    varies:
        Whether it depends on an argument of the function; otherwise it follows from constants.
    """

    __slots__ = ("builder", "equation", "type", "varies")

    def __init__(self, type: TensorType, builder: GraphBuilder, varies: bool, equation: PendingEquation | None) -> None:
        self.type = type
        self.builder = builder
        self.varies = varies
        self.equation = equation

    def __repr__(self) -> str:
        return f"<{self.type}>"


ValueOperand = Value | None | tuple[Value | None, ...]


@dataclass(slots=True, eq=False)
class PendingEquation:
    """An equation whose variables have no numbers yet."""

    op: str
    inputs: tuple[ValueOperand, ...]
    attributes: Mapping[str, Any]
    outputs: tuple[Value, ...] = ()
    body: Graph | None = None
    grad: bool = True
    source: str | None = None


@dataclass(slots=True)
class FinishedGraph:
    """What :meth:`GraphBuilder.finish` returns.

    Attributes
    ----------
    graph:
        The graph, without what no output needs.
    captured:
        For each capture of the graph, what is captured: a value of an outer builder, or the
        constant itself.
    sources:
        The user's own line of each equation.
    """

    graph: Graph
    captured: tuple[Value | Array, ...]
    sources: tuple[str | None, ...] = field(default=())


class GraphBuilder:
    """A graph in the making.

    >>> builder = GraphBuilder()
    >>> x = builder.input(TensorType("float64", (3,)))
    >>> (y,) = builder.add("sin", (x,))
    >>> builder.finish([y]).graph.equations
    (Equation(op='sin', inputs=(0,), attributes={}, outputs=(1,), body=None, grad=True),)

    Parameters
    ----------
    outer:
        The builder of the function in which this one's is defined.
    """

    def __init__(self, outer: GraphBuilder | None = None) -> None:
        self.outer = outer
        self.equations: list[PendingEquation] = []
        self._inputs: list[Value] = []
        self._captures: dict[int, tuple[Value, Value | Array]] = {}
        """For each captured thing, by its id: the value here, and the thing itself."""

    def input(self, type: TensorType, *, varies: bool = True) -> Value:
        """Add an argument leaf."""
        value = Value(type, self, varies, None)
        self._inputs.append(value)
        return value

    def constant(self, array: Array) -> Value:
        """Bring in a constant; the same ``Array`` object gives the same value."""
        if self.outer is not None:
            return self._local(self.outer.constant(array))
        if id(array) not in self._captures:
            self._captures[id(array)] = (Value(array.type, self, False, None), array)
        return self._captures[id(array)][0]

    def add(
        self,
        op: str,
        inputs: Sequence[ValueOperand],
        attributes: Mapping[str, Any] | None = None,
        *,
        types: Sequence[TensorType] | None = None,
        body: FinishedGraph | None = None,
        grad: bool = True,
        source: str | None = None,
    ) -> tuple[Value, ...]:
        """Add an equation and return the values it defines.

        Parameters
        ----------
        op, inputs, attributes, grad:
            As in :class:`~farfunc_protocol.graph.Equation`.
        types:
            The types of the outputs, where the front end knows them; otherwise the op's own
            rule infers them, and raises :class:`~farfunc_protocol.errors.InvalidGraph` if it
            refuses the operands.
        body:
            The transformed function; its captures are appended to ``inputs``.
        source:
            The user's own line.
        """
        attributes = attributes or {}
        if body is not None:
            inputs = (*inputs, *(self.bring(captured) for captured in body.captured))
        operands = tuple(self._operand(operand) for operand in inputs)
        if types is None:
            from .ops import OPS  # at the first use: reading the table takes longer than importing all of the client

            types = OPS[op].infer(tuple(_types(operand) for operand in operands), attributes)
        varies = any(value.varies for operand in operands for value in _values(operand))
        equation = PendingEquation(op, operands, attributes, (), body.graph if body else None, grad, source)
        equation.outputs = tuple(Value(type, self, varies, equation) for type in types)
        self.equations.append(equation)
        return equation.outputs

    def bring(self, thing: Value | Array) -> Value:
        """Return the value by which this builder knows ``thing``."""
        return self.constant(thing) if isinstance(thing, Array) else self._local(thing)

    def _local(self, value: Value) -> Value:
        if value.builder is self:
            return value
        if self.outer is None:
            raise ForeignValue("a traced value was used after the function that it belongs to had returned")
        if id(value) not in self._captures:
            self.outer._local(value)  # raises where the value belongs to no enclosing builder
            self._captures[id(value)] = (Value(value.type, self, value.varies, None), value)
        return self._captures[id(value)][0]

    def _operand(self, operand: ValueOperand) -> ValueOperand:
        if isinstance(operand, tuple):
            return tuple(None if value is None else self._local(value) for value in operand)
        return None if operand is None else self._local(operand)

    def finish(self, outputs: Sequence[Value]) -> FinishedGraph:
        """Number the variables and return the graph that computes ``outputs``."""
        results = [self._local(value) for value in outputs]
        needed = {id(value) for value in results}
        kept: list[PendingEquation] = []
        for equation in reversed(self.equations):
            if any(id(value) in needed for value in equation.outputs):
                kept.append(equation)
                needed.update(id(value) for operand in equation.inputs for value in _values(operand))
        kept.reverse()
        captures = [entry for entry in self._captures.values() if id(entry[0]) in needed]
        numbers: dict[int, Var] = {}
        for value in [*self._inputs, *(local for local, _ in captures), *(o for e in kept for o in e.outputs)]:
            numbers[id(value)] = len(numbers)
        graph = Graph(
            inputs=tuple(value.type for value in self._inputs),
            captures=tuple(local.type for local, _ in captures),
            equations=tuple(_numbered(equation, numbers) for equation in kept),
            outputs=tuple(numbers[id(value)] for value in results),
        )
        return FinishedGraph(graph, tuple(thing for _, thing in captures), tuple(equation.source for equation in kept))


def _numbered(equation: PendingEquation, numbers: Mapping[int, Var]) -> Equation:
    def operand(given: ValueOperand) -> Operand:
        if isinstance(given, tuple):
            return tuple(None if value is None else numbers[id(value)] for value in given)
        return None if given is None else numbers[id(given)]

    return Equation(
        equation.op,
        tuple(operand(given) for given in equation.inputs),
        dict(sorted(equation.attributes.items())),
        tuple(numbers[id(value)] for value in equation.outputs),
        equation.body,
        equation.grad,
    )


def _values(operand: ValueOperand) -> tuple[Value, ...]:
    if isinstance(operand, tuple):
        return tuple(value for value in operand if value is not None)
    return () if operand is None else (operand,)


def _types(operand: ValueOperand) -> Any:
    if isinstance(operand, tuple):
        return tuple(None if value is None else value.type for value in operand)
    return None if operand is None else operand.type
