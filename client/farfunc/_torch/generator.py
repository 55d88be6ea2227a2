"""The generator that a function's random numbers come from, which are drawn on the server.

Its state travels with the call and comes back: the server goes on drawing where this process
stands, so ``torch.manual_seed`` and ``torch.Generator`` mean here what they mean for a local call.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from farfunc_protocol.arrays import Array

from .capture import outside_traces
from .conversion import to_array, to_tensor
from .refusals import refuse_operator

__all__ = ["DEFAULT", "Drawing", "Draws"]


@dataclass(frozen=True, slots=True, eq=False)
class Draws:
    """Where the random numbers of a traced function come from.

    Attributes
    ----------
    generator:
        torch's default one for the CPU, or one that the function hands to its operators.
    state:
        Where the function's numbers begin, if it says so itself; None where they go on from the
        state that the generator has when the function is called.
    is_seeded:
        Whether the function calls ``torch.manual_seed``.
    """

    generator: torch.Generator
    state: Array | None
    is_seeded: bool = False

    def get_state(self) -> Array:
        """The state, ``uint8`` of shape (5056,), from which the next call draws."""
        return self.state if self.state is not None else to_array(self.generator.get_state())

    def set_state(self, state: Array) -> None:
        """Go on from a state."""
        self.generator.set_state(to_tensor(state, "cpu"))


DEFAULT = Draws(torch.default_generator, None)
"""Where the numbers of a function come from that was not traced here."""


class Drawing:
    """Finds out, while a trace runs, which generator it draws from: one, in one go."""

    def __init__(self) -> None:
        self._began = torch.get_rng_state()
        self._source: _Source | None = None
        self._is_restored = False

    def draw(self, func: Any, given: torch.Generator | None = None, *, is_nested: bool) -> None:
        """Note that an operator draws: from the generator that it is given, or from the default one."""
        with outside_traces():
            self._draw(func, torch.default_generator if given is None else given, is_nested)

    def _draw(self, func: Any, generator: torch.Generator, is_nested: bool) -> None:
        if generator.device.type != "cpu":
            refuse_operator(
                f"{func} is given a generator of {generator.device}, whose numbers the server cannot draw",
                "give it a generator of the CPU, or none",
            )
        source = self._source
        if source is None:
            state = generator.get_state()
            torch.rand((), generator=generator)
            source = self._source = _Source(generator, state, generator.get_state())
            if self._is_seeded(source) and is_nested:
                refuse_operator(
                    f"{func} follows torch.manual_seed inside a function that is transformed inside another",
                    "call torch.manual_seed in the outer function",
                )
        elif source.generator is not generator:
            refuse_operator(f"{func} draws from a second generator", "draw all random numbers from one")
        source.check(f"{func} follows")

    @property
    def found(self) -> Draws | None:
        """What was found; None if nothing was drawn."""
        source = self._source
        if source is None:
            return None
        with outside_traces():
            source.check("the function ends after")
            is_seeded = self._is_seeded(source)
            constant = source.generator is not torch.default_generator or is_seeded
            self.restore()
            return Draws(source.generator, to_array(source.state) if constant else None, is_seeded)

    def restore(self) -> None:
        """Leave the generator as it was before the first number."""
        if self._source is not None and not self._is_restored:
            with outside_traces():
                self._source.generator.set_state(self._source.state)
            self._is_restored = True

    def _is_seeded(self, source: _Source) -> bool:
        return source.generator is torch.default_generator and not torch.equal(source.state, self._began)


@dataclass(frozen=True, slots=True)
class _Source:
    """The generator that a function draws from.

    Attributes
    ----------
    state:
        Its state before the first number.
    marked:
        Its state since: the next one, so that one that is seeded anew is told from one that is not.
    """

    generator: torch.Generator
    state: torch.Tensor
    marked: torch.Tensor

    def check(self, what: str) -> None:
        """Refuse numbers that do not go on from those before them."""
        if not torch.equal(self.generator.get_state(), self.marked):
            refuse_operator(
                f"{what} a change of the generator's state between random numbers, which are all drawn in one go",
                "seed the generator once, before the function draws; or draw the numbers before the call, and pass "
                "them in as arguments",
            )
