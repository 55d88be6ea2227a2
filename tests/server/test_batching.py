"""Calls that are evaluated together give what each gives alone, whatever becomes of the others."""

import numpy as np
import pytest

from farfunc_protocol.errors import EvaluationError, FarfuncError
from farfunc_protocol.graph import Equation, Graph, TensorType
from farfunc_protocol.messages import EvaluateRequest
from farfunc_protocol.transforms import FlatTransform
from farfunc_server.batch_form import MOST_ROWS, BatchForm, bucket, kind_and_rows
from farfunc_server.evaluation import plans
from farfunc_server.evaluation.engine import Engine
from farfunc_server.evaluation.inference import Budget
from farfunc_server.evaluation.plans import Stage
from support.graphs import array, f64, function_of, wrapped

JACREV = FlatTransform("jacrev", {"argnums": (0,)})
JACFWD = FlatTransform("jacfwd", {"argnums": (0,)})
VMAP = FlatTransform("vmap", {"in_dims": (0,), "out_dims": (0,)})
RNG = np.random.default_rng(0)


def model(b, x):
    (y,) = b.add("sin", (x,))
    (y,) = b.add("mul.Tensor", (y, x))
    return b.add("cumsum", (y,), {"dim": 0})[0]


def together(engine, function, chain, calls):
    """What evaluate_many gives, and whether it was one evaluation."""
    before = sum(plan.calls for _, plan in engine.plans)
    results = engine.evaluate_many(function, chain, calls)
    return results, sum(plan.calls for _, plan in engine.plans) - before == 1


@pytest.mark.parametrize("chain", [(), (JACREV,), (JACFWD, JACREV)])
@pytest.mark.parametrize("count", [2, 3, 5, 32])
def test_rows_are_dealt_to_their_owners(chain, count, monkeypatch):
    function, engine = function_of([f64(4)], model), Engine()
    calls = [[array(RNG.standard_normal(4))] for _ in range(count)]
    expected = [Engine().evaluate(function, chain, call) for call in calls]
    monkeypatch.setattr(plans, "_AS_FAST", 1e9)  # which program is faster is another test's affair
    for _ in range(6):
        found, is_one = together(engine, function, chain, calls)
        assert is_one
        for left, right in zip(expected, found, strict=True):
            np.testing.assert_allclose(left[0].data, right[0].data, rtol=1e-12)
            assert left[0].type == right[0].type
        while engine.use_idle_time():
            pass
    assert any(plan.stage is Stage.FLAT for _, plan in engine.plans)


def test_a_larger_plan_serves_until_the_own_one_is_faster():
    function, engine = function_of([f64(4)], model), Engine()

    def sizes(count):
        """Evaluate so many calls together; how many rows the plan took that ran."""
        before = {id(plan): plan.calls for _, plan in engine.plans}
        results = engine.evaluate_many(function, (JACREV,), calls[:count])
        assert not any(isinstance(result, FarfuncError) for result in results)
        ((_, plan),) = [(_, plan) for _, plan in engine.plans if plan.calls > before.get(id(plan), 0)]
        return plan.types[0].shape[0]

    calls = [[array(RNG.standard_normal(4))] for _ in range(32)]
    assert [sizes(32) for _ in range(3)] == [32] * 3
    found = [sizes(9) for _ in range(16)]
    assert found[:15] == [32] * 15  # no plan is made for 16 rows, which would take longer than these calls
    assert found[15] == 16
    assert [sizes(9), sizes(9)] == [16, 16]  # it is tried until its time is known
    for _, plan in engine.plans:
        if plan.types[0].shape[0] == 16:
            plan.records[plan.stage].best = 1.0  # slower: the larger one serves again
    assert sizes(9) == 32
    assert sizes(2) == 2  # 32 are too many for it


def test_maps_of_several_callers_become_one():
    function, engine = function_of([f64(4)], model), Engine()
    calls = [[array(RNG.standard_normal((rows, 4)))] for rows in (3, 1, 7)]
    found, is_one = together(engine, function, (VMAP, JACREV), calls)
    assert is_one
    for call, result in zip(calls, found, strict=True):
        (expected,) = Engine().evaluate(function, (VMAP, JACREV), call)
        np.testing.assert_allclose(result[0].data, expected.data, rtol=1e-12)


def test_a_bad_call_leaves_its_companions_unharmed():
    graph = Graph((f64(4), TensorType("int64", (1,))), (), (Equation("index_select", (0, 1), {"dim": 0}, (2,)),), (2,))
    function, engine = wrapped(graph), Engine()
    calls = [[array(RNG.standard_normal(4)), array([place], "int64")] for place in (0, 3, 9, 1)]
    for _ in range(3):
        found = engine.evaluate_many(function, (), calls)
        assert isinstance(found[2], EvaluationError)
        for call, result in zip(calls, found, strict=True):
            if not isinstance(result, FarfuncError):
                np.testing.assert_array_equal(result[0].data, call[0].data[call[1].data])
    good = calls[:2]
    found, is_one = together(engine, function, (), good)
    assert is_one  # the bad call was to blame, not the function


def test_what_has_no_batching_rule_is_evaluated_one_by_one_from_then_on(monkeypatch):
    function, engine = function_of([f64(4)], model), Engine()

    def refuse(*arguments):
        raise RuntimeError("Batching rule not implemented")

    monkeypatch.setattr("farfunc_server.evaluation.engine.gather", refuse)
    calls = [[array(RNG.standard_normal(4))] for _ in range(3)]
    for _ in range(2):
        found, is_one = together(engine, function, (JACREV,), calls)
        assert not is_one
        for call, result in zip(calls, found, strict=True):
            (expected,) = Engine().evaluate(function, (JACREV,), call)
            np.testing.assert_array_equal(result[0].data, expected.data)
    assert "Batching rule" in engine.plans.program(function, (JACREV,)).why_alone


@pytest.mark.parametrize("op", ["where.self", "addcmul"])
def test_results_have_the_dtype_of_a_call_alone(op):
    """A 0-d tensor does not widen float32 to float64; under vmap torch takes it for a vector, which does."""

    def body(b, x, s):
        operands = (b.add("gt.Tensor", (x, x))[0], x, s) if op == "where.self" else (x, x, s)
        return b.add(op, operands)[0]

    function, engine = function_of([TensorType("float32", (3,)), f64()], body), Engine()
    calls = [[array([-1, 0, 1], "float32"), array(number)] for number in (0.1, 0.2, 0.3)]
    expected = [Engine().evaluate(function, (), call) for call in calls]
    for _ in range(2):
        found = engine.evaluate_many(function, (), calls)
        for left, right in zip(expected, found, strict=True):
            assert left[0].type == right[0].type == TensorType("float32", (3,))
            np.testing.assert_array_equal(left[0].data, right[0].data)
    assert "other types" in engine.plans.program(function, ()).why_alone


def test_where_there_is_no_memory_for_all_together_there_are_fewer(monkeypatch):
    function, engine = function_of([f64(64)], model), Engine(budget=Budget(1 << 20))  # a Jacobian takes 32 KiB
    calls = [[array(RNG.standard_normal(64))] for _ in range(32)]
    expected = [Engine().evaluate(function, (JACREV,), call) for call in calls]
    for _ in range(2):
        for left, right in zip(expected, engine.evaluate_many(function, (JACREV,), calls), strict=True):
            np.testing.assert_allclose(left[0].data, right[0].data, rtol=1e-12)
    sizes = {plan.types[0].shape[0] for program, plan in engine.plans if len(program.chain) == 2}
    assert sizes & {2, 4, 8}
    assert engine.plans.program(function, (JACREV,)).why_alone is None


def test_random_calls_are_not_put_together():
    function = function_of([f64(4)], lambda b, x: b.add("randn_like", (x,))[0])
    found, is_one = together(Engine(), function, (), [[array(np.zeros(4))]] * 3)
    assert not is_one
    assert len({tuple(result[0].data) for result in found}) == 3


def test_a_batch_that_is_slower_than_its_calls_is_left_alone():
    function, engine = function_of([f64(4)], model), Engine()
    calls = [[array(RNG.standard_normal(4))] for _ in range(2)]
    for _ in range(3):
        engine.evaluate_many(function, (), calls)
        engine.evaluate(function, (), calls[0])
    for program, plan in engine.plans:
        plan.records[plan.stage].best = 1.0 if program.chain else 1e-9
    ones = [together(engine, function, (), calls)[1] for _ in range(16)]
    assert ones.count(True) == 1


def test_what_is_put_together_is_bounded_by_its_bytes():
    def rows(elements, chain=()):
        return kind_and_rows(EvaluateRequest("f", chain, (array(np.zeros(elements)),)))[1]

    assert rows(4) == 1
    assert rows((7, 4), (VMAP,)) == 7
    assert rows(1 << 20) == 32  # 8 MiB: eight of them at a time
    kind, _ = kind_and_rows(EvaluateRequest("f", (), (array(np.zeros(9 << 20)),)))
    assert kind is None


def test_forms():
    assert BatchForm.of((), ()) is None
    outer = FlatTransform("vmap", {"in_dims": (0, None), "out_dims": (0,)})
    form = BatchForm.of((outer,), (f64(3, 2), f64(2)))  # what is not mapped would have to be the same for all
    assert form.rows == 1
    assert len(form.common_chain(1)) == 2
    assert BatchForm.of((VMAP,), (f64(7, 2),)).types(3) == (f64(3, 2),)
    assert all(rows <= bucket(rows) < 2 * rows for rows in range(1, MOST_ROWS + 1))
    assert len({bucket(rows) for rows in range(1, MOST_ROWS + 1)}) <= 9
