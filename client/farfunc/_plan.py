"""What a call comes down to: a traced function, a chain of flat transforms, and how to put the result together."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from farfunc_protocol.errors import UnsupportedOperator
from farfunc_protocol.graph import Function, TensorType
from farfunc_protocol.pytree import TreeSpec, flatten, unflatten
from farfunc_protocol.transforms import FlatTransform, Transform

from ._dependence import depends_on
from ._fingerprint import Fingerprint
from ._tracing import FrontEnd, is_type, trace
from ._writes import Returned, Write, carry, through_maps

__all__ = ["Plan", "Result", "make_plan"]


@dataclass(frozen=True, slots=True, eq=False)
class Result:
    """The tree of a result.

    Attributes
    ----------
    tree:
        The user's own containers; every leaf has a place, static ones too.
    template:
        The static leaves in their places.
    places:
        The places of the arrays.
    """

    tree: TreeSpec
    template: tuple[Any, ...]
    places: tuple[int, ...]

    @classmethod
    def of(cls, spec_tree: Any) -> Result:
        """Take a spec tree apart."""
        leaves, tree = flatten(spec_tree)
        places = tuple(place for place, leaf in enumerate(leaves) if is_type(leaf))
        return cls(tree, tuple(None if is_type(leaf) else leaf for leaf in leaves), places)

    def fill(self, arrays: Sequence[Any]) -> Any:
        """Put arrays into their places."""
        if self.tree.kind == "leaf" and self.places:
            return arrays[0]
        leaves = list(self.template)
        for place, array in zip(self.places, arrays, strict=True):
            leaves[place] = array
        return unflatten(self.tree, leaves)


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """All that a call needs besides its arrays.

    Attributes
    ----------
    transforms:
        In flat form, outermost first.
    result:
        How the result leaves are put together.
    is_random:
        Whether the function draws random numbers.
    captured:
        For each array that the graph uses and the fingerprint reaches: the number of its capture,
        and its place among the arrays of the fingerprint.
    captured_elsewhere:
        For each array that the graph uses and the fingerprint does not reach: the number of its
        capture, and the array.
    output_types:
        What the function itself returns, before any transform.
    draws:
        Where the random numbers come from, if the front end can tell: a
        :class:`~farfunc._torch.generator.Draws`.
    writes:
        To which of the call's array leaves it writes: their values are the last results.
    returned:
        Which result leaves are such arrays, or views of them.
    """

    transforms: tuple[FlatTransform, ...]
    result: Result
    is_random: bool
    captured: tuple[tuple[int, int], ...]
    captured_elsewhere: tuple[tuple[int, Any], ...]
    output_types: tuple[TensorType, ...]
    draws: Any = None
    writes: tuple[Write, ...] = ()
    returned: tuple[Returned, ...] = ()

    @property
    def written(self) -> tuple[int, ...]:
        """The positions of the array leaves that it writes to."""
        return tuple(write.position for write in self.writes)


def make_plan(
    chain: Sequence[Transform],
    func: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    front_end: FrontEnd,
    examples: Sequence[Any] = (),
    reached: Fingerprint | None = None,
) -> tuple[Function, Plan]:
    """Trace a function under a chain of transforms.

    Parameters
    ----------
    chain:
        Outermost first.
    func:
        What the innermost of them transforms.
    args, kwargs:
        What the outermost is called with, as spec trees.
    front_end, examples:
        As for :func:`~farfunc._tracing.trace`.
    reached:
        What ``func`` closes over, so that later calls find their own arrays in the same places.

    Raises
    ------
    TransformError
        Where torch.func refuses the arguments or the result.
    TraceError, NeedsTorch, StaticLeaves
        From the trace.
    """
    levels: list[tuple[tuple[Any, ...], Mapping[str, Any]]] = [(args, kwargs)]
    for transform in chain:
        levels.append(transform.inner(*levels[-1]))
    traced = trace(func, *levels[-1], front_end, examples)
    if getattr(traced.draws, "is_seeded", False) and any(getattr(transform, "chunk_size", None) for transform in chain):
        raise UnsupportedOperator(
            "the function calls torch.manual_seed, and is to run again for each chunk of a vmap",
            remedy="leave out chunk_size, or call torch.manual_seed before the transformed function",
        )
    out, flats = traced.out, []
    for transform, level in reversed(list(zip(chain, levels, strict=False))):
        result = transform.outer(*level, out)
        if not flats:
            transform.check_dependence(*level, out, partial(depends_on, traced.function.graph))
        flats += reversed(carry(transform.flat(*level, out), traced.writes, traced.function.graph))
        out = result
    from farfunc_protocol.ops import OPS  # at the first use, as in the builder

    is_random = any(
        equation.op in OPS and OPS[equation.op].draws(equation.attributes) for equation in traced.function.graph.walk()
    )
    places = {id(array): place for place, (_, array) in enumerate(reached.arrays if reached else ())}
    plan = Plan(
        transforms=tuple(reversed(flats)),
        result=Result.of(out),
        is_random=is_random,
        captured=tuple((number, places[id(array)]) for number, array in traced.captured if id(array) in places),
        captured_elsewhere=tuple(item for item in traced.captured if id(item[1]) not in places),
        output_types=tuple(leaf for leaf in flatten(traced.out)[0] if is_type(leaf)),
        draws=traced.draws,
        writes=traced.writes,
        returned=through_maps(traced.aliases, traced.writes, flats[::-1]),
    )
    return traced.function, plan
