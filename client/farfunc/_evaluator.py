"""What a call needs of a client, and which client serves a call that names none.

Clients stand above calls: they have the transforms as methods. So the choice of a default one is
handed down to this module (by :mod:`farfunc._wiring`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol

from farfunc_protocol.arrays import Array
from farfunc_protocol.graph import Function
from farfunc_protocol.transforms import FlatTransform

__all__ = ["Evaluator", "default_evaluator", "set_default_evaluator"]


class Evaluator(Protocol):
    """Evaluates functions under transforms; :class:`farfunc.Client` and :class:`farfunc.AsyncClient` do."""

    def evaluate(
        self,
        function: Function,
        transforms: Sequence[FlatTransform],
        arrays: Sequence[Array],
        seed: int | None = None,
        captures: Mapping[int, Array] | None = None,
        generator: Array | None = None,
    ) -> list[Array] | Awaitable[list[Array]]:
        """Evaluate ``function`` under ``transforms``.

        Parameters
        ----------
        function:
            The traced function; the same object for calls that share a trace.
        transforms:
            The chain in flat form, outermost first; empty for the function itself.
        arrays:
            The argument leaves of the outermost transform.
        seed:
            For functions that draw random numbers.
        captures:
            Values of the captures for which ``function.constants`` holds None, by number.
        generator:
            In place of a seed the state of torch's CPU generator.

        Returns
        -------
        list[Array]
            The result leaves of the outermost transform; then, if one was given, the generator's new state. Or an
            awaitable of them, and then the transformed function returns an awaitable, too.
        """
        ...


_choose: Callable[[], Evaluator]


def set_default_evaluator(choose: Callable[[], Evaluator]) -> None:
    """Say which client serves calls that name none; ``choose`` is called for each of them."""
    global _choose
    _choose = choose


def default_evaluator() -> Evaluator:
    """The client that serves a call that names none."""
    return _choose()
