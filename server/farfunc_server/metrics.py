"""What Prometheus is told.

Figures by tenant bear the tenant's id, which says nothing of who it is: its name is never told here. The operator is
told of all tenants, a tenant of itself and of what concerns all. Only the most active tenants have figures of their
own; the others are ``other`` together, so that no number of tenants makes the answer long.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache, partial
from typing import Protocol

from prometheus_client import CollectorRegistry, Counter, Gauge, disable_created_metrics, generate_latest
from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

from .histograms import Histograms

__all__ = ["METRICS_MEDIA_TYPE", "Metrics"]

METRICS_MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"

STAGES = ("plain", "flat", "compiled", "recorded")
"""Of plans, as workers name them."""

_BUCKETS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 120, 300)
_PART_BUCKETS = (0.00001, 0.00002, 0.00005, 0.0001, 0.0002, 0.0005, *_BUCKETS)
_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)

_MOST_TENANTS = 200
_OTHER = "other"


class Compilation(Protocol):
    """As much of a compilation as is counted."""

    state: str
    seconds: float | None


class Moments(Protocol):
    """When a request passed what: as of ``routes.timing.Timing``."""

    started: float
    received: float | None
    asked: float | None
    begun: float | None
    answered: float | None
    compute: float | None


class PlanCounts(Protocol):
    """What has become of plans."""

    hits: int
    misses: int
    evictions: int


class Metrics:
    """The counters of one server.

    Attributes
    ----------
    requests:
        HTTP requests by route, method and status.
    latency:
        Seconds from a request's arrival to the end of its answer, by route.
    parts:
        The same by part, of evaluations: as in ``Server-Timing``.
    evaluations:
        Evaluations by outcome: ``ok`` or the code of the error.
    evaluation_seconds:
        Seconds that evaluations took on their device.
    evaluation_stages:
        Evaluations by the stage of their plan.
    batch_requests, batch_rows:
        How many requests, and rows, were evaluated in one call.
    compilations, compilation_seconds:
        Compilations by outcome, and the seconds that the successful ones took.
    worker_restarts:
        Workers that were lost, by device.
    storage_failures:
        Requests that failed since the storage did.
    """

    def __init__(self) -> None:
        disable_created_metrics()  # a second series for each, which tells when its first sample came
        self._registry = registry = CollectorRegistry()
        self.requests = Counter(
            "farfunc_http_requests", "HTTP requests.", ("route", "method", "status"), registry=registry
        )
        self.latency = Histograms(
            "farfunc_http_request_seconds",
            "From a request's arrival to the end of its answer.",
            ("route",),
            _BUCKETS,
            registry,
        )
        self.parts = Histograms(
            "farfunc_part_seconds", "Parts of evaluations, as in Server-Timing.", ("part",), _PART_BUCKETS, registry
        )
        self.evaluations = Counter("farfunc_evaluations", "Evaluations by outcome.", ("outcome",), registry=registry)
        self.evaluation_seconds = Histograms(
            "farfunc_evaluation_seconds", "Time on the device.", (), _PART_BUCKETS, registry
        )
        self.evaluation_stages = Counter(
            "farfunc_evaluation_stages", "Evaluations by the stage of their plan.", ("stage",), registry=registry
        )
        self.batch_requests = Histograms(
            "farfunc_batch_requests", "Requests that were evaluated in one call.", ("device",), _SIZES, registry
        )
        self.batch_rows = Histograms(
            "farfunc_batch_rows", "Rows that were evaluated in one call.", ("device",), _SIZES, registry
        )
        self.compilations = Counter(
            "farfunc_compilations", "Compilations of plans by outcome.", ("outcome",), registry=registry
        )
        self.compilation_seconds = Counter(
            "farfunc_compilation_seconds", "Time spent on compiling plans.", registry=registry
        )
        self.worker_restarts = Counter(
            "farfunc_worker_restarts", "Workers that were lost.", ("device",), registry=registry
        )
        self.storage_failures = Counter(
            "farfunc_storage_failures", "Requests that failed since the storage did.", registry=registry
        )
        self._queue_depth = Gauge("farfunc_queue_depth", "Evaluations that wait.", registry=registry)
        self._queue_capacity = Gauge("farfunc_queue_capacity", "Evaluations that may wait.", registry=registry)
        self._running = Gauge("farfunc_evaluations_running", "Evaluations on a device.", registry=registry)
        self._plans = Gauge("farfunc_plans", "Plans in use, by stage.", ("stage",), registry=registry)
        self._plan_bytes = Gauge("farfunc_plan_bytes", "Memory that plans take.", registry=registry)
        self._workers_ready = Gauge("farfunc_workers_ready", "Workers that take requests.", registry=registry)
        self._device_in_service = Gauge(
            "farfunc_device_in_service",
            "1, or 0 for a device that has failed or is drained.",
            ("device",),
            registry=registry,
        )
        self._observed = _Observed(registry)
        self.tenants = _Tenants()
        # To find a label's own counter takes longer than to count.
        self._counter = lru_cache(1024)(self._labelled_counter)
        self._outcome = lru_cache(256)(self.evaluations.labels)
        self._stage = lru_cache(16)(self.evaluation_stages.labels)

    def _labelled_counter(self, route: str, method: str, status: int) -> Counter:
        return self.requests.labels(route, method, str(status))

    def observe(
        self,
        queue_depth: Callable[[], float],
        queue_capacity: float,
        running: Callable[[], float],
        workers_ready: Callable[[], float],
        plans: Callable[[str], float],
        plan_bytes: Callable[[], float],
        plan_counts: PlanCounts,
    ) -> None:
        """Say where the gauges' values come from."""
        self._queue_depth.set_function(queue_depth)
        self._queue_capacity.set(queue_capacity)
        self._running.set_function(running)
        self._workers_ready.set_function(workers_ready)
        for stage in STAGES:
            self._plans.labels(stage).set_function(partial(plans, stage))
        self._plan_bytes.set_function(plan_bytes)
        self._observed.plans = plan_counts

    def observe_device(self, device: str, seconds: Callable[[], float], is_in_service: Callable[[], float]) -> None:
        """Say where a device's values come from: the seconds that it was busy, and whether work goes there."""
        self._observed.busy[device] = seconds
        self._device_in_service.labels(device).set_function(is_in_service)
        self.worker_restarts.labels(device)

    def request(self, route: str, method: str, status: int, seconds: float) -> None:
        """Count a request that has been answered."""
        self._counter(route, method, status).inc()
        self.latency.observe(seconds, route)

    def evaluated(self, moments: Moments, now: float) -> None:
        """Count the parts of a request to evaluate, as far as it came."""
        received, asked, begun = moments.received, moments.asked, moments.begun
        if received is None or asked is None:
            return
        observe = self.parts.observe
        observe(received - moments.started, "read")
        observe(asked - received, "parse")
        if begun is None:
            return
        observe(begun - asked, "queue")
        answered, compute = moments.answered, moments.compute
        if answered is not None and compute is not None:
            observe(answered - begun - compute, "ipc")
            observe(compute, "compute")
            observe(now - answered, "reply")

    def evaluation(self, outcome: str, seconds: float | None = None, stage: str | None = None) -> None:
        """Count an evaluation: ``ok`` or the code of its error, and for the former its time and stage."""
        self._outcome(outcome).inc()
        if seconds is not None:
            self.evaluation_seconds.observe(seconds)
            self._stage(stage).inc()

    def batch(self, device: str, requests: int, rows: int) -> None:
        """Count requests that go to a device in one call."""
        self.batch_requests.observe(requests, device)
        self.batch_rows.observe(rows, device)

    def compiled(self, compilation: Compilation) -> None:
        """Count a compilation that has ended."""
        self.compilations.labels(compilation.state).inc()
        self.compilation_seconds.inc(compilation.seconds or 0.0)

    def exposition(self, tenant: str | None = None) -> bytes:
        """Everything, in the text format of Prometheus; of the tenants one alone, if it is given."""
        tenants = CollectorRegistry()
        tenants.register(_OfTenant(self.tenants, tenant))
        return generate_latest(self._registry) + generate_latest(tenants)


class _Observed(Collector):
    """Counters that others keep."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.busy: dict[str, Callable[[], float]] = {}
        self.plans: PlanCounts | None = None
        registry.register(self)

    def collect(self) -> Iterator[Metric]:
        """Called by the registry."""
        busy = CounterMetricFamily(
            "farfunc_device_busy_seconds", "How long a device has been at work.", labels=("device",)
        )
        for device, seconds in self.busy.items():
            busy.add_metric((device,), seconds())
        yield busy
        if self.plans is not None:
            for name, documentation, value in (
                ("farfunc_plan_hits", "Evaluations that found a plan.", self.plans.hits),
                ("farfunc_plan_misses", "Plans that were made, each for an evaluation.", self.plans.misses),
                ("farfunc_plan_evictions", "Plans that were forgotten to make room.", self.plans.evictions),
            ):
                yield CounterMetricFamily(name, documentation, value=value)


class _Tenants:
    """What each tenant has had: requests by outcome, and seconds of a device."""

    def __init__(self) -> None:
        self.counts: dict[str, list[float]] = {}

    def count(self, tenant: str, is_ok: bool, seconds: float) -> None:
        """Count a request to evaluate."""
        counts = self.counts.get(tenant)
        if counts is None:
            if len(self.counts) >= _MOST_TENANTS:
                tenant = _OTHER
            counts = self.counts.setdefault(tenant, [0, 0, 0.0])
        counts[not is_ok] += 1
        counts[2] += seconds


class _OfTenant(Collector):
    def __init__(self, tenants: _Tenants, only: str | None) -> None:
        self._tenants, self._only = tenants, only

    def collect(self) -> Iterator[Metric]:
        """Called by the registry."""
        evaluations = CounterMetricFamily(
            "farfunc_tenant_evaluations",
            "Evaluations by tenant, those that failed apart.",
            labels=("tenant", "outcome"),
        )
        seconds = CounterMetricFamily(
            "farfunc_tenant_device_seconds", "Seconds of a device by tenant.", labels=("tenant",)
        )
        for tenant, (succeeded, failed, busy) in self._tenants.counts.items():
            if self._only is None or tenant == self._only:
                evaluations.add_metric((tenant, "ok"), succeeded)
                evaluations.add_metric((tenant, "failed"), failed)
                seconds.add_metric((tenant,), busy)
        yield from (evaluations, seconds)
