"""A plan: how one function under one chain of transforms runs for arguments of one kind.

There are up to three programs for it, each faster to run and slower to make than the one before:

==========  ==============================================================  ====================
stage       what runs                                                       made
==========  ==============================================================  ====================
plain       torch.func's transforms of the lowered graph                    at once
flat        what of it reaches the kernels, simplified (:mod:`.flattening`)  when it is called again
compiled    the flat program as machine code (:mod:`.compilation`)          when it is hot
==========  ==============================================================  ====================

A program does not serve before it has been seen to agree and to be faster: the next calls run the
program that serves and the new one on the same arguments, and answer with the result of the first. A
program that disagrees, is slower, or fails where the plain one does not, is given up, and the plan says why.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

import torch

from farfunc_protocol.graph import TensorType

from .inference import Inference

__all__ = ["Plan", "Stage", "agree"]

Tensors = Sequence[torch.Tensor]
Results = tuple[torch.Tensor, ...]
Run = Callable[[Tensors, Tensors], Results]

_TOLERANCES = {
    torch.float64: 1e-9,
    torch.complex128: 1e-9,
    torch.float32: 1e-4,
    torch.complex64: 1e-4,
    torch.float16: 2e-2,
    torch.bfloat16: 5e-2,
}
"""How far two ways of computing may lie apart, as a part of the largest element: what reordering sums
and contracting products leaves, with a margin for functions that amplify it."""


_TRY_EACH = 16
"""How often a batch that was slower than its calls one by one is tried again."""


_TRIALS = 3
_MOST_TRIALS = 12
"""Calls in which a new program runs beside the one that serves; the fastest of them counts. One that was slower is
given more of them, for what else the machine did then may be to blame."""

_HOPELESS = 2.0
"""One that took so many times as long is given no more."""

_AS_FAST = 1.05
_UNSEEN_SECONDS = 50e-6
"""A program may take so much of the time of the one before it, and a difference that clocks cannot tell."""


_SECONDS_PER_OPERATION = 2e-11
_SECONDS_PER_CALL = 1e-5
"""What a first call is expected to take, to the order of magnitude."""


class Stage(IntEnum):
    """The programs of a plan, slowest first."""

    PLAIN = 0
    FLAT = 1
    COMPILED = 2


@dataclass(slots=True, eq=False)
class StageRecord:
    """What a plan has done in one stage.

    Attributes
    ----------
    calls, seconds:
        How often it ran and how long that took.
    best, last:
        The seconds of the fastest call and of the last.
    made_in:
        The seconds that making its program took.
    note:
        Why there is no such program, or none any more.
    """

    calls: int = 0
    seconds: float = 0.0
    best: float | None = None
    last: float = 0.0
    made_in: float | None = None
    note: str | None = None


@dataclass(slots=True, eq=False)
class Plan:
    """How one function runs under one chain for arguments of one kind.

    Attributes
    ----------
    id:
        The digest of all that it is made from; names its machine code.
    types, capture_types:
        Of the argument leaves and of the captures.
    plain:
        The program that is always there.
    is_random:
        Whether it draws random numbers: then two programs are compared from one state of the generator.
    inference:
        What the dry run found.
    bytes:
        The memory that the plan itself takes, about.
    stage:
        Which program serves.
    records:
        By stage.
    is_noted, is_hot:
        Whether its flat program and its machine code have been asked for.
    looked_at:
        When the machine code was last looked for, on the clock of ``time.monotonic``.
    """

    id: str
    types: tuple[TensorType, ...]
    capture_types: tuple[TensorType, ...]
    plain: Run
    is_random: bool
    inference: Inference
    bytes: int = 1 << 14
    stage: Stage = Stage.PLAIN
    records: tuple[StageRecord, ...] = field(default_factory=lambda: tuple(StageRecord() for _ in Stage))
    is_noted: bool = False
    is_hot: bool = False
    looked_at: float = 0.0
    _programs: dict[Stage, Run] = field(default_factory=dict)
    _candidate: Stage | None = None
    _chances: int = 0
    _trials: tuple[list[float], list[float]] = field(default_factory=lambda: ([], []))

    @property
    def calls(self) -> int:
        """How often it has run."""
        return sum(record.calls for record in self.records)

    @property
    def seconds(self) -> float | None:
        """What a call takes in the present stage, at best; None before the first."""
        return self.records[self.stage].best

    @property
    def is_settled(self) -> bool:
        """Whether it stays in its stage for now: a flat program serves, or there will be none."""
        return self._candidate is None and not self.is_open(Stage.FLAT)

    @property
    def expected_seconds(self) -> float:
        """What a call takes: as measured in any stage, or else as its operations let expect."""
        measured = [record.best for record in self.records if record.best is not None]
        if measured:
            return self.seconds or min(measured)
        return self.inference.operations * _SECONDS_PER_OPERATION + self.inference.calls * _SECONDS_PER_CALL

    def is_worth_more_than(self, alone: Plan | None, calls: int) -> bool:
        """Whether one call of this plan should stand for so many of another.

        That is measured where it can be. What is slower may become faster, in a later stage: it is tried once in
        a while.
        """
        self._chances += 1
        if self.calls < 3 or self._chances % _TRY_EACH == 0:
            return True
        other = None if alone is None else alone.seconds
        return self.seconds is None or other is None or self.seconds < calls * other

    @property
    def is_on_trial(self) -> bool:
        """Whether a program is being compared with the one that serves."""
        return self._candidate is not None

    def is_open(self, stage: Stage) -> bool:
        """Whether a program of this stage is still to be made: there is none, nor one that is faster."""
        record = self.records[stage]
        best = self.stage if self._candidate is None else max(self.stage, self._candidate)
        return best < stage and record.note is None and record.made_in is None

    def offer(self, stage: Stage, program: Run, made_in: float, bytes: int = 0) -> None:
        """Give the plan a faster program, which serves once it has been seen to agree."""
        self._programs[stage] = program
        self.records[stage].made_in = made_in
        self.bytes += bytes
        self._candidate, self._trials = stage, ([], [])

    def give_up(self, stage: Stage, reason: str) -> None:
        """Note that there will be no program of this stage."""
        self.records[stage].note = reason[:500]
        self._programs.pop(stage, None)
        if self._candidate is stage:
            self._candidate = None
        if self.stage is stage:
            self.stage = max((left for left in self._programs if left < stage), default=Stage.PLAIN)

    def run(self, leaves: Tensors, captures: Tensors) -> Results:
        """Evaluate, by the fastest program that is trusted; raises what the plain program raises."""
        if self._candidate is not None:
            return self._try_candidate(leaves, captures)
        if self.stage is Stage.PLAIN:
            return self._timed(Stage.PLAIN, self.plain, leaves, captures)
        stage = self.stage
        try:
            return self._timed(stage, self._programs[stage], leaves, captures)
        except Exception as error:  # noqa: BLE001 - the plain program decides whether it is one
            reason = f"it failed: {type(error).__name__}: {error}"
            del error
        results = self._timed(Stage.PLAIN, self.plain, leaves, captures)
        self.give_up(stage, reason)
        return results

    def _try_candidate(self, leaves: Tensors, captures: Tensors) -> Results:
        """Run the program that serves and the one that may replace it."""
        candidate, serving = self._candidate, self.stage
        assert candidate is not None
        generator = _generator_state(leaves, captures) if self.is_random else None
        results = self._timed(serving, self._programs.get(serving, self.plain), leaves, captures)
        self._trials[0].append(self.records[serving].last)
        after = _generator_state(leaves, captures) if self.is_random else None
        if generator is not None:
            _set_generator_state(generator)
        try:
            started = time.perf_counter()
            others = self._programs[candidate](leaves, captures)
            self._trials[1].append(time.perf_counter() - started)
            problem = disagreement(results, others)
        except Exception as error:  # noqa: BLE001 - a program that fails is not taken
            problem = f"it failed: {type(error).__name__}: {error}"
        if after is not None:
            _set_generator_state(after)
        if problem is not None:
            self.give_up(candidate, problem)
        elif len(self._trials[1]) >= _TRIALS:
            before, now = map(min, self._trials)
            if now <= _AS_FAST * before + _UNSEEN_SECONDS:
                self.stage, self._candidate = candidate, None
                self.records[candidate].best = now
            elif len(self._trials[1]) == _MOST_TRIALS or now > _HOPELESS * before + _UNSEEN_SECONDS:
                self.give_up(candidate, f"it is slower: {1e3 * now:.3g} ms, where {1e3 * before:.3g} ms are taken now")
        return results

    def _timed(self, stage: Stage, program: Run, leaves: Tensors, captures: Tensors) -> Results:
        started = time.perf_counter()
        results = program(leaves, captures)
        record = self.records[stage]
        record.calls += 1
        seconds = time.perf_counter() - started
        record.seconds += seconds
        record.last = seconds
        record.best = seconds if record.best is None else min(record.best, seconds)
        return results


def agree(first: Results, second: Results) -> bool:
    """Whether two programs gave the same, to the rounding of each dtype."""
    return disagreement(first, second) is None


def disagreement(first: Results, second: Results) -> str | None:
    """Where two programs' results differ by more than rounding, in words; None if nowhere."""
    if len(first) != len(second):
        return f"it gives {len(second)} results, not {len(first)}"
    for number, (left, right) in enumerate(zip(first, second, strict=True)):
        if left.dtype != right.dtype or left.shape != right.shape:
            return f"its result {number} is {right.dtype}{list(right.shape)}, not {left.dtype}{list(left.shape)}"
        if not _is_close(left, right):
            return f"its result {number} differs by more than rounding"
    return None


def _is_close(left: torch.Tensor, right: torch.Tensor) -> bool:
    tolerance = _TOLERANCES.get(left.dtype)
    if tolerance is None or not left.numel():
        return torch.equal(left, right)
    with torch.inference_mode():
        is_finite = torch.isfinite(left)
        if bool(is_finite.all()):
            return bool((left - right).abs().max() <= tolerance * left.abs().max())  # False where right has NaN
        rest = torch.where(is_finite, 0, left), torch.where(is_finite, 0, right)
        if not torch.allclose(*rest, rtol=0.0, atol=0.0, equal_nan=True):
            return False
        return _is_close(torch.where(is_finite, left, 0), torch.where(is_finite, right, 0))


def _generator_state(leaves: Tensors, captures: Tensors) -> Any:
    gpu = next((tensor.device for tensor in (*leaves, *captures) if tensor.is_cuda), None)
    return torch.get_rng_state(), None if gpu is None else (gpu, torch.cuda.get_rng_state(gpu))


def _set_generator_state(state: Any) -> None:
    cpu, gpu = state
    torch.set_rng_state(cpu)
    if gpu is not None:
        torch.cuda.set_rng_state(gpu[1], gpu[0])
