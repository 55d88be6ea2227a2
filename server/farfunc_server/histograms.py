"""Histograms for what happens with every request: counted on the event loop alone, so without a lock."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence

from prometheus_client import CollectorRegistry
from prometheus_client.core import HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

__all__ = ["Histograms"]


class Histograms(Collector):
    """The histograms of one metric, by the value of its one label, or of its several.

    What prometheus_client's own does takes five times as long: a request's parts alone are six of them.

    Parameters
    ----------
    name, documentation, labels, buckets:
        As of prometheus_client's.

    >>> registry = CollectorRegistry()
    >>> seconds = Histograms("seconds", "Of what.", ("part",), (0.1, 1.0), registry)
    >>> seconds.observe(0.5, "read")
    >>> registry.get_sample_value("seconds_bucket", {"part": "read", "le": "1.0"})
    1.0
    """

    def __init__(
        self,
        name: str,
        documentation: str,
        labels: Sequence[str],
        buckets: Sequence[float],
        registry: CollectorRegistry,
    ) -> None:
        self._name, self._documentation, self._labels = name, documentation, labels
        self._bounds = [float(bound) for bound in buckets]
        self._counts: dict[tuple[str, ...], list[int]] = {}
        self._sums: dict[tuple[str, ...], float] = {}
        registry.register(self)

    def observe(self, value: float, *labels: str) -> None:
        """Count a value."""
        counts = self._counts.get(labels)
        if counts is None:
            counts = self._counts[labels] = [0] * (len(self._bounds) + 1)
            self._sums[labels] = 0.0
        counts[bisect_left(self._bounds, value)] += 1
        self._sums[labels] += value

    def collect(self) -> Iterator[Metric]:
        """Called by the registry."""
        family = HistogramMetricFamily(self._name, self._documentation, labels=self._labels)
        for labels, counts in self._counts.items():
            buckets, total = [], 0
            for bound, count in zip([*map(str, self._bounds), "+Inf"], counts, strict=True):
                total += count
                buckets.append((bound, float(total)))
            family.add_metric(labels, buckets, self._sums[labels])
        yield family
