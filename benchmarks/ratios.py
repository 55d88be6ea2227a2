"""Ratios of what was timed in the same rounds."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["Spread", "fastest", "milliseconds", "per_round", "rates", "ratio", "spread"]


@dataclass(frozen=True)
class Spread:
    """The median of the rounds' figures, and their quartiles."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{_short(self.median)} ({_short(self.low)} to {_short(self.high)})"


def _short(figure: float) -> str:
    return f"{figure:.2f}" if abs(figure) < 10 else f"{figure:,.0f}"


def spread(figures: Sequence[float]) -> Spread | None:
    """Median and quartiles; None of nothing.

    >>> print(spread([1.0, 2.0, 3.0, 4.0, 5.0]))
    3.00 (2.00 to 4.00)
    """
    if not figures:
        return None
    if len(figures) == 1:
        return Spread(figures[0], figures[0], figures[0])
    low, _, high = statistics.quantiles(figures, n=4, method="inclusive")
    return Spread(statistics.median(figures), low, high)


def per_round(result: Mapping[str, Any] | None) -> list[float]:
    """The median seconds of a call in each round; none of a way that failed or was not measured."""
    if result is None or "failure" in result:
        return []
    return [statistics.median(samples) for samples in result["rounds"]]


def ratio(above: Sequence[float], below: Sequence[float]) -> Spread | None:
    """The ratios of two ways, round by round; a way with fewer rounds has the first of them."""
    return spread([a / b for a, b in zip(above, below, strict=False) if b > 0])


def milliseconds(result: Mapping[str, Any] | None) -> float | None:
    """The median of a way's rounds."""
    found = per_round(result)
    return 1e3 * statistics.median(found) if found else None


def rates(run: Mapping[str, Any] | None, key: str = "per second") -> list[float]:
    """A figure of each round of a load."""
    if run is None or "failure" in run:
        return []
    return [found[key] for found in run["rounds"]]


def fastest(*ways: Sequence[float]) -> list[float]:
    """The fastest of several ways in each round that they share."""
    return [min(found) for found in zip(*(way for way in ways if way), strict=False)]
