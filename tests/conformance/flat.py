"""Flat programs beside the plain ones that they are made from, case by case.

The function of a case is traced by the client, and flattened under several chains as a worker does it in idle time.
Then both programs run on the same inputs, of which there are more than a trial sees: those of the sample, and others
of its types. Memory that is handed out in between is full of NaN, so that a program which reads what nobody has
written does not agree. The programs of slices are put together and held against the whole result.
"""

from __future__ import annotations

import contextlib
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from unittest import mock

import numpy as np
import torch

from farfunc_protocol.arrays import Array
from farfunc_protocol.errors import FarfuncError, LimitExceeded
from farfunc_protocol.graph import Function
from farfunc_protocol.transforms import FlatTransform
from farfunc_server.evaluation import identity_products, products, rewriting
from farfunc_server.evaluation.flattening import FlatProgram, NotFlat, flatten
from farfunc_server.evaluation.guards import GUARDS
from farfunc_server.evaluation.hoisting import hoist
from farfunc_server.evaluation.inference import Budget
from farfunc_server.evaluation.plan_cache import PlanCache
from farfunc_server.evaluation.plans import Stage, disagreement
from farfunc_server.evaluation.program import Program
from farfunc_server.evaluation.slices import SlicedCall, SliceSize, Slicing
from farfunc_server.evaluation.tensors import to_tensor, type_of
from farfunc_server.evaluation.transfers import transfers_of
from support.evaluators import InProcess
from support.slices import assembled

from .cases import SEED, Case
from .compare import AGREE, CRASHED, LOCAL_FAILS, UNSUPPORTED, WRONG

__all__ = ["compare_flat"]

_CPU = torch.device("cpu")

_ROWS = 3
"""Of a batch; not a size that occurs often in the samples."""

_SLICE_ROWS = 4

_MOST_ELEMENTS = 1 << 20
"""Of a Jacobian that is compared slice by slice."""

_BY_VALUES = ("prod", "prod.dim_int")
"""Operators for whose derivative torch has two formulas and looks whether there is a zero; a flat program has the one
that is right with and without. They agree on finite numbers."""

_THRESHOLDS = {
    identity_products: {"LEAST_PRODUCTS": 1},
    products: {"_LEAST_ROWS": 2, "_LEAST_FOR_ONEDNN": 1},
    rewriting: {"_ORDER_BYTES": 1, "_ORDER_RATIO": 2},
}
"""From which sizes on rules are applied."""

Tensors = Sequence[torch.Tensor]
Outcomes = Iterator[tuple[str, str]]


def compare_flat(case: Case) -> list[tuple[str, str]]:
    """Compare the programs of a case.

    Rules that pay for large arguments are applied to these small ones as well.

    Returns
    -------
    list[tuple[str, str]]
        For each program: ``agree``; ``unsupported``: it stays plain; ``wrong``; ``crashed``: it fails where the plain
        one does not; ``local fails``: the plain one fails, too; and what there is to say.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        for module, thresholds in _THRESHOLDS.items():
            for name, value in thresholds.items():
                stack.enter_context(mock.patch.object(module, name, value))
        return list(_compared(case))


def _compared(case: Case) -> Outcomes:
    recorded = _recorded(case)
    if recorded is None:
        yield LOCAL_FAILS, "no trace"
        return
    function, chain, arrays = recorded
    if any(equation.op in GUARDS for equation in function.graph.walk()):
        yield UNSUPPORTED, "guarded operators run the plain way"
        return
    leaves = [to_tensor(array, _CPU) for array in arrays]
    for name, transforms, inputs in _programs(case, function, chain, leaves):
        for kind, reason in (_whole(function, transforms, inputs), _sliced(function, transforms, inputs[0])):
            if kind is not None:
                yield kind, f"{name}: {reason}"


def _recorded(case: Case) -> tuple[Function, FlatTransform, Sequence[Array]] | None:
    """The function, its transform and its arguments, as a server receives them."""
    for attempt in (case, case.by_first(), case.with_constants()):
        remote = _Recorder()
        try:
            remote.jacrev(attempt.function, attempt.differentiated)(*(a.clone() for a in attempt.arguments))
        except Exception:  # noqa: BLE001 - what comes of a trace is for compare() to judge
            if not remote.calls:
                continue
        function, transforms, arrays = remote.calls[0]
        if len(transforms) == 1 and all(constant is not None for constant in function.constants):
            return function, transforms[0], arrays
    return None


class _Recorder(InProcess):
    """Keeps what is to be evaluated."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Function, Sequence[FlatTransform], Sequence[Array]]] = []

    def evaluate(self, function, transforms, arrays, *rest, **more):  # type: ignore[override, no-untyped-def]
        self.calls.append((function, list(transforms), [Array(a.dtype, a.shape, a.data.copy()) for a in arrays]))
        return super().evaluate(function, transforms, arrays, *rest, **more)


def _programs(
    case: Case, function: Function, jacrev: FlatTransform, leaves: Tensors
) -> Iterator[tuple[str, tuple[FlatTransform, ...], list[Tensors]]]:
    """Chains, and inputs for each."""
    inputs = [list(leaves), _other(leaves, 1)]
    if not any(equation.op in _BY_VALUES for equation in function.graph.walk()):
        inputs.append(_with_specials(leaves))
    yield "f", (), inputs
    yield "jacrev", (jacrev,), inputs
    if case.forward:
        attributes = {k: v for k, v in jacrev.attributes.items() if k != "chunk_size"}
        yield "jacfwd", (FlatTransform("jacfwd", {**attributes, "randomness": "same"}),), inputs
    if leaves:
        outputs = Program(function, (jacrev,), _CPU).outputs
        vmap = FlatTransform(
            "vmap", {"in_dims": (0,) * len(leaves), "out_dims": (0,) * outputs, "randomness": "different"}
        )
        rows = [[torch.stack(each) for each in zip(*order, strict=True)] for order in (inputs, inputs[::-1])]
        yield "vmap(jacrev)", (vmap, jacrev), rows
        half = tuple(0 if i == 0 else None for i in range(len(leaves)))
        if len(leaves) > 1:
            shared = FlatTransform("vmap", {**vmap.attributes, "in_dims": half})
            mixed = [[stacked[0], *each[1:]] for stacked, each in zip(rows, inputs, strict=False)]
            yield "vmap(jacrev) with shared arguments", (shared, jacrev), mixed


def _other(leaves: Tensors, seed: int) -> list[torch.Tensor]:
    """Arguments of the same types and about the same size: of the same sign, and zero where they were."""
    generator = torch.Generator().manual_seed(seed)

    def other(leaf: torch.Tensor) -> torch.Tensor:
        if not leaf.is_floating_point():
            return leaf
        return leaf * (1 + 0.1 * torch.randn(leaf.shape, generator=generator, dtype=torch.float64)).to(leaf.dtype)

    return [other(leaf) for leaf in leaves]


def _with_specials(leaves: Tensors) -> list[torch.Tensor]:
    """Arguments that hold NaN and infinity: they are to spread as they do in torch.func."""

    def special(leaf: torch.Tensor) -> torch.Tensor:
        if not leaf.is_floating_point() or not leaf.numel():
            return leaf
        flat = leaf.clone().flatten()
        flat[len(flat) // 2] = np.nan
        flat[len(flat) // 3] = np.inf
        return flat.reshape(leaf.shape)

    return [special(leaf) for leaf in leaves]


def _whole(function: Function, chain: Sequence[FlatTransform], inputs: Sequence[Tensors]) -> tuple[str | None, str]:
    program = Program(function, chain, _CPU)
    captures = [constant for constant in program.constants if constant is not None]
    expected = []
    for leaves in inputs:
        try:
            expected.append((leaves, _seeded(program.run, leaves, captures)))
        except Exception as error:  # noqa: BLE001 - then there is nothing to agree with
            failure = error
    if not expected:
        return LOCAL_FAILS, str(failure).partition("\n")[0]
    types, kinds = tuple(map(type_of, inputs[0])), tuple(map(type_of, captures))
    try:
        flat = flatten(program.run, types, kinds, _CPU, constants=program.constants)
    except NotFlat as reason:
        return UNSUPPORTED, str(reason).partition("\n")[0]
    for leaves, results in expected:
        number = next(i for i, given in enumerate(inputs) if given is leaves)
        before = [leaf.clone() for leaf in leaves]
        _litter(flat)
        try:
            found = _seeded(flat, leaves, captures)
        except Exception as error:  # noqa: BLE001 - the finding
            reason = f"{type(error).__name__}: {error}".partition("\n")[0]
            if number == 2:  # a kernel that looks for NaN: the call is answered by the plain program
                return UNSUPPORTED, f"with NaN: {reason}"
            return CRASHED, reason
        if (problem := disagreement(results, found)) is not None:
            return WRONG, f"with inputs {number} {problem}"
        if (problem := disagreement(tuple(before), tuple(leaves))) is not None:
            return WRONG, f"it writes to its arguments: {problem}"
    return AGREE, ""


def _seeded(run, leaves: Tensors, captures: Tensors) -> tuple[torch.Tensor, ...]:  # type: ignore[no-untyped-def]
    torch.manual_seed(SEED)
    return tuple(run(leaves, captures))


def _litter(flat: FlatProgram) -> None:
    """Leave NaN in the memory that will be handed out for the values of a program."""
    sizes: Counter[int] = Counter()
    for node in flat.module.graph.nodes:
        value = node.meta.get("val")
        for tensor in value if isinstance(value, tuple | list) else [value]:
            if isinstance(tensor, torch.Tensor) and 0 < tensor.numel() <= _MOST_ELEMENTS:
                sizes[tensor.numel() * tensor.element_size()] += 1
    held = [
        torch.full((-(-size // 8),), np.nan, dtype=torch.float64)
        for size, count in sizes.items()
        for _ in range(min(count, 16) + 2)
    ]
    del held


class _Fixed(SliceSize):
    """Slices of so many rows, always."""

    def ran(self, rows: int, seconds: float, stage: Stage) -> None:
        pass


def _sliced(function: Function, chain: Sequence[FlatTransform], leaves: Tensors) -> tuple[str | None, str]:
    """The same, in slices; None where a call like this is not sliced."""
    if len(chain) != 1:
        return None, ""
    plans = PlanCache(_CPU, Budget(1 << 34))
    program = plans.program(function, chain)
    if program.is_random:
        return None, ""
    captures = [constant for constant in program.constants if constant is not None]
    types, kinds = tuple(map(type_of, leaves)), tuple(map(type_of, captures))
    try:
        whole = plans.plan(program, types, kinds)
        slicing = Slicing.of(plans, program, types, kinds, whole, 1.0)
        expected = program.run(leaves, captures)
    except Exception:  # noqa: BLE001 - the whole program is compared by itself
        return None, ""
    if slicing is None or sum(result.numel() for result in expected) > _MOST_ELEMENTS:
        return None, ""
    for number, group in enumerate(slicing.form.groups):
        slicing.sizes[number] = size = _Fixed(group.length, _SLICE_ROWS, _SLICE_ROWS)
        try:
            plan = slicing.plan(number, min(size.rows(is_alone=False), group.length))
            if (note := plan.records[Stage.FLAT].note) is not None:
                raise NotFlat(note)
            slices = plans.program(function, group.chain)
            basis = None if group.basis is None else len(plan.types) - 1
            flat = flatten(slices.run, plan.types, kinds, _CPU, constants=slices.constants, basis=basis)
        except (NotFlat, LimitExceeded) as reason:
            return UNSUPPORTED, f"slices: {str(reason).partition(chr(10))[0]}"
        plan.offer(Stage.FLAT, flat if basis is None else hoist(flat, basis), flat.seconds)
        plan.stage, plan._candidate = Stage.FLAT, None
        _litter(flat)
    try:
        found, _ = assembled(SlicedCall(slicing, list(leaves), captures, transfers_of(_CPU)))
    except FarfuncError as error:
        return CRASHED, f"slices: {error}"
    notes = [plan.records[Stage.FLAT].note for _, plan in plans if plan.records[Stage.FLAT].note]
    if notes:
        return CRASHED, f"slices: {notes[0]}".partition("\n")[0]
    given = tuple(
        torch.from_numpy(array.copy()).view(result.dtype)
        for array, result in zip(found, expected, strict=True)
    )
    problem = disagreement(tuple(result.detach().resolve_conj().resolve_neg() for result in expected), given)
    return (AGREE, "") if problem is None else (WRONG, f"slices: {problem}")
