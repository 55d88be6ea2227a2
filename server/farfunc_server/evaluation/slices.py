"""Calls that take long, or more memory than there is, evaluated a slice at a time.

Between two slices others have their turn, and what a slice has computed can travel while the next one runs. Each
slice is a call with a plan of its own (:mod:`.plans`): it becomes flat and compiled like any other.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from farfunc_protocol.arrays import Array
from farfunc_protocol.errors import FarfuncError, LimitExceeded
from farfunc_protocol.graph import TensorType
from farfunc_protocol.messages import response_header
from farfunc_protocol.transforms import flat_inner_types

from .failures import as_farfunc_error
from .plan_cache import PlanCache
from .plans import Plan, Stage
from .program import Program
from .slice_form import SLICED, SliceForm, SliceGroup, nbytes_of
from .tensors import TORCH_DTYPES, from_tensor

__all__ = ["Block", "Cursor", "SliceSize", "SlicedCall", "Slicing"]

Cursor = tuple[int, int]
"""How far a call has come: the group, and how many of its rows are done."""

SLICE_SECONDS = 0.008
"""What a slice is to take: so long a small call waits for a large one, at most."""

MOST_BLOCK_BYTES = 4 << 20
"""What the results of a slice take at most: they are kept until they are sent."""

_LEAST_SHARE = 3.0
"""A slice of one row may take as long as a slice of many. Then slices are made so large that no more than a
quarter of the time is lost to their number, however long that takes."""

_MOST_SIZES = 8
"""So many sizes are tried at most: each has a plan of its own."""


@dataclass(frozen=True, slots=True)
class Block:
    """A part of a leaf of the result, which is seen as a matrix here.

    Attributes
    ----------
    leaf:
        Its number.
    is_columns:
        Whether it is columns of the matrix, each of them as a row of ``array``; otherwise rows.
    start, stop:
        Which of them.
    length:
        How many there are in all.
    array:
        The elements.
    """

    leaf: int
    is_columns: bool
    start: int
    stop: int
    length: int
    array: Array

    @classmethod
    def whole(cls, leaf: int, result: torch.Tensor) -> Block:
        """A leaf as one row."""
        return cls(leaf, False, 0, 1, 1, from_tensor(result))


class SliceSize:
    """How many rows a slice of a group has: as many as fit its time, learnt from those that ran.

    Parameters
    ----------
    length:
        How many there are in all.
    most:
        How many a slice may have.
    rows:
        How many the first one has.
    """

    def __init__(self, length: int, most: int, rows: float) -> None:
        self._length = length
        self._most = max(min(most, length), 1)
        self._seconds: dict[int, list[float]] = {}
        self.rows = self._fitting(rows)

    def halve(self) -> bool:
        """There was no memory for a slice: whether there is a smaller one."""
        if self.rows == 1:
            return False
        self._most = max(self.rows // 2, 1)
        self.rows = self._fitting(self._most)
        return True

    def ran(self, rows: int, seconds: float) -> None:
        """Learn from a slice; the first of a size is not typical and does not count."""
        known = self._seconds.setdefault(rows, [])
        known.append(seconds)
        del known[1:-8]
        if rows != self.rows or len(known) < 3:
            return
        ideal = self._ideal(rows)
        if ideal >= 2 * rows or 2 * ideal <= rows:
            found = self._fitting(min(ideal, 4.0 * rows))
            if found in self._seconds or len(self._seconds) < _MOST_SIZES:
                self.rows = found

    def _ideal(self, rows: int) -> float:
        """The rows whose slice would take the time that it is to take, if time is a + b * rows."""
        times = {size: min(known[1:]) for size, known in self._seconds.items() if len(known) > 1}
        here = times.pop(rows)
        if not times:
            return rows * SLICE_SECONDS / here
        other = min(times, key=lambda size: abs(math.log(size / rows)))
        each = (times[other] - here) / (other - rows)
        if each <= 0:
            return math.inf
        fixed = max(here - each * rows, 0.0)
        return max(SLICE_SECONDS - fixed, _LEAST_SHARE * fixed) / each

    def _fitting(self, rows: float) -> int:
        if rows >= self._most:
            return self._most if self._most == self._length else 1 << (self._most.bit_length() - 1)
        return 1 << (max(int(rows), 1).bit_length() - 1)


@dataclass(slots=True, eq=False)
class Slicing:
    """How the calls of a function under a chain, with arguments of one kind, are evaluated in slices.

    Attributes
    ----------
    program:
        The whole call's.
    types, capture_types:
        The argument leaves, and the captures.
    form:
        What the slices are.
    whole:
        The whole call's plan; None where it would take more memory than it may.
    sizes:
        Of each group.
    """

    plans: PlanCache
    program: Program
    types: tuple[TensorType, ...]
    capture_types: tuple[TensorType, ...]
    form: SliceForm
    whole: Plan | None
    sizes: list[SliceSize] = field(default_factory=list)

    @classmethod
    def of(
        cls, plans: PlanCache, program: Program, types: tuple[TensorType, ...], capture_types: tuple[TensorType, ...],
        whole: Plan | None, seconds: float | None,
    ) -> Slicing | None:  # fmt: skip
        """Find how a call can be sliced; None if it cannot.

        Parameters
        ----------
        whole:
            The whole call's plan, if there is one.
        seconds:
            What the whole call takes, about.

        Raises
        ------
        LimitExceeded
            The function by itself takes more than it may.
        """
        if program.chain[0].name not in SLICED:
            return None
        inner = plans.program(program.function, program.chain[1:], program.identity)
        inner_types = flat_inner_types(program.chain[0], types)
        outputs = plans.plan(inner, inner_types, capture_types).inference.outputs
        form = None if outputs is None else SliceForm.of(program.chain, types, outputs)
        if form is None or (whole is not None and whole.inference.outputs != form.outputs):
            return None
        found = cls(plans, program, types, capture_types, form, whole)
        for group in form.groups:
            most = MOST_BLOCK_BYTES // max(group.row_bytes, 1)
            if whole is None:
                most = min(most, plans.budget.memory_bytes // 4 // max(group.row_bytes, 1))
            rows = most if seconds is None else form.length * SLICE_SECONDS / seconds
            found.sizes.append(SliceSize(group.length, most, rows))
        return found

    @property
    def operations(self) -> float:
        """The scalar operations of all slices, about."""
        total = 0.0
        for number, (group, size) in enumerate(zip(self.form.groups, self.sizes, strict=True)):
            plan = self.largest_plan(number)
            total += plan.inference.operations * math.ceil(group.length / size.rows)
        return total

    def largest_plan(self, number: int) -> Plan:
        """The plan of a group's slices, which are made smaller until there is memory for them."""
        while True:
            try:
                return self.plan(number, self.sizes[number].rows)
            except LimitExceeded:
                if not self.sizes[number].halve():
                    raise

    def plan(self, number: int, rows: int) -> Plan:
        """The plan of slices of a group with so many rows.

        Raises
        ------
        LimitExceeded
            There is no memory for so many.
        """
        group = self.form.groups[number]
        program = self.plans.program(self.program.function, group.chain, self.program.identity)
        types = group.types(self.types, rows)
        memory = self.plans.budget.memory_bytes
        known = self.plans.known(program, types, self.capture_types)
        if known is None and self.whole is not None and 4 * self.whole.inference.peak_bytes < memory:
            return self.plans.plan(program, types, self.capture_types, self.whole.inference)
        plan = self.plans.plan(program, types, self.capture_types)
        if known is None and rows > 1 and 2 * plan.inference.peak_bytes > memory:
            raise LimitExceeded("a slice is to leave room for the one before it, which is being sent")
        return plan


class SlicedCall:
    """One call, evaluated in slices.

    Parameters
    ----------
    slicing:
        How.
    leaves, captures:
        The call's tensors.
    """

    def __init__(
        self, slicing: Slicing, leaves: Sequence[torch.Tensor], captures: Sequence[torch.Tensor], device: torch.device
    ) -> None:
        self.form = slicing.form
        self.stage = Stage.PLAIN
        self._slicing = slicing
        self._leaves = list(leaves)
        self._captures = captures
        self._device = device
        self._basis: tuple[torch.Tensor, int] | None = None

    def next(self, cursor: Cursor) -> tuple[list[Block], Cursor | None]:
        """Evaluate the slice at a cursor.

        Returns
        -------
        tuple[list[Block], Cursor | None]
            Its blocks, and the next cursor; None after the last.

        Raises
        ------
        FarfuncError
            As the whole call would. What fails in a slice is left to the whole call, if there is memory for it.
        """
        number, start = cursor
        try:
            return self._slice(number, start)
        except FarfuncError as error:
            if self._slicing.whole is None or cursor != (0, 0) or isinstance(error, LimitExceeded):
                raise
        return self._whole(self._slicing.whole), None

    def _slice(self, number: int, start: int) -> tuple[list[Block], Cursor | None]:
        group, size = self.form.groups[number], self._slicing.sizes[number]
        while True:
            rows = min(size.rows, group.length)
            first = min(start, group.length - rows)
            try:
                results, seconds = self._run(number, group, rows, first)
                break
            except Exception as error:
                found = as_farfunc_error(error)
                if not isinstance(found, LimitExceeded) or not size.halve():
                    raise found from error
            self._basis = None
        size.ran(rows, seconds)
        stop, done = first + rows, start - first
        blocks = []
        for target, result in zip(group.targets, results, strict=True):
            if target.axis == "whole":
                if (number, start) == (0, 0):
                    blocks.append(Block.whole(target.leaf, result))
            elif nbytes_of(self.form.outputs[target.leaf]):
                array = from_tensor(result[done:])
                blocks.append(Block(target.leaf, target.axis == "columns", start, stop, group.length, array))
        if stop < group.length:
            return blocks, (number, stop)
        self._basis = None
        return blocks, ((number + 1, 0) if number + 1 < len(self.form.groups) else None)

    def _run(
        self, number: int, group: SliceGroup, rows: int, first: int
    ) -> tuple[tuple[torch.Tensor, ...], float]:
        plan = self._slicing.plan(number, rows)
        self.stage = plan.stage
        if group.basis is None:
            leaves = [
                leaf[first : first + rows] if i in group.mapped else leaf for i, leaf in enumerate(self._leaves)
            ]
        else:
            leaves = [*self._leaves, self._basis_of(group.basis, rows, first)]
        started = time.perf_counter()
        results = plan.run(leaves, self._captures)
        return results, time.perf_counter() - started

    def _basis_of(self, type: TensorType, rows: int, first: int) -> torch.Tensor:
        """Rows of the identity matrix, each in the shape of the type."""
        shape = [int(length) for length in type.shape]
        if self._basis is not None and self._basis[0].shape[0] == rows:
            matrix, before = self._basis
            matrix[:, before : before + rows].fill_diagonal_(0)
        else:
            matrix = torch.zeros(rows, math.prod(shape), dtype=TORCH_DTYPES[type.dtype], device=self._device)
        matrix[:, first : first + rows].fill_diagonal_(1)
        self._basis = matrix, first
        return matrix.reshape(rows, *shape)

    def _whole(self, plan: Plan) -> list[Block]:
        """All leaves, in the order of a response."""
        try:
            results = plan.run(self._leaves, self._captures)
        except Exception as error:
            raise as_farfunc_error(error) from error
        _, order = response_header(self.form.outputs)
        return [Block.whole(leaf, results[leaf]) for leaf in order if nbytes_of(self.form.outputs[leaf])]
