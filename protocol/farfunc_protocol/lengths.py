"""Symbolic dimensions, and the lengths that a call binds them to.

A name in the type of a graph's input stands for one length wherever it occurs, bodies included. A
body may have symbols of its own, which its equation binds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from .graph import Equation, Graph
from .tensor_type import Dimension, TensorType
from .transforms.flat import FlatTransform, flat_inner_types, flat_result_types

__all__ = ["at_lengths", "called_types", "graph_at_lengths", "match_lengths", "symbols_of"]


def symbols_of(graph: Graph) -> frozenset[str]:
    """The symbolic dimensions of a graph's inputs and captures; a body's own are not among them.

    >>> sorted(symbols_of(Graph((TensorType("float64", ("n", 3)),), (TensorType("float64", ("m",)),), (), (0,))))
    ['m', 'n']
    """
    types = (*graph.inputs, *graph.captures)
    return frozenset(length for type in types for length in type.shape if isinstance(length, str))


def match_lengths(declared: Iterable[TensorType], given: Iterable[TensorType]) -> dict[str, Dimension]:
    """What each symbol stands for, if arrays of the types ``given`` stand where ``declared`` is asked for.

    The first place decides; that all agree, and the ranks too, is for the caller to check.

    >>> match_lengths([TensorType("float64", ("n", "m"))], [TensorType("float64", (3, "k"))])
    {'n': 3, 'm': 'k'}
    """
    found: dict[str, Dimension] = {}
    for want, have in zip(declared, given, strict=True):
        for name, length in zip(want.shape, have.shape, strict=False):
            if isinstance(name, str):
                found.setdefault(name, length)
    return found


def at_lengths(type: TensorType, lengths: Mapping[str, Dimension]) -> TensorType:
    """The type with its symbols bound, those that ``lengths`` has.

    >>> print(at_lengths(TensorType("float64", ("n", 3)), {"n": 5}))
    float64[5,3]
    """
    if not lengths or all(isinstance(length, int) for length in type.shape):
        return type
    shape = tuple(lengths.get(length, length) if isinstance(length, str) else length for length in type.shape)
    return TensorType(type.dtype, shape)


def graph_at_lengths(graph: Graph, lengths: Mapping[str, int]) -> Graph:
    """The graph with its symbols bound, in types, attributes and bodies.

    Whether its operators take such lengths is told by :func:`farfunc_protocol.validate.validate_graph`.

    >>> vector = TensorType("float64", ("n",))
    >>> ones = Equation("ones", (), {"size": ({"dim": "n"}, 2), "dtype": "float64"}, (1,))
    >>> print(graph_at_lengths(Graph((vector,), (), (ones,), (1,)), {"n": 5}))
    graph(%0: float64[5]) {
      %1 = ones(size=[5, 2], dtype='float64')
      return %1
    }
    """
    if not lengths:
        return graph
    return Graph(
        tuple(at_lengths(type, lengths) for type in graph.inputs),
        tuple(at_lengths(type, lengths) for type in graph.captures),
        tuple(_equation_at_lengths(equation, lengths) for equation in graph.equations),
        graph.outputs,
    )


def called_types(
    flat: FlatTransform,
    body: Graph,
    given: Sequence[TensorType],
    captured: Sequence[TensorType],
    results: Sequence[TensorType],
) -> tuple[TensorType, ...] | None:
    """The types that an equation returns, if its body returns ``results`` by its own symbols.

    None where the equation binds a symbol to 0 or 1: shape rules take a symbol to be longer, so
    what they said of the body may not hold.

    >>> n, sized = TensorType("float64", ("n",)), TensorType("float64", (3,))
    >>> print(*called_types(FlatTransform("jacfwd", {"argnums": (0,)}), Graph((n,), (), (), (0,)), [sized], [], [n]))
    float64[3,3]
    """
    inside = (*flat_inner_types(flat, given, len(body.inputs)), *captured)
    bound = match_lengths((*body.inputs, *body.captures), inside)
    if any(length in (0, 1) for length in bound.values()):
        return None
    return flat_result_types(flat, given, [at_lengths(type, bound) for type in results])


def _equation_at_lengths(equation: Equation, lengths: Mapping[str, int]) -> Equation:
    if equation.body is not None:  # the attributes of a transform have no symbols
        return replace(equation, body=graph_at_lengths(equation.body, lengths))
    attributes = {name: _value_at_lengths(value, lengths) for name, value in equation.attributes.items()}
    return equation if attributes == equation.attributes else replace(equation, attributes=attributes)


def _value_at_lengths(value: Any, lengths: Mapping[str, int]) -> Any:
    if isinstance(value, dict):
        return lengths.get(value["dim"], value)
    if isinstance(value, Sequence) and not isinstance(value, str):
        return tuple(_value_at_lengths(item, lengths) for item in value)
    return value
