"""Run a user's function once on tracers, and keep the graph that it writes.

A *front end* knows one kind of arrays (torch's, NumPy's) and how a traced value of that kind
behaves; a *trace* is one run of a function under a front end. Neither sees a transform:
:mod:`farfunc._nested` nests the bodies.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from farfunc_protocol.arrays import Array
from farfunc_protocol.builder import GraphBuilder, Value
from farfunc_protocol.errors import DataDependentError, TraceError
from farfunc_protocol.graph import Function, TensorType
from farfunc_protocol.pytree import flatten, spec_map, spec_tree, unflatten

from ._signals import NeedsStatic
from ._writes import Alias, Returned, Write

__all__ = [
    "FrontEnd",
    "StaticLeaves",
    "Trace",
    "Traced",
    "aliases_of",
    "current_trace",
    "is_type",
    "running",
    "spec_of",
    "trace",
]


class FrontEnd(Protocol):
    """What is known of one kind of arrays."""

    @property
    def name(self) -> str: ...

    def is_array(self, leaf: Any) -> bool:
        """Whether the leaf is an array, concrete or traced; every other leaf is a static value."""
        ...

    def type_of(self, leaf: Any) -> TensorType: ...

    def to_array(self, leaf: Any) -> Array:
        """A concrete leaf, for the wire."""
        ...

    def results(self, call: Any, arrays: Sequence[Array], like: Any) -> list[Any]:
        """Back again: the result leaves of a :class:`~farfunc._call.Call`.

        In kind and device of ``like``, one of the call's arguments (None: the front end's own kind), and
        part of the local autograd graph where the front end has one.
        """
        ...

    def check_overwrite(self, leaves: Sequence[Any], written: Sequence[int]) -> None:
        """Refuse, before a call is evaluated, to overwrite those of its array leaves that it will have written to."""
        ...

    def overwrite(self, leaf: Any, array: Any) -> None:
        """Write a result, made by ``from_array``, to the call's own array."""
        ...

    def view_of(self, leaf: Any, returned: Returned) -> Any:
        """The call's own array, or a view of it, as a result; None for a copy."""
        ...

    def settings(self) -> Any:
        """What outside of a function changes what it computes, such as torch's default dtype; hashable."""
        ...

    def draw(self, draws: Any) -> dict[str, Any]:
        """What an evaluation draws random numbers from: ``{"generator": state}`` or ``{"seed": int}``.

        ``draws`` is that of :class:`Traced`.
        """
        ...

    def drawn(self, draws: Any, state: Array) -> None:
        """Go on from the state in which an evaluation left the generator."""
        ...

    def guard(self, chain: Sequence[Any]) -> AbstractContextManager[Any]:
        """What torch.func refuses around a call under these transforms, and inside the function."""
        ...

    def start(self) -> AbstractContextManager[Any]:
        """Begin a :class:`Trace` in this thread."""
        ...


class Trace(Protocol):
    """One run of a function on tracers."""

    @property
    def front_end(self) -> FrontEnd: ...

    @property
    def builder(self) -> GraphBuilder:
        """The innermost."""
        ...

    def user_line(self) -> str | None:
        """The line of the user's own source that is running, as ``arm.py:12, in forward``."""
        ...

    def nested(self) -> AbstractContextManager[GraphBuilder]:
        """A body: what is traced inside goes to a builder of its own."""
        ...

    def lift(self, value: Value) -> Any:
        """What the user's function handles in place of the value."""
        ...

    def argument(self, value: Value, like: Any) -> Any:
        """The same for an argument leaf of the call, which ``like`` is, if there is a call.

        torch's tracers are on its device; NumPy's promote nothing where it is a Python number.
        """
        ...

    def lower(self, leaf: Any) -> Value:
        """Back again; a concrete array becomes a constant."""
        ...

    def written(self, inputs: Sequence[Value]) -> list[tuple[Write, Value]]:
        """Which of a body's arguments, of which these are the values, were written to, and what they hold now."""
        ...

    def alias_in(self, leaf: Any, inputs: Sequence[Value]) -> Alias | None:
        """Of which of these arguments a leaf is a view, or which it is; None where it has memory of its own."""
        ...

    def write(self, leaves: Sequence[Any], position: int, value: Value) -> None:
        """Let one of the leaves that were given to a transformed function hold what that has written to it."""
        ...

    # A front end that has the notion also tells whether it is inside torch.no_grad() (``grad_enabled: bool``), what
    # other settings make of the results of an equation (``settled(values) -> values``), and of which arrays its
    # constants are copies (``captured``: items with ``tensor`` and ``array``), and where its random numbers come from
    # (``draws``, with ``get_state()`` and ``set_state(array)``), and which refusal the function may have caught
    # (``refused``).


class StaticLeaves(Exception):
    """Internal: these argument leaves are Python numbers whose values the function needs; trace again with them static.

    Attributes
    ----------
    positions:
        Among the argument leaves of the function that was traced.
    error:
        What to raise where they cannot be static, because they are differentiated or batched.
    """

    def __init__(self, positions: frozenset[int], error: DataDependentError) -> None:
        super().__init__(str(error))
        self.positions = positions
        self.error = error


@dataclass(frozen=True, slots=True)
class Traced:
    """What a trace gives.

    Attributes
    ----------
    function:
        The graph with its constants.
    out:
        The result as a spec tree: the user's own containers, array leaves as ``TensorType``.
    captured:
        The arrays of which constants of the graph are copies, each with the number of its constant, where the
        front end can tell.
    writes:
        To which arguments it writes. Their final values are the last outputs of the graph, and the function's
        ``out_tree`` is then that of ``(result, [value, ...])``.
    aliases:
        Which array leaves of the result are arguments or views of them, by number.
    draws:
        Where its random numbers come from, where the front end can tell.
    """

    function: Function
    out: Any
    captured: tuple[tuple[int, Any], ...] = ()
    writes: tuple[Write, ...] = ()
    aliases: tuple[tuple[int, Alias], ...] = ()
    draws: Any = None


def is_type(leaf: Any) -> bool:
    """Whether a leaf of a spec tree stands for an array."""
    return isinstance(leaf, TensorType)


def spec_of(tree: Any, front_end: FrontEnd) -> Any:
    """The spec tree of a tree of arrays."""
    return spec_map(lambda leaf: front_end.type_of(leaf) if front_end.is_array(leaf) else leaf, tree)


class _Running(threading.local):
    def __init__(self) -> None:
        self.traces: list[Trace] = []


_running = _Running()


def current_trace() -> Trace | None:
    """The trace that runs in this thread, None outside of one."""
    return _running.traces[-1] if _running.traces else None


@contextmanager
def running(trace: Trace) -> Iterator[None]:
    """Make a trace the current one of this thread."""
    _running.traces.append(trace)
    try:
        yield
    finally:
        _running.traces.pop()


def trace(
    func: Callable[..., Any],
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    front_end: FrontEnd,
    examples: Sequence[Any] = (),
) -> Traced:
    """Write down what ``func`` does with arguments of these types.

    Parameters
    ----------
    func:
        The user's function, or a transformed one.
    args, kwargs:
        Spec trees: ``TensorType`` where an array comes, the value itself for every other leaf.
    front_end:
        The kind of arrays that ``func`` is given.
    examples:
        The call's own arrays, in the order of the leaves; there may be more of them, or none.

    Raises
    ------
    TraceError
        With the user's own line, where the function cannot be written down.
    NeedsTorch, StaticLeaves
        To be caught by the caller, who traces again.
    """
    stored = getattr(func, "__farfunc_traced__", None)
    if stored is not None:  # a registered function: there is nothing to run
        return stored(args, kwargs)
    types, in_tree = flatten((tuple(args), dict(kwargs)), is_array=is_type)
    with front_end.start() as run, running(run):
        inputs = [run.builder.input(type) for type in types]
        likes = [*examples, *[None] * len(inputs)]
        leaves = [run.argument(value, like) for value, like in zip(inputs, likes, strict=False)]
        inner_args, inner_kwargs = unflatten(in_tree, leaves)
        try:
            result = func(*inner_args, **inner_kwargs)
            refused = getattr(run, "refused", None)
            if refused is not None:  # the function has caught it, and gone on without what it had asked for
                refused.add_note("the function caught this error and went on; without a trace there is none to catch")
                raise refused
        except NeedsStatic as needs:
            positions = {id(value): position for position, value in enumerate(inputs)}
            if any(id(value) not in positions for value in needs.values):  # arguments of a nested function
                raise needs.error from None
            raise StaticLeaves(frozenset(positions[id(value)] for value in needs.values), needs.error) from None
        outputs, out_tree = flatten(result, is_array=front_end.is_array)
        values = [run.lower(leaf) for leaf in outputs]
        written = run.written(inputs)
        aliases = aliases_of(run, outputs, inputs) if written else ()
        finished = run.builder.finish([*values, *(value for _, value in written)])
        draws = getattr(run, "draws", None)
    constants = tuple(captured for captured in finished.captured if isinstance(captured, Array))
    if len(constants) != len(finished.captured):
        raise TraceError(
            "the function uses a traced value of another trace",
            remedy="pass the value as an argument instead of keeping it in a variable that outlives its function",
        )
    out = spec_tree(out_tree, [value.type for value in values])
    writes = tuple(write for write, _ in written)
    if writes:
        out_tree = flatten((out, [write.type for write in writes]), is_array=is_type)[1]
    function = Function(finished.graph, constants, in_tree, out_tree, finished.sources)
    numbers = {id(constant): number for number, constant in enumerate(constants)}
    captured = tuple(
        (numbers[id(item.array)], item.tensor) for item in getattr(run, "captured", ()) if id(item.array) in numbers
    )
    return Traced(function, out, captured, writes, aliases, draws)


def aliases_of(run: Trace, leaves: Sequence[Any], inputs: Sequence[Value]) -> tuple[tuple[int, Alias], ...]:
    """Which result leaves are arguments or views of them, by number."""
    found = [(number, run.alias_in(leaf, inputs)) for number, leaf in enumerate(leaves)]
    return tuple((number, alias) for number, alias in found if alias is not None)
