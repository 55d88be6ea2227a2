"""What is told of a function: its signature, its operators, its cost; all without torch."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from farfunc_protocol.errors import FarfuncError
from farfunc_protocol.graph import Dimension, Equation, Function, Graph, TensorType
from farfunc_protocol.lengths import called_types
from farfunc_protocol.ops import OPS, UnknownDimension
from farfunc_protocol.pytree import TreeSpec
from farfunc_protocol.transforms import FlatTransform

__all__ = ["Description", "describe", "signature"]

MaybeType = TensorType | None


@dataclass(frozen=True, slots=True)
class Description:
    """What can be read off a function.

    Attributes
    ----------
    outputs:
        The types of the result leaves; None where only torch can tell.
    operators:
        How often each occurs, bodies included.
    operations:
        Scalar operations of one evaluation, to the order of magnitude; None where shapes are open.
    """

    outputs: tuple[MaybeType, ...]
    operators: dict[str, int]
    operations: float | None


def describe(function: Function) -> Description:
    """Read a function that :func:`farfunc_protocol.validate.validate_function` has accepted."""
    outputs, operations = _walk(function.graph)
    counts = Counter(equation.op for equation in function.graph.walk())
    return Description(outputs, dict(sorted(counts.items())), operations)


def signature(function: Function, outputs: Sequence[MaybeType]) -> str:
    """A function's signature, as text.

    >>> from farfunc_protocol.pytree import flatten
    >>> graph = Graph((TensorType("float64", (3,)),), (), (Equation("sin", (0,), {}, (1,)),), (1,))
    >>> signature(Function(graph, (), flatten(((0,), {}))[1], flatten([0])[1]), [TensorType("float64", (3,))])
    '(float64[3]) -> [float64[3]]'
    """
    args, kwargs = function.in_tree.children
    leaves = [str(type) for type in function.graph.inputs]
    parts = [_text(child, leaves) for child in args.children]
    parts += [f"{key}={_text(child, leaves)}" for key, child in zip(kwargs.keys or (), kwargs.children, strict=True)]
    results = ["?" if type is None else str(type) for type in outputs]
    return f"({', '.join(parts)}) -> {_text(function.out_tree, results)}"


def _text(tree: TreeSpec, leaves: list[str]) -> str:
    """A tree with the types of its leaves, which are taken from the list."""
    if tree.kind == "leaf":
        return leaves.pop(0)
    if tree.kind == "static":
        return str(tree)
    children = [_text(child, leaves) for child in tree.children]
    if tree.keys is not None:
        separator = ": " if tree.is_mapping else "="
        keys = [repr(key) if tree.is_mapping else str(key) for key in tree.keys]
        children = [f"{key}{separator}{child}" for key, child in zip(keys, children, strict=True)]
    inside = ", ".join(children)
    if tree.kind == "list":
        return f"[{inside}]"
    if tree.kind == "dict":
        return f"{{{inside}}}"
    if tree.kind == "tuple":
        return f"({inside},)" if len(children) == 1 else f"({inside})"
    return f"{tree.node.name if tree.node else 'node'}({inside})"


def _walk(graph: Graph) -> tuple[tuple[MaybeType, ...], float | None]:
    """The types of a graph's outputs, and what it costs."""
    types: list[MaybeType] = [*graph.inputs, *graph.captures]
    total: float | None = 0.0
    for equation in graph.equations:
        try:
            found, cost = _equation(equation, types)
        except FarfuncError:  # no shape rule, or one that has to know the length of a symbolic dimension
            found, cost = (None,) * len(equation.outputs), None
        types.extend(found)
        total = None if total is None or cost is None else total + cost
    return tuple(types[var] for var in graph.outputs), total


def _equation(equation: Equation, types: Sequence[MaybeType]) -> tuple[Sequence[MaybeType], float | None]:
    unknown: tuple[Sequence[MaybeType], None] = ((None,) * len(equation.outputs), None)
    operands = []
    for operand in equation.inputs:
        items = operand if isinstance(operand, tuple) else (operand,)
        if any(var is not None and types[var] is None for var in items):
            return unknown
        typed = tuple(None if var is None else types[var] for var in items)
        operands.append(typed if isinstance(operand, tuple) else typed[0])
    if equation.body is None:
        op = OPS[equation.op]
        found = op.infer(tuple(operands), equation.attributes)
        return found, _known_cost(lambda: op.cost(tuple(operands), found, equation.attributes))
    results, inside = _walk(equation.body)
    known = [type for type in results if type is not None]
    if len(known) != len(results):
        return unknown
    count = len(operands) - len(equation.body.captures)
    leaves, captured = operands[:count], operands[count:]
    found = called_types(FlatTransform(equation.op, equation.attributes), equation.body, leaves, captured, known)
    if found is None:
        return unknown
    return found, None if inside is None else _known_cost(lambda: inside * _factor(equation, leaves, known))


def _known_cost(compute: Callable[[], float]) -> float | None:
    """A cost, if it is known: not where a dimension is symbolic, nor beyond any number."""
    try:
        return compute()
    except (UnknownDimension, ArithmeticError):
        return None


def _factor(equation: Equation, leaves: Sequence[TensorType], results: Sequence[TensorType]) -> float:
    """How many evaluations of the body a transform is worth; a pullback is worth about two."""
    arguments = sum(_elements(leaves[i]) for i in equation.attributes.get("argnums", ()))
    outputs = sum(_elements(type) for type in results)
    match equation.op:
        case "vmap":
            pairs = zip(equation.attributes["in_dims"], leaves, strict=True)
            return next(float(_length(type.shape[axis])) for axis, type in pairs if axis is not None)
        case "jacfwd":
            return 2.0 * arguments
        case "jacrev":
            return 1.0 + 2.0 * outputs
        case "hessian":
            return 2.0 * arguments * (1.0 + 2.0 * outputs)
        case "call":
            return 1.0
        case "jvp":
            return 2.0
        case _:
            return 3.0


def _elements(type: TensorType) -> int:
    return math.prod(map(_length, type.shape))


def _length(length: Dimension) -> int:
    if isinstance(length, str):
        raise UnknownDimension(f"the length of {length!r} is not known")
    return length
