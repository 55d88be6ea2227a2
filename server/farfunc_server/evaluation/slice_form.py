"""How a call can be evaluated in slices, as plain data.

The outermost transform of a chain decides. Rows of a reverse-mode Jacobian come from cotangents, columns of a
forward-mode one from tangents, rows of a vmapped call from the samples of its batch: some of each at a time is a
slice, and a call of its own, with a plan of its own. What slices return are blocks of the result's leaves, each
of which is seen as a matrix here: the axes of the output as rows, those of the argument as columns.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from farfunc_protocol.dtypes import DTYPES
from farfunc_protocol.graph import TensorType
from farfunc_protocol.messages import response_header
from farfunc_protocol.transforms import FlatTransform, flat_inner_types, flat_result_types

__all__ = ["SLICED", "SliceForm", "SliceGroup", "Target", "nbytes_of"]

SLICED = ("jacrev", "jacfwd", "hessian", "vmap")
"""The outermost transforms of calls that have slices."""

Axis = Literal["rows", "columns", "whole"]


@dataclass(frozen=True, slots=True)
class Target:
    """Where a result of a slice belongs: to which leaf of the call's result, and to which of its axes."""

    leaf: int
    axis: Axis


@dataclass(frozen=True, slots=True)
class SliceGroup:
    """Slices of one kind, which together make some leaves of the result.

    Attributes
    ----------
    chain:
        The transforms of a slice.
    length:
        How many rows, columns or samples there are in all.
    basis:
        The type of one cotangent or tangent, which a slice takes as its last leaf; None for samples of a batch.
    mapped:
        The argument leaves of which a slice takes its samples only.
    targets:
        Of each result of a slice.
    row_bytes:
        What one row, column or sample takes, in the results and in the basis.
    """

    chain: tuple[FlatTransform, ...]
    length: int
    basis: TensorType | None
    mapped: tuple[int, ...]
    targets: tuple[Target, ...]
    row_bytes: int

    def types(self, types: Sequence[TensorType], rows: int) -> tuple[TensorType, ...]:
        """The argument leaves of a slice of so many rows."""
        if self.basis is not None:
            return (*types, TensorType(self.basis.dtype, (rows, *self.basis.shape)))
        return tuple(
            TensorType(type.dtype, (rows, *type.shape[1:])) if i in self.mapped else type
            for i, type in enumerate(types)
        )


@dataclass(frozen=True, slots=True)
class SliceForm:
    """A call in slices.

    Attributes
    ----------
    groups:
        In the order in which they are evaluated.
    outputs:
        The leaves of the whole result.
    """

    groups: tuple[SliceGroup, ...]
    outputs: tuple[TensorType, ...]

    @property
    def nbytes(self) -> int:
        """The bytes of the whole result."""
        return sum(map(nbytes_of, self.outputs))

    @property
    def length(self) -> int:
        """How many rows there are, of all groups."""
        return sum(group.length for group in self.groups)

    @property
    def is_in_order(self) -> bool:
        """Whether the blocks, one after another, are the bytes of a response."""
        if not all(len(group.targets) == 1 and group.targets[0].axis == "rows" for group in self.groups):
            return False
        _, order = response_header(self.outputs)
        leaves = [leaf for leaf in order if nbytes_of(self.outputs[leaf])]
        return leaves == [group.targets[0].leaf for group in self.groups]

    @classmethod
    def of(
        cls, chain: Sequence[FlatTransform], types: Sequence[TensorType], inner_outputs: Sequence[TensorType]
    ) -> SliceForm | None:
        """The form of a call; None if it has none.

        Parameters
        ----------
        chain:
            Not empty.
        types:
            The argument leaves.
        inner_outputs:
            What the function under all but the outermost transform returns.
        """
        outermost, rest = chain[0], tuple(chain[1:])
        outputs = flat_result_types(outermost, types, inner_outputs)
        match outermost.name:
            case "jacrev":
                groups = _rows(outermost, rest, types, inner_outputs)
            case "jacfwd":
                groups = _columns(outermost, rest, types, inner_outputs)
            case "hessian":  # as torch.func has it: jacfwd of jacrev
                jacrev = FlatTransform("jacrev", {"argnums": outermost.attributes["argnums"]})
                gradients = flat_result_types(jacrev, types, inner_outputs)
                groups = _columns(outermost, (jacrev, *rest), types, gradients)
            case _:
                groups = _samples(outermost, rest, types, outputs)
        groups = tuple(group for group in groups if group.length and group.row_bytes)
        return cls(groups, outputs) if groups else None


def nbytes_of(type: TensorType) -> int:
    """The bytes of an array of a type."""
    return math.prod(map(int, type.shape)) * DTYPES[type.dtype].itemsize


def _elements(type: TensorType) -> int:
    return math.prod(map(int, type.shape))


def _rows(
    outermost: FlatTransform,
    rest: tuple[FlatTransform, ...],
    types: Sequence[TensorType],
    outputs: Sequence[TensorType],
) -> tuple[SliceGroup, ...]:
    argnums, aux = outermost.attributes["argnums"], outermost.attributes.get("aux", 0)
    kept = len(outputs) - aux
    given = {"argnums": argnums, **({"aux": aux} if aux else {})}
    return tuple(
        SliceGroup(
            (FlatTransform("jacrev_rows", {**given, "output": number}), *rest),
            _elements(output),
            output,
            (),
            (
                *(Target(number * len(argnums) + i, "rows") for i in range(len(argnums))),
                *(Target(kept * len(argnums) + i, "whole") for i in range(aux)),
            ),
            sum(nbytes_of(types[position]) for position in argnums) + nbytes_of(output),
        )
        for number, output in enumerate(outputs[:kept])
    )


def _columns(
    outermost: FlatTransform,
    rest: tuple[FlatTransform, ...],
    types: Sequence[TensorType],
    outputs: Sequence[TensorType],
) -> tuple[SliceGroup, ...]:
    argnums, aux = outermost.attributes["argnums"], outermost.attributes.get("aux", 0)
    kept = len(outputs) - aux
    given = {"argnums": argnums, **({"aux": aux} if aux else {})}
    return tuple(
        SliceGroup(
            (FlatTransform("jacfwd_columns", {**given, "argument": position}), *rest),
            _elements(types[position]),
            types[position],
            (),
            (
                *(Target(number * len(argnums) + i, "columns") for number in range(kept)),
                *(Target(kept * len(argnums) + number, "whole") for number in range(aux)),
            ),
            sum(map(nbytes_of, outputs[:kept])) + nbytes_of(types[position]),
        )
        for i, position in enumerate(argnums)
    )


def _samples(
    outermost: FlatTransform,
    rest: tuple[FlatTransform, ...],
    types: Sequence[TensorType],
    outputs: Sequence[TensorType],
) -> tuple[SliceGroup, ...]:
    in_dims, out_dims = outermost.attributes["in_dims"], outermost.attributes["out_dims"]
    if any(axis not in (0, None) for axis in in_dims) or any(axis != 0 for axis in out_dims):
        return ()
    mapped = tuple(i for i, axis in enumerate(in_dims) if axis == 0)
    inner = flat_inner_types(outermost, types)
    length = int(types[mapped[0]].shape[0])
    row_bytes = sum(nbytes_of(type) for type in outputs) // max(length, 1) + sum(nbytes_of(inner[i]) for i in mapped)
    without = {name: value for name, value in outermost.attributes.items() if name != "chunk_size"}
    chain = (FlatTransform("vmap", without), *rest)
    targets = tuple(Target(leaf, "rows") for leaf in range(len(outputs)))
    return (SliceGroup(chain, length, None, mapped, targets, row_bytes),)
