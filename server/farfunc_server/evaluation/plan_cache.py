"""The plans of one device: found, made, made faster, and forgotten when they take too much memory."""

from __future__ import annotations

import time
import weakref
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch

from farfunc_protocol.errors import InvalidRequest
from farfunc_protocol.graph import Function, TensorType
from farfunc_protocol.transforms import FlatTransform

from .compilation import PackageFolder, PlanSpec
from .cuda_graphs import CudaGraphs, NotRecorded
from .flattening import MAX_CALLS, FlatProgram, NotFlat, flatten
from .guards import GUARDS
from .hoisting import hoist
from .inference import Budget, Inference, infer
from .plans import Plan, Stage
from .program import Constants, Program
from .transfers import wait_for
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

_MOST_NEWS = 16
"""Of so many plans it is told at a time: the document of one whose function takes 100,000 arrays has 3 MB."""


class PlanCache:
    """The plans of one device, least recently used out first.

    Parameters
    ----------
    device, budget:
        As for :class:`~farfunc_server.evaluation.engine.Engine`.
    packages:
        Where machine code is found; None to go without.

    Attributes
    ----------
    on_forget:
        Called when plans are forgotten.
    """

    def __init__(self, device: torch.device, budget: Budget, packages: PackageFolder | None = None) -> None:
        self._device = device
        self.budget = budget
        self._packages = packages
        self._wait = wait_for(device)
        self._graphs = CudaGraphs(device, packages) if device.type == "cuda" and packages is not None else None
        self._last = Stage.COMPILED if self._graphs is None else Stage.RECORDED
        self._programs: OrderedDict[tuple[int, tuple[FlatTransform, ...]], Program] = OrderedDict()
        self._constants: weakref.WeakValueDictionary[int, Constants] = weakref.WeakValueDictionary()
        self._plans: dict[Program, OrderedDict[tuple[Types, Types], Plan]] = {}
        self._idle_work: deque[tuple[Callable[[Program, Plan], None], Program, Plan]] = deque()
        self._hot: list[PlanSpec] = []
        self._used: dict[str, tuple[Program, Plan]] = {}
        self._forgotten: list[str] = []
        self.on_forget: Callable[[], None] = lambda: None
        self._told_at = 0.0

    @property
    def is_broken(self) -> bool:
        """Whether this process should evaluate no more."""
        return self._graphs is not None and self._graphs.is_broken

    @property
    def bytes(self) -> int:
        """The memory that programs and plans take, about."""
        constants = {program.shared: program.shared.bytes for program in self._plans}
        own = (program.bytes + sum(plan.bytes for plan in plans.values()) for program, plans in self._plans.items())
        return sum(constants.values()) + sum(own)

    def __iter__(self) -> Iterator[tuple[Program, Plan]]:
        """Every plan, with what it is a plan of."""
        return ((program, plan) for program, plans in self._plans.items() for plan in plans.values())

    def program(self, function: Function, chain: Sequence[FlatTransform], identity: str = "") -> Program:
        """A function lowered under a chain."""
        key = (id(function), tuple(chain))
        found = self._programs.get(key)
        if found is None:  # it keeps the function alive, so that the id stays its own
            shared = self._constants.get(id(function))
            found = self._programs[key] = Program(function, chain, self._device, identity, shared)
            self._constants[id(function)] = found.shared
            self._plans[found] = OrderedDict()
            self._trim()
        self._programs.move_to_end(key)
        return found

    def plan(self, program: Program, types: Types, capture_types: Types, inference: Inference | None = None) -> Plan:
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
                self._forget_oldest(program)
        plans.move_to_end(key)
        if plan.stage is not self._last:
            self._consider(program, plan)
        self.note_use(program, plan)
        return plan

    def note_use(self, program: Program, plan: Plan) -> None:
        """Have it told that a plan was used."""
        self._used[plan.id] = (program, plan)

    def known(self, program: Program, types: Types, capture_types: Types) -> Plan | None:
        """The plan for arguments of these types, if there is one."""
        return self._plans[program].get((types, capture_types))

    @property
    def has_idle_work(self) -> bool:
        """Whether a plan can be made faster."""
        return bool(self._idle_work)

    def improve(self) -> bool:
        """Make one plan faster that is used often; returns whether there was one."""
        if not self._idle_work:
            return False
        work, program, plan = self._idle_work.popleft()
        work(program, plan)
        self._trim()
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
        news: list[dict[str, Any]] = [{"id": id, "forgotten": True} for id in self._forgotten]
        used = [self._used.pop(id) for id in list(self._used)[:_MOST_NEWS]]
        news += [report(program, plan) for program, plan in used]  # last: one that was forgotten may be there again
        self._forgotten = []
        if not self._used:  # otherwise the rest is told with the next answer
            self._told_at = now
        return news

    def _make(self, program: Program, types: Types, capture_types: Types, inference: Inference | None) -> Plan:
        if len(types) != program.inputs:
            raise InvalidRequest(
                f"{len(types)} arrays are given, and the function under these transforms takes {program.inputs}",
                where="arguments",
                remedy="give one array for each argument leaf of the outermost transform",
            )
        if inference is None:
            inference = infer(program.check, types, capture_types, self._device, self.budget)
        spec = self._spec(program, types, capture_types)
        plan = Plan(spec.digest, types, capture_types, program.run, program.is_random, inference, wait=self._wait)
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
        if self._packages is None or not program.identity:
            return
        if not plan.is_open(Stage.COMPILED):
            self._consider_recording(program, plan)
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
            flat = self._flat(program, plan, basis=len(plan.types) - 1 if is_slice else None)
        except NotFlat as reason:
            plan.give_up(Stage.FLAT, str(reason))
            plan.give_up(Stage.COMPILED, "it has no flat program")
        else:
            run = hoist(flat, len(plan.types) - 1) if is_slice else flat
            plan.offer(Stage.FLAT, run, flat.seconds, flat.folded_bytes + 256 * flat.calls)

    def _consider_recording(self, program: Program, plan: Plan) -> None:
        """Note that a plan is to be recorded: it is hot, and as fast as it will be otherwise."""
        if self._graphs is None or plan.is_to_be_recorded or plan.calls < _HOT_CALLS:
            return
        if plan.is_settled and plan.stage is not Stage.PLAIN and plan.is_open(Stage.RECORDED):
            plan.is_to_be_recorded = True
            self._idle_work.append((self._record, program, plan))

    def _record(self, program: Program, plan: Plan) -> None:
        assert self._graphs is not None
        started = time.perf_counter()
        captures = [
            type if constant is None else constant
            for type, constant in zip(plan.capture_types, program.constants, strict=True)
        ]
        try:
            if program.is_random:
                raise NotRecorded("it draws random numbers")
            if program.chain and program.chain[0].name in SLICE_ATTRIBUTES:
                raise NotRecorded("it is a slice, which keeps values for the next")
            run = plan.serving
            # A plan that was compiled before this process was started has no flat program here.
            flat = run if isinstance(run, FlatProgram) else self._flat(program, plan, fold=False)
            graph = self._graphs.record(plan.id, run, flat.module, plan.types, captures, plan.inference)
        except (NotRecorded, NotFlat) as reason:
            plan.give_up(Stage.RECORDED, str(reason))
        else:
            plan.offer(Stage.RECORDED, graph, time.perf_counter() - started, graph.bytes)

    def _flat(self, program: Program, plan: Plan, *, fold: bool = True, basis: int | None = None) -> FlatProgram:
        return flatten(
            program.run,
            plan.types,
            plan.capture_types,
            self._device,
            fold=fold,
            constants=program.constants if fold else (),
            basis=basis,
        )

    def _load(self, program: Program, plan: Plan) -> None:
        if self._packages is None or not plan.is_open(Stage.COMPILED):
            return
        started = time.perf_counter()
        try:
            found = self._packages.load(plan.id, self._device)
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
            self._forget(list(self._plans.pop(oldest).values()))
        last = next(reversed(self._programs.values()))
        while len(self._plans[last]) > 1 and self.bytes > _MOST_BYTES:
            self._forget_oldest(last)

    def _forget_oldest(self, program: Program) -> None:
        key, plan = self._plans[program].popitem(last=False)
        program.slicings.pop(key, None)  # which would keep it
        self._forget([plan])

    def _forget(self, plans: Sequence[Plan]) -> None:
        for plan in plans:
            self._used.pop(plan.id, None)
            self._forgotten.append(plan.id)
        self.on_forget()


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
            if stage is not Stage.RECORDED or record.made_in is not None or record.note is not None
        },
    }
