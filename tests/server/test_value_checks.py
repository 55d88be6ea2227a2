"""Values that an operator refuses are refused in every stage, whether its result is used or not."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from farfunc_protocol.errors import EvaluationError
from farfunc_protocol.transforms import FlatTransform
from farfunc_server.evaluation import plans
from farfunc_server.evaluation.compilation import PackageFolder, PlanSpec, compile_plan, why_not_here
from farfunc_server.evaluation.engine import Engine
from farfunc_server.evaluation.flattening import flatten
from farfunc_server.evaluation.plans import Stage
from farfunc_server.evaluation.program import Program
from farfunc_server.evaluation.value_checks import why_not_compiled
from support.graphs import array, f64, function_of, i64

X = np.arange(1.0, 10.0).reshape(3, 3) / 10
JACREV, JACFWD, GRAD = (FlatTransform(name, {"argnums": (0,)}) for name in ("jacrev", "jacfwd", "grad"))


def unary(op, *more, **attributes):
    return lambda b, x, given: b.add(op, (x, given, *more), attributes)[0]


def beside(op, **attributes):
    """x plus what an operator makes of a constant and the other argument: of no account for the Jacobian."""

    def body(b, x, given):
        operands = (b.constant(array(X)), given) if op == "index_select" else (given, given)
        (found,) = b.add(op, operands[: 1 if op == "linalg_eigvalsh" else 2], attributes)
        return b.add("add.Tensor", (x, b.add("sum", (found,))[0]))[0]

    return body


CASES = {
    "embedding": (unary("embedding"), [0, 2], [0, 3]),
    "binary_cross_entropy": (unary("binary_cross_entropy", None), X, None),
    "cross_entropy": (unary("cross_entropy_loss", None), [0, 1, 2], [0, 3, 2]),
    "index_select": (beside("index_select", dim=0), [0, 1, 2], [0, 1, -1]),
    "floor_divide": (beside("floor_divide"), [1, 2, 3], [1, 0, 3]),
    "eigvalsh": (beside("linalg_eigvalsh"), X, np.full((3, 3), np.nan)),
}


@pytest.mark.parametrize("chain", [(JACREV,), (JACFWD,)])
@pytest.mark.parametrize("name", CASES)
def test_a_flat_program_refuses_what_the_plain_one_does(name, chain, monkeypatch):
    monkeypatch.setattr(plans, "_AS_FAST", 1e9)
    body, good, bad = CASES[name]
    second = array(good, np.asarray(good).dtype.name)
    function = function_of([f64(3, 3), f64(*second.shape) if second.dtype == "float64" else i64(*second.shape)], body)
    refused = [array(X), array(bad, second.dtype)] if bad is not None else [array(10 * X), second]
    with pytest.raises(EvaluationError) as expected:
        Engine().evaluate(function, chain, refused)
    engine = Engine()
    for _ in range(6):
        engine.evaluate(function, chain, [array(X), second])
        while engine.use_idle_time():
            pass
    assert engine.stage is Stage.FLAT
    with pytest.raises(EvaluationError) as found:
        engine.evaluate(function, chain, refused)
    assert str(found.value) == str(expected.value)


def test_what_was_computed_with_constants_alone_is_not_checked_again():
    def body(b, x):
        (row,) = b.add("index_select", (b.constant(array(X)), b.constant(array([1], "int64"))), {"dim": 0})
        return b.add("add.Tensor", (x, row))[0]

    program = Program(function_of([f64(3)], body), (JACREV,), torch.device("cpu"))
    kinds = [f64(3, 3), i64(1)]
    flat = flatten(program.run, [f64(3)], kinds, torch.device("cpu"), constants=program.constants)
    assert "index_select" not in flat.module.code


def scattered(b, x, index):
    return b.add("scatter_add", (x, index, b.add("sin", (x,))[0]), {"dim": 0})[0]


@pytest.mark.parametrize(
    ("body", "second", "chain", "op"),
    [
        (scattered, i64(3, 3), (), "scatter_add"),  # it would be written outside of the result's memory
        (unary("cross_entropy_loss", None), i64(3), (GRAD,), "nll_loss_forward"),
        (unary("binary_cross_entropy", None), f64(3, 3), (), "binary_cross_entropy"),
        (lambda b, x, i: b.add("div.Tensor_mode", (i, i), {"rounding_mode": "trunc"})[0], i64(3), (), "div"),
        (beside("index_select", dim=0), i64(3), (JACREV,), "index_select"),
    ],
)
def test_what_compiled_code_does_not_check_is_not_compiled(body, second, chain, op):
    types = [f64(3, 3), second]
    program = Program(function_of(types, body), chain, torch.device("cpu"))
    kinds = program.function.graph.captures
    flat = flatten(program.run, types, kinds, torch.device("cpu"), fold=False)
    assert op in why_not_compiled(flat.module.graph)


@pytest.mark.timeout(600)
def test_compiled_code_refuses_indices_below_zero_as_torch_does(tmp_path, monkeypatch):
    if (reason := why_not_here()) is not None:
        pytest.skip(reason)
    monkeypatch.setattr(plans, "_AS_FAST", 1e9)

    def body(b, x, i, j, k):
        (y,) = b.add("sin", b.add("index_select", (x, i), {"dim": 0}))
        (y,) = b.add("index_add", (x, j, y), {"dim": 0})
        return b.add("index_copy", (y, k, b.add("cos", (x,))[0]), {"dim": -2})[0]

    types = (f64(3, 3), i64(3), i64(3), i64(3))
    function, folder = function_of(types, body), PackageFolder(tmp_path)
    compile_plan(PlanSpec("sha256:f", (), types, (), "cpu", torch.get_num_threads()), function, folder)
    engine, good = Engine(packages=folder), [2, 0, 1]
    for _ in range(6):
        engine.evaluate(function, (), [array(X), *[array(good, "int64")] * 3], identity="sha256:f")
    assert engine.stage is Stage.COMPILED
    for place in range(3):
        for bad in ([2, 0, -1], [2, 0, 3]):
            indices = [array(bad if number == place else good, "int64") for number in range(3)]
            with pytest.raises(EvaluationError, match="out of"):
                engine.evaluate(function, (), [array(X), *indices], identity="sha256:f")
    assert engine.stage is Stage.COMPILED


def refuses_in_a_loop_of_many(folder):
    """Compile and evaluate with two threads, in a loop that they would share."""
    torch.set_num_threads(2)
    plans._AS_FAST = 1e9
    count = 300_000
    types = (f64(3), i64(count), f64(count))

    def body(b, x, index, y):
        return b.add("mul.Tensor", (b.add("index.Tensor", (x, (index,)))[0], y))[0]

    function, folder = function_of(types, body), PackageFolder(folder)
    compile_plan(PlanSpec("sha256:f", (), types, (), "cpu", 2), function, folder)
    engine, good = Engine(packages=folder), np.arange(count) % 3
    torch.set_num_threads(2)
    for _ in range(6):
        engine.evaluate(function, (), [array(X[0]), array(good, "int64"), array(good)], identity="sha256:f")
    assert engine.stage is Stage.COMPILED
    good[250_000] = 3
    with pytest.raises(EvaluationError, match="out of bounds"):
        engine.evaluate(function, (), [array(X[0]), array(good, "int64"), array(good)], identity="sha256:f")


@pytest.mark.timeout(600)
def test_an_index_that_compiled_code_refuses_does_not_end_the_process(tmp_path):
    if (reason := why_not_here()) is not None:
        pytest.skip(reason)
    # A process of its own: what is tested is that it does not end.
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    ran = subprocess.run([sys.executable, __file__, tmp_path], env=environment, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr[-2000:]


if __name__ == "__main__":
    refuses_in_a_loop_of_many(Path(sys.argv[1]))
