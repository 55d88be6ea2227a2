"""The benchmark's own code: ratios, targets, the page, and that a case is one function for NumPy and for torch."""

import json
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
import torch

from support.paths import ROOT


@pytest.fixture(autouse=True)
def _benchmarks_on_the_path(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))


def _way(*rounds, **more):
    return {"rounds": [[each] for each in rounds], "note": "", "agrees": True, "error": 1e-16, **more}


def _load(*rates, agrees=True):
    rounds = [
        {"calls": 9, "per second": rate, "p50": 1e-3, "p99": 2e-3, "failures": [], "error": 0.0, "agrees": agrees}
        for rate in rates
    ]
    return {"rounds": rounds}


def _results():
    machine = {"commit": "abc", "date": "2026-01-01", "processor": "a processor", "cores": 2, "load before": 0.1}
    machine |= {"python": "3.11", "torch": "2.13", "threads": 1, "rounds": 3, "is_quick": False, "minutes": 20.0}
    machine |= {"server options": ["--x=1"], "without batching": "--batching=false"}
    panda = {"eager": _way(2.0, 2.0, 4.0), "numpy": _way(1.0, 1.2, 1.2), "compiled": _way(failure="Unsupported:\n no")}
    dense = {"eager": _way(1.0), "compiled": _way(0.5), "numpy": _way(0.53)}
    cases = [
        {"key": "panda-jacrev", "title": "Panda | arm", "nbytes": 336, "ways": panda},
        {"key": "dense-2000", "title": "dense", "nbytes": 32_000_000, "ways": dense, "copy": [0.008, 0.008]},
    ]
    runs = {"raw": _load(900.0, 1100.0), "raw, without batching": _load(300.0, 300.0), "tesseract": _load(100.0, 100.0)}
    loads = [{"key": "two-ms", "title": "two", "clients": 32, "alone": {"eager": 2e-3, "raw": None}, "runs": runs}]
    small = {"calls": 100, "per second": 400.0, "p50": 1e-3, "p99": 2e-3, "agrees": True}
    mixed = {"small": "s", "large": "l", "alone": small, "beside": {**small, "p99": 1e-2}}
    mixed["large calls"] = {"calls": 3, "p50": 2.0, "failures": [], "error": 0.0}
    memory = {"title": "m", "budget": 64 << 20, "growth": {"web": 2 << 20, "worker cpu": 32 << 20}}
    return {
        "machine": machine,
        "cases": cases,
        "concurrent": loads,
        "mixed": mixed,
        "memory": {**memory, "error": 0.0, "agrees": True},
    }


def _judged(results):
    from targets import judge

    return {each.title: each for each in judge(json.loads(json.dumps(results)))}


def test_a_ratio_is_taken_within_each_round():
    from ratios import ratio

    found = ratio([1.0, 1.2, 1.2], [2.0, 2.0, 4.0])  # 0.5, 0.6, 0.3
    assert found.median == pytest.approx(0.5)
    assert (found.low, found.high) == (pytest.approx(0.4), pytest.approx(0.55))
    assert ratio([], [1.0]) is None


def test_targets_are_met_missed_or_not_measured():
    judged = _judged(_results())
    panda = judged["Panda arm, one state, farfunc ÷ local eager jacrev"]
    assert (panda.verdict, panda.measured) == ("met", "0.50 (0.40 to 0.55)")
    assert judged["Panda arm, one state, farfunc ÷ local eager jacfwd"].verdict == "not measured: not in this run"
    floor = judged["2000 x 2000 dense, farfunc ÷ (compute alone + two copies of the result)"]
    assert floor.measured.startswith("1.03")  # 0.53 ÷ (0.5 + 2 * 0.008)
    speed = judged["2000 x 2000 dense, the result's bytes ÷ (farfunc − compute alone; none left: inf)"]
    assert (speed.verdict, speed.measured.split()[0]) == ("met", "1.07")
    batching = judged["32 clients, calls per second of a recurrent network, raw HTTP, with batching ÷ without"]
    assert (batching.verdict, batching.measured.split()[0]) == ("met", "3.33")
    assert judged["small calls' p99 beside calls of seconds ÷ alone"].measured.startswith("5.00")
    assert judged["a Jacobian of 4 x the memory limit: what the worker took on top ÷ the limit"].verdict == "met"
    assert judged["results that agree with local torch.func"].measured == "14 of 14"


def test_a_call_faster_than_computing_locally_leaves_no_time_of_transfer():
    results = _results()
    results["cases"][1]["ways"]["numpy"] = _way(0.1)
    judged = _judged(results)
    speed = judged["2000 x 2000 dense, the result's bytes ÷ (farfunc − compute alone; none left: inf)"]
    assert (speed.verdict, speed.measured) == ("met", "inf (inf to inf) GB/s")


def test_a_wrong_result_is_a_missed_target():
    results = _results()
    results["cases"][0]["ways"]["numpy"] |= {"agrees": False, "failure": "its result differs"}
    results["concurrent"][0]["runs"]["raw"] = _load(900.0, agrees=False)
    results["memory"]["agrees"] = False
    judged = _judged(results)
    assert judged["results that agree with local torch.func"].verdict == "missed"
    assert judged["Panda arm, one state, farfunc ÷ local eager jacrev"].verdict.startswith("not measured: numpy: its")
    assert "wrong" in judged["a Jacobian of 4 x the memory limit: what the worker took on top ÷ the limit"].verdict


def test_the_page_and_its_charts_are_written(tmp_path):
    from report import write_page

    write_page(_results(), tmp_path)
    page = (tmp_path / "benchmarks.md").read_text(encoding="utf-8")
    assert "| Panda \\| arm | fails | 0.50 (0.40 to 0.55) |" in page
    assert "fails: Unsupported: no" in page
    assert page.index("## Targets") > page.index("## Ratios")
    widths = {line.replace("\\|", "").count("|") for line in page.split("## Targets")[1].splitlines() if "|" in line}
    assert len(widths) == 1
    for name in ("calls.svg", "load-two-ms.svg"):
        assert f"benchmarks/{name}" in page
        ElementTree.parse(tmp_path / "benchmarks" / name)


def test_a_partial_run_has_a_report():
    from report import written

    results = {"machine": _results()["machine"], "cases": []}
    assert "not measured: not in this run" in written(results)


def _keys():
    return [
        "sin",
        "panda-jacrev",
        "mlp-small",
        "mlp-large",
        "transformer",
        "brusselator",
        "robertson",
        "dense-64",
        "two-ms",
        "two-ms-wide",
    ]


@pytest.mark.parametrize("key", _keys())
def test_a_case_is_the_same_function_for_numpy_and_for_torch(key):
    from cases import case_named

    case = case_named(key)
    argument = case.argument[0] if case.chain[0] == "vmap" else case.argument
    with_numpy = case.function(np)(argument)
    with_torch = case.function(torch)(torch.from_numpy(argument)).numpy()
    assert with_numpy.dtype == with_torch.dtype
    scale = np.abs(with_torch).max()
    assert np.abs(with_numpy - with_torch).max() <= (1e-5 if argument.dtype == np.float32 else 1e-12) * scale


def test_a_result_with_nan_never_agrees(tmp_path):
    from cases import case_named
    from driver import Driver
    from ways import ways_of

    case, path = case_named("sin"), tmp_path / "saved.npz"
    driver = Driver(dict(ways_of("local")))
    for result, agrees in ((np.diag(np.cos(case.argument)), True), (np.full((5, 5), np.nan), False)):
        np.savez(path, arguments=case.argument[None], results=result[None])
        assert (driver.error("sin", str(path)) < 1e-12) is agrees


def test_the_programs_of_a_case_beside_torch(monkeypatch, capsys):
    import programs

    options = ["--ways=plain,flat,compiled", "--rounds=1", "--seconds=0"]
    monkeypatch.setattr("sys.argv", ["programs.py", "sin", "sin:2", *options])
    threads = torch.get_num_threads()
    programs.main()
    torch.set_num_threads(threads)
    _, sine, batch = (line.split() for line in capsys.readouterr().out.splitlines())
    assert (sine[0], batch[0]) == ("sin", "sin:2")
    for found in (sine, batch):
        assert "-" not in found  # each way has a figure
        assert float(found[-1]) < 1e-12
