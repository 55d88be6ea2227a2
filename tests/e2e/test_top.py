"""`farfunc top`: what it shows is what the server tells, in the environment of the thin client as well."""

import os
import re
import subprocess

import numpy as np
import prometheus_client
import pytest

import farfunc
from farfunc_server.commands.figures import Figures, quantile, rate, read_figures
from farfunc_server.commands.top_view import Frame, draw
from support.paths import ROOT
from support.raw_servers import dead_port


def top(python, *words, **variables):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("FARFUNC_")}
    paths = os.pathsep.join(str(ROOT / name) for name in ("protocol", "client", "server"))
    return subprocess.run(
        [python, "-m", "farfunc_server", "top", *words],
        env={**environment, "PYTHONPATH": paths, "COLUMNS": "140", **variables},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_one_frame_of_a_running_server(start_server, thin_python):
    with start_server(FARFUNC_TOKEN="secret") as server:
        with farfunc.Client(server.url, token="secret") as client:
            jacobian = client.jacfwd(np.sin)
            for _ in range(20):
                jacobian(np.ones(3))
            process = subprocess.Popen(
                [thin_python, "-m", "farfunc_server", "top", "--once"],
                env={
                    **{name: value for name, value in os.environ.items() if not name.startswith("FARFUNC_")},
                    "PYTHONPATH": os.pathsep.join(str(ROOT / name) for name in ("protocol", "client", "server")),
                    "FARFUNC_URL": server.url,
                    "FARFUNC_TOKEN": "secret",
                    "COLUMNS": "160",
                },
                stdout=subprocess.PIPE,
                text=True,
            )
            while process.poll() is None:  # there is something to see
                jacobian(np.ones(3))
            shown = process.communicate()[0]
        assert process.returncode == 0
        assert "\x1b" not in shown
        assert shown.startswith(f"farfunc {server.url}\n")
        [evaluations] = re.findall(r"evaluations +([\d.]+) /s", shown)
        assert float(evaluations) > 0
        assert re.search(r"p50 +[\d.]+ [um]?s +p99 +[\d.]+ [um]?s", shown)
        assert re.search(r"^queue +0 of 256 waiting", shown, re.MULTILINE)
        assert re.search(r"^cpu +ready +\d+ +\d+%", shown, re.MULTILINE)
        assert re.search(
            r"^cpu +(plain|flat) +\d+ +[\d.]+ [um]s +jacfwd of sha256:\w+ \(float64\[3\]\)", shown, re.MULTILINE
        )
        refused = top(thin_python, server.url, "--once", FARFUNC_TOKEN="wrong")
        if refused.returncode:  # where the figures are open, the devices are not
            assert "bearer token" in refused.stderr
        assert refused.returncode == 1
        assert "Traceback" not in refused.stderr


def test_where_no_server_answers(thin_python):
    done = top(thin_python, f"http://127.0.0.1:{dead_port()}", "--once")
    assert done.returncode == 1
    assert done.stderr.startswith("farfunc: no farfunc server answers at http://127.0.0.1")
    assert top(thin_python, "ftp://x", "--once").returncode == 1
    assert top(thin_python, "--interval", "0").returncode == 2


def test_figures_are_read_as_prometheus_clients_own_reads_them():
    registry = prometheus_client.CollectorRegistry()
    hard = prometheus_client.Counter("hard", "Of a label.", ("x",), registry=registry)
    hard.labels('a"b\\c\n,d="e"} 5').inc(2)
    hard.labels("").inc(3.5e-7)
    figures = read_figures(prometheus_client.generate_latest(registry).decode(), 0.0)
    assert figures.sum("hard_total") == pytest.approx(2 + 3.5e-7)
    assert len(figures.by("hard_total", "x")) == 2


def test_quantiles_and_rates_are_those_of_prometheus():
    def figures(moment, *counts):
        bounds = ("0.1", "0.5", "1.0", "+Inf")
        samples = [({"le": bound, "route": "r"}, float(count)) for bound, count in zip(bounds, counts, strict=True)]
        return Figures(moment, {"s_bucket": samples, "n_total": [({}, float(counts[-1]))]})

    before, now = figures(10.0, 100, 100, 100, 100), figures(12.0, 150, 190, 200, 200)
    assert quantile(0.5, before, now, "s", route="r") == pytest.approx(0.1)
    assert quantile(0.75, before, now, "s") == pytest.approx(0.1 + 0.4 * 25 / 40)
    assert quantile(1.0, before, figures(12.0, 100, 100, 100, 101), "s") == 1.0  # beyond the last bound
    assert quantile(0.5, before, before, "s") is None
    assert rate(before, now, "n_total") == 50
    assert rate(now, before, "n_total") == 0  # the server was restarted


def test_nothing_that_a_server_tells_moves_the_cursor_or_makes_a_line_longer():
    figures = Figures(0.0, {})
    device = {"name": "cpu", "state": "failing", "pid": None, "restarts": 3, "description": "\x1b[2Jx" + "y" * 500}
    lines = draw(Frame("http://x", figures, Figures(1.0, {}), [device], []), 80, is_colored=False)
    assert all(len(line) <= 80 and line.isprintable() for line in lines)
    colored = draw(Frame("http://x", figures, Figures(1.0, {}), [device], []), 80, is_colored=True)
    assert any(line.startswith("\x1b[31m") and "failing" in line for line in colored)
