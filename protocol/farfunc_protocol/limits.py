"""How large a document may be: checked on what it declares, before anything is allocated."""

from __future__ import annotations

from dataclasses import dataclass

from .errors import LimitExceeded

__all__ = ["DEFAULT_LIMITS", "Limits"]


@dataclass(frozen=True, slots=True)
class Limits:
    """The largest documents that a side accepts.

    Attributes
    ----------
    document_bytes:
        Canonical JSON of one function.
    equations:
        Equations of one function, those of all bodies included.
    body_depth:
        How deep higher-order equations may nest.
    leaves:
        Argument leaves, captures or result leaves of one graph.
    rank:
        Axes of one array. torch itself stops at 64, and each vmap adds one.
    elements:
        Elements of one array, declared or created by an operator.
    constant_bytes:
        All constants of one function together.
    attribute_items:
        Numbers in all the attributes of one equation.
    """

    document_bytes: int = 64 << 20
    equations: int = 500_000
    body_depth: int = 16
    leaves: int = 100_000
    rank: int = 32
    elements: int = 1 << 40
    constant_bytes: int = 1 << 30
    attribute_items: int = 100_000

    def check(self, name: str, given: int, where: str) -> None:
        """Raise :class:`~farfunc_protocol.errors.LimitExceeded` if ``given`` is over the limit ``name``.

        >>> DEFAULT_LIMITS.check("rank", 3, "inputs[0]")
        """
        allowed = getattr(self, name)
        if given > allowed:
            raise LimitExceeded(
                f"{given:,} {name.replace('_', ' ')} are given, {allowed:,} are allowed",
                where=where,
                remedy="make the function smaller, or ask the server's operator for a higher limit",
            )


DEFAULT_LIMITS = Limits()
