"""Calls that take long, or more memory than there is, evaluated a slice at a time.

Between two slices others have their turn, and what a slice has computed can travel while the next one runs. Each
slice is a call with a plan of its own (:mod:`.plans`): it becomes flat and compiled like any other.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from farfunc_protocol.arrays import Array
from farfunc_protocol.errors import FarfuncError, LimitExceeded
from farfunc_protocol.graph import TensorType
from farfunc_protocol.messages import response_header
from farfunc_protocol.transforms import flat_inner_types

from .failures import as_farfunc_error
from .hoisting import SliceLeaves
from .plan_cache import PlanCache
from .plans import Plan, Stage
from .program import Program
from .slice_form import SLICED, SliceForm, SliceGroup, nbytes_of
from .tensors import TORCH_DTYPES, from_tensor
from .transfers import Transfers

__all__ = ["Block", "Cursor", "DeliveredCall", "SliceSize", "SlicedCall", "Slicing"]

Cursor = tuple[int, int]
"""How far a call has come: the group, and how many of its rows are done."""

SLICE_SECONDS = 0.004
"""What a slice takes at most where others want the device: so long a small call waits for a large one."""

ALONE_SECONDS = 0.06
"""What it takes at most where nobody does. Larger slices are often faster."""

MOST_BLOCK_BYTES = 8 << 20
"""What the results and the basis of a slice take at most: they are kept until they are sent."""

_DEAREST = 1.5
"""A slice of one row may take as long as one of many. A row is to take no more than so much of what it takes in slices
of the best size, however long these take."""

_DEAREST_OF_ALL = 2.0
"""By so much may all slices together take longer than the whole call."""

_PART_BYTES = 2 << 20

_STEP = 4
"""Sizes are powers of it: each has a plan of its own."""

_RUNS = 3
"""So often slices of a size are measured before it is compared with others; the fastest run counts."""

_FORGET_AFTER = 512
"""After so many runs of the best size others are measured again: what was measured may have been chance."""


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
    def whole(cls, leaf: int, array: Array) -> Block:
        """A leaf as one row."""
        return cls(leaf, False, 0, 1, 1, array)


@dataclass(slots=True, eq=False)
class _Measured:
    """Slices of a size: in which stage their plan is, how often they ran in it, and the seconds of the fastest."""

    stage: Stage
    runs: int = 0
    seconds: float = math.inf


class SliceSize:
    """How many rows a slice of a group has: as many as fit its time, learnt from those that ran.

    Parameters
    ----------
    length:
        How many there are in all.
    most:
        How many a slice may have.
    rows:
        How many the first one has, about.
    """

    def __init__(self, length: int, most: int, rows: float) -> None:
        self._length = length
        self._measured: dict[int, _Measured] = {}
        self._limit(most)
        self._first = max((size for size in self._sizes if size <= rows), default=1)

    def _limit(self, most: int) -> None:
        sizes = [1]
        while sizes[-1] * _STEP <= min(most, self._length):
            sizes.append(sizes[-1] * _STEP)
        if sizes[-1] < self._length <= most:
            sizes.append(self._length)
        self._sizes = sizes

    def halve(self) -> bool:
        """There was no memory for a slice: whether there is a smaller one."""
        if len(self._sizes) == 1:
            return False
        self._limit(self._sizes[-1] - 1)
        self._first = min(self._first, self._sizes[-1])
        return True

    def ran(self, rows: int, seconds: float, stage: Stage) -> None:
        """Learn from a slice whose plan stays in its stage for now."""
        found = self._measured.get(rows)
        if found is None or found.stage is not stage:
            found = self._measured[rows] = _Measured(stage)
        found.seconds = min(found.seconds, seconds)
        found.runs += 1
        if found.runs % _FORGET_AFTER == 0:
            self._measured = {rows: found}

    def is_measured(self, rows: int) -> bool:
        """Whether slices of a size have run often enough to know what they take."""
        found = self._measured.get(rows)
        return found is not None and found.runs >= _RUNS

    @property
    def each(self) -> float:
        """The seconds of one row, at best; 0 before that is known."""
        measured = [found.seconds / size for size, found in self._measured.items() if found.runs >= _RUNS]
        return min(measured, default=0.0)

    def rows(self, *, is_alone: bool) -> int:
        """The best of the sizes that were measured, or a neighbour of it that is to be."""
        times = {
            size: found.seconds
            for size in self._sizes
            if (found := self._measured.get(size)) is not None and found.runs >= _RUNS
        }
        if not times:
            return self._first
        limit = ALONE_SECONDS if is_alone else SLICE_SECONDS
        cheapest = min(seconds / size for size, seconds in times.items())
        good = [size for size, seconds in times.items() if seconds <= _DEAREST * cheapest * size]
        best = max((size for size in good if times[size] <= limit), default=good[0])
        place = self._sizes.index(best)
        smaller, larger = self._sizes[max(place - 1, 0)], self._sizes[min(place + 1, len(self._sizes) - 1)]
        if larger not in times and 2 * times[best] <= limit:
            return larger
        if times[best] > limit:
            if smaller not in times:
                return smaller
            # Where even one row takes long, or few take as long as many, it may be that many more do.
            if larger not in times and (place == 0 or times[smaller] * _STEP >= _DEAREST * times[best]):
                return larger
        return best


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
    def pays(self) -> bool:
        """Whether slices, as far as they were measured, do not take much more than the whole call."""
        if self.whole is None or not self.whole.calls:
            return True
        total = sum(group.length * size.each for group, size in zip(self.form.groups, self.sizes, strict=True))
        return total <= _DEAREST_OF_ALL * self.whole.expected_seconds

    @property
    def operations(self) -> float:
        """The scalar operations of all slices, about."""
        total = 0.0
        for number, (group, size) in enumerate(zip(self.form.groups, self.sizes, strict=True)):
            plan = self.largest_plan(number)
            total += plan.inference.operations * math.ceil(group.length / size.rows(is_alone=True))
        return total

    def largest_plan(self, number: int) -> Plan:
        """The plan of a group's slices, which are made smaller until there is memory for them."""
        while True:
            try:
                return self.plan(number, self.sizes[number].rows(is_alone=True))
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


class DeliveredCall:
    """One call that has been evaluated, whose large result is handed over in parts.

    Its cursors are -1 and the number of bytes that have been handed over.

    Parameters
    ----------
    results:
        The result's leaves.
    stage:
        The stage of the plan that ran.
    """

    is_in_order = True
    lengths = ()

    def __init__(self, results: Sequence[Array], stage: Stage) -> None:
        self.outputs = tuple(array.type for array in results)
        self.stage = stage
        _, order = response_header(self.outputs)
        self._buffers = [results[leaf].buffer for leaf in order if results[leaf].nbytes]

    def next(self, cursor: Cursor, *, is_alone: bool = True) -> tuple[list[memoryview], Cursor | None]:
        """The next part, and the cursor of the one after it."""
        _, position = cursor
        parts, start, left = [], position, _PART_BYTES
        for buffer in self._buffers:
            if start >= buffer.nbytes:
                start -= buffer.nbytes
                continue
            parts.append(buffer[start : start + left])
            left -= parts[-1].nbytes
            start = 0
            if not left:
                break
        position += _PART_BYTES - left
        is_last = position >= sum(buffer.nbytes for buffer in self._buffers)
        return parts, None if is_last else (-1, position)


@dataclass(frozen=True, slots=True, eq=False)
class _Ahead:
    """A slice that has been launched before it was asked for: what is at a cursor."""

    cursor: Cursor
    rows: int
    first: int
    results: Sequence[torch.Tensor]


class SlicedCall:
    """One call, evaluated in slices.

    Parameters
    ----------
    slicing:
        How.
    leaves, captures:
        The call's tensors.
    transfers:
        The way from their device. Where it is beside the computing, and nobody else wants the device, the next slice
        is launched before the results of one are fetched: it is computed while they travel.
    """

    def __init__(
        self, slicing: Slicing, leaves: Sequence[torch.Tensor], captures: Sequence[torch.Tensor], transfers: Transfers
    ) -> None:
        self.outputs, self.is_in_order = slicing.form.outputs, slicing.form.is_in_order
        self.lengths = tuple(group.length for group in slicing.form.groups)
        self.stage = Stage.PLAIN
        self._form = slicing.form
        self._slicing = slicing
        self._leaves = list(leaves)
        self._captures = captures
        self._transfers = transfers
        self._ahead: _Ahead | None = None
        self._basis: tuple[torch.Tensor, int] | None = None
        self._kept: dict[Any, Any] = {}

    def next(self, cursor: Cursor, *, is_alone: bool = True) -> tuple[list[Block], Cursor | None]:
        """Evaluate the slice at a cursor, which is smaller where others wait for the device.

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
            return self._slice(number, start, is_alone)
        except FarfuncError as error:
            if self._slicing.whole is None or cursor != (0, 0) or isinstance(error, LimitExceeded):
                raise
        return self._whole(self._slicing.whole), None

    def _slice(self, number: int, start: int, is_alone: bool) -> tuple[list[Block], Cursor | None]:
        group, size = self._form.groups[number], self._slicing.sizes[number]
        ahead, self._ahead = self._ahead, None
        while True:
            if ahead is not None and ahead.cursor == (number, start):
                rows, first, results = ahead.rows, ahead.first, ahead.results
                break
            rows = min(size.rows(is_alone=is_alone), group.length)
            first = min(start, group.length - rows)
            try:
                results = self._run(number, group, rows, first)
                break
            except Exception as error:
                found = as_farfunc_error(error)
                if not isinstance(found, LimitExceeded) or not size.halve():
                    raise found from error
            self._basis = None
            self._kept.clear()
        stop, done = first + rows, start - first
        places: list[tuple[int, bool, int, int, int]] = []
        parts: list[torch.Tensor] = []
        for target, result in zip(group.targets, results, strict=True):
            if target.axis == "whole":
                if (number, start) == (0, 0):
                    places.append((target.leaf, False, 0, 1, 1))
                    parts.append(result)
            elif nbytes_of(self._form.outputs[target.leaf]):
                places.append((target.leaf, target.axis == "columns", start, stop, group.length))
                parts.append(result[done:])
        cursor = (number, stop)
        if stop == group.length:
            self._basis = None
            self._kept.clear()
            cursor = (number + 1, 0) if number + 1 < len(self._form.groups) else None
        try:
            fetched = self._transfers.begin(parts)
            if is_alone and cursor is not None and self._transfers.is_beside:
                self._ahead = self._launch(cursor)
            arrays = map(from_tensor, fetched())
            return [Block(*place, array) for place, array in zip(places, arrays, strict=True)], cursor
        except Exception as error:
            raise as_farfunc_error(error) from error

    def _launch(self, cursor: Cursor) -> _Ahead | None:
        """Have the slice at a cursor computed, without waiting for it; None where it is to be measured, or fails."""
        number, start = cursor
        group, size = self._form.groups[number], self._slicing.sizes[number]
        rows = min(size.rows(is_alone=True), group.length)
        first = min(start, group.length - rows)
        if not size.is_measured(rows):
            return None
        self._basis = None  # what is being fetched may be the basis itself, which is not to be written to
        try:
            plan = self._slicing.plan(number, rows)
            results = plan.launch(self._leaves_of(group, rows, first), self._captures)
        except Exception:  # noqa: BLE001 - when its turn comes it fails again, and that is dealt with
            self._kept.clear()
            return None
        return None if results is None else _Ahead(cursor, rows, first, results)

    def _run(self, number: int, group: SliceGroup, rows: int, first: int) -> tuple[torch.Tensor, ...]:
        plan = self._slicing.plan(number, rows)
        self.stage = plan.stage
        leaves = self._leaves_of(group, rows, first)
        is_settled = plan.is_settled
        started = time.perf_counter()
        results = plan.run(leaves, self._captures)
        if is_settled:
            self._slicing.sizes[number].ran(rows, time.perf_counter() - started, plan.stage)
        return results

    def _leaves_of(self, group: SliceGroup, rows: int, first: int) -> list[torch.Tensor]:
        if group.basis is None:
            return [leaf[first : first + rows] if i in group.mapped else leaf for i, leaf in enumerate(self._leaves)]
        return SliceLeaves([*self._leaves, self._basis_of(group.basis, rows, first)], self._kept)

    def _basis_of(self, type: TensorType, rows: int, first: int) -> torch.Tensor:
        """Rows of the identity matrix, each in the shape of the type."""
        shape = [int(length) for length in type.shape]
        if self._basis is not None and self._basis[0].shape[0] == rows:
            matrix, before = self._basis
            matrix[:, before : before + rows].fill_diagonal_(0)
        else:
            matrix = torch.zeros(rows, math.prod(shape), dtype=TORCH_DTYPES[type.dtype], device=self._transfers.device)
        matrix[:, first : first + rows].fill_diagonal_(1)
        self._basis = matrix, first
        return matrix.reshape(rows, *shape)

    def _whole(self, plan: Plan) -> list[Block]:
        """All leaves, in the order of a response."""
        _, order = response_header(self._form.outputs)
        leaves = [leaf for leaf in order if nbytes_of(self._form.outputs[leaf])]
        try:
            results = plan.run(self._leaves, self._captures)
            arrays = map(from_tensor, self._transfers.fetch([results[leaf] for leaf in leaves]))
            return [Block.whole(leaf, array) for leaf, array in zip(leaves, arrays, strict=True)]
        except Exception as error:
            raise as_farfunc_error(error) from error
