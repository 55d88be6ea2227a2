"""The flat transforms, each by torch.func's own function of the same name.

One place serves both the chain around a whole function and the higher-order equations inside
it. The flat forms are those of the table in ``docs/architecture.md``: leaves in, leaves out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch._C._functorch import peek_interpreter_stack

from farfunc_protocol.errors import InvalidRequest
from farfunc_protocol.strict_json import shown
from farfunc_protocol.transforms import RANDOMNESS, FlatTransform
from farfunc_protocol.transforms.flat import ATTRIBUTES

__all__ = ["SLICE_ATTRIBUTES", "FlatCallable", "dispatch_state", "is_stack_empty", "transformed"]

SLICE_ATTRIBUTES: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "jacrev_rows": (("argnums", "output"), ("aux",)),
    "jacfwd_columns": (("argnums", "argument"), ("aux",)),
}
"""Transforms that are ours alone, with their attributes: some rows of a Jacobian in reverse mode, some columns in
forward mode. No request can name them. Their last leaf holds the cotangents, or the tangents, one below another.

As torch.func has it, the cotangents of the other outputs and the tangents of the other argnums are zeros: they are not
left out, for what an infinite derivative makes of zero is NaN."""

Leaves = tuple[torch.Tensor, ...]

_WithAux = tuple[Leaves, Any, Leaves]
"""What torch's jvp and vjp return with ``has_aux=True``; their annotations leave open whether there is an aux."""


@dataclass(frozen=True, slots=True)
class FlatCallable:
    """A function from leaves to a tuple of leaves, and how many there are of each."""

    function: Callable[..., Leaves]
    inputs: int
    outputs: int


def is_stack_empty() -> bool:
    """Whether no level of a transform is open in this process, as it should be between evaluations."""
    return peek_interpreter_stack() is None


def dispatch_state() -> tuple[str, str]:
    """Which of torch's dispatch keys this thread adds and leaves out; the same between evaluations."""
    return str(torch._C._dispatch_tls_local_include_set()), str(torch._C._dispatch_tls_local_exclude_set())


def transformed(flat: FlatTransform, inner: FlatCallable) -> FlatCallable:
    """Apply one flat transform.

    Raises
    ------
    InvalidRequest
        For attributes that are not of the flat form. What they mean is left to torch.func, so
        that a wrong axis is refused in its words.
    """
    _check_form(flat, inner)
    return _TRANSFORMS[flat.name](inner, flat.attributes)


def _check_form(flat: FlatTransform, inner: FlatCallable) -> None:
    required, optional = ATTRIBUTES.get(flat.name) or SLICE_ATTRIBUTES[flat.name]
    for name in required:
        if name not in flat.attributes:
            raise InvalidRequest(f"{flat.name} needs {name}", where=f"{flat.name}.{name}")
    for name, value in flat.attributes.items():
        if name not in required and name not in optional:
            raise InvalidRequest(f"{flat.name} takes no {name}", where=f"{flat.name}.{name}")
        is_right, meaning = _FORMS[name](value, inner)
        if not is_right:
            raise InvalidRequest(f"{name} is {meaning}, not {shown(value)}", where=f"{flat.name}.{name}")


def _is_int(value: Any) -> bool:
    return type(value) is int


def _are_positions(value: Any, inner: FlatCallable) -> tuple[bool, str]:
    is_right = isinstance(value, tuple) and bool(value) and all(_is_int(n) and 0 <= n < inner.inputs for n in value)
    return is_right, f"a list of positions from 0 to {inner.inputs - 1}"


def _are_axes(value: Any, count: int) -> tuple[bool, str]:
    is_right = isinstance(value, tuple) and len(value) == count and all(n is None or _is_int(n) for n in value)
    return is_right, f"a list of {count} axes, each an integer or null"


_FORMS: Mapping[str, Callable[[Any, FlatCallable], tuple[bool, str]]] = {
    "argnums": _are_positions,
    "aux": lambda value, inner: (_is_int(value) and 0 <= value < inner.outputs, f"a count below {inner.outputs}"),
    "in_dims": lambda value, inner: _are_axes(value, inner.inputs),
    "out_dims": lambda value, inner: _are_axes(value, inner.outputs),
    "output": lambda value, inner: (_is_int(value) and 0 <= value < inner.outputs, f"a position below {inner.outputs}"),
    "argument": lambda value, inner: (_is_int(value) and 0 <= value < inner.inputs, f"a position below {inner.inputs}"),
    "randomness": lambda value, _: (value in RANDOMNESS, f"one of {', '.join(RANDOMNESS)}"),
    "chunk_size": lambda value, _: (value is None or _is_int(value), "an integer or null"),
}
"""For each attribute: whether a value has its form, and the form in words."""


def _split_aux(inner: FlatCallable, aux: int) -> Callable[..., tuple[Leaves, Leaves]]:
    kept = inner.outputs - aux

    def function(*leaves: torch.Tensor) -> tuple[Leaves, Leaves]:
        results = inner.function(*leaves)
        return results[:kept], results[kept:]

    return function


def _leaves(tree: Any) -> Leaves:
    """The leaves of nested tuples of tensors, in order."""
    if isinstance(tree, torch.Tensor):
        return (tree,)
    return tuple(leaf for item in tree for leaf in _leaves(item))


def _jacobian(transform: Callable[..., Any], inner: FlatCallable, attributes: Mapping[str, Any], **given: Any) -> Any:
    argnums, aux = attributes["argnums"], attributes.get("aux", 0)
    if aux:
        call = transform(_split_aux(inner, aux), argnums, has_aux=True, **given)
    else:
        call = transform(inner.function, argnums, **given)
    outputs = (inner.outputs - aux) * len(argnums) + aux
    return FlatCallable(lambda *leaves: _leaves(call(*leaves)), inner.inputs, outputs)


def _jacfwd(inner: FlatCallable, attributes: Mapping[str, Any]) -> FlatCallable:
    return _jacobian(torch.func.jacfwd, inner, attributes, randomness=attributes.get("randomness", "error"))


def _jacrev(inner: FlatCallable, attributes: Mapping[str, Any]) -> FlatCallable:
    return _jacobian(torch.func.jacrev, inner, attributes, chunk_size=attributes.get("chunk_size"))


def _jacrev_rows(inner: FlatCallable, attributes: Mapping[str, Any]) -> FlatCallable:
    """For each of argnums the rows of output's Jacobian that the cotangents choose; then aux."""
    argnums, output, aux = attributes["argnums"], attributes["output"], attributes.get("aux", 0)
    kept = inner.outputs - aux

    def call(*leaves: torch.Tensor) -> Leaves:
        *arguments, cotangents = leaves

        def function(*chosen: torch.Tensor) -> tuple[Leaves, Leaves]:
            results = inner.function(*_replaced(arguments, argnums, chosen))
            return results[:kept], results[kept:]

        primals = (arguments[position] for position in argnums)
        results, pull_back, rest = cast(_WithAux, torch.func.vjp(function, *primals, has_aux=True))
        along = [result.new_zeros((len(cotangents), *result.shape)) for result in results]
        along[output] = cotangents
        return (*torch.func.vmap(lambda *each: pull_back(each))(*along), *rest)

    return FlatCallable(call, inner.inputs + 1, len(argnums) + aux)


def _jacfwd_columns(inner: FlatCallable, attributes: Mapping[str, Any]) -> FlatCallable:
    """For each output the columns of argument's Jacobian that the tangents choose, as rows; then aux."""
    argnums, argument, aux = attributes["argnums"], attributes["argument"], attributes.get("aux", 0)
    kept = inner.outputs - aux

    def call(*leaves: torch.Tensor) -> Leaves:
        *arguments, tangents = leaves
        primals = tuple(arguments[position] for position in argnums)

        def function(*chosen: torch.Tensor) -> tuple[Leaves, Leaves]:
            results = inner.function(*_replaced(arguments, argnums, chosen))
            return results[:kept], results[kept:]

        def push_forward(*each: torch.Tensor) -> tuple[Leaves, Leaves]:
            _, pushed, rest = cast(_WithAux, torch.func.jvp(function, primals, each, has_aux=True))
            return pushed, rest

        along = [
            tangents if position == argument else primal.new_zeros((len(tangents), *primal.shape))
            for position, primal in zip(argnums, primals, strict=True)
        ]
        # As torch.func.jacfwd has it: aux comes with a batch axis, of which the first is taken.
        pushed, rest = torch.func.vmap(push_forward)(*along)
        return (*pushed, *(leaf[0] for leaf in rest))

    return FlatCallable(call, inner.inputs + 1, inner.outputs)


def _replaced(
    leaves: Sequence[torch.Tensor], positions: Sequence[int], others: Sequence[torch.Tensor]
) -> list[torch.Tensor]:
    """The leaves, with others at some positions."""
    whole = list(leaves)
    for position, other in zip(positions, others, strict=True):
        whole[position] = other
    return whole


def _hessian(inner: FlatCallable, attributes: Mapping[str, Any]) -> FlatCallable:
    argnums = attributes["argnums"]
    call = torch.func.hessian(inner.function, argnums)
    return FlatCallable(lambda *leaves: _leaves(call(*leaves)), inner.inputs, inner.outputs * len(argnums) ** 2)


def _scalar_function(inner: FlatCallable, aux: int) -> Callable[..., Any]:
    def function(*leaves: torch.Tensor) -> Any:
        results = inner.function(*leaves)
        return (results[0], results[1:]) if aux else results[0]

    return function


def _grad(inner: FlatCallable, attributes: Mapping[str, Any]) -> FlatCallable:
    argnums, aux = attributes["argnums"], attributes.get("aux", 0)
    call = torch.func.grad(_scalar_function(inner, aux), argnums, has_aux=bool(aux))
    return FlatCallable(lambda *leaves: _leaves(call(*leaves)), inner.inputs, len(argnums) + aux)


def _grad_and_value(inner: FlatCallable, attributes: Mapping[str, Any]) -> FlatCallable:
    argnums, aux = attributes["argnums"], attributes.get("aux", 0)
    call = torch.func.grad_and_value(_scalar_function(inner, aux), argnums, has_aux=bool(aux))
    return FlatCallable(lambda *leaves: _leaves(call(*leaves)), inner.inputs, len(argnums) + 1 + aux)


def _vmap(inner: FlatCallable, attributes: Mapping[str, Any]) -> FlatCallable:
    out_dims = attributes["out_dims"]
    # The batch axes come first, and are moved here: torch 2.13 expands an output without one at the front, whatever
    # its out_dim, and fails (`vmap(lambda x: ones(3), out_dims=1)`).
    call = torch.func.vmap(
        inner.function,
        in_dims=attributes["in_dims"],
        out_dims=tuple(None if axis is None else 0 for axis in out_dims),  # type: ignore[arg-type]  # torch takes None
        randomness=attributes.get("randomness", "error"),
        chunk_size=attributes.get("chunk_size"),
    )

    def mapped(*leaves: torch.Tensor) -> Leaves:
        pairs = zip(call(*leaves), out_dims, strict=True)
        return tuple(leaf.movedim(0, axis) if axis else leaf for leaf, axis in pairs)

    return FlatCallable(mapped, inner.inputs, inner.outputs)


def _jvp(inner: FlatCallable, attributes: Mapping[str, Any]) -> FlatCallable:
    aux = attributes.get("aux", 0)
    function = _split_aux(inner, aux) if aux else inner.function

    def call(*leaves: torch.Tensor) -> Leaves:
        primals, tangents = leaves[: inner.inputs], leaves[inner.inputs :]
        return _leaves(torch.func.jvp(function, primals, tangents, has_aux=bool(aux)))

    return FlatCallable(call, 2 * inner.inputs, 2 * (inner.outputs - aux) + aux)


def _vjp(inner: FlatCallable, attributes: Mapping[str, Any]) -> FlatCallable:
    aux = attributes.get("aux", 0)
    outputs = inner.outputs - aux
    function = _split_aux(inner, aux) if aux else inner.function

    def call(*leaves: torch.Tensor) -> Leaves:
        primals, cotangents = leaves[: inner.inputs], leaves[inner.inputs :]
        results, pull_back, *rest = torch.func.vjp(function, *primals, has_aux=bool(aux))
        return (*results, *_leaves(pull_back(tuple(cotangents))), *_leaves(rest))

    return FlatCallable(call, inner.inputs + outputs, outputs + inner.inputs + aux)


_TRANSFORMS: Mapping[str, Callable[[FlatCallable, Mapping[str, Any]], FlatCallable]] = {
    "jacfwd": _jacfwd,
    "jacrev": _jacrev,
    "jacfwd_columns": _jacfwd_columns,
    "jacrev_rows": _jacrev_rows,
    "hessian": _hessian,
    "grad": _grad,
    "grad_and_value": _grad_and_value,
    "vmap": _vmap,
    "jvp": _jvp,
    "vjp": _vjp,
    "call": lambda inner, _: inner,
}
