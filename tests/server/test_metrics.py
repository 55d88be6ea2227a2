"""What Prometheus is told, read as Prometheus reads it."""

import math

import pytest
from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.parser import text_string_to_metric_families

from farfunc_server.histograms import Histograms
from farfunc_server.metrics import Metrics
from farfunc_server.routes.timing import Timing
from farfunc_server.scheduling.plan_board import PlanBoard
from farfunc_server.workers.messages import Result


def samples(metrics, tenant=None):
    return {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(metrics.exposition(tenant).decode())
        for sample in family.samples
    }


def test_histograms_count_as_prometheus_clients_own():
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    bounds = (0.001, 0.5, 1, 10)
    quick = Histograms("x_seconds", "X.", ("part",), bounds, ours)
    theirs_of = Histogram("x_seconds", "X.", ("part",), buckets=bounds, registry=theirs)
    for value in (0.0, 0.001, 0.0010001, 0.5, 0.7, 1.0, 9.9, 10, 11, 1e9):
        for part in ("a", "b"):
            quick.observe(value, part)
            theirs_of.labels(part).observe(value)

    def told(registry):
        found = {}
        for family in registry.collect():
            for sample in family.samples:
                if not sample.name.endswith("_created"):
                    found[sample.name, *sorted(sample.labels.items())] = sample.value
        return found

    assert told(ours) == told(theirs)


def test_the_parts_of_an_evaluation_as_far_as_it_came():
    metrics = Metrics()
    metrics.evaluated(Timing(0.0, 1.0), 9.0)  # it was refused before it was understood
    metrics.evaluated(Timing(0.0, 1.0, 3.0), 9.0)  # its turn did not come
    metrics.evaluated(Timing(0.0, 1.0, 3.0, 6.0, 16.0, 4.0), 21.0)
    found = samples(metrics)
    parts = ("read", "parse", "queue", "ipc", "compute", "reply")
    counts = [found["farfunc_part_seconds_count", ("part", part)] for part in parts]
    sums = [found["farfunc_part_seconds_sum", ("part", part)] for part in parts]
    assert counts == [2, 2, 1, 1, 1, 1]
    assert sums == [2.0, 4.0, 3.0, 6.0, 4.0, 5.0]


def test_a_tenant_is_told_of_itself_alone_and_of_ids_no_names():
    metrics = Metrics()
    metrics.tenants.count("tenant_a", True, 0.25)
    metrics.tenants.count("tenant_a", False, 0.0)
    metrics.tenants.count("tenant_b", True, 1.0)
    everyone = samples(metrics)
    assert everyone["farfunc_tenant_evaluations_total", ("outcome", "ok"), ("tenant", "tenant_b")] == 1
    own = samples(metrics, "tenant_a")
    assert own["farfunc_tenant_device_seconds_total", ("tenant", "tenant_a")] == 0.25
    assert own["farfunc_tenant_evaluations_total", ("outcome", "failed"), ("tenant", "tenant_a")] == 1
    assert not any("tenant_b" in str(key) for key in own)
    assert not any("tenant_a" in str(key) for key in samples(metrics, "tenant_c"))


def test_any_number_of_tenants_has_a_bounded_number_of_figures():
    metrics = Metrics()
    for number in range(1000):
        metrics.tenants.count(f"tenant_{number}", True, 1.0)
    found = {key: value for key, value in samples(metrics).items() if key[0] == "farfunc_tenant_device_seconds_total"}
    assert len(found) == 201
    assert math.isclose(sum(found.values()), 1000)


def test_plans_that_were_found_made_and_forgotten():
    board = PlanBoard(None)

    def tell(*news):
        board.heard("cpu", Result(0.0, "plain", news=list(news)))

    def plan(id, plain, flat=0):
        return {"id": id, "stage": "flat", "bytes": 0, "stages": {"plain": {"calls": plain}, "flat": {"calls": flat}}}

    tell(plan("a", 1))
    assert (board.hits, board.misses, board.evictions) == (0, 1, 0)
    tell(plan("a", 3, 5), plan("b", 2))
    assert (board.hits, board.misses, board.evictions) == (8, 2, 0)
    tell({"id": "a", "forgotten": True})
    tell(plan("a", 1))  # made again
    assert (board.hits, board.misses, board.evictions) == (8, 3, 1)
    board.lost("cpu")
    tell(plan("b", 1))
    assert (board.hits, board.misses, board.evictions) == (8, 4, 1)


@pytest.mark.parametrize("device", ["cpu:0", "cpu:1"])
def test_devices_have_figures_before_anything_happens(device):
    metrics = Metrics()
    metrics.observe_device(device, lambda: 2.5, lambda: True)
    found = samples(metrics)
    assert found["farfunc_device_busy_seconds_total", ("device", device)] == 2.5
    assert found["farfunc_device_in_service", ("device", device)] == 1
    assert found["farfunc_worker_restarts_total", ("device", device)] == 0
