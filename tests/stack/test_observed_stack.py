"""A server that is watched: a real Prometheus scrapes it, a collector has one trace from the client to the worker."""

import json
import os
import re
import signal
import subprocess
import sys

import httpx
import pytest

from farfunc_protocol.document import function_to_bytes
from farfunc_protocol.graph import Equation, Graph
from support.collectors import Collector
from support.graphs import f64, wrapped
from support.http import BINARY, open_client
from support.paths import ROOT
from support.prometheus import Prometheus, prometheus_program
from support.proxies import Nginx, nginx_program

pytest.importorskip("opentelemetry.exporter.otlp.proto.http")

_TOKEN = "operators-token"
_SIN = wrapped(Graph((f64(2),), (), (Equation("sin", (0,), {}, (1,)),), (1,)))

_PROGRAM = """
import numpy as np
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
import farfunc

provider = TracerProvider()
provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
trace.set_tracer_provider(provider)
jacobian = farfunc.jacfwd(lambda x: np.sin(x) * x)
with trace.get_tracer("mine").start_as_current_span("work"):
    jacobian(np.ones(3))
for _ in range(30):
    jacobian(np.ones(3))
try:
    farfunc.function("nobodys")
except farfunc.FunctionNotFound:
    pass
provider.shutdown()
"""


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    from support import environments
    from support.serving import RunningServer

    program = prometheus_program()
    if program is None:
        pytest.skip("Prometheus is not installed (Debian: prometheus)")
    folder = tmp_path_factory.mktemp("stack")
    with Collector() as collector:
        watched = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_BSP_SCHEDULE_DELAY": "200"}
        environment = {**watched, "FARFUNC_TOKEN": _TOKEN}
        options = ("--devices", "cpu:0,cpu:1", "--threads", "1", "--log-format", "json")
        with RunningServer(environments.full_python(), folder / "server", *options, environment=environment) as server:
            place = server.url.partition("://")[2]
            with Prometheus(program, folder / "prometheus", [place], _TOKEN) as prometheus:
                yield server, prometheus, collector, watched, folder


def _run_program(url, watched):
    environment = {**os.environ, **watched, "FARFUNC_URL": url, "FARFUNC_TOKEN": _TOKEN, "OTEL_SERVICE_NAME": "mine"}
    subprocess.run([sys.executable, "-c", _PROGRAM], env=environment, check=True, timeout=120)


def test_one_trace_from_the_client_through_nginx_to_the_worker(stack):
    server, _, collector, watched, folder = stack
    program = nginx_program()
    if program is None:
        pytest.skip("nginx is not installed (Debian: nginx-light)")
    (folder / "nginx").mkdir()
    with Nginx(program, folder / "nginx", [server.url.partition("://")[2]]) as nginx:
        _run_program(nginx.plain_url, watched)

    def found():
        spans = collector.spans()
        [work] = [span for span in spans if span.name == "work"]
        return {(span.service, span.name): span for span in spans if span.trace_id == work.trace_id}

    wanted = {
        ("mine", "work"): None,
        ("mine", "POST /v1/evaluate"): ("mine", "work"),
        ("farfunc", "POST /v1/evaluate"): ("mine", "POST /v1/evaluate"),
        ("farfunc", "queue"): ("farfunc", "POST /v1/evaluate"),
        ("farfunc", "worker"): ("farfunc", "POST /v1/evaluate"),
        ("farfunc", "compute"): ("farfunc", "worker"),
    }
    _wait(lambda: wanted.keys() <= found().keys())
    spans = found()
    ids = {span.span_id for span in collector.spans()}
    for name, parent in wanted.items():
        if parent is not None:
            assert spans[name].parent_id in ids, name
    assert spans["farfunc", "worker"].attributes["farfunc.device"] in ("cpu:0", "cpu:1")
    # The log leads to the trace, by the id that the client has of its request.
    request = spans["farfunc", "POST /v1/evaluate"]
    lines = [json.loads(line) for line in server.output().splitlines() if line.startswith("{")]
    [line] = [line for line in lines if line.get("request_id") == request.attributes["farfunc.request_id"]]
    assert line["trace_id"] == request.trace_id


def test_prometheus_has_every_metric_that_the_dashboards_show(stack):
    server, prometheus, _, watched, _ = stack
    _run_program(server.url, watched)
    prometheus.wait_for('farfunc_evaluations_total{outcome="ok"}')
    [target] = prometheus.get("targets")["activeTargets"]
    assert (target["health"], target["lastError"]) == ("up", "")
    assert prometheus.query("farfunc_workers_ready") == {(): 2}
    assert prometheus.query("farfunc_device_in_service") == {("cpu:0",): 1, ("cpu:1",): 1}
    parts = prometheus.query("farfunc_part_seconds_count")
    assert parts.keys() == {(part,) for part in ("read", "parse", "queue", "ipc", "compute", "reply")}
    assert sum(prometheus.query("farfunc_device_busy_seconds_total").values()) > 0
    assert prometheus.query("farfunc_tenant_evaluations_total").keys() == {("ok", "default"), ("failed", "default")}
    exposed = httpx.get(f"{server.url}/metrics", headers={"authorization": f"Bearer {_TOKEN}"}).text
    assert not re.search(r"nobody|operators-token", exposed)
    dashboards = [
        target["expr"].replace("$__rate_interval", "30s").replace("$instance", ".*")
        for path in (ROOT / "deploy" / "grafana" / "dashboards").glob("*.json")
        for panel in json.loads(path.read_text())["panels"]
        for target in panel.get("targets", ())
    ]
    _run_program(server.url, watched)  # a rate is between two scrapes: the first may have seen all of the first run
    prometheus.wait_for("rate(farfunc_part_seconds_count[30s])")
    silent = [expression for expression in dashboards if not prometheus.query(expression)]
    assert all("compilation" in expression for expression in silent), silent  # nothing is compiled in tests


def test_an_alert_is_raised_when_a_worker_is_lost_again_and_again(stack):
    server, prometheus, *_ = stack
    rules = [rule for group in prometheus.get("rules")["groups"] for rule in group["rules"]]
    assert all(rule["health"] == "ok" for rule in rules), rules
    headers = {"authorization": f"Bearer {_TOKEN}"}
    for _ in range(5):
        before = _device(server.url, headers)
        os.kill(before["pid"], signal.SIGKILL)
        _wait(lambda before=before: _device(server.url, headers)["restarts"] > before["restarts"])
        _wait(lambda: _device(server.url, headers)["state"] == "ready")
    prometheus.wait_for('ALERTS{alertname="FarfuncWorkerRestarts", alertstate="firing"}', 90.0)


def test_a_storage_that_fails_is_counted(start_server, postgres, tmp_path):
    from farfunc_server.storage.database import Database, database_url
    from farfunc_server.storage.upgrading import migrate
    from support.services import ObjectStore

    address = postgres.new_database()
    database = Database(database_url(address, tmp_path))
    migrate(database)
    database.close()
    with ObjectStore(tmp_path) as store:
        settings = {"FARFUNC_DATABASE": address, "FARFUNC_OBJECT_STORE": store.new_bucket(), **store.environment}
        with start_server(**settings) as server:
            store.__exit__(None, None, None)
            with open_client(server.url) as client:
                answer = client.post("/v1/functions", content=function_to_bytes(_SIN), headers=BINARY)
                assert (answer.status_code, answer.json()["code"]) == (507, "storage_failed")
                assert "\nfarfunc_storage_failures_total 1.0\n" in client.get("/metrics").text


def _device(url, headers):
    return httpx.get(f"{url}/v1/devices", headers=headers).json()["devices"][0]


def _wait(condition, seconds=60.0):
    import time

    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)  # between two looks, bounded by the deadline
