"""A graph as a torch callable over leaves.

Everything that does not depend on the operands is done once, here: which operator, which
position each operand takes, what the attributes are in torch's types. Running a graph is then
one loop over calls. A graph of 50,000 equations is ordinary (an unrolled LSTM), so nothing
recurses over equations and nothing is quadratic; only bodies nest, as deep as ``limits`` allow.

Operators are looked up by the rows of our own table: a name from the wire is a key of
:data:`~farfunc_protocol.ops.OPS` or it is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from farfunc_protocol.errors import FarfuncError, InvalidRequest, UnsupportedOperator
from farfunc_protocol.graph import Equation, Graph, Operand, TensorType, Var, operand_vars
from farfunc_protocol.ops import OPS
from farfunc_protocol.schema import REQUIRED, Argument, Schema
from farfunc_protocol.transforms import FlatTransform

from .corrections import CORRECTIONS
from .guards import GUARDS, Guard
from .tensors import TORCH_DTYPES, type_of
from .transforms import FlatCallable, transformed

__all__ = ["EquationFailed", "LoweredGraph", "fits", "lower", "torch_operator"]

Dimensions = Mapping[str, int]
"""The lengths that a call binds to symbolic dimensions."""

Environment = list[Any]
"""The tensor of each variable; None before it is defined and after its last use."""

Run = Callable[[Environment, Dimensions], Any]


class EquationFailed(Exception):
    """An exception on its way out of a graph, with the path of the equation that raised it."""

    def __init__(self, where: str, error: Exception) -> None:
        super().__init__(where)
        self.where = where
        self.error = error


@dataclass(frozen=True, slots=True)
class Step:
    """One equation, ready to run.

    Attributes
    ----------
    run:
        Computes the outputs from the environment.
    outputs:
        The variables it defines.
    is_list:
        Whether ``run`` returns a sequence of tensors rather than one.
    dead:
        The variables that no later step needs: their memory is given back at once.
    """

    run: Run
    outputs: tuple[Var, ...]
    is_list: bool
    dead: tuple[Var, ...]


class LoweredGraph:
    """A graph that runs.

    Attributes
    ----------
    graph:
        What it computes.
    is_random:
        Whether it draws random numbers.
    """

    def __init__(self, graph: Graph, device: torch.device) -> None:
        self.graph = graph
        self.is_random = any(equation.op in OPS and OPS[equation.op].random for equation in graph.walk())
        self._steps = _steps(graph, device)
        self._size = 1 + max(
            (var for equation in graph.equations for var in equation.outputs),
            default=len(graph.inputs) + len(graph.captures) - 1,
        )
        self._symbols = _symbols(graph)

    def __call__(
        self, leaves: Sequence[torch.Tensor], captures: Sequence[torch.Tensor], outer: Dimensions | None = None
    ) -> tuple[torch.Tensor, ...]:
        """Evaluate the graph.

        Parameters
        ----------
        leaves, captures:
            One tensor for each input and each capture.
        outer:
            Symbolic dimensions that the enclosing graph has bound.

        Raises
        ------
        EquationFailed
            From the exception of the operator that failed.
        """
        environment: Environment = [*leaves, *captures]
        dimensions = self._bind(environment, outer)
        environment.extend([None] * (self._size - len(environment)))
        index = 0
        try:
            for index, step in enumerate(self._steps):  # noqa: B007 - read where the error is caught
                result = step.run(environment, dimensions)
                if step.is_list:
                    for var, tensor in zip(step.outputs, result, strict=True):
                        environment[var] = tensor
                else:
                    environment[step.outputs[0]] = result
                for var in step.dead:
                    environment[var] = None
        except EquationFailed as failed:
            raise EquationFailed(f"equations[{index}].body.{failed.where}", failed.error) from failed.error
        except FarfuncError:
            raise
        except Exception as error:
            raise EquationFailed(f"equations[{index}] ({self.graph.equations[index].op})", error) from error
        return tuple(environment[var] for var in self.graph.outputs)

    def check(self, leaves: Sequence[torch.Tensor]) -> None:
        """Raise InvalidRequest unless the leaves have the types that the graph declares."""
        for position, (tensor, declared) in enumerate(zip(leaves, self.graph.inputs, strict=True)):
            given = type_of(tensor)
            if not fits(given, declared):
                raise InvalidRequest(
                    f"the function takes {declared} here, and {given} is given",
                    where=f"arguments[{position}]",
                    remedy="give an array of that dtype and shape, or trace the function with this one",
                )

    def _bind(self, environment: Environment, outer: Dimensions | None) -> Dimensions:
        if not self._symbols:
            return outer or {}
        dimensions = dict(outer or {})
        for var, axis, name in self._symbols:
            length = environment[var].shape[axis]
            if dimensions.setdefault(name, length) != length:
                raise InvalidRequest(
                    f"the dimension {name!r} is {dimensions[name]} in one argument and {length} in another",
                    where=f"arguments[{var}]",
                    remedy="give arrays whose axes of one name have one length",
                )
        return dimensions


def lower(graph: Graph, device: torch.device) -> LoweredGraph:
    """Make a graph runnable on a device."""
    return LoweredGraph(graph, device)


def torch_operator(schema: Schema) -> Any:
    """The operator of torch that a row of the op table names."""
    try:
        return getattr(getattr(torch.ops.aten, schema.name), schema.overload)
    except AttributeError:
        raise UnsupportedOperator(
            f"this server's torch {torch.__version__} has no operator {schema.wire_name}",
            remedy="ask the server's operator for the torch that this farfunc was made for",
        ) from None


def _steps(graph: Graph, device: torch.device) -> tuple[Step, ...]:
    needed = set(graph.outputs)
    steps: list[Step] = []
    for equation in reversed(graph.equations):
        touched = {var for operand in equation.inputs for var in operand_vars(operand)}.union(equation.outputs)
        dead = tuple(sorted(touched - needed))
        needed |= touched
        run, is_list = _lower_equation(equation, device)
        steps.append(Step(run, equation.outputs, is_list, dead))
    steps.reverse()
    return tuple(steps)


def _symbols(graph: Graph) -> tuple[tuple[Var, int, str], ...]:
    types: tuple[TensorType, ...] = (*graph.inputs, *graph.captures)
    return tuple(
        (var, axis, length)
        for var, declared in enumerate(types)
        for axis, length in enumerate(declared.shape)
        if isinstance(length, str)
    )


def fits(given: TensorType, declared: TensorType) -> bool:
    """Whether a tensor of the type ``given`` may stand where ``declared`` is asked for; a symbol takes any length."""
    return (
        given.dtype == declared.dtype
        and len(given.shape) == len(declared.shape)
        and all(
            isinstance(right, str) or left == right for left, right in zip(given.shape, declared.shape, strict=True)
        )
    )


def _lower_equation(equation: Equation, device: torch.device) -> tuple[Run, bool]:
    if equation.body is not None:
        run, is_list = _higher_order(equation, equation.body, device), True
    else:
        run, is_list = _operator(equation, device)
        if equation.op in GUARDS:
            run = _guarded(run, equation, GUARDS[equation.op])
    return (run if equation.grad else _without_grad(run)), is_list


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


def _without_grad(run: Run) -> Run:
    def run_without_grad(environment: Environment, dimensions: Dimensions) -> Any:
        with torch.no_grad():
            return run(environment, dimensions)

    return run_without_grad


def _higher_order(equation: Equation, body: Graph, device: torch.device) -> Run:
    """A transform inside the user's function: torch.func's own, of the lowered body."""
    lowered = lower(body, device)
    flat = FlatTransform(equation.op, equation.attributes)
    captured = len(body.captures)
    operands = [operand_vars(operand)[0] for operand in equation.inputs]
    leaf_vars, capture_vars = operands[: len(operands) - captured], operands[len(operands) - captured :]

    def run(environment: Environment, dimensions: Dimensions) -> tuple[torch.Tensor, ...]:
        captures = [environment[var] for var in capture_vars]

        def function(*leaves: torch.Tensor) -> tuple[torch.Tensor, ...]:
            return lowered(leaves, captures, dimensions)

        call = transformed(flat, FlatCallable(function, len(body.inputs), len(body.outputs)))
        return call.function(*(environment[var] for var in leaf_vars))

    return run


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
