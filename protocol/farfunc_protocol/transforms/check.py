"""What a flat transform must satisfy before anyone applies it; documents may be hostile."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..dtypes import DTYPES
from ..errors import InvalidGraph
from ..strict_json import shown
from ..tensor_type import Dimension, TensorType
from .flat import ATTRIBUTES, FlatTransform, flat_inner_types, primal_count

__all__ = ["RANDOMNESS", "check_flat"]

RANDOMNESS = ("error", "different", "same")


def check_flat(
    flat: FlatTransform,
    input_types: Sequence[TensorType],
    output_types: Sequence[TensorType],
    *,
    body_inputs: Sequence[TensorType] | None = None,
    where: str = "transform",
) -> None:
    """Refuse a transform that does not fit its function.

    Parameters
    ----------
    flat:
        Anything that has a name and a mapping of attributes.
    input_types, output_types:
        As for :func:`~farfunc_protocol.transforms.flat_result_types`.
    body_inputs:
        The types that the function inside takes, where they are known.
    where:
        The path of the transform in its document.

    Raises
    ------
    InvalidGraph
        With the path of the attribute or operand at fault.

    >>> check_flat(FlatTransform("grad", {"argnums": (1,)}), [TensorType("float64", ())], [TensorType("float64", ())])
    Traceback (most recent call last):
        ...
    farfunc_protocol.errors.InvalidGraph: argnums are positions from 0 to 0, not 1
      where: transform.argnums[0]
    """
    _check_names(flat, where)
    if flat.name == "vmap":
        _check_vmap(flat, input_types, output_types, where)
    elif flat.name != "call":
        kept = _check_aux(flat, output_types, where)
        if flat.name in ("jvp", "vjp"):
            _check_product(flat, input_types, output_types[:kept], len(output_types), where)
        else:
            _check_derivative(flat, input_types, output_types[:kept], where)
    if flat.attributes.get("randomness", "error") not in RANDOMNESS:
        raise InvalidGraph(
            f"randomness is one of {', '.join(RANDOMNESS)}, not {shown(flat.attributes['randomness'])}",
            where=f"{where}.randomness",
        )
    chunk_size = flat.attributes.get("chunk_size")
    if chunk_size is not None and (type(chunk_size) is not int or chunk_size <= 0):
        raise InvalidGraph(
            f"chunk_size is a positive integer or null, not {shown(chunk_size)}", where=f"{where}.chunk_size"
        )
    if body_inputs is not None:
        _check_body_inputs(flat, input_types, body_inputs, where)


def _check_names(flat: FlatTransform, where: str) -> None:
    if flat.name not in ATTRIBUTES:
        raise InvalidGraph(
            f"{shown(flat.name)} is not a transform", where=where, remedy=f"the transforms are {', '.join(ATTRIBUTES)}"
        )
    required, optional = ATTRIBUTES[flat.name]
    missing = [name for name in required if name not in flat.attributes]
    if missing:
        raise InvalidGraph(f"{flat.name} needs the attribute {missing[0]!r}", where=where)
    unknown = sorted(set(flat.attributes) - {*required, *optional})
    if unknown:
        raise InvalidGraph(
            f"{flat.name} has no attribute {shown(unknown[0])}",
            where=where,
            remedy=f"its attributes are {', '.join((*required, *optional)) or 'none'}",
        )


def _items(flat: FlatTransform, name: str, where: str, count: int | None = None) -> Sequence[Any]:
    value = flat.attributes[name]
    if not isinstance(value, list | tuple):
        raise InvalidGraph(f"{name} is a list, not {shown(value)}", where=f"{where}.{name}")
    if count is not None and len(value) != count:
        raise InvalidGraph(f"{name} has {len(value)} entries for {count} leaves", where=f"{where}.{name}")
    return value


def _check_vmap(flat: FlatTransform, inputs: Sequence[TensorType], outputs: Sequence[TensorType], where: str) -> None:
    sizes: list[tuple[int, Dimension]] = []
    for i, (axis, type) in enumerate(zip(_items(flat, "in_dims", where, len(inputs)), inputs, strict=True)):
        _check_axis(axis, len(type.shape), f"{where}.in_dims[{i}]")
        if axis is not None:
            sizes.append((i, type.shape[axis]))
    if not sizes:
        raise InvalidGraph("vmap maps at least one leaf", where=f"{where}.in_dims")
    for i, size in sizes:
        if not _may_equal(size, sizes[0][1]):
            raise InvalidGraph(
                f"the mapped axes have one length; leaf {sizes[0][0]} has {sizes[0][1]}, leaf {i} has {size}",
                where=f"{where}.in_dims[{i}]",
            )
    for i, (axis, type) in enumerate(zip(_items(flat, "out_dims", where, len(outputs)), outputs, strict=True)):
        _check_axis(axis, len(type.shape) + 1, f"{where}.out_dims[{i}]")


def _check_axis(axis: Any, rank: int, where: str) -> None:
    if axis is not None and (type(axis) is not int or not -rank <= axis < rank):
        allowed = f"an integer from {-rank} to {rank - 1}, or null" if rank else "null"
        raise InvalidGraph(f"the axis is {allowed}, not {shown(axis)}", where=where)


def _check_aux(flat: FlatTransform, outputs: Sequence[TensorType], where: str) -> int:
    """Return how many outputs are differentiated."""
    aux = flat.attributes.get("aux", 0)
    if type(aux) is not int or not 0 <= aux < len(outputs):
        raise InvalidGraph(
            f"aux counts the trailing outputs that are not differentiated, of {len(outputs)} in all; "
            f"{shown(aux)} leaves none to differentiate or is no such count",
            where=f"{where}.aux",
        )
    return len(outputs) - aux


def _check_derivative(
    flat: FlatTransform, inputs: Sequence[TensorType], outputs: Sequence[TensorType], where: str
) -> None:
    argnums = _items(flat, "argnums", where)
    if not argnums:
        raise InvalidGraph("argnums must be non-empty", where=f"{where}.argnums")
    for i, position in enumerate(argnums):
        if type(position) is not int or not 0 <= position < len(inputs):
            raise InvalidGraph(
                f"argnums are positions from 0 to {len(inputs) - 1}, not {shown(position)}",
                where=f"{where}.argnums[{i}]",
            )
        _check_differentiable(inputs[position], f"argument leaf {position}", f"{where}.argnums[{i}]")
    if len(set(argnums)) != len(argnums):
        raise InvalidGraph(f"argnums must be unique, not {shown(list(argnums))}", where=f"{where}.argnums")
    if flat.name in ("grad", "grad_and_value"):
        if len(outputs) != 1 or outputs[0].shape:
            given = ", ".join(map(str, outputs))
            raise InvalidGraph(f"{flat.name} needs one scalar output before the aux, not {given}", where=where)
    elif flat.name in ("jacrev", "hessian"):
        for i, type_ in enumerate(outputs):
            _check_differentiable(type_, f"output leaf {i}", where)


def _check_product(
    flat: FlatTransform, inputs: Sequence[TensorType], outputs: Sequence[TensorType], all_outputs: int, where: str
) -> None:
    count = primal_count(flat.name, len(inputs), 0, all_outputs, flat.attributes)
    if not count:
        raise InvalidGraph(
            f"{flat.name} takes the leaves of the function, then one "
            f"{'tangent for each' if flat.name == 'jvp' else 'cotangent for each output'}; "
            f"{len(inputs)} arrays are given",
            where=where,
        )
    for i, type in enumerate(inputs[:count]):
        _check_differentiable(type, f"argument leaf {i}", where)
    word, partners = ("tangent", inputs[:count]) if flat.name == "jvp" else ("cotangent", outputs)
    for i, (given, partner) in enumerate(zip(inputs[count:], partners, strict=True)):
        _check_differentiable(given, f"{word} {i}", where)
        if flat.name == "vjp":
            _check_differentiable(partner, f"output leaf {i}", where)
        if not _same_shape(given, partner):
            raise InvalidGraph(f"{word} {i} is {given}, and what it belongs to {partner}", where=where)


def _check_differentiable(type: TensorType, what: str, where: str) -> None:
    if not DTYPES[type.dtype].is_differentiable:
        raise InvalidGraph(f"{what} is {type}; derivatives need a floating or complex dtype", where=where)


def _check_body_inputs(
    flat: FlatTransform, inputs: Sequence[TensorType], body_inputs: Sequence[TensorType], where: str
) -> None:
    seen = flat_inner_types(flat, inputs, len(body_inputs))
    if len(seen) != len(body_inputs):
        raise InvalidGraph(
            f"the function takes {len(body_inputs)} leaves, {flat.name} gives it {len(seen)}", where=where
        )
    for i, (given, expected) in enumerate(zip(seen, body_inputs, strict=True)):
        if given.dtype != expected.dtype or not _same_shape(given, expected):
            raise InvalidGraph(
                f"{flat.name} gives {given} as leaf {i} of a function that takes {expected}", where=where
            )


def _same_shape(left: TensorType, right: TensorType) -> bool:
    return len(left.shape) == len(right.shape) and all(map(_may_equal, left.shape, right.shape))


def _may_equal(left: Dimension, right: Dimension) -> bool:
    """A symbol agrees with any length: only the call binds it."""
    return left == right or isinstance(left, str) or isinstance(right, str)
