"""For each operator of torch, found once: what a trace does with a call of it.

In this order: its own handler (:mod:`.special`); its row in the op table; for a write, the functional counterpart
(:mod:`.inplace`); torch's own composite definition; a decomposition of ``torch._decomp``. What remains is refused,
unless it depends on constants alone and can be computed here.
"""

from __future__ import annotations

import enum
import functools
from dataclasses import dataclass
from typing import Any

import torch

from farfunc_protocol.ops import OPS
from farfunc_protocol.ops.op import Op
from farfunc_protocol.schema import Argument

__all__ = ["Action", "Kind", "Plan", "Slot", "find_overload", "plan_for", "wire_name"]

OpOverload = torch._ops.OpOverload


class Action(enum.Enum):
    """What is done with a call."""

    RECORD = "write down an equation"
    QUERY = "ask the fake tensors: no tensor is returned"
    WRITE = "compute the functional counterpart, then write the result"
    DECOMPOSE = "follow torch's definition in terms of other operators"
    EVALUATE = "compute it here if it depends on constants alone, or refuse"


class Kind(enum.Enum):
    """What an argument of an operator becomes."""

    TENSOR = "an operand"
    TENSORS = "an operand: a list"
    ATTRIBUTE = "an attribute"
    DROPPED = "nothing: says where or how a tensor is stored, or is refused before"


@dataclass(frozen=True, slots=True)
class Slot:
    """One argument of an operator, as torch declares it."""

    name: str
    kind: Kind
    argument: Argument | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """What is done with the calls of one operator.

    Attributes
    ----------
    func:
        The operator.
    action:
        What is done.
    row:
        Its row in the op table.
    slots:
        Its arguments, as torch declares them.
    may_alias:
        Whether a result may share memory with an argument, or be the argument itself. Only composite operators
        do so without saying it in their schema.
    makes_dtype:
        Whether it chooses the dtype of a new tensor: the choice depends on torch's defaults here, and is written down.
    """

    func: OpOverload
    action: Action
    row: Op | None
    slots: tuple[Slot, ...]
    may_alias: bool
    makes_dtype: bool = False


def wire_name(func: OpOverload) -> str:
    """The name of the operator's row: ``add.Tensor``, ``sin``."""
    overload = func._overloadname
    if overload.endswith("generator"):  # randn.generator is randn, randint.low_generator is randint.low
        overload = overload.removesuffix("generator").removesuffix("_") or "default"
    return func._opname if overload == "default" else f"{func._opname}.{overload}"


@functools.cache
def plan_for(func: OpOverload) -> Plan:
    """Find out what to do with the calls of an operator."""
    row = OPS.get(wire_name(func)) if func.namespace == "aten" else None
    slots = _slots(func, row)
    tensors = any(slot.kind in (Kind.TENSOR, Kind.TENSORS) for slot in slots)
    dtype = any(slot.name == "dtype" for slot in slots)
    composite = func._can_decompose()
    may_alias = composite or any(result.alias_info is not None for result in func._schema.returns)
    return Plan(func, _action(func, row, composite), row, slots, may_alias, dtype and not tensors)


def _action(func: OpOverload, row: Op | None, composite: bool) -> Action:
    if row is not None:
        return Action.RECORD
    if func._schema.is_mutable:
        return Action.WRITE
    if not any("Tensor" in str(result.type) for result in func._schema.returns):
        return Action.DECOMPOSE if composite and func._schema.returns else Action.QUERY
    if composite or decomposition_of(func) is not None:
        return Action.DECOMPOSE
    return Action.EVALUATE


def decomposition_of(func: OpOverload) -> Any:
    """A definition in terms of other operators, where torch has one in Python."""
    from torch._decomp import decomposition_table

    if func.namespace == "prims":
        return getattr(func, "impl_aten", None)
    return decomposition_table.get(func)


def find_overload(name: str, like: OpOverload, skip: tuple[str, ...] = ()) -> OpOverload | None:
    """The functional overload of ``aten.<name>`` with the arguments of ``like``, those in ``skip`` left out."""
    packet = getattr(torch.ops.aten, name, None)
    if packet is None:
        return None
    wanted = [_signature(argument) for argument in like._schema.arguments if argument.name not in skip]
    overloads = [getattr(packet, overload) for overload in packet.overloads()]
    # The overload of the same name first: add_.Tensor is add.Tensor.
    overloads.sort(key=lambda overload: overload._overloadname != like._overloadname)
    for overload in overloads:
        if overload._schema.is_mutable:
            continue
        given = [_signature(argument) for argument in overload._schema.arguments]
        extra = overload._schema.arguments[len(wanted) :]
        if given[: len(wanted)] == wanted and all(argument.has_default_value() for argument in extra):
            return overload
    return None


def _signature(argument: Any) -> tuple[str, str]:
    return argument.name, str(argument.type)


def _slots(func: OpOverload, row: Op | None) -> tuple[Slot, ...]:
    declared = {argument.name: argument for argument in row.schema.arguments} if row is not None else {}
    return tuple(
        Slot(argument.name, _kind(argument), declared.get(argument.name)) for argument in func._schema.arguments
    )


def _kind(argument: Any) -> Kind:
    text = str(argument.type)
    if "Tensor" in text:
        return Kind.TENSORS if "List" in text else Kind.TENSOR
    if argument.name in ("device", "layout", "pin_memory", "memory_format", "non_blocking", "generator"):
        return Kind.DROPPED
    return Kind.ATTRIBUTE
