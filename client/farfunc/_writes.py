"""Writes into a function's arguments: ``x[0] = 1.0``, ``y.copy_(x)``, seen by the caller, as if it were computed here.

A graph has no effects. So the final value of an argument that was written to is one more output of the graph, after
those of the result, and the caller's array is given it when the call returns. Through transforms these outputs travel
as aux does: without derivatives, and under vmap with the batch axis of their argument.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NoReturn

from farfunc_protocol.errors import MutationError
from farfunc_protocol.graph import Graph, TensorType
from farfunc_protocol.transforms import FlatTransform

from ._dependence import depends_on

__all__ = ["Alias", "Returned", "Write", "carry", "refuse_writes", "through_maps"]


@dataclass(frozen=True, slots=True, eq=False)
class Write:
    """The writes to one argument.

    Attributes
    ----------
    position:
        Of the argument, among the array leaves.
    type:
        Of what it holds when the function has returned, which is an output of the graph.
    where:
        The user's line of a write that counts for derivatives; None where that is not known.
    is_differentiated:
        Whether there is such a write: all may have been made under ``torch.no_grad()``.
    is_through_view:
        Whether that was a write to a view of the argument.
    """

    position: int
    type: TensorType
    where: str | None = None
    is_differentiated: bool = True
    is_through_view: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Alias:
    """What a front end knows of a result that is an argument, or a view of one.

    Attributes
    ----------
    position:
        Of the argument, among the array leaves.
    views:
        What leads from the argument to the result: functions of an array, the first applied first.
    """

    position: int
    views: tuple[Any, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Returned:
    """A result that shares the memory of a written argument, so that the caller is given that and no copy.

    Attributes
    ----------
    output:
        The number of the result leaf.
    alias:
        Which argument, and how the function views it.
    axes:
        For each vmap around it, outermost first: the mapped axis of the argument and that of the result.
    """

    output: int
    alias: Alias
    axes: tuple[tuple[int, int], ...]


def carry(flat: FlatTransform, writes: Sequence[Write], graph: Graph) -> tuple[FlatTransform, ...]:
    """Let a flat transform pass on the trailing outputs that hold written arguments.

    Parameters
    ----------
    flat:
        The transform of the function without them.
    writes:
        In the order of these outputs.
    graph:
        The function that was traced, with them.

    Returns
    -------
    tuple[FlatTransform, ...]
        In place of ``flat``, outermost first: jacfwd of jacrev for a Hessian, which has no aux.

    Raises
    ------
    MutationError
        Where torch.func refuses the write.
    """
    if not writes or flat.name == "call":
        return (flat,)
    if flat.name == "vmap":
        return (_carry_through_vmap(flat, writes, graph),)
    if flat.name in _REVERSE:
        differentiated = range(len(graph.inputs)) if flat.name == "vjp" else flat.attributes["argnums"]
        for write in writes:
            if write.position in differentiated and write.is_differentiated:
                _refuse_leaf(write.where, write.is_through_view)
    if flat.name == "hessian":
        argnums = {"argnums": flat.attributes["argnums"], "aux": len(writes)}
        return FlatTransform("jacfwd", argnums), FlatTransform("jacrev", argnums)
    return (FlatTransform(flat.name, {**flat.attributes, "aux": flat.attributes.get("aux", 0) + len(writes)}),)


_REVERSE = frozenset({"jacrev", "hessian", "grad", "grad_and_value", "vjp"})


def _carry_through_vmap(flat: FlatTransform, writes: Sequence[Write], graph: Graph) -> FlatTransform:
    in_dims = flat.attributes["in_dims"]
    batched = [position for position, axis in enumerate(in_dims) if axis is not None]
    drawn = _random_variables(graph)
    varies, is_random = depends_on(graph, batched), depends_on(graph, drawn)
    refused = {
        "error": "vmap: called random operation while in randomness error mode",
        "same": "Vmap does not currently support same randomness with a batched tensor input",
    }.get(flat.attributes.get("randomness", "error"))
    draws_for_samples = any(depends_on(replace(graph, outputs=tuple(drawn)), batched))
    first = len(graph.outputs) - len(writes)
    for output, write in enumerate(writes, first):
        if in_dims[write.position] is not None:
            continue
        if varies[output] and is_random[output] and draws_for_samples and refused is not None:
            raise MutationError(  # which torch finds before it comes to the write
                refused,
                where=write.where,
                remedy='map the argument that is written, and give vmap randomness="different"',
            )
        if varies[output]:
            raise MutationError(
                "vmap: inplace arithmetic(self, *extra_args) is not possible because there exists a Tensor `other` in "
                "extra_args that has more elements than `self`. This happened due to `other` being vmapped over but "
                "`self` not being vmapped over in a vmap",
                where=write.where,
                remedy="use out-of-place operators instead of inplace arithmetic, or map the argument that is written",
            )
        if is_random[output] and flat.attributes.get("randomness") == "different":
            raise MutationError(
                "vmap: Cannot ask for different inplace randomness on an unbatched tensor. This will appear like same "
                "randomness",
                where=write.where,
                remedy="map the argument that is written, or draw for all samples before the call",
            )
        if "chunk_size" in flat.attributes:
            raise MutationError(
                "vmap with chunk_size writes to an argument that is not mapped: once for each chunk",
                where=write.where,
                remedy="leave chunk_size out, or write outside of the mapped function",
            )
    out_dims = (*flat.attributes["out_dims"], *(in_dims[write.position] for write in writes))
    return FlatTransform("vmap", {**flat.attributes, "out_dims": out_dims})


def _random_variables(graph: Graph) -> list[int]:
    from farfunc_protocol.ops import OPS  # at the first use, as in the builder

    return [
        variable
        for equation in graph.equations
        if any(
            inner.op in OPS and OPS[inner.op].draws(inner.attributes)
            for inner in (equation, *(equation.body.walk() if equation.body is not None else ()))
        )
        for variable in equation.outputs
    ]


def _refuse_leaf(where: str | None, is_view: bool) -> NoReturn:
    raise MutationError(
        f"a {'view of a ' if is_view else ''}leaf Variable that requires grad is being used in an in-place operation. "
        "The function writes to an argument by which it is differentiated in reverse mode",
        where=where,
        remedy="work on a copy: x = x.clone(), or x.copy() in NumPy",
    )


def refuse_writes(writes: Sequence[Write], what: str) -> None:
    """Raise MutationError where a function with writes to its arguments cannot be used."""
    if writes:
        raise MutationError(
            f"{what} writes to its arguments",
            where=writes[0].where,
            remedy="let it work on copies (x = x.clone(), or x.copy() in NumPy), and return what it has written",
        )


def through_maps(
    aliases: Sequence[tuple[int, Alias]], writes: Sequence[Write], flats: Sequence[FlatTransform]
) -> tuple[Returned, ...]:
    """Which result leaves share the memory of a written argument under a chain of transforms.

    Under vmap they do, as in torch.func; other transforms return new arrays.
    """
    if any(flat.name != "vmap" for flat in flats):
        return ()
    written, found = {write.position for write in writes}, []
    for output, alias in aliases:
        axes = [(flat.attributes["in_dims"][alias.position], flat.attributes["out_dims"][output]) for flat in flats]
        mapped = [(first, second) for first, second in axes if first is not None and second is not None]
        # With only one of the two axes the result is expanded.
        if alias.position in written and all((first is None) == (second is None) for first, second in axes):
            found.append(Returned(output, alias, tuple(mapped)))
    return tuple(found)
