"""Which outputs of a graph depend on which of its inputs."""

from __future__ import annotations

from collections.abc import Collection

from farfunc_protocol.graph import Equation, Graph, Var, operand_vars

__all__ = ["depends_on"]


def depends_on(graph: Graph, positions: Collection[int], *, derivative: bool = False) -> list[bool]:
    """For each output, whether a change of the inputs at ``positions`` may change its value.

    With ``derivative``, whether a derivative arrives there, which ``detach`` does not let pass.

    >>> from farfunc_protocol.graph import TensorType
    >>> x = TensorType("float64", ())
    >>> depends_on(Graph((x, x), (), (Equation("sin", (0,), {}, (2,)),), (1, 2)), [0])
    [False, True]
    """
    found: set[Var] = set(positions)
    for equation in graph.equations:
        if not any(var in found for operand in equation.inputs for var in operand_vars(operand)):
            continue
        if derivative and equation.op in _BARRIERS:
            continue
        if equation.op == "vmap" and equation.body is not None:
            found.update(_through_body(equation, equation.body, found, derivative))
        else:
            found.update(equation.outputs)
    return [var in found for var in graph.outputs]


_BARRIERS = frozenset({"detach", "zeros_like", "ones_like", "full_like", "new_zeros", "new_ones", "new_full"})
"""Operators with a result of a differentiable dtype that has no derivative, not even one that is zero."""


def _through_body(equation: Equation, body: Graph, found: set[Var], derivative: bool) -> list[Var]:
    """vmap has one output for each of its body's, so dependence can be followed into it."""
    inside = [place for place, var in enumerate(equation.inputs) if var in found]
    reached = depends_on(body, inside, derivative=derivative)
    return [var for var, depends in zip(equation.outputs, reached, strict=True) if depends]
