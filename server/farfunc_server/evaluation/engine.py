"""Evaluate a function under a chain of transforms: arrays in, arrays out.

>>> import numpy as np
>>> from farfunc_protocol.arrays import Array
>>> from farfunc_protocol.graph import Equation, Function, Graph, TensorType
>>> from farfunc_protocol.pytree import flatten
>>> from farfunc_protocol.transforms import FlatTransform
>>> graph = Graph((TensorType("float64", (2,)),), (), (Equation("sin", (0,), {}, (1,)),), (1,))
>>> sin = Function(graph, (), flatten(((0,), {}))[1], flatten(0)[1])
>>> (jacobian,) = Engine().evaluate(sin, [FlatTransform("jacrev", {"argnums": (0,)})], [Array.from_numpy(np.zeros(2))])
>>> jacobian.to_numpy()
array([[1., 0.],
       [0., 1.]])
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Sequence

import torch

from farfunc_protocol.arrays import Array
from farfunc_protocol.errors import FarfuncError, InvalidRequest, LimitExceeded
from farfunc_protocol.graph import Function, TensorType
from farfunc_protocol.transforms import FlatTransform

from ..batch_form import MOST_ROWS, BatchForm
from .batch_sizes import plan_for_rows
from .batching import deal, gather
from .compilation import PackageFolder
from .failures import as_farfunc_error
from .inference import Budget, Inference
from .lowering import fits
from .plan_cache import PlanCache
from .plans import Plan, Stage
from .program import Program
from .randomness import continued, seeded
from .slice_form import nbytes_of
from .slices import Cursor, DeliveredCall, SlicedCall, Slicing
from .tensors import from_tensor, host_tensor, type_of
from .transfers import transfers_of
from .transforms import dispatch_state, is_stack_empty

__all__ = ["Engine", "default_memory_bytes"]

_LONG_SECONDS = 0.02
"""Calls that take longer are evaluated in slices, between which others have their turn."""

_VERY_LONG_SECONDS = 1.0

_LARGE_BYTES = 4 << 20
"""Results that are larger are handed over in parts."""

_MOST_SLICINGS = 64


class Engine:
    """Evaluates on one device, one request at a time.

    Parameters
    ----------
    device:
        ``"cpu"``, ``"cuda:0"``.
    budget:
        What one evaluation may take; half of the device's memory if not given.
    packages:
        Where the machine code of hot plans is found; None to go without.

    Attributes
    ----------
    transfers:
        The way to the device and back.
    plans:
        How functions are run that were evaluated before.
    stage:
        In which stage the plan is that ran last.
    is_lost:
        Whether :meth:`is_well` has found that the GPU takes no more from this process.
    """

    def __init__(
        self, device: str = "cpu", budget: Budget | None = None, packages: PackageFolder | None = None
    ) -> None:
        self.device = torch.device(device)
        self.transfers = transfers_of(self.device)
        self.budget = budget or Budget(default_memory_bytes(self.device))
        self.plans = PlanCache(self.device, self.budget, packages)
        self.stage = Stage.PLAIN
        self.is_lost = False
        self._dispatch = dispatch_state()

    def evaluate(
        self,
        function: Function,
        chain: Sequence[FlatTransform],
        arrays: Sequence[Array],
        seed: int | None = None,
        captures: Mapping[int, Array] | None = None,
        generator: Array | None = None,
        identity: str = "",
    ) -> tuple[Array, ...]:
        """Evaluate ``function`` under ``chain``.

        Parameters
        ----------
        function:
            One that :func:`farfunc_protocol.validate.validate_function` accepts.
        chain:
            Flat transforms, outermost first; empty for the function itself.
        arrays:
            One for each argument leaf of the outermost transform.
        seed:
            For random operators; None draws one.
        captures:
            Values of captures that the function leaves open, by number.
        generator:
            In place of a seed: the state of torch's CPU generator.
        identity:
            The function's, if its plans may be compiled.

        Returns
        -------
        tuple[Array, ...]
            The result leaves; if a generator is given, its state afterwards is the last.

        Raises
        ------
        InvalidRequest
            The arrays do not fit the function.
        LimitExceeded
            Known before the run where it can be, otherwise as memory ran out.
        EvaluationError
            An operator refused its operands, or has no derivative of the kind that is asked for.
        """
        found = self.begin(function, chain, arrays, seed, captures, generator, identity, slices=False)
        assert isinstance(found, tuple)
        return found

    def begin(
        self,
        function: Function,
        chain: Sequence[FlatTransform],
        arrays: Sequence[Array],
        seed: int | None = None,
        captures: Mapping[int, Array] | None = None,
        generator: Array | None = None,
        identity: str = "",
        *,
        slices: bool = True,
        resume_at: Cursor | None = None,
    ) -> tuple[Array, ...] | SlicedCall | DeliveredCall:
        """Evaluate, or find that it takes so long, or so much memory, that it is better done in slices.

        Parameters and errors are those of :meth:`evaluate`. Without ``slices`` the answer is always the result. Where
        it is resumed, at the cursor of a call of the same kind elsewhere, it comes in the same order.
        """
        try:
            return self._begin(function, chain, arrays, seed, captures or {}, generator, identity, slices, resume_at)
        except Exception as error:
            raise as_farfunc_error(error) from error

    def evaluate_many(
        self, function: Function, chain: Sequence[FlatTransform], calls: Sequence[Sequence[Array]], identity: str = ""
    ) -> list[tuple[Array, ...] | FarfuncError]:
        """Evaluate calls of one function under one chain, together where that is possible and pays.

        Returns
        -------
        list[tuple[Array, ...] | FarfuncError]
            What :meth:`evaluate` would return, or raise, for each of the calls.
        """
        program, failure = None, None
        try:
            program = self.plans.program(function, chain, identity)
            if (results := self._evaluate_together(program, calls)) is not None:
                return list(results)
        except Exception as error:  # noqa: BLE001 - a call is at fault, or a batching rule: that will show
            if program and len(calls) > 2 and _is_limit(error):
                program.most_together = len(calls) // 2
            else:
                failure = f"{type(error).__name__}: {error}"
        if program and program.most_together < len(calls) and program.why_alone is None:
            most = program.most_together
            parts = (calls[start : start + most] for start in range(0, len(calls), most))
            return [result for part in parts for result in self.evaluate_many(function, chain, part, identity)]
        alone = [self._evaluate_or_error(function, chain, arrays, identity) for arrays in calls]
        if failure and program and not any(isinstance(result, FarfuncError) for result in alone):
            program.why_alone = failure
        return alone

    def _evaluate_or_error(
        self, function: Function, chain: Sequence[FlatTransform], arrays: Sequence[Array], identity: str
    ) -> tuple[Array, ...] | FarfuncError:
        try:
            return self.evaluate(function, chain, arrays, identity=identity)
        except FarfuncError as error:
            return error

    def _evaluate_together(self, program: Program, calls: Sequence[Sequence[Array]]) -> list[tuple[Array, ...]] | None:
        """Evaluate calls as one; None where each is better evaluated by itself."""
        if len(calls) < 2 or program.is_random or None in program.constants or program.why_alone is not None:
            return None
        if len(calls) > program.most_together:
            return None
        types = [tuple(array.type for array in arrays) for arrays in calls]
        forms = [form for each in types if (form := BatchForm.of(program.chain, each))]
        if len(forms) < len(calls) or any(form.row_types != forms[0].row_types for form in forms):
            return None
        counts = [form.rows for form in forms]
        if sum(counts) > MOST_ROWS or 0 in counts:
            return None
        form = forms[0]
        captures = [tensor for tensor in program.constants if tensor is not None]
        kinds = tuple(map(type_of, captures))
        batch = self.plans.program(program.function, form.common_chain(program.outputs), program.identity)
        plan, rows = plan_for_rows(self.plans, batch, form, kinds, sum(counts))
        alone = self.plans.known(program, types[0], kinds)
        if not form.is_mapped:  # otherwise it is the calls' own vmap that batches them
            alone = alone or self.plans.plan(program, types[0], kinds)
            if not _are_rows(plan.inference.outputs, alone.inference.outputs):
                program.why_alone = "under vmap its results have other types, or types that a dry run does not tell"
                return None
        if not plan.is_worth_more_than(alone, len(calls)):
            return None
        leaves = gather(form, [list(map(host_tensor, arrays)) for arrays in calls], rows)
        leaves = list(map(self.transfers.send, leaves))
        self.stage = plan.stage
        results = plan.run(leaves, captures)
        return [tuple(map(from_tensor, dealt)) for dealt in deal(form, self.transfers.fetch(results), counts)]

    def is_large(
        self, function: Function, chain: Sequence[FlatTransform], arrays: Sequence[Array], identity: str = ""
    ) -> bool:
        """Whether a call like this is to be evaluated by itself: in slices, or as its result is handed over in parts.

        So is one that takes more memory than it may, if that is known before it runs: alone it may come in slices.
        """
        program = self.plans.program(function, chain, identity)
        if None in program.constants:
            return False
        captures = [tensor for tensor in program.constants if tensor is not None]
        types, kinds = tuple(array.type for array in arrays), tuple(map(type_of, captures))
        slicing = program.slicings.get((types, kinds), False)
        if slicing:
            return True
        try:
            plan = self.plans.known(program, types, kinds) or self.plans.plan(program, types, kinds)
        except LimitExceeded:
            return True
        except FarfuncError:  # which each of the calls will meet
            return False
        outputs = plan.inference.outputs
        if plan.inference.peak_bytes > _LARGE_BYTES and outputs and sum(map(nbytes_of, outputs)) > _LARGE_BYTES:
            return True
        return bool(chain) and not program.is_random and slicing is False and self._is_long(plan)

    def infer(
        self,
        function: Function,
        chain: Sequence[FlatTransform],
        types: Sequence[TensorType],
    ) -> Inference:
        """Tell what an evaluation would return and take, without running it; raises as :meth:`evaluate`."""
        try:
            program = self.plans.program(function, chain)
            return self.plans.plan(program, tuple(types), function.graph.captures).inference
        except Exception as error:
            raise as_farfunc_error(error) from error

    def use_idle_time(self) -> bool:
        """Make one plan faster that is used often; returns whether there was anything to do."""
        return self.plans.improve()

    def is_well(self) -> bool:
        """Whether this process may go on evaluating after an error.

        A level of torch.func that was left behind would make the next derivative wrong, and so would a
        dispatch key that was left on or off. An index
        out of range on a GPU ends the process's use of that GPU: every later call fails.
        """
        if self.device.type == "cuda":
            try:
                torch.cuda.synchronize(self.device)
            except RuntimeError:
                self.is_lost = True
                return False
        return not self.plans.is_broken and is_stack_empty() and dispatch_state() == self._dispatch

    def _begin(
        self,
        function: Function,
        chain: Sequence[FlatTransform],
        arrays: Sequence[Array],
        seed: int | None,
        given: Mapping[int, Array],
        generator: Array | None,
        identity: str,
        slices: bool,
        resume_at: Cursor | None,
    ) -> tuple[Array, ...] | SlicedCall | DeliveredCall:
        program = self.plans.program(function, chain, identity)
        captures = self._captures(program, given)
        types, kinds = tuple(array.type for array in arrays), tuple(map(type_of, captures))
        is_delivered = resume_at is not None and resume_at[0] < 0
        can_slice = slices and bool(chain) and generator is None and not program.is_random and not is_delivered

        def sliced(slicing: Slicing) -> SlicedCall:
            return SlicedCall(slicing, list(map(self.transfers.tensor, arrays)), captures, self.transfers)

        if can_slice and (known := program.slicings.get((types, kinds))) is not None:
            if resume_at is not None or known.pays:
                return sliced(known)
            program.slicings[types, kinds] = None
        try:
            plan = self.plans.plan(program, types, kinds)
        except LimitExceeded:
            if not can_slice or (slicing := self._slicing(program, types, kinds, None)) is None:
                raise
            if slicing.operations > self.budget.operations:
                del program.slicings[types, kinds]
                raise
            return sliced(slicing)
        if can_slice and (resume_at is not None or self._is_long(plan)):
            slicing = self._slicing(program, types, kinds, plan, is_needed=resume_at is not None)
            if slicing is not None:
                return sliced(slicing)
        self.stage = plan.stage
        leaves = list(map(self.transfers.tensor, arrays))
        try:
            results = self._run(plan, leaves, captures, seed, generator)
        except Exception as error:
            if not can_slice or not isinstance(as_farfunc_error(error), LimitExceeded):
                raise
            if (slicing := self._slicing(program, types, kinds, None)) is None:
                raise
            return sliced(slicing)
        found = tuple(map(from_tensor, self.transfers.fetch(results)))
        # Numbers that were drawn without a seed are drawn otherwise if the call is resumed elsewhere.
        is_repeatable = generator is None and (seed is not None or not program.is_random)
        if slices and is_repeatable and (is_delivered or sum(array.nbytes for array in found) > _LARGE_BYTES):
            return DeliveredCall(found, self.stage)
        return found

    def _run(
        self,
        plan: Plan,
        leaves: Sequence[torch.Tensor],
        captures: Sequence[torch.Tensor],
        seed: int | None,
        generator: Array | None,
    ) -> Sequence[torch.Tensor]:
        if generator is not None:
            with continued(generator, self.device) as state:
                return (*plan.run(leaves, captures), state())
        if plan.is_random:
            with seeded(seed, self.device):
                return plan.run(leaves, captures)
        return plan.run(leaves, captures)

    def _is_long(self, plan: Plan) -> bool:
        """Whether a call is worth slicing; unless it is very long, that is told once it is as fast as it will be."""
        return plan.expected_seconds > (_LONG_SECONDS if plan.is_settled else _VERY_LONG_SECONDS)

    def _slicing(
        self,
        program: Program,
        types: tuple[TensorType, ...],
        kinds: tuple[TensorType, ...],
        whole: Plan | None,
        is_needed: bool = False,
    ) -> Slicing | None:
        """How calls are sliced; ``whole`` is the plan of such a call, None where there is no memory for it."""
        key = (types, kinds)
        if whole is not None and not is_needed and key in program.slicings:
            return program.slicings[key]
        seconds = None if whole is None else whole.expected_seconds
        found = Slicing.of(self.plans, program, types, kinds, whole, seconds)
        if len(program.slicings) >= _MOST_SLICINGS:
            del program.slicings[next(iter(program.slicings))]
        program.slicings[key] = found
        return found

    def _captures(self, program: Program, given: Mapping[int, Array]) -> list[torch.Tensor]:
        """Constants of the function and captures of the call, in their places."""
        types = program.function.graph.captures
        is_open = {i for i, constant in enumerate(program.constants) if constant is None}
        if is_open != set(given):
            number = min(is_open ^ set(given))
            problem = "needs a value for" if number in is_open else "leaves no place for"
            raise InvalidRequest(
                f"the function {problem} capture {number}",
                where=f"captures[{number}]",
                remedy=f"give the captures {sorted(is_open)} with the call" if is_open else "give no captures",
            )
        for number, array in given.items():
            if not fits(array.type, types[number]):
                raise InvalidRequest(
                    f"the function captures {types[number]} here, and {array.type} is given",
                    where=f"captures[{number}]",
                )
        return [
            self.transfers.tensor(given[i]) if constant is None else constant
            for i, constant in enumerate(program.constants)
        ]


def _is_limit(error: Exception) -> bool:
    """Whether it says that there is not enough memory, or that too many operations are asked for."""
    with contextlib.suppress(Exception):  # a bug of ours
        return isinstance(as_farfunc_error(error), LimitExceeded)
    return False


def _are_rows(batched: Sequence[TensorType] | None, alone: Sequence[TensorType] | None) -> bool:
    """Whether results of a batch are, row by row, of the types of a call alone.

    A 0-d tensor does not widen the dtype of what it is combined with, and as a batch of 0-d tensors it does for some
    operators (``where``, ``addcmul``).
    """
    if batched is None or alone is None:
        return False
    return [TensorType(type.dtype, type.shape[1:]) for type in batched] == list(alone)


def default_memory_bytes(device: torch.device) -> int:
    """Half of the device's memory."""
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory // 2
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
