"""One trace from the user's program to the worker and back, as a collector receives it."""

import json
import os
import subprocess
import sys

import httpx
import numpy as np
import pytest

import farfunc
from farfunc_protocol.graph import Equation, Graph
from farfunc_protocol.transforms import FlatTransform
from support.collectors import Collector
from support.graphs import array, f64, wrapped
from support.http import BINARY, evaluation, open_client, register
from support.raw_servers import dead_port

pytest.importorskip("opentelemetry.exporter.otlp.proto.http")

_TRACE, _SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
_PARENT = f"00-{_TRACE}-{_SPAN}-01"
_SIN = wrapped(Graph((f64(2),), (), (Equation("sin", (0,), {}, (1,)),), (1,)))
_JACOBIAN = FlatTransform("jacfwd", {"argnums": (0,)})

_PROGRAM = """
import numpy as np
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
import asyncio
import farfunc

provider = TracerProvider()
provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
trace.set_tracer_provider(provider)
farfunc.jacfwd(np.cos)(np.ones(3))  # in no span: not told of
with trace.get_tracer("mine").start_as_current_span("my work"):
    farfunc.jacfwd(np.sin)(np.ones(3))
    list(farfunc.current_client().map(farfunc.grad(lambda x: x**2), [1.0, 2.0]))
    async def main():
        async with farfunc.AsyncClient() as client:
            await client.jacfwd(np.sin)(np.ones(3))
    asyncio.run(main())
    try:
        farfunc.Client("http://127.0.0.1:DEAD").jacfwd(np.sin)(np.ones(3))
    except farfunc.FarfuncError:
        pass
provider.shutdown()
"""


@pytest.fixture
def collector():
    with Collector() as running:
        yield running


def tracing(collector, **more):
    return {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_BSP_SCHEDULE_DELAY": "100", **more}


def test_one_trace_from_the_users_program_to_the_worker_and_back(collector, start_server):
    with start_server(**tracing(collector)) as server:
        environment = {**os.environ, **tracing(collector), "OTEL_SERVICE_NAME": "mine", "FARFUNC_URL": server.url}
        program = _PROGRAM.replace("DEAD", str(dead_port()))
        subprocess.run([sys.executable, "-c", program], env=environment, check=True, timeout=120)
    spans = collector.spans()  # the server has ended, so that it has sent all
    [work] = [span for span in spans if span.name == "my work"]
    by_id = {span.span_id: span for span in spans if span.trace_id == work.trace_id}
    of_client = [span for span in by_id.values() if span.service == "mine" and span.kind == "client"]
    assert all(span.parent_id == work.span_id for span in of_client)
    answered = [span for span in of_client if span.name == "POST /v1/evaluate" and not span.is_error]
    assert len(answered) == 4  # jacfwd, two of map, and one more from asyncio
    workers = [span for span in by_id.values() if span.name == "worker"]
    assert len(workers) == 4
    for worker in workers:
        request = by_id[worker.parent_id]
        client = by_id[request.parent_id]
        assert (request.service, request.name, request.kind) == ("farfunc", "POST /v1/evaluate", "server")
        assert client in answered
        assert client.attributes["farfunc.request_id"] == request.attributes["farfunc.request_id"]
        [queue] = [span for span in by_id.values() if span.parent_id == request.span_id and span.name == "queue"]
        [compute] = [span for span in by_id.values() if span.parent_id == worker.span_id]
        moments = [client.start, request.start, queue.start, queue.end, compute.start, compute.end, worker.end]
        assert moments == sorted(moments)
        assert worker.attributes["farfunc.device"] == "cpu"
        assert worker.attributes["farfunc.plan.stage"] == "plain"
        assert (worker.attributes["farfunc.batch.requests"], worker.attributes["farfunc.batch.rows"]) == (1, 1)
    kinds = {span.attributes["error.type"] for span in of_client if span.is_error}
    assert kinds == {"404", "connection_failed"}  # the functions were not known yet; and nobody was there
    others = {span.trace_id for span in spans if span.service == "farfunc"} - {work.trace_id}
    roots = [span for span in spans if span.trace_id in others and not span.parent_id]
    assert roots  # what came without a trace has one of its own
    assert all(span.kind == "server" for span in roots)


def test_what_came_in_company_says_so_and_errors_carry_their_code(collector, start_server):
    with start_server(**tracing(collector)) as server, open_client(server.url) as client:
        reference = register(client, _SIN)
        bad = evaluation(reference, [array([1.0, 2.0, 3.0])], _JACOBIAN)
        answer = client.post("/v1/evaluate", content=bad, headers={**BINARY, "traceparent": _PARENT})
        assert answer.status_code == 422
        answer_of_none = client.get("/v1/functions/unknown", headers={"traceparent": _PARENT, "x-request-id": "mine"})
        assert answer_of_none.status_code == 404
        client.get("/healthz", headers={"traceparent": _PARENT})
        strange = {"traceparent": _PARENT, "tracestate": b"\xff\xfe=\xe9,,"}
        assert client.get("/v1/devices", headers=strange).status_code == 200
        log = server.output
        assert f"trace_id={_TRACE}" in _wait_for(log, "request_id=mine")
        server.stop()
        assert "could not be traced" not in server.output()
        assert "opentelemetry" not in server.output()
    spans = [span for span in collector.spans() if span.trace_id == _TRACE]
    assert {span.name for span in spans} == {
        *("POST /v1/evaluate", "queue", "worker", "GET /v1/functions/{reference}", "GET /v1/devices"),
    }
    evaluated, described = (next(s for s in spans if s.name.startswith(verb)) for verb in ("POST", "GET /v1/f"))
    assert evaluated.parent_id == described.parent_id == _SPAN
    assert evaluated.attributes["error.type"] == answer.json()["code"]
    assert evaluated.attributes["farfunc.request_id"] == answer.headers["x-request-id"]
    assert evaluated.attributes["http.response.status_code"] == 422
    assert not evaluated.is_error  # it was the client's fault
    assert described.attributes["error.type"] == "function_not_found"


def test_a_program_without_opentelemetry_is_left_without(server_url):
    program = """
import sys
import numpy as np
import farfunc
farfunc.jacfwd(np.sin)(np.ones(2))
assert not [name for name in sys.modules if name.startswith("opentelemetry")]
"""
    environment = {**os.environ, "FARFUNC_URL": server_url}
    subprocess.run([sys.executable, "-c", program], env=environment, check=True, timeout=60)


@pytest.mark.parametrize(
    "header",
    [
        *("", "x", "00-abc-def-01", f"ff-{_TRACE}-{_SPAN}-01", f"00-{_TRACE.upper()}-{_SPAN}-01"),
        *(f"00-{'0' * 32}-{_SPAN}-01", f"00-{_TRACE}-{'0' * 16}-01", f"00-{_TRACE}-{_SPAN}-01-more"),
    ],
)
def test_a_malformed_traceparent_is_ignored(header):
    from farfunc_server.trace_context import read_traceparent

    assert read_traceparent(header.encode()) is None


def test_a_later_version_may_say_more():
    from farfunc_server.trace_context import read_traceparent

    assert read_traceparent(f"01-{_TRACE}-{_SPAN}-03-more".encode()) == (_TRACE, _SPAN, True)
    assert read_traceparent(f"00-{_TRACE}-{_SPAN}-02".encode()) == (_TRACE, _SPAN, False)


def test_the_callers_and_the_samplers_word_are_heeded(collector, start_server):
    settings = tracing(collector, OTEL_TRACES_SAMPLER="parentbased_traceidratio", OTEL_TRACES_SAMPLER_ARG="0")
    with start_server(**settings) as server, open_client(server.url) as client:
        for parent in (
            {},
            {"traceparent": _PARENT},
            {"traceparent": f"00-{'1' * 32}-{_SPAN}-00"},
            {"traceparent": "?"},
        ):
            assert client.get("/v1/devices", headers=parent).status_code == 200
    assert {span.trace_id for span in collector.spans()} == {_TRACE}


def test_a_collector_that_is_not_there_harms_nobody(start_server):
    nowhere = f"http://127.0.0.1:{dead_port()}"
    with start_server(OTEL_EXPORTER_OTLP_ENDPOINT=nowhere, OTEL_BSP_SCHEDULE_DELAY="100") as server:
        with farfunc.Client(server.url) as client:
            for _ in range(20):
                assert client.jacfwd(np.sin)(np.zeros(1)).item() == 1.0
        assert httpx.get(f"{server.url}/readyz").status_code == 200
        assert server.stop(30.0) == 0


def test_without_the_packages_a_server_says_so_and_serves(monkeypatch, caplog):
    from farfunc_server import tracing as module

    for name in ("opentelemetry.exporter.otlp.proto.http.trace_exporter", "opentelemetry.sdk.trace.export"):
        monkeypatch.setitem(sys.modules, name, None)
    assert module.start_tracing({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x"}) is None
    assert "farfunc[otel]" in caplog.records[0].fields["remedy"]


def test_lines_of_json(start_server):
    with start_server("--log-format", "json", "--log-level", "debug") as server, open_client(server.url) as client:
        client.get('/v1/functions/%22%0A"', headers={"traceparent": _PARENT, "x-request-id": "mine"})
        client.get("/healthz")
        _wait_for(server.output, '"/healthz"')
        server.stop()
        lines = [line for line in server.output().splitlines() if not line.startswith("farfunc: listening")]
    records = [json.loads(line) for line in lines]
    [mine] = [record for record in records if record.get("request_id") == "mine"]
    assert mine["trace_id"] == _TRACE
    assert mine["path"] == '/v1/functions/"\n"'
    assert (mine["status"], mine["error"], mine["level"]) == (mine["status"], mine["error"], "info")
    assert all({"time", "level", "logger", "event"} <= record.keys() for record in records)
    assert {"farfunc.workers", "farfunc.requests", "farfunc.server"} <= {record["logger"] for record in records}


def _wait_for(output, text, seconds=20.0):
    import time

    deadline = time.monotonic() + seconds
    while text not in (found := output()):
        assert time.monotonic() < deadline, found
        time.sleep(0.02)  # between two looks, bounded by the deadline
    return next(line for line in found.splitlines() if text in line)
