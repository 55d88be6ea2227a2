"""The plans of one device: found, made, made faster, and forgotten when they take too much memory."""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch

from farfunc_protocol.errors import InvalidRequest
from farfunc_protocol.graph import Function, TensorType
from farfunc_protocol.transforms import FlatTransform

from .compilation import PackageFolder, PlanSpec
from .flattening import MAX_CALLS, NotFlat, flatten
from .guards import GUARDS
from .hoisting import hoist
from .inference import Budget, Inference, infer
from .plans import Plan, Stage
from .program import Program
from .transforms import SLICE_ATTRIBUTES

__all__ = ["PlanCache", "Types", "report"]

Types = tuple[TensorType, ...]

_MOST_PROGRAMS = 256
_MOST_PLANS_EACH = 64
_MOST_BYTES = 1 << 30

_FLATTEN_AT = 2
"""With its second call a plan is worth flattening: what is evaluated once is often evaluated once only."""

_HOT_CALLS = 16
"""After so many calls a plan is worth the seconds that compiling takes, on a core that nobody waits for."""

_LOOK_SECONDS = 0.25
"""How often a plan looks whether its machine code is there."""

_TELL_SECONDS = 0.5
"""How often it is told what plans have done."""


class PlanCache:
    """The plans of one device, least recently used out first.

    Parameters
    ----------
    device, budget:
        As for :class:`~farfunc_server.evaluation.engine.Engine`.
    packages:
        Where machine code is found; None to go without.
    """

    def __init__(self, device: torch.device, budget: Budget, packages: PackageFolder | None = None) -> None:
        self._device = device
        self.budget = budget
        self._packages = packages
        self._programs: OrderedDict[tuple[int, tuple[FlatTransform, ...]], Program] = OrderedDict()
        self._plans: dict[Program, OrderedDict[tuple[Types, Types], Plan]] = {}
        self._idle_work: deque[tuple[Callable[[Program, Plan], None], Program, Plan]] = deque()
        self._hot: list[PlanSpec] = []
        self._used: dict[str, tuple[Program, Plan]] = {}
        self._forgotten: list[str] = []
        self._told_at = 0.0

    @property
    def bytes(self) -> int:
        """The memory that programs and plans take, about."""
        return sum(program.bytes + sum(plan.bytes for plan in plans.values()) for program, plans in self._plans.items())

    def __iter__(self) -> Iterator[tuple[Program, Plan]]:
        """Every plan, with what it is a plan of."""
        return ((program, plan) for program, plans in self._plans.items() for plan in plans.values())

    def program(self, function: Function, chain: Sequence[FlatTransform], identity: str = "") -> Program:
        """A function lowered under a chain."""
        key = (id(function), tuple(chain))
        found = self._programs.get(key)
        if found is None:  # it keeps the function alive, so that the id stays its own
            found = self._programs[key] = Program(function, chain, self._device, identity)
            self._plans[found] = OrderedDict()
            self._trim()
        self._programs.move_to_end(key)
        return found

    def plan(
        self, program: Program, types: Types, capture_types: Types, inference: Inference | None = None
    ) -> Plan:
        """The plan for arguments of these types; with what a dry run would find, if that is known.

        Raises
        ------
        InvalidRequest
            There are more or fewer leaves than the function takes, or they do not fit it.
        LimitExceeded
            An evaluation would take more than the budget.
        """
        plans = self._plans[program]
        key = (types, capture_types)
        plan = plans.get(key)
        if plan is None:
            plan = plans[key] = self._make(program, types, capture_types, inference)
            if len(plans) > _MOST_PLANS_EACH:
                _, oldest = plans.popitem(last=False)
                self._forgotten.append(oldest.id)
        plans.move_to_end(key)
        if plan.stage is not Stage.COMPILED:
            self._consider(program, plan)
        self._used[plan.id] = (program, plan)
        return plan

    def known(self, program: Program, types: Types, capture_types: Types) -> Plan | None:
        """The plan for arguments of these types, if there is one."""
        return self._plans[program].get((types, capture_types))

    def improve(self) -> bool:
        """Make one plan faster that is used often; returns whether there was one."""
        if not self._idle_work:
            return False
        work, program, plan = self._idle_work.popleft()
        work(program, plan)
        return True

    def take_hot(self) -> list[PlanSpec]:
        """The plans whose machine code is to be made; each is told once."""
        found, self._hot = self._hot, []
        return found

    def take_news(self) -> list[dict[str, Any]]:
        """What is to be told of plans that were used or forgotten since it was last told; empty most of the time."""
        now = time.monotonic()
        if now - self._told_at < _TELL_SECONDS or not (self._used or self._forgotten):
            return []
        news = [report(program, plan) for program, plan in self._used.values()]
        news += [{"id": id, "forgotten": True} for id in self._forgotten]
        self._used, self._forgotten, self._told_at = {}, [], now
        return news

    def _make(
        self, program: Program, types: Types, capture_types: Types, inference: Inference | None
    ) -> Plan:
        if len(types) != program.inputs:
            raise InvalidRequest(
                f"{len(types)} arrays are given, and the function under these transforms takes {program.inputs}",
                where="arguments",
                remedy="give one array for each argument leaf of the outermost transform",
            )
        if inference is None:
            inference = infer(program.check, types, capture_types, self._device, self.budget)
        spec = self._spec(program, types, capture_types)
        plan = Plan(spec.digest, types, capture_types, program.run, program.is_random, inference)
        reason = self._why_plain(program, plan)
        if reason is not None:
            plan.give_up(Stage.FLAT, reason)
            plan.give_up(Stage.COMPILED, reason)
        elif program.is_random:
            plan.give_up(Stage.COMPILED, "compiled code draws other random numbers")
        elif self._packages is None:
            plan.give_up(Stage.COMPILED, "this server does not compile")
        elif program.identity and self._packages.package(plan.id).exists():  # made before this process was started
            self._load(program, plan)
        return plan

    def _why_plain(self, program: Program, plan: Plan) -> str | None:
        guarded = next((e.op for e in program.function.graph.walk() if e.op in GUARDS), None)
        if guarded is not None:
            return f"{guarded} looks at the values of its operands before it runs"
        if plan.inference.calls > MAX_CALLS:
            return f"it makes more than {MAX_CALLS} calls of operators"
        if 2 * plan.inference.peak_bytes > self.budget.memory_bytes:
            return "there is no room to hold its result beside that of the plain program"
        return None

    def _consider(self, program: Program, plan: Plan) -> None:
        """Note what would make a plan faster, by how often it was used."""
        if not plan.is_noted and plan.calls >= _FLATTEN_AT - 1 and plan.is_open(Stage.FLAT):
            plan.is_noted = True
            self._idle_work.append((self._flatten, program, plan))
        if self._packages is None or not program.identity or not plan.is_open(Stage.COMPILED):
            return
        if not plan.is_hot:
            if plan.calls >= _HOT_CALLS and not (plan.is_open(Stage.FLAT) or plan.is_on_trial):
                plan.is_hot = True
                self._hot.append(self._spec(program, plan.types, plan.capture_types))
        elif (now := time.monotonic()) - plan.looked_at > _LOOK_SECONDS:
            plan.looked_at = now
            if self._packages.package(plan.id).exists():
                self._idle_work.append((self._load, program, plan))
            elif (reason := self._packages.failure(plan.id)) is not None:
                plan.give_up(Stage.COMPILED, reason)

    def _flatten(self, program: Program, plan: Plan) -> None:
        if not plan.is_open(Stage.FLAT):
            return
        is_slice = bool(program.chain) and program.chain[0].name in SLICE_ATTRIBUTES
        try:
            flat = flatten(
                program.run,
                plan.types,
                plan.capture_types,
                self._device,
                constants=program.constants,
                basis=len(plan.types) - 1 if is_slice else None,
            )
        except NotFlat as reason:
            plan.give_up(Stage.FLAT, str(reason))
            plan.give_up(Stage.COMPILED, "it has no flat program")
        else:
            run = hoist(flat, len(plan.types) - 1) if is_slice else flat
            plan.offer(Stage.FLAT, run, flat.seconds, flat.folded_bytes + 256 * flat.calls)

    def _load(self, program: Program, plan: Plan) -> None:
        if self._packages is None or not plan.is_open(Stage.COMPILED):
            return
        started = time.perf_counter()
        try:
            found = self._packages.load(plan.id)
        except Exception as error:  # noqa: BLE001 - torch's loader raises what it likes
            plan.give_up(Stage.COMPILED, f"its machine code cannot be loaded: {error}")
            return
        if found is None:
            plan.give_up(Stage.COMPILED, "others than this user can write to its machine code")
        else:
            run, size = found
            plan.offer(Stage.COMPILED, run, time.perf_counter() - started, size)

    def _spec(self, program: Program, types: Types, capture_types: Types) -> PlanSpec:
        threads = torch.get_num_threads()
        return PlanSpec(program.identity, program.chain, types, capture_types, str(self._device), threads)

    def _trim(self) -> None:
        while len(self._programs) > 1 and (len(self._programs) > _MOST_PROGRAMS or self.bytes > _MOST_BYTES):
            _, oldest = self._programs.popitem(last=False)
            self._forgotten += [plan.id for plan in self._plans.pop(oldest).values()]


def report(program: Program, plan: Plan) -> dict[str, Any]:
    """A plan as JSON."""
    return {
        "id": plan.id,
        "function": program.identity,
        "transforms": [flat.to_json() for flat in program.chain],
        "arguments": [str(type) for type in plan.types],
        "stage": plan.stage.name.lower(),
        "is_hot": plan.is_hot,
        "bytes": plan.bytes,
        "peak_bytes": plan.inference.peak_bytes,
        "operations": plan.inference.operations,
        "stages": {
            stage.name.lower(): {
                "calls": record.calls,
                "seconds": record.seconds,
                "made_in_seconds": record.made_in,
                "note": record.note,
            }
            for stage, record in zip(Stage, plan.records, strict=True)
        },
    }
