"""One row of the op table."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ..errors import UnsupportedOperator
from ..graph import TensorType
from ..schema import Schema, parse_schema
from . import costs
from .call import (
    MAX_ELEMENTS,
    MAX_OUTPUTS,
    MAX_RANK,
    Call,
    Symbol,
    TypedOperand,
    shape_of,
    with_symbols,
    without_symbols,
)

__all__ = ["CostRule", "Op", "ShapeRule", "rows"]

ShapeRule = Callable[[Call], TensorType | tuple[TensorType, ...]]
"""From typed operands to the types of the results, without torch; raises InvalidGraph."""

CostRule = Callable[[Call, tuple[TensorType, ...]], float]
"""From typed operands and results to a number of scalar operations."""


@dataclass(frozen=True, slots=True)
class Op:
    """An operator: everything that farfunc knows about it.

    Attributes
    ----------
    schema:
        ATen's own signature.
    doc:
        What it computes, in one line.
    shape_rule:
        Infers the types of the results. None: only a server, which has torch, can.
    cost_rule:
        Estimates scalar operations.
    random:
        Whether it may draw random numbers; :meth:`draws` tells for given attributes.

    >>> from farfunc_protocol.ops import OPS
    >>> print(*OPS["matmul"].infer((TensorType("float64", (2, 3)), TensorType("float64", (3,))), {}))
    float64[2]
    """

    schema: Schema
    doc: str
    shape_rule: ShapeRule | None
    cost_rule: CostRule = costs.elementwise
    random: bool = False

    @property
    def name(self) -> str:
        """Its name in a graph: ``sin``, ``add.Tensor``."""
        return self.schema.wire_name

    def infer(
        self, inputs: tuple[TypedOperand, ...], attributes: Mapping[str, object], *, where: str | None = None
    ) -> tuple[TensorType, ...]:
        """Infer the types of the results.

        Parameters
        ----------
        inputs:
            One operand for each tensor argument of the schema.
        attributes:
            Those that differ from their default.
        where:
            The path of the equation, for messages.

        Raises
        ------
        InvalidGraph
            The operands do not fit the operator.
        UnknownDimension
            (An InvalidGraph.) The answer depends on a symbolic dimension: ask again once bound.
        UnsupportedOperator
            The operator has no rule; a server infers the types with torch.
        """
        if self.shape_rule is None:
            raise UnsupportedOperator(
                f"{self.name} has no shape rule outside the server",
                where=where,
                remedy="trace the function with torch installed",
            )
        call = Call(self.schema, inputs, attributes, where)
        results = self.shape_rule(call)
        if isinstance(results, TensorType):
            results = (results,)
        call.require(len(results) <= MAX_OUTPUTS, f"it would return {len(results)} tensors, more than {MAX_OUTPUTS}")
        return tuple(_checked(call, result) for result in results)

    def draws(self, attributes: Mapping[str, object]) -> bool:
        """Whether one application draws random numbers: dropout does not outside training.

        >>> from farfunc_protocol.ops import OPS
        >>> OPS["dropout"].draws({"p": 0.5, "train": True}), OPS["dropout"].draws({"p": 0.5, "train": False})
        (True, False)
        """
        if attributes.get("train") is False or attributes.get("training") is False:
            return False
        if self.schema.name in _DROPPING_OUT:
            return any(attributes.get(name) not in (None, 0, 0.0) for name in ("dropout_p", "dropout"))
        if self.schema.name == "rrelu":
            return attributes.get("training") is True
        return self.random

    def cost(
        self, inputs: tuple[TypedOperand, ...], outputs: tuple[TensorType, ...], attributes: Mapping[str, object]
    ) -> float:
        """Estimate the scalar operations of one application.

        >>> from farfunc_protocol.ops import OPS
        >>> square = TensorType("float64", (10, 10))
        >>> OPS["mm"].cost((square, square), (square,), {})
        2000.0
        """
        call = Call(self.schema, inputs, attributes)
        return float(self.cost_rule(call, tuple(with_symbols(result) for result in outputs)))


_DROPPING_OUT = frozenset({"scaled_dot_product_attention", "lstm", "gru", "rnn_tanh", "rnn_relu"})
"""Operators with a dropout of their own, which is mostly 0."""


def _checked(call: Call, result: TensorType) -> TensorType:
    if len(result.shape) > MAX_RANK:
        call.refuse(f"the result would have {len(result.shape)} axes, more than {MAX_RANK}")
    lengths = [length for length in shape_of(result) if not isinstance(length, Symbol)]
    if math.prod(lengths) >= MAX_ELEMENTS:
        call.refuse("the result would have more than 2**63 elements")
    if len(lengths) == len(result.shape):
        return result
    return TensorType(result.dtype, without_symbols(result.shape))


def rows(
    rule: ShapeRule | None, doc: str, *schemas: str, cost: CostRule = costs.elementwise, random: bool = False
) -> tuple[Op, ...]:
    """Declare operators that differ in their signatures only: ``add.Tensor`` and ``add.Scalar``."""
    return tuple(Op(parse_schema(schema), doc, rule, cost, random) for schema in schemas)
