"""The op table: every operator that a function may consist of, declared once.

The rows are in one module a family; :data:`OPS` joins them. Validator, tracer, lowering, cost
model and reference page all read this table.

>>> OPS["sin"].doc
'Sine.'
>>> print(OPS["add.Tensor"].schema)
add.Tensor(Tensor self, Tensor other, *, Scalar alpha=1) -> Tensor
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from . import (
    activations,
    arithmetic,
    backward,
    creation,
    cutting,
    elementary,
    fourier,
    indexing,
    layers,
    linalg,
    logic,
    losses,
    manipulation,
    products,
    random,
    reductions,
    special,
)
from .call import MAX_OUTPUTS, Symbol, TypedOperand, UnknownDimension
from .coverage import DECOMPOSED, EXCLUDED, SYNONYMS
from .op import Op

__all__ = [
    "DECOMPOSED",
    "EXCLUDED",
    "FAMILIES",
    "MAX_OUTPUTS",
    "OPS",
    "RESERVED",
    "SYNONYMS",
    "Op",
    "Symbol",
    "TypedOperand",
    "UnknownDimension",
]

FAMILIES: Mapping[str, tuple[Op, ...]] = MappingProxyType(
    {
        module.__name__.rpartition(".")[2]: module.ROWS
        for module in (
            elementary,
            arithmetic,
            logic,
            special,
            activations,
            reductions,
            manipulation,
            cutting,
            indexing,
            products,
            linalg,
            fourier,
            creation,
            random,
            layers,
            losses,
            backward,
        )
    }
)
"""The rows by family, as the reference page shows them."""

OPS: Mapping[str, Op] = MappingProxyType({op.name: op for rows in FAMILIES.values() for op in rows})
"""Every operator by its name in a graph (ATen's ``name.overload``, ``.default`` left out)."""

RESERVED = frozenset({"grad", "grad_and_value", "hessian", "jacfwd", "jacrev", "jvp", "vjp", "vmap"})
"""Names of transforms: higher-order equations, no operators."""
