"""One call of an operator that has a row: an equation, and tensors for its results."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch.utils._pytree import tree_map_only

from farfunc_protocol.builder import Value, ValueOperand
from farfunc_protocol.dtypes import DTYPES
from farfunc_protocol.errors import InvalidArray, InvalidGraph, UnsupportedOperator
from farfunc_protocol.graph import TensorType
from farfunc_protocol.ops.op import Op

from .aliases import Alias, Memory, attach, shares_memory
from .capture import NotConstant
from .conversion import dtype_name, lengths, tensor_type, torch_dtype
from .fakes import UNKNOWN_TO_FAKES, fake_call, fakes, stand_in, tensors_in
from .location import LosesDerivative, user_line
from .numbers import scalar_overload, tensor_of_number
from .plans import Kind, Plan
from .refusals import refuse_lost_derivative, refuse_operator, refuse_value
from .values import adopted, evaluated
from .views import make_view

if TYPE_CHECKING:
    from .trace import TorchTrace

__all__ = ["record"]


def record(trace: TorchTrace, plan: Plan, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Write down one equation, and return tensors for its results."""
    assert plan.row is not None
    if plan.row.random:
        generators = [item for item in (*args, *kwargs.values()) if isinstance(item, torch.Generator)]
        trace.drawing.draw(plan.func, *generators, is_nested=trace.builder is not trace.outermost)
        if generators:
            args = tuple(None if isinstance(item, torch.Generator) else item for item in args)
            kwargs = {name: None if isinstance(item, torch.Generator) else item for name, item in kwargs.items()}
    bound = _bind(trace, plan, args, kwargs)
    if bound is None:
        return trace.call(*scalar_overload(plan.func, args, kwargs))
    operands, attributes = bound
    try:
        out = fake_call(trace, plan.func, args, kwargs)
    except UNKNOWN_TO_FAKES:
        out = _by_rule(trace, plan.row, operands, attributes)
        if out is None:
            return _without_row(trace, plan.func, args, kwargs)
    results = [out] if isinstance(out, torch.Tensor) else list(out)
    if attributes.get("dtype") is None and _follows_default_dtype(plan, operands, results):
        default = torch.get_default_dtype()
        return trace.run(lambda: plan.func(*_converted(args, default), **_converted(kwargs, default)))
    views: list[tuple[torch.Tensor, Alias] | None] = [None] * len(results)
    if plan.may_alias:
        sources = [stand_in(trace, leaf) for leaf in tensors_in(args, kwargs)]
        if all(any(result is source for source in sources) for result in results):
            return out  # x.expand_as(x): the tensor itself
        for index, result in enumerate(results):
            views[index] = _shared_with(trace, result, sources)
    if any(result is None for result in results):
        refuse_operator(f"{plan.func} returns an undefined tensor here")
    if plan.makes_dtype:
        attributes["dtype"] = dtype_name(results[0].dtype)
    values = _add(trace, plan.row.name, operands, attributes, _types(plan.func, results), plan.row.schema.normalise)
    for index, (result, value, shared) in enumerate(zip(results, values, views, strict=True)):
        if shared is not None and shared[0] is result:
            continue
        if shared is None:
            alias = Alias(trace, value, Memory("local", trace.builder))
        else:
            source, parent = shared
            position = None if isinstance(out, torch.Tensor) else index
            view = make_view(parent, source, plan.func, fakes(trace, args), fakes(trace, kwargs), result, position)
            alias = Alias(trace, value, parent.memory, view)
        attach(result, alias)
    if any(result.is_neg() for result in results):
        return _without_bits(trace, out)
    return out


def _follows_default_dtype(plan: Plan, operands: list[ValueOperand], results: list[Any]) -> bool:
    """Whether the result is inexact for torch's default dtype alone: ``torch.arange(3) / 2``.

    The server has float32 there. Where this process has another, the operands are converted first.
    """
    if torch.get_default_dtype() is torch.float32 or plan.makes_dtype:
        return False
    values = [value for operand in operands for value in _values(operand)]
    exact = all(DTYPES[value.type.dtype].category in ("bool", "integral") for value in values)
    return bool(values) and exact and any(result is not None and not _is_exact(result) for result in results)


def _is_exact(tensor: torch.Tensor) -> bool:
    return not (tensor.is_floating_point() or tensor.is_complex())


def _converted(given: Any, dtype: torch.dtype) -> Any:
    return tree_map_only(torch.Tensor, lambda tensor: tensor.to(dtype), given)


def _add(
    trace: TorchTrace,
    op: str,
    operands: list[ValueOperand],
    attributes: dict[str, Any],
    types: list[TensorType],
    normalise: Callable[[dict[str, Any]], dict[str, Any]],
) -> tuple[Value, ...]:
    """Add an equation to the innermost graph."""
    try:
        source = user_line(keep_derivatives=True)
    except LosesDerivative as found:
        refuse_lost_derivative(found.what, found.subject)
    try:
        attributes = normalise(attributes)
    except InvalidGraph as error:
        refuse_operator(f"{op}: {error.detail}")
    # Without a derivative there is nothing for no_grad() to take away: the mark is left out.
    grad = trace.grad_enabled or not any(value.varies for operand in operands for value in _values(operand))
    return trace.settled(trace.builder.add(op, operands, attributes, types=types, grad=grad, source=source))


def _bind(
    trace: TorchTrace, plan: Plan, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[list[ValueOperand], dict[str, Any]] | None:
    """The operands and attributes of a call; None where a number stands for a tensor, and an overload takes it."""
    operands: list[ValueOperand] = []
    attributes: dict[str, Any] = {}
    count = len(args)
    for index, slot in enumerate(plan.slots):
        given = index < count or slot.name in kwargs
        value = (args[index] if index < count else kwargs[slot.name]) if given else None
        if slot.kind is Kind.TENSOR:
            if isinstance(value, torch.Tensor):
                operands.append(trace.lower(value))
            elif value is None:
                operands.append(None)
            elif scalar_overload(plan.func, args, kwargs) is not None:
                return None
            else:
                operands.append(trace.lower(tensor_of_number(trace, plan.func, value, args, kwargs)))
        elif slot.kind is Kind.TENSORS:
            operands.append(
                None if value is None else tuple(None if item is None else trace.lower(item) for item in value)
            )
        elif given and slot.kind is Kind.ATTRIBUTE:
            if slot.argument is not None:
                attributes[slot.name] = _attribute(value)
            elif value is not None and value != plan.func._schema.arguments[index].default_value:
                refuse_operator(f"{plan.func} is given {slot.name}={value!r}, which the op table does not know")
    return operands, attributes


def _attribute(value: Any) -> Any:
    if isinstance(value, torch.dtype):
        try:
            return dtype_name(value)
        except InvalidArray as error:
            refuse_operator(error.detail, error.remedy)
    if isinstance(value, list | tuple):
        return tuple(_attribute(item) for item in value)
    if isinstance(value, torch.SymInt | torch.SymFloat | torch.SymBool):
        return value.node.guard_int("", 0)
    return value


def _by_rule(trace: TorchTrace, row: Op, operands: list[ValueOperand], attributes: dict[str, Any]) -> Any:
    """Results by the shape rule of the op table, where torch finds the shape only as it computes; None without one."""
    try:
        types = row.infer(tuple(_operand_types(operand) for operand in operands), attributes)
    except (UnsupportedOperator, InvalidGraph):
        return None
    with trace.mode.paused():
        found = [torch.empty(lengths(t), dtype=torch_dtype(t.dtype), device=trace.device) for t in types]
    return found[0] if len(row.schema.returns) == 1 and not row.schema.returns[0].is_list else tuple(found)


def _operand_types(operand: ValueOperand) -> Any:
    if isinstance(operand, tuple):
        return tuple(None if value is None else value.type for value in operand)
    return None if operand is None else operand.type


def _without_bits(trace: TorchTrace, out: Any) -> Any:
    """Lazy negation is carried out, so that what follows meets plain tensors."""

    def resolve(tensor: torch.Tensor) -> torch.Tensor:
        return trace.run(lambda: tensor.resolve_conj().resolve_neg())

    return tree_map_only(torch.Tensor, resolve, out)


def _without_row(trace: TorchTrace, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """A row whose result has a shape that depends on elements: of constants, or in a composite's special case."""
    try:
        return adopted(trace, evaluated(trace, func, args, kwargs))
    except NotConstant:
        if func._can_decompose():
            return trace.decompose(func, args, kwargs)
        refuse_value(func, "a shape")


def _shared_with(
    trace: TorchTrace, result: torch.Tensor, sources: list[torch.Tensor]
) -> tuple[torch.Tensor, Alias] | None:
    for source in sources:
        if shares_memory(result, source):
            return source, trace.alias(source)
    return None


def _types(func: Any, results: list[torch.Tensor]) -> list[TensorType]:
    try:
        return [tensor_type(result) for result in results]
    except InvalidArray as error:
        refuse_operator(f"{func}: {error.detail}", error.remedy)


def _values(operand: ValueOperand) -> tuple[Value, ...]:
    if isinstance(operand, tuple):
        return tuple(value for value in operand if value is not None)
    return () if operand is None else (operand,)
