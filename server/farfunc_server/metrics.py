"""What Prometheus is told."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, lru_cache, partial
from typing import Protocol

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)

__all__ = ["METRICS_MEDIA_TYPE", "Metrics"]

METRICS_MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"

STAGES = ("plain", "flat", "compiled", "recorded")
"""Of plans, as workers name them."""

_BUCKETS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 120, 300)


class Compilation(Protocol):
    """As much of a compilation as is counted."""

    state: str
    seconds: float | None


class Metrics:
    """The counters of one server.

    Attributes
    ----------
    requests:
        HTTP requests by route, method and status.
    latency:
        Seconds from a request's arrival to the end of its answer, by route.
    evaluations:
        Evaluations by outcome: ``ok`` or the code of the error.
    evaluation_seconds:
        Seconds that evaluations took on their device.
    evaluation_stages:
        Evaluations by the stage of their plan.
    compilations, compilation_seconds:
        Compilations by outcome, and the seconds that the successful ones took.
    worker_restarts:
        Workers that were lost, by device.
    """

    def __init__(self) -> None:
        disable_created_metrics()  # a second series for each, which tells when its first sample came
        self._registry = CollectorRegistry()
        self.requests = Counter(
            "farfunc_http_requests", "HTTP requests.", ("route", "method", "status"), registry=self._registry
        )
        self.latency = Histogram(
            "farfunc_http_request_seconds",
            "From a request's arrival to the end of its answer.",
            ("route",),
            buckets=_BUCKETS,
            registry=self._registry,
        )
        self.evaluations = Counter(
            "farfunc_evaluations", "Evaluations by outcome.", ("outcome",), registry=self._registry
        )
        self.evaluation_seconds = Histogram(
            "farfunc_evaluation_seconds", "Time on the device.", buckets=_BUCKETS, registry=self._registry
        )
        self.evaluation_stages = Counter(
            "farfunc_evaluation_stages", "Evaluations by the stage of their plan.", ("stage",), registry=self._registry
        )
        self.compilations = Counter(
            "farfunc_compilations", "Compilations of plans by outcome.", ("outcome",), registry=self._registry
        )
        self.compilation_seconds = Counter(
            "farfunc_compilation_seconds", "Time spent on compiling plans.", registry=self._registry
        )
        self.worker_restarts = Counter(
            "farfunc_worker_restarts", "Workers that were lost.", ("device",), registry=self._registry
        )
        self._queue_depth = Gauge("farfunc_queue_depth", "Evaluations that wait.", registry=self._registry)
        self._running = Gauge("farfunc_evaluations_running", "Evaluations on a device.", registry=self._registry)
        self._plans = Gauge("farfunc_plans", "Plans in use, by stage.", ("stage",), registry=self._registry)
        self._device_seconds = Gauge(
            "farfunc_device_busy_seconds", "How long a device has been at work.", ("device",), registry=self._registry
        )
        self._device_in_service = Gauge(
            "farfunc_device_in_service",
            "1, or 0 for a device that has failed or is drained.",
            ("device",),
            registry=self._registry,
        )
        self._plan_bytes = Gauge("farfunc_plan_bytes", "Memory that plans take.", registry=self._registry)
        self._workers_ready = Gauge("farfunc_workers_ready", "Workers that take requests.", registry=self._registry)
        # To find a label's own counter takes longer than to count.
        self._counter = lru_cache(1024)(self._labelled_counter)
        self._latency = cache(self.latency.labels)
        self._outcome = cache(self.evaluations.labels)
        self._stage = cache(self.evaluation_stages.labels)

    def _labelled_counter(self, route: str, method: str, status: int) -> Counter:
        return self.requests.labels(route, method, str(status))

    def observe(
        self,
        queue_depth: Callable[[], float],
        running: Callable[[], float],
        workers_ready: Callable[[], float],
        plans: Callable[[str], float],
        plan_bytes: Callable[[], float],
    ) -> None:
        """Say where the gauges' values come from."""
        self._queue_depth.set_function(queue_depth)
        self._running.set_function(running)
        self._workers_ready.set_function(workers_ready)
        for stage in STAGES:
            self._plans.labels(stage).set_function(partial(plans, stage))
        self._plan_bytes.set_function(plan_bytes)

    def observe_device(self, device: str, seconds: Callable[[], float], is_in_service: Callable[[], float]) -> None:
        """Say where the values of a device's gauges come from."""
        self._device_seconds.labels(device).set_function(seconds)
        self._device_in_service.labels(device).set_function(is_in_service)

    def request(self, route: str, method: str, status: int, seconds: float) -> None:
        """Count a request that has been answered."""
        self._counter(route, method, status).inc()
        self._latency(route).observe(seconds)

    def evaluation(self, outcome: str, seconds: float | None = None, stage: str | None = None) -> None:
        """Count an evaluation: ``ok`` or the code of its error, and for the former its time and stage."""
        self._outcome(outcome).inc()
        if seconds is not None:
            self.evaluation_seconds.observe(seconds)
            self._stage(stage).inc()

    def compiled(self, compilation: Compilation) -> None:
        """Count a compilation that has ended."""
        self.compilations.labels(compilation.state).inc()
        self.compilation_seconds.inc(compilation.seconds or 0.0)

    def exposition(self) -> bytes:
        """Everything, in the text format of Prometheus."""
        return generate_latest(self._registry)
