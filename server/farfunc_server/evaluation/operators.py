"""One equation as a call of one operator of torch.

Which operator, which position each operand takes, what the attributes are in torch's types: all
that does not depend on the operands is settled here, before anything runs.

Operators are looked up by the rows of our own table: a name from the wire is a key of
:data:`~farfunc_protocol.ops.OPS` or it is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from farfunc_protocol.errors import UnsupportedOperator
from farfunc_protocol.graph import Equation, Operand, Var
from farfunc_protocol.ops import OPS
from farfunc_protocol.schema import REQUIRED, Argument, Schema

from .corrections import CORRECTIONS
from .guards import GUARDS, Guard
from .tensors import TORCH_DTYPES

__all__ = ["Dimensions", "Environment", "Run", "lower_operator", "torch_operator"]

Dimensions = Mapping[str, int]
"""The lengths that a call binds to symbolic dimensions."""

Environment = list[Any]
"""The tensor of each variable; None before it is defined and after its last use."""

Run = Callable[[Environment, Dimensions], Any]


def torch_operator(schema: Schema) -> Any:
    """The operator of torch that a row of the op table names."""
    try:
        return getattr(getattr(torch.ops.aten, schema.name), schema.overload)
    except AttributeError:
        raise UnsupportedOperator(
            f"this server's torch {torch.__version__} has no operator {schema.wire_name}",
            remedy="ask the server's operator for the torch that this farfunc was made for",
        ) from None


def lower_operator(equation: Equation, device: torch.device) -> tuple[Run, bool]:
    """Make an equation without a body runnable; tells as well whether it returns a sequence of tensors."""
    run, is_list = _operator(equation, device)
    return (_guarded(run, equation, GUARDS[equation.op]) if equation.op in GUARDS else run), is_list


def _guarded(run: Run, equation: Equation, guard: Guard) -> Run:
    schema = OPS[equation.op].schema
    attributes = schema.complete(equation.attributes)
    names = [argument.name for argument in schema.tensor_arguments]

    def run_guarded(environment: Environment, dimensions: Dimensions) -> Any:
        given = {name: _resolved(value, dimensions) for name, value in attributes.items()}
        for name, operand in zip(names, equation.inputs, strict=True):
            given[name] = _fetch(environment, operand)
        guard(given)
        return run(environment, dimensions)

    return run_guarded


def _operator(equation: Equation, device: torch.device) -> tuple[Run, bool]:
    schema = OPS[equation.op].schema
    operator = CORRECTIONS.get(equation.op) or torch_operator(schema)
    positional, keywords, slots, named = _arguments(schema, equation, device)
    is_list = len(schema.returns) != 1 or schema.returns[0].is_list
    if named or any(_is_symbolic(value) for value in (*positional, *keywords.values())):
        return _general_run(operator, positional, keywords, slots, named), is_list
    if leading := _leading_vars(slots):
        return _plain_run(operator, leading, tuple(positional[len(leading) :]), keywords), is_list

    def run(environment: Environment, _: Dimensions) -> Any:
        arguments = positional.copy()
        for position, operand in slots:
            arguments[position] = _fetch(environment, operand)
        return operator(*arguments, **keywords)

    return run, is_list


def _arguments(
    schema: Schema, equation: Equation, device: torch.device
) -> tuple[list[Any], dict[str, Any], list[tuple[int, Operand]], dict[str, Operand]]:
    """The arguments of an operator: those that are known, and the positions and keywords that operands take."""
    given = schema.normalise(equation.attributes)
    operands = dict(zip((argument.name for argument in schema.tensor_arguments), equation.inputs, strict=True))
    positional: list[Any] = []
    keywords: dict[str, Any] = {}
    slots: list[tuple[int, Operand]] = []
    named: dict[str, Operand] = {}
    last = 0  # positional arguments after the last one that is not its default are left out
    for argument in schema.arguments:
        value, is_given = _value(argument, given, device)
        operand = operands.get(argument.name)
        if argument.keyword_only:
            if operand is not None:
                named[argument.name] = operand
            elif is_given:
                keywords[argument.name] = value
            continue
        if argument.is_tensor and operand is not None:
            slots.append((len(positional), operand))
            is_given = True
        positional.append(value)
        if is_given:
            last = len(positional)
    return positional[:last], keywords, slots, named


def _value(argument: Argument, given: Mapping[str, Any], device: torch.device) -> tuple[Any, bool]:
    """The value of one argument in torch's types, and whether it must be passed."""
    if argument.type.base == "Device":
        return device, True  # every tensor of this process is on its device
    if argument.is_tensor or argument.is_placement:
        return None if argument.default is REQUIRED else argument.default, argument.default is REQUIRED
    if argument.name in given:
        return _decoded(argument, given[argument.name]), True
    return _decoded(argument, argument.default), False


def _decoded(argument: Argument, value: Any) -> Any:
    if argument.type.base == "ScalarType" and value is not None:
        return tuple(TORCH_DTYPES[item] for item in value) if isinstance(value, tuple) else TORCH_DTYPES[value]
    return value


def _leading_vars(slots: Sequence[tuple[int, Operand]]) -> tuple[Var, ...]:
    """The operands, if each is one tensor and they stand before all other arguments."""
    operands = [operand for _, operand in slots]
    if all(isinstance(operand, int) for operand in operands) and [p for p, _ in slots] == list(range(len(slots))):
        return tuple(operand for operand in operands if isinstance(operand, int))
    return ()


def _plain_run(operator: Any, operands: tuple[Var, ...], rest: tuple[Any, ...], keywords: dict[str, Any]) -> Run:
    """Nearly every equation: one or two tensors first, then what is known."""
    if len(operands) == 1:
        (only,) = operands
        return lambda environment, _: operator(environment[only], *rest, **keywords)
    if len(operands) == 2:
        left, right = operands
        return lambda environment, _: operator(environment[left], environment[right], *rest, **keywords)
    return lambda environment, _: operator(*[environment[var] for var in operands], *rest, **keywords)


def _general_run(
    operator: Any,
    positional: list[Any],
    keywords: Mapping[str, Any],
    slots: Sequence[tuple[int, Operand]],
    named: Mapping[str, Operand],
) -> Run:
    """For symbolic dimensions, and tensors that are given by keyword."""

    def run(environment: Environment, dimensions: Dimensions) -> Any:
        arguments = [_resolved(value, dimensions) for value in positional]
        for position, operand in slots:
            arguments[position] = _fetch(environment, operand)
        options = {name: _resolved(value, dimensions) for name, value in keywords.items()}
        options.update((name, _fetch(environment, operand)) for name, operand in named.items())
        return operator(*arguments, **options)

    return run


def _fetch(environment: Environment, operand: Operand) -> Any:
    if isinstance(operand, tuple):
        return [None if var is None else environment[var] for var in operand]
    return None if operand is None else environment[operand]


def _is_symbolic(value: Any) -> bool:
    return isinstance(value, dict) or (isinstance(value, tuple) and any(isinstance(item, dict) for item in value))


def _resolved(value: Any, dimensions: Dimensions) -> Any:
    if isinstance(value, dict):
        return dimensions[value["dim"]]
    if isinstance(value, tuple):
        return tuple(_resolved(item, dimensions) for item in value)
    return value
