"""What a graph must satisfy before anyone evaluates it, as numbered rules.

======  ==================================================================================
rule    a graph is refused unless
======  ==================================================================================
``G1``  each op is a row of the op table, or a transform
``G2``  each equation has one operand for each tensor argument of the op's schema, a list
        where the schema says ``Tensor[]``, null only where it says ``?``
``G3``  each variable is defined before it is used
``G4``  outputs are numbered on from the last variable, as many as the op returns
``G5``  attributes are those of the schema, with values that it allows
``G6``  the op's shape rule, where it has one, accepts the operands
``G7``  only transforms have a body, and each transform has one
``G8``  a transform's operands are its body's leaves (with tangents or cotangents) and captures
``G9``  a transform's parameters fit its body
``G10`` a symbolic dimension in an attribute is one of an input's type
``G11`` constants have the types of the captures
``G12`` the trees have as many leaves as the graph has inputs and outputs
======  ==================================================================================

The rules need no torch. Where an op has no shape rule, the types that follow from it are
unknown here, and the server infers them with fake tensors before it runs anything.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence

from .errors import FarfuncError, InvalidGraph, UnsupportedOperator
from .graph import Equation, Function, Graph, Operand, TensorType, Var, format_neighbours
from .lengths import called_types, symbols_of
from .limits import DEFAULT_LIMITS, Limits
from .ops import OPS, SYNONYMS, UnknownDimension
from .ops.op import Op
from .transforms import TRANSFORM_NAMES, FlatTransform, check_flat
from .transforms.flat import primal_count

__all__ = ["RULES", "validate_function", "validate_graph"]

RULES = tuple(f"G{number}" for number in range(1, 13))
"""The numbers of the rules; each has a test."""

MaybeType = TensorType | None
"""The type of a variable, None where only the server can tell."""


def validate_function(function: Function, *, limits: Limits = DEFAULT_LIMITS, where: str = "function") -> None:
    """Check a whole function: its graph, its constants and its trees.

    Raises
    ------
    InvalidGraph
        Names the rule, the path, and the equations around the fault.
    UnsupportedOperator
        For an op that is not in the table.
    """
    graph = function.graph
    validate_graph(graph, limits=limits, where=f"{where}.graph")
    if len(function.constants) != len(graph.captures):
        raise InvalidGraph(
            f"{len(function.constants)} constants are given for {len(graph.captures)} captures", where=where, rule="G11"
        )
    for i, (array, type) in enumerate(zip(function.constants, graph.captures, strict=True)):
        if array is not None and array.type != type:
            raise InvalidGraph(
                f"the constant is {array.type}, and the capture is {type}", where=f"{where}.constants[{i}]", rule="G11"
            )
    for name, tree, leaves in (
        ("in_tree", function.in_tree, len(graph.inputs)),
        ("out_tree", function.out_tree, len(graph.outputs)),
    ):
        if tree.num_leaves != leaves:
            raise InvalidGraph(
                f"the tree has {tree.num_leaves} leaves, and the graph {leaves}", where=f"{where}.{name}", rule="G12"
            )
    arguments = function.in_tree
    if arguments.kind != "tuple" or [child.kind for child in arguments.children] != ["tuple", "dict"]:
        raise InvalidGraph(
            "the tree of the arguments must be a pair: a tuple of args, a dict of kwargs",
            where=f"{where}.in_tree",
            rule="G12",
        )


def validate_graph(
    graph: Graph,
    *,
    limits: Limits = DEFAULT_LIMITS,
    where: str = "graph",
    symbols: frozenset[str] | None = None,
) -> tuple[MaybeType, ...]:
    """Check a graph and return the types of its outputs, None where only the server can tell.

    Parameters
    ----------
    symbols:
        The symbolic dimensions of the enclosing graph, for a body.
    """
    if symbols is None:
        symbols = symbols_of(graph)
    types: list[MaybeType] = [*graph.inputs, *graph.captures]
    for index, equation in enumerate(graph.equations):
        path = f"{where}.equations[{index}]"
        try:
            found = _check_equation(equation, types, limits, path, symbols)
        except FarfuncError as error:
            _show_neighbours(error, graph.equations, index, path)
            raise
        types.extend(found)
    for i, var in enumerate(graph.outputs):
        if var >= len(types):
            raise InvalidGraph(f"%{var} is not defined", where=f"{where}.outputs[{i}]", rule="G3")
    return tuple(types[var] for var in graph.outputs)


def _check_equation(
    equation: Equation, types: Sequence[MaybeType], limits: Limits, path: str, symbols: frozenset[str]
) -> Sequence[MaybeType]:
    for i, operand in enumerate(equation.inputs):
        _check_defined(operand, len(types), f"{path}.in[{i}]")
    if equation.op in TRANSFORM_NAMES:
        found = _check_transform(equation, types, limits, path, symbols)
    elif equation.op in OPS:
        found = _check_op(OPS[equation.op], equation, types, path, symbols)
    else:
        raise UnsupportedOperator(
            f"{equation.op!r} is not an operator of farfunc",
            where=f"{path}.op",
            rule="G1",
            remedy=_nearest(equation.op),
        )
    first = len(types)
    if equation.outputs != tuple(range(first, first + len(equation.outputs))):
        raise InvalidGraph(
            f"the outputs are {list(equation.outputs)}, and the next variable is %{first}",
            where=f"{path}.out",
            rule="G4",
        )
    for type in found:
        if type is not None:
            limits.check("rank", len(type.shape), path)
            limits.check("elements", _elements(type), path)
    return found


def _check_defined(operand: Operand, defined: int, path: str) -> None:
    for var in operand if isinstance(operand, tuple) else (operand,):
        if var is not None and var >= defined:
            raise InvalidGraph(f"%{var} is used before it is defined", where=path, rule="G3")


def _check_op(
    op: Op, equation: Equation, types: Sequence[MaybeType], path: str, symbols: frozenset[str]
) -> Sequence[MaybeType]:
    if equation.body is not None:
        raise InvalidGraph(f"{op.name} is no transform and has no body", where=f"{path}.body", rule="G7")
    _check_operands(op, equation.inputs, path)
    try:
        attributes = op.schema.normalise(equation.attributes, where=f"{path}.at")
    except InvalidGraph as error:
        error.rule = "G5"
        raise
    _check_symbols(attributes, symbols, f"{path}.at")
    expected = _output_count(op)
    if expected is not None and len(equation.outputs) != expected:
        raise InvalidGraph(
            f"{op.name} returns {expected} tensors, {len(equation.outputs)} outputs are given",
            where=f"{path}.out",
            rule="G4",
        )
    operands = tuple(_typed(operand, types) for operand in equation.inputs)
    if any(_unknown(operand, type) for operand, type in zip(equation.inputs, operands, strict=True)):
        return [None] * len(equation.outputs)
    try:
        found = op.infer(operands, attributes, where=path)
    except (UnknownDimension, UnsupportedOperator):
        return [None] * len(equation.outputs)
    except InvalidGraph as error:
        error.rule = "G6"
        raise
    if len(found) != len(equation.outputs):
        raise InvalidGraph(
            f"{op.name} returns {len(found)} tensors here, {len(equation.outputs)} outputs are given",
            where=f"{path}.out",
            rule="G4",
        )
    return found


def _check_operands(op: Op, operands: Sequence[Operand], path: str) -> None:
    arguments = op.schema.tensor_arguments
    if len(operands) != len(arguments):
        names = ", ".join(f"{argument.type} {argument.name}" for argument in arguments)
        raise InvalidGraph(
            f"{op.name} has {len(arguments)} tensor arguments, {len(operands)} operands are given",
            where=f"{path}.in",
            rule="G2",
            remedy=f"give ({names})",
        )
    for i, (operand, argument) in enumerate(zip(operands, arguments, strict=True)):
        kind = argument.type
        if operand is None:
            fits = kind.is_optional
        elif isinstance(operand, tuple):
            fits = kind.is_list and (kind.has_optional_items or None not in operand)
        else:
            fits = not kind.is_list
        if not fits:
            raise InvalidGraph(
                f"{op.name} takes {kind} as its argument {argument.name!r}", where=f"{path}.in[{i}]", rule="G2"
            )


def _check_transform(
    equation: Equation, types: Sequence[MaybeType], limits: Limits, path: str, symbols: frozenset[str]
) -> Sequence[MaybeType]:
    body = equation.body
    if body is None:
        raise InvalidGraph(f"{equation.op} needs the graph that it transforms", where=path, rule="G7")
    operands: list[Var] = []
    for i, operand in enumerate(equation.inputs):
        if not isinstance(operand, int):
            raise InvalidGraph("a transform takes single tensors", where=f"{path}.in[{i}]", rule="G8")
        operands.append(operand)
    results = validate_graph(body, limits=limits, where=f"{path}.body", symbols=symbols | symbols_of(body))
    leaves = len(operands) - len(body.captures)
    if primal_count(equation.op, leaves, len(body.inputs), len(body.outputs), equation.attributes) != len(body.inputs):
        raise InvalidGraph(
            f"{equation.op} of a body with {len(body.inputs)} inputs and {len(body.captures)} captures "
            f"is given {len(operands)} operands",
            where=f"{path}.in",
            rule="G8",
        )
    for i, (var, type) in enumerate(zip(operands[leaves:], body.captures, strict=True)):
        given = types[var]
        if given is not None and not _agree(given, type):
            raise InvalidGraph(
                f"%{var} is {given}, and the capture of the body is {type}",
                where=f"{path}.in[{leaves + i}]",
                rule="G8",
            )
    given_types, result_types = _known([types[var] for var in operands[:leaves]]), _known(results)
    if given_types is None or result_types is None:
        return [None] * len(equation.outputs)
    flat = FlatTransform(equation.op, equation.attributes)
    try:
        check_flat(flat, given_types, result_types, body_inputs=body.inputs, where=path)
        captured = [types[var] or type for var, type in zip(operands[leaves:], body.captures, strict=True)]
        found = called_types(flat, body, given_types, captured, result_types)
    except InvalidGraph as error:
        error.rule = error.rule or "G9"
        raise
    if found is None:
        return [None] * len(equation.outputs)
    if len(found) != len(equation.outputs):
        raise InvalidGraph(
            f"{equation.op} returns {len(found)} tensors here, {len(equation.outputs)} outputs are given",
            where=f"{path}.out",
            rule="G4",
        )
    return found


def _known(types: Sequence[MaybeType]) -> list[TensorType] | None:
    """The types, if each of them is known."""
    known = [type for type in types if type is not None]
    return known if len(known) == len(types) else None


def _output_count(op: Op) -> int | None:
    """How many tensors an op returns; None where that depends on the operands."""
    returns = op.schema.returns
    return None if any(kind.is_list for kind in returns) else len(returns)


def _typed(operand: Operand, types: Sequence[MaybeType]) -> MaybeType | tuple[MaybeType, ...]:
    if isinstance(operand, tuple):
        return tuple(None if var is None else types[var] for var in operand)
    return None if operand is None else types[operand]


def _unknown(operand: Operand, typed: MaybeType | tuple[MaybeType, ...]) -> bool:
    """Whether a variable of the operand has no known type (a null operand is no variable)."""
    if isinstance(operand, tuple) and isinstance(typed, tuple):
        return any(var is not None and type is None for var, type in zip(operand, typed, strict=True))
    return operand is not None and typed is None


def _check_symbols(attributes: Mapping[str, object], symbols: frozenset[str], path: str) -> None:
    for name, value in attributes.items():
        for item in value if isinstance(value, tuple) else (value,):
            if isinstance(item, dict) and item["dim"] not in symbols:
                raise InvalidGraph(
                    f"no input has a dimension named {item['dim']!r}", where=f"{path}.{name}", rule="G10"
                )


def _agree(given: TensorType, expected: TensorType) -> bool:
    """Whether two types are equal as far as both are known: a symbol agrees with any length."""
    if given.dtype != expected.dtype or len(given.shape) != len(expected.shape):
        return False
    pairs = zip(given.shape, expected.shape, strict=True)
    return all(isinstance(a, str) or isinstance(b, str) or a == b for a, b in pairs)


def _elements(type: TensorType) -> int:
    elements = 1
    for length in type.shape:
        elements *= length if isinstance(length, int) else 1
    return elements


def _nearest(name: str) -> str:
    """What an unknown name may have meant: ``aten::sin.default`` is ``sin``, ``mul`` one of its overloads."""
    listing = "the operators are listed at /v1/ops"
    plain = re.sub(r"^(torch\.ops\.)?aten(\.|::)", "", name).removesuffix(".default")
    plain = SYNONYMS.get(plain, plain)
    if plain in OPS:
        return f"write {plain}; {listing}"
    base = plain.partition(".")[0]
    near = [known for known in OPS if known.partition(".")[0] == base][:4]
    near = near or difflib.get_close_matches(plain, OPS, n=3, cutoff=0.7)
    return f"did you mean {' or '.join(near)}? {listing}" if near else listing


def _show_neighbours(error: FarfuncError, equations: Sequence[Equation], index: int, path: str) -> None:
    """Add the equations around the fault to the error, once: the innermost graph's."""
    if "\n" not in error.detail:
        error.detail += "\n" + format_neighbours(equations, index)
        error.where = error.where or path
