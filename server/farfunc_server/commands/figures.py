"""What a server tells Prometheus, read by a program that has no Prometheus: sums, rates and quantiles."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

__all__ = ["Figures", "quantile", "rate", "read_figures"]

_SAMPLE = re.compile(r"([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


@dataclass(frozen=True, slots=True)
class Figures:
    """Every sample of one moment.

    Attributes
    ----------
    moment:
        On the clock of ``time.monotonic``.
    samples:
        By name: the labels and the value of each.
    """

    moment: float
    samples: dict[str, list[tuple[dict[str, str], float]]]

    def sum(self, name: str, **labels: str) -> float:
        """The sum of a metric over all labels that are not given."""
        return sum(value for found, value in self.samples.get(name, ()) if labels.items() <= found.items())

    def by(self, name: str, label: str) -> dict[str, float]:
        """A metric by the values of a label."""
        sums: dict[str, float] = {}
        for labels, value in self.samples.get(name, ()):
            sums[labels.get(label, "")] = sums.get(labels.get(label, ""), 0.0) + value
        return sums


def read_figures(text: str, moment: float) -> Figures:
    r"""Read Prometheus' text format.

    >>> read_figures('a_total{x="1"} 2.0\na_total{x="2"} 3.0', 0.0).by("a_total", "x")
    {'1': 2.0, '2': 3.0}
    """
    samples: dict[str, list[tuple[dict[str, str], float]]] = {}
    for line in text.splitlines():
        if line and not line.startswith("#") and (found := _SAMPLE.match(line)):
            samples.setdefault(found[1], []).append((dict(_LABEL.findall(found[2] or "")), float(found[3])))
    return Figures(moment, samples)


def rate(before: Figures, now: Figures, name: str, **labels: str) -> float:
    """How much a counter grows in a second."""
    grown = now.sum(name, **labels) - before.sum(name, **labels)
    return max(grown, 0.0) / max(now.moment - before.moment, 1e-9)  # a restarted server begins at 0


def quantile(part: float, before: Figures, now: Figures, name: str, **labels: str) -> float | None:
    """A quantile of what a histogram has counted between two moments, as Prometheus' ``histogram_quantile``.

    None where it has counted nothing.
    """
    counts = {
        float(bound): now.sum(f"{name}_bucket", le=bound, **labels) - before.sum(f"{name}_bucket", le=bound, **labels)
        for bound in now.by(f"{name}_bucket", "le")
    }
    bounds = sorted(counts)
    if not bounds or counts[bounds[-1]] <= 0:
        return None
    rank = part * counts[bounds[-1]]
    lower, below = 0.0, 0.0
    for bound in bounds:
        if counts[bound] >= rank:
            if math.isinf(bound):
                return lower
            return lower + (bound - lower) * (rank - below) / max(counts[bound] - below, 1e-9)
        lower, below = bound, counts[bound]
    return None
