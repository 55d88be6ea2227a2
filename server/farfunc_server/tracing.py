"""Traces: what a request did and when, told to an OpenTelemetry collector (OTLP over HTTP).

Nothing is noted for it while a request is served: once its answer is written, its spans are made from the moments
that ``Server-Timing`` is made from. They are sent by a thread of OpenTelemetry's; where it cannot, spans are lost, and
the log says so. Everything is configured by OpenTelemetry's own variables: it is on where
``OTEL_EXPORTER_OTLP_ENDPOINT`` or ``OTEL_EXPORTER_OTLP_TRACES_ENDPOINT`` names a collector; ``OTEL_TRACES_SAMPLER``
says how much of it is sent.

::

    POST /v1/evaluate          the request, a child of the client's span where it sends ``traceparent``
      queue                    from its being read until a device takes it
      worker                   until the worker has answered: device, stage of the plan, rows of the batch
        compute                the worker's own time of it; when exactly is not known, so it lies in the middle
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

from farfunc_protocol._version import __version__

from .logs import event
from .trace_context import TraceParent

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
    from opentelemetry.trace import SpanContext, SpanKind, Status

__all__ = ["Moments", "Tracing", "start_tracing"]

_log = logging.getLogger("farfunc.tracing")

_FLUSH_SECONDS = 5.0
"""The longest that a shutdown waits for a collector."""

Attributes = dict[str, str | int | float]


class Moments(Protocol):
    """When a request passed what, on the clock of ``time.monotonic``; None for what it did not come to.

    Attributes
    ----------
    started, asked, begun, answered:
        It came, was handed to the dispatcher, was sent to a worker, had its answer.
    compute:
        Seconds that the worker took.
    device, stage:
        Where, and by which program of the plan.
    requests, rows:
        How many requests were evaluated in the same call, and of how many rows.
    """

    started: float
    asked: float | None
    begun: float | None
    answered: float | None
    compute: float | None
    device: str | None
    stage: str | None
    requests: int
    rows: int


def start_tracing(environment: Mapping[str, str] = os.environ) -> Tracing | None:
    """Begin to send traces, if the environment asks for it and the packages are there."""
    named = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
    if not any(environment.get(name) for name in named):
        return None
    if environment.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return None
    if environment.get("OTEL_TRACES_EXPORTER", "otlp") == "none":
        return None
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        # A private server has the environment of its user's program, which may trace itself: no reason not to start.
        event(
            _log,
            logging.WARNING,
            "traces are not sent",
            reason="opentelemetry-sdk and opentelemetry-exporter-otlp-proto-http are not installed",
            remedy="pip install 'farfunc[otel]'",
        )
        return None
    os.environ.setdefault("OTEL_SERVICE_NAME", "farfunc")
    # It warns of each malformed tracestate: what clients send fills no logs.
    logging.getLogger("opentelemetry.trace.span").setLevel(logging.ERROR)
    return Tracing(TracerProvider(shutdown_on_exit=False), BatchSpanProcessor(OTLPSpanExporter()))


class Tracing:
    """Makes spans of requests that were answered.

    Parameters
    ----------
    provider:
        Has the sampler, the resource and the ids. No tracer of its is used: to make spans of moments that are past
        takes a fifth of the time.
    processor:
        Takes the spans.
    """

    def __init__(self, provider: TracerProvider, processor: SpanProcessor) -> None:
        from opentelemetry import context, trace
        from opentelemetry.sdk.trace import ReadableSpan
        from opentelemetry.sdk.util.instrumentation import InstrumentationScope

        self._trace, self._context, self._readable = trace, context, ReadableSpan
        self._provider = provider
        self._processor = processor
        self._scope = InstrumentationScope("farfunc", __version__)
        self._flags = trace.TraceFlags(trace.TraceFlags.SAMPLED)
        self._error = trace.Status(trace.StatusCode.ERROR)
        self._unset = trace.Status()
        self._has_failed = False

    def request(
        self,
        moments: Moments,
        parent: TraceParent | None,
        parent_state: bytes | None,
        name: str,
        status: int,
        attributes: Attributes,
    ) -> str | None:
        """Tell of a request that was answered.

        Parameters
        ----------
        moments:
            Of the request; it ends now.
        parent, parent_state:
            The caller's span, and the header ``tracestate``.
        name, attributes:
            Of its span.
        status:
            Of the answer.

        Returns
        -------
        str | None
            The id of its trace; None where it belongs to none.
        """
        try:
            return self._request(moments, parent, parent_state, name, status, attributes)
        except Exception:  # noqa: BLE001 - the request has been answered, and is not to hear of it
            if not self._has_failed:
                _log.exception("a request could not be traced; others like it are not told of")
            self._has_failed = True
            return None if parent is None else parent.trace_id

    def _request(
        self,
        moments: Moments,
        parent: TraceParent | None,
        parent_state: bytes | None,
        name: str,
        status: int,
        attributes: Attributes,
    ) -> str | None:
        trace = self._trace
        ids = self._provider.id_generator
        remote, within = None, self._context.Context()
        if parent is None:
            trace_id = ids.generate_trace_id()
        else:
            trace_id = int(parent.trace_id, 16)
            state = trace.TraceState()
            if parent_state is not None:
                state = trace.TraceState.from_header([parent_state.decode("latin-1")])
            flags = trace.TraceFlags(int(parent.is_sampled))
            remote = trace.SpanContext(
                trace_id, int(parent.span_id, 16), is_remote=True, trace_flags=flags, trace_state=state
            )
            within = trace.set_span_in_context(trace.NonRecordingSpan(remote), within)
        kind = trace.SpanKind
        sampling = self._provider.sampler.should_sample(within, trace_id, name, kind.SERVER, attributes)
        if not sampling.decision.is_sampled():
            return None if parent is None else parent.trace_id

        now = time.monotonic()
        # What is on the clock of these moments, on the clock of everyone, in nanoseconds.
        offset = time.time_ns() - int(now * 1e9)

        def span(
            name: str,
            start: float,
            end: float,
            parent: SpanContext | None,
            attributes: Mapping[str, Any],
            kind: SpanKind = kind.INTERNAL,
            status: Status = self._unset,
        ) -> SpanContext:
            context = trace.SpanContext(trace_id, ids.generate_span_id(), False, self._flags, sampling.trace_state)
            self._processor.on_end(
                self._readable(
                    name,
                    context,
                    parent,
                    self._provider.resource,
                    attributes,
                    kind=kind,
                    status=status,
                    start_time=offset + int(start * 1e9),
                    end_time=offset + int(end * 1e9),
                    instrumentation_scope=self._scope,
                )
            )
            return context

        whole = {**attributes, **(sampling.attributes or {})}
        # A server's span is in error where the server is to blame: OpenTelemetry's semantic conventions for HTTP.
        verdict = self._error if status >= 500 or not status else self._unset
        own = span(name, moments.started, now, remote, whole, kind.SERVER, verdict)
        if moments.asked is None:
            return f"{trace_id:032x}"
        span("queue", moments.asked, now if moments.begun is None else moments.begun, own, {})
        if moments.begun is not None:
            told: Attributes = {"farfunc.batch.requests": moments.requests, "farfunc.batch.rows": moments.rows}
            if moments.device is not None:
                told["farfunc.device"] = moments.device
            if moments.stage is not None:
                told["farfunc.plan.stage"] = moments.stage
            answered = now if moments.answered is None else moments.answered
            worker = span("worker", moments.begun, answered, own, told)
            if moments.compute is not None:
                way = max((answered - moments.begun - moments.compute) / 2, 0.0)
                start = moments.begun + way
                span("compute", start, min(start + moments.compute, answered), worker, told)
        return f"{trace_id:032x}"

    def close(self) -> None:
        """Send what is left; gives up after some seconds."""
        # A collector that does not answer would hold the shutdown for as long as it likes.
        flush = threading.Thread(target=self._processor.shutdown, name="traces", daemon=True)
        flush.start()
        flush.join(_FLUSH_SECONDS)
        if flush.is_alive():
            event(_log, logging.WARNING, "traces were not sent", reason="the collector does not answer")
