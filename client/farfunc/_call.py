"""A call of a transformed function outside of a trace, in two steps around the evaluation.

:meth:`Call.prepare` finds or makes the trace and takes the arrays out of the arguments;
:meth:`Call.finish` puts the result together. Between them stands the evaluator, synchronous or not.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from farfunc_protocol.arrays import Array
from farfunc_protocol.errors import TransformError
from farfunc_protocol.graph import TensorType
from farfunc_protocol.pytree import TreeSpec, spec_tree
from farfunc_protocol.transforms import Transform

from ._cache import Entry, TraceCache
from ._evaluator import Evaluator, default_evaluator
from ._fingerprint import Fingerprint
from ._front_ends import front_end_for, torch_front_end
from ._hints import Hint, Structure, hint_for, take_apart
from ._plan import Plan, make_plan
from ._signals import NeedsTorch
from ._tracing import FrontEnd, StaticLeaves

__all__ = ["Call", "call", "run", "traces"]

traces = TraceCache()
"""The traces of this process."""


def call(
    chain: Sequence[Transform],
    func: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    evaluator: Evaluator | None,
    then: Callable[[Any], Any] | None = None,
    earlier: Mapping[str, Any] | None = None,
) -> Any:
    """Evaluate ``func`` under a chain of transforms.

    Parameters
    ----------
    chain:
        Outermost first; empty for the function itself.
    func:
        A function that is not transformed itself.
    args, kwargs:
        What the outermost transform is called with.
    evaluator:
        None for the default client.
    then:
        Applied to the result.
    earlier:
        The ``drawn_from`` of a call whose random numbers are to be drawn again.

    Returns
    -------
    Any
        The result, or an awaitable of it if that is what the evaluator answers with.
    """
    prepared = Call.prepare(chain, func, args, kwargs, evaluator)
    prepared.draw_again(earlier)
    return run(prepared, then)


def run(prepared: Call, then: Callable[[Any], Any] | None = None) -> Any:
    """Evaluate a call that is prepared."""
    answer = prepared.evaluate()
    if isinstance(answer, Awaitable):
        return _finish_later(prepared, answer, then)
    result = prepared.finish(answer)
    return result if then is None else then(result)


async def _finish_later(prepared: Call, answer: Awaitable[list[Array]], then: Callable[[Any], Any] | None) -> Any:
    result = prepared.finish(await answer)
    return result if then is None else then(result)


@dataclass(slots=True, eq=False)
class Call:
    """One call.

    Attributes
    ----------
    chain, func, evaluator:
        As given to :func:`call`.
    leaves:
        All leaves of ``(args, kwargs)``, in the places that ``tree`` has for them.
    places:
        Which of them are arrays.
    front_end:
        The kind of these arrays.
    entry:
        The trace.
    reached:
        What the function closes over.
    drawn_from:
        For a function that draws random numbers: the generator's state or the seed. Given beforehand,
        it is that of an earlier call, whose numbers are drawn again.
    """

    chain: Sequence[Transform]
    func: Callable[..., Any]
    evaluator: Evaluator | None
    leaves: list[Any]
    tree: TreeSpec
    places: list[int]
    front_end: FrontEnd
    entry: Entry
    reached: Fingerprint
    drawn_from: dict[str, Any] | None = None
    _again: bool = False

    @classmethod
    def prepare(
        cls,
        chain: Sequence[Transform],
        func: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        evaluator: Evaluator | None,
    ) -> Call:
        """Find the trace that serves a call, or make it."""
        leaves, tree, structure = take_apart(args, kwargs)
        hint = hint_for(func, structure)
        while True:
            front_end = torch_front_end() if hint.needs_torch else front_end_for(func, leaves)
            places = [
                place
                for place, leaf in enumerate(leaves)
                if front_end.is_array(leaf) and not (place in hint.static and type(leaf) in (float, complex))
            ]
            try:
                with front_end.guard(chain):
                    entry, reached = _entry(chain, func, leaves, tree, structure, places, front_end, hint)
            except NeedsTorch:
                hint.needs_torch = True
            except StaticLeaves as needs:
                hint.static |= {places[position] for position in needs.positions}
                hint.error = needs.error
            else:
                return cls(chain, func, evaluator, leaves, tree, places, front_end, entry, reached)

    @property
    def arrays(self) -> list[Any]:
        """The array leaves of the arguments."""
        return [self.leaves[place] for place in self.places]

    def draw_again(self, earlier: Mapping[str, Any] | None) -> None:
        """Draw the random numbers of an earlier call, whose ``drawn_from`` this is."""
        if earlier is not None:
            self.drawn_from, self._again = dict(earlier), True

    def question(self) -> dict[str, Any]:
        """What is asked of the evaluator: the arguments of :meth:`~farfunc._evaluator.Evaluator.evaluate`."""
        plan: Plan = self.entry.payload
        if plan.writes:
            self.front_end.check_overwrite(self.arrays, plan.written)
        arrays = [self.front_end.to_array(leaf) for leaf in self.arrays]
        asked: dict[str, Any] = {"function": self.entry.function, "transforms": plan.transforms, "arrays": arrays}
        if self.entry.captures:
            asked["captures"] = self.entry.captures
        if plan.is_random:
            if self.drawn_from is None:
                self.drawn_from = self.front_end.draw(plan.draws)
            asked |= self.drawn_from
        return asked

    def evaluate(self) -> list[Array] | Awaitable[list[Array]]:
        """Ask the evaluator."""
        evaluator = self.evaluator or default_evaluator()
        return evaluator.evaluate(**self.question())

    def finish(self, arrays: Sequence[Array]) -> Any:
        """Put the result together from the leaves that the evaluator returned."""
        plan: Plan = self.entry.payload
        if plan.is_random and "generator" in (self.drawn_from or {}):
            *arrays, state = arrays
            if not self._again:  # as if it had drawn here
                self.front_end.drawn(plan.draws, state)
        leaves = self.front_end.results(self, arrays, _like(self.arrays))
        return plan.result.fill(self._write_back(leaves) if plan.writes else leaves)

    def _write_back(self, leaves: list[Any]) -> list[Any]:
        """Give the caller's arrays what was written to them; return the leaves of the result."""
        plan: Plan = self.entry.payload
        given, count = self.arrays, len(leaves) - len(plan.writes)
        for position, leaf in zip(plan.written, leaves[count:], strict=True):
            self.front_end.overwrite(given[position], leaf)
        found = leaves[:count]
        for returned in plan.returned:
            view = self.front_end.view_of(given[returned.alias.position], returned)
            found[returned.output] = found[returned.output] if view is None else view
        return found

    def captured_by_number(self) -> dict[int, Any]:
        """The arrays that the function closes over and its graph uses, by the number of their capture."""
        plan: Plan = self.entry.payload
        found = {number: self.reached.arrays[place][1] for number, place in plan.captured}
        return found | dict(plan.captured_elsewhere)


def _entry(
    chain: Sequence[Transform],
    func: Callable[..., Any],
    leaves: list[Any],
    tree: TreeSpec,
    structure: Structure,
    places: list[int],
    front_end: FrontEnd,
    hint: Hint,
) -> tuple[Entry, Fingerprint]:
    reached = Fingerprint()
    reached.add(func)
    types: list[TensorType | None] = [None] * len(leaves)
    kinds = []
    for place in places:
        leaf = leaves[place]
        types[place] = type_ = front_end.type_of(leaf)
        kinds += (type_, type(leaf), getattr(leaf, "device", None))
    if len(places) < len(leaves):
        for type_, leaf in zip(types, leaves, strict=True):
            if type_ is None:
                reached.add(leaf)
    for context in tree.contexts:  # the structure compares them as they are now, and they may change
        reached.add(context)
    setting = (front_end.name, structure, tuple(places), tuple(kinds), front_end.settings())
    key = (setting, tuple([transform.key for transform in chain]), tuple(reached.tokens))
    if reached.opaque is None:
        found = traces.find(key, reached)
        if found is not None:
            return found, reached
    snapshot = reached.snapshot() if reached.opaque is None else None
    spec = [leaf if type_ is None else type_ for type_, leaf in zip(types, leaves, strict=True)]
    args, kwargs = spec_tree(tree, spec)
    try:
        function, plan = make_plan(chain, func, args, kwargs, front_end, [leaves[place] for place in places], reached)
    except TransformError as error:
        if hint.static and hint.error is not None:  # a number that had to be static is differentiated or mapped
            raise hint.error from error
        raise
    return traces.add(key, reached, snapshot, function, plan), reached


def _like(arrays: Sequence[Any]) -> Any:
    """The argument whose kind and device the results have: the first that is more than a number."""
    return next(
        (leaf for leaf in arrays if not isinstance(leaf, float | complex | np.generic)), arrays[0] if arrays else None
    )
