"""Dashboards and alerts: Prometheus takes every expression, and the server has every metric that they name."""

import json
import re

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from farfunc_server.metrics import Metrics
from support import documents
from support.paths import ROOT
from support.promtool import promtool

PROMETHEUS = ROOT / "deploy" / "prometheus"
DASHBOARDS = sorted((ROOT / "deploy" / "grafana" / "dashboards").glob("*.json"))
RULES = [rule for group in yaml.safe_load((PROMETHEUS / "alerts.yml").read_text())["groups"] for rule in group["rules"]]
_NAME = re.compile(r"\bfarfunc_\w+")


def panels(dashboard):
    return json.loads(dashboard.read_text())["panels"]


def expressions():
    for rule in RULES:
        yield rule["alert"], rule["expr"]
    for dashboard in DASHBOARDS:
        for panel in panels(dashboard):
            for target in panel.get("targets", ()):
                yield f"{dashboard.stem}: {panel['title']}", target["expr"]


def told():
    """The names and labels of all that a server can tell."""
    from types import SimpleNamespace

    metrics = Metrics()
    metrics.observe(
        queue_depth=lambda: 0,
        queue_capacity=1,
        running=lambda: 0,
        workers_ready=lambda: 0,
        plans=lambda stage: 0,
        plan_bytes=lambda: 0,
        plan_counts=SimpleNamespace(hits=0, misses=0, evictions=0),
    )
    metrics.observe_device("cpu", lambda: 0.0, lambda: True)
    metrics.request("/v1/evaluate", "POST", 200, 0.1)
    metrics.evaluated(SimpleNamespace(started=0, received=0, asked=0, begun=0, answered=0, compute=0), 0)
    metrics.evaluation("ok", 0.1, "plain")
    metrics.batch("cpu", 1, 1)
    metrics.compiled(SimpleNamespace(state="done", seconds=1.0))
    metrics.tenants.count("tenant", True, 1.0)
    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(metrics.exposition().decode()):
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return found


def test_the_server_has_every_metric_that_is_named():
    known = told()
    named = {name for _, expression in expressions() for name in _NAME.findall(expression)}
    assert len(named) > 20
    assert named - known.keys() == set()


def test_every_metric_of_the_server_is_seen_somewhere():
    # A figure that nobody looks at is a figure to delete.
    shown = {name for _, expression in expressions() for name in _NAME.findall(expression)}
    families = {re.sub(r"_(bucket|sum|count|total|created)$", "", name) for name in told()}
    assert families - {re.sub(r"_(bucket|sum|count|total|created)$", "", name) for name in shown} == set()


@pytest.mark.parametrize(("place", "expression"), list(expressions()))
def test_metrics_have_the_labels_by_which_they_are_chosen(place, expression):
    known = told()
    for name, labels in re.findall(r"(farfunc_\w+)\{([^}]*)\}", expression):
        chosen = set(re.findall(r"(\w+)\s*=~?", labels))
        assert chosen <= known[name] | {"instance", "job"}, place


def test_prometheus_takes_every_expression_of_a_dashboard(tmp_path):
    rules = [
        {"record": f"panel:{number}", "expr": expression.replace("$__rate_interval", "1m").replace("$instance", ".*")}
        for number, (_, expression) in enumerate(expressions())
    ]
    path = tmp_path / "rules.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    assert f"{len(rules)} rules found" in promtool("check", "rules", path)


@pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda path: path.stem)
def test_a_dashboard_is_whole(dashboard):
    document = json.loads(dashboard.read_text())
    assert document["uid"]
    assert document["title"]
    ids = [panel["id"] for panel in document["panels"]]
    assert len(ids) == len(set(ids))
    taken = set()
    for panel in document["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells
        variables = {name for target in panel.get("targets", ()) for name in re.findall(r"\$(\w+)", target["expr"])}
        assert variables <= {"instance", "__rate_interval"}
    assert {variable["name"] for variable in document["templating"]["list"]} == {"datasource", "instance"}


def test_the_uids_differ():
    uids = [json.loads(dashboard.read_text())["uid"] for dashboard in DASHBOARDS]
    assert len(DASHBOARDS) == len(set(uids)) == 2


def test_prometheus_takes_the_scrape_configuration(tmp_path):
    token = tmp_path / "metrics_token"
    token.write_text("secret")
    text = (PROMETHEUS / "prometheus.yml").read_text().replace("/run/secrets/metrics_token", str(token))
    (tmp_path / "prometheus.yml").write_text(text)
    (tmp_path / "alerts.yml").write_text((PROMETHEUS / "alerts.yml").read_text())
    promtool("check", "config", tmp_path / "prometheus.yml")


def test_each_alert_has_a_unit_test_that_it_passes():
    tests = yaml.safe_load((PROMETHEUS / "alerts.test.yml").read_text())["tests"]
    fired = {case["alertname"] for test in tests for case in test["alert_rule_test"] if case["exp_alerts"]}
    assert fired == {rule["alert"] for rule in RULES}
    promtool("test", "rules", PROMETHEUS / "alerts.test.yml")


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_each_alert_leads_to_a_section_of_the_runbook(rule):
    page, _, anchor = rule["annotations"]["runbook"].partition("#")
    assert anchor in documents.anchors(ROOT / page)
    assert rule["labels"]["severity"] in ("critical", "warning")
