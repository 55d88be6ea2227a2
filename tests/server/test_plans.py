"""Plans: faster programs serve once they agree, the plain one decides about errors, and what is kept is bounded."""

import time

import numpy as np
import pytest
import torch

from farfunc_protocol.arrays import Array
from farfunc_protocol.errors import EvaluationError, LimitExceeded
from farfunc_protocol.graph import Equation, Graph, TensorType
from farfunc_protocol.transforms import FlatTransform
from farfunc_server.evaluation import flattening, plan_cache, plans
from farfunc_server.evaluation.compilation import NotCompiled, PackageFolder, PlanSpec, compile_plan, why_not_here
from farfunc_server.evaluation.engine import Engine
from farfunc_server.evaluation.flattening import NotFlat, flatten
from farfunc_server.evaluation.inference import Budget, Inference
from farfunc_server.evaluation.plans import Plan, Stage, agree
from farfunc_server.evaluation.program import Program
from support.graphs import array, f64, function_of, wrapped

CPU = torch.device("cpu")
JACFWD = FlatTransform("jacfwd", {"argnums": (0,)})
JACREV = FlatTransform("jacrev", {"argnums": (0,)})
HESSIAN = FlatTransform("hessian", {"argnums": (0,)})
VMAP = FlatTransform("vmap", {"in_dims": (0,), "out_dims": (0,)})
SIN = wrapped(Graph((f64(3),), (), (Equation("sin", (0,), {}, (1,)),), (1,)))
X = array([1.0, 2.0, 3.0])


@pytest.fixture(autouse=True)
def no_race(request, monkeypatch):
    """Which program is faster depends on the machine's other load: where that is not tested each is fast enough."""
    if "slower" not in request.node.name:
        monkeypatch.setattr(plans, "_AS_FAST", 1e9)


def only_plan(engine):
    ((_, plan),) = engine.plans
    return plan


def settle(engine):
    while engine.use_idle_time():
        pass


def model(b, x):
    """A few operators of several kinds: products, a reduction, a choice, a softmax."""
    (y,) = b.add("mm", (x, x))
    (y,) = b.add("softmax.int", (y,), {"dim": 1})
    (z,) = b.add("relu", (x,))
    (y,) = b.add("mul.Tensor", (y, z))
    return b.add("sum.dim_IntList", (y,), {"dim": (0,)})[0]


CHAINS = [(), (JACFWD,), (JACREV,), (HESSIAN,), (VMAP, JACREV), (VMAP, HESSIAN), (JACFWD, JACREV)]


@pytest.mark.parametrize("chain", CHAINS)
def test_the_flat_program_serves_after_its_trials_and_agrees(chain):
    function = function_of([f64(4, 4)], model)
    batch = (5,) if VMAP in chain else ()
    arguments = [array(np.random.default_rng(seed).standard_normal((*batch, 4, 4))) for seed in range(7)]
    engine, plain = Engine(), Engine()
    for given in arguments:
        expected = plain.evaluate(function, chain, [given])
        found = engine.evaluate(function, chain, [given])
        settle(engine)
        for left, right in zip(expected, found, strict=True):
            np.testing.assert_allclose(left.data, right.data, rtol=1e-12, atol=1e-14)
    plan = only_plan(engine)
    assert plan.stage is Stage.FLAT, plan.records
    assert [record.calls for record in plan.records] == [5, 2, 0, 0]
    assert plan.records[Stage.FLAT].made_in > 0


def test_a_flat_program_holds_what_depends_on_no_argument_and_no_call_twice():
    def twice(b, x):
        (y,) = b.add("sin", (x,))
        (z,) = b.add("sin", (x,))
        return b.add("mul.Tensor", (y, z))[0]

    program = Program(function_of([f64(3)], twice), (JACFWD,), CPU)
    flat = flatten(program.run, [f64(3)], [], CPU)
    names = [node.target.name() for node in flat.module.graph.nodes if isinstance(node.target, torch._ops.OpOverload)]
    assert names.count("aten::sin") == 1
    assert names.count("aten::cos") == 1
    assert not [name for name in names if "zeros" in name or "fill" in name or "diagonal" in name]
    assert flat.folded_bytes == 3 * 3 * 8
    q = torch.tensor([0.1, 0.2, 0.3], dtype=torch.float64)
    expected = torch.func.jacfwd(lambda x: x.sin() * x.sin())(q)
    torch.testing.assert_close(flat([q], [])[0], expected)


def test_random_numbers_are_those_of_the_plain_program():
    def noisy(b, x):
        (noise,) = b.add("randn_like", (x,))
        return b.add("mul.Tensor", (x, noise))[0]

    function = function_of([f64(3)], noisy)
    engine, plain = Engine(), Engine()
    for seed in range(8):
        expected = plain.evaluate(function, (JACREV,), [X], seed=seed)
        found = engine.evaluate(function, (JACREV,), [X], seed=seed)
        settle(engine)
        np.testing.assert_array_equal(expected[0].data, found[0].data)
    plan = only_plan(engine)
    assert plan.stage is Stage.FLAT
    assert "random" in plan.records[Stage.COMPILED].note
    state = Array.from_numpy(torch.get_rng_state().numpy())
    expected = plain.evaluate(function, (JACREV,), [X], generator=state)
    found = engine.evaluate(function, (JACREV,), [X], generator=state)
    assert all(left == right for left, right in zip(expected, found, strict=True))


def test_what_looks_at_values_stays_plain_and_says_so():
    graph = Graph(
        (f64(1, 4, 4), f64(1, 1, 2)),
        (),
        (Equation("fractional_max_pool2d", (0, 1), {"kernel_size": (2, 2), "output_size": (2, 2)}, (2, 3)),),
        (2, 3),
    )
    engine, function = Engine(), wrapped(graph)
    for _ in range(4):
        engine.evaluate(function, (), [array(np.ones((1, 4, 4))), array(np.full((1, 1, 2), 0.5))])
        settle(engine)
    plan = only_plan(engine)
    assert plan.stage is Stage.PLAIN
    assert "fractional_max_pool2d looks at the values" in plan.records[Stage.FLAT].note


def test_errors_are_those_of_the_plain_program():
    graph = Graph((f64(4), TensorType("int64", (2,))), (), (Equation("index_select", (0, 1), {"dim": 0}, (2,)),), (2,))
    engine, function = Engine(), wrapped(graph)
    right, wrong = array([1, 2], "int64"), array([1, 9], "int64")
    data = array([1.0, 2.0, 3.0, 4.0])
    for _ in range(6):
        engine.evaluate(function, (), [data, right])
        settle(engine)
    assert only_plan(engine).stage is Stage.FLAT
    with pytest.raises(EvaluationError) as caught:
        engine.evaluate(function, (), [data, wrong])
    assert caught.value.where == "equations[0] (index_select)"
    assert only_plan(engine).stage is Stage.FLAT  # the program is right: the argument was wrong
    (found,) = engine.evaluate(function, (), [data, right])
    np.testing.assert_array_equal(found.data, [2.0, 3.0])


def test_too_many_calls_are_not_flattened(monkeypatch):
    def long(b, x):
        for _ in range(40):
            (x,) = b.add("sin", (x,))
        return x

    monkeypatch.setattr(flattening, "MAX_CALLS", 20)
    program = Program(function_of([f64(3)], long), (), CPU)
    with pytest.raises(NotFlat, match="more than 20 calls"):
        flatten(program.run, [f64(3)], [], CPU)


def fixed(*values):
    return lambda leaves, captures: (torch.tensor(values, dtype=torch.float64),)


def plan_of(plain):
    return Plan("id", (), (), plain, False, Inference((), 0, 0.0, 0))


def test_a_program_that_disagrees_never_serves():
    plan = plan_of(fixed(1.0, 2.0))
    plan.offer(Stage.FLAT, fixed(1.0, 2.1), 0.1)
    for _ in range(3):
        assert plan.run((), ())[0].tolist() == [1.0, 2.0]
    assert plan.stage is Stage.PLAIN
    assert plan.records[Stage.FLAT].note == "its result 0 differs by more than rounding"
    assert plan.records[Stage.PLAIN].calls == 3


def taking(seconds, now):
    """A program that takes so long on a clock of its own."""

    def run(leaves, captures):
        now[0] += seconds
        return fixed(1.0)(leaves, captures)

    return run


@pytest.mark.parametrize(("seconds", "trials"), [(0.03, 3), (0.012, 12)])
def test_a_program_that_is_slower_never_serves(monkeypatch, seconds, trials):
    now = [0.0]
    monkeypatch.setattr(plans.time, "perf_counter", lambda: now[0])
    plan = plan_of(taking(0.01, now))
    plan.offer(Stage.FLAT, taking(seconds, now), 0.1)
    for _ in range(trials - 1):
        plan.run((), ())
    assert plan.is_on_trial
    plan.run((), ())
    assert plan.stage is Stage.PLAIN
    assert plan.records[Stage.FLAT].note == f"it is slower: {1e3 * seconds:g} ms, where 10 ms are taken now"
    plan = plan_of(taking(seconds, now))
    plan.offer(Stage.FLAT, taking(0.01, now), 0.1)
    for _ in range(3):
        plan.run((), ())
    assert plan.stage is Stage.FLAT


def test_a_program_that_was_slower_once_is_not_given_up_for_it(monkeypatch):
    """What is slower in its first trials, because the machine had other work, gets more of them."""
    now = [0.0]
    monkeypatch.setattr(plans.time, "perf_counter", lambda: now[0])
    durations = iter([0.015] * 5 + [0.005] * 20)

    def disturbed(leaves, captures):
        now[0] += next(durations)
        return fixed(1.0)(leaves, captures)

    plan = plan_of(taking(0.010, now))
    plan.offer(Stage.FLAT, disturbed, 0.1)
    for _ in range(5):
        plan.run((), ())
    assert plan.is_on_trial
    plan.run((), ())
    assert plan.stage is Stage.FLAT


def test_a_program_that_fails_where_the_plain_one_does_not_is_given_up():
    plan = plan_of(fixed(1.0))
    calls = []

    def sometimes(leaves, captures):
        calls.append(1)
        if len(calls) > 3:
            raise RuntimeError("no more")
        return fixed(1.0)(leaves, captures)

    plan.offer(Stage.COMPILED, sometimes, 0.1)
    assert [plan.run((), ())[0].item() for _ in range(5)] == [1.0] * 5
    assert plan.stage is Stage.PLAIN
    assert "no more" in plan.records[Stage.COMPILED].note
    assert len(calls) == 4


@pytest.mark.parametrize(
    ("left", "right", "is_right"),
    [
        (1.0, 1.0 + 1e-12, True),
        (1.0, 1.0 + 1e-6, False),
        (float("nan"), float("nan"), True),
        (float("nan"), 1.0, False),
        (1.0, float("nan"), False),
        (float("inf"), float("inf"), True),
        (float("inf"), -float("inf"), False),
        (float("inf"), float("nan"), False),
        (0.0, 0.0, True),
        (0.0, 1e-300, False),
    ],
)
def test_agreement(left, right, is_right):
    one, other = (torch.tensor([value, 0.5 if value else 0.0], dtype=torch.float64) for value in (left, right))
    assert agree((one,), (other,)) is is_right
    assert agree((one, one), (other,)) is False
    assert agree((one,), (one.float(),)) is False
    assert agree((torch.tensor([1, 2]),), (torch.tensor([1, 3]),)) is False


def test_limits_hold_in_every_stage():
    million = wrapped(Graph((f64(10**6),), (), (Equation("sin", (0,), {}, (1,)),), (1,)))
    engine = Engine(budget=Budget(memory_bytes=1 << 30))
    for _ in range(3):
        with pytest.raises(LimitExceeded):
            engine.evaluate(million, [JACREV], [array(np.zeros(10**6))])
        settle(engine)


def test_news_of_plans_is_told_once_and_not_at_every_call(monkeypatch):
    monkeypatch.setattr(plan_cache, "_TELL_SECONDS", 3600.0)
    engine = Engine()
    engine.evaluate(SIN, (JACFWD,), [X], identity="sha256:x")
    engine.plans._told_at = -1e9
    (told,) = engine.plans.take_news()
    assert told["function"] == "sha256:x"
    assert told["arguments"] == ["float64[3]"]
    assert told["stage"] == "plain"
    assert told["stages"]["plain"]["calls"] == 1
    engine.evaluate(SIN, (JACFWD,), [X], identity="sha256:x")
    assert engine.plans.take_news() == []


def test_plans_are_forgotten_and_that_is_told(monkeypatch):
    monkeypatch.setattr(plan_cache, "_MOST_PLANS_EACH", 2)
    function = wrapped(Graph((TensorType("float64", ("n",)),), (), (Equation("sin", (0,), {}, (1,)),), (1,)))
    engine = Engine()
    for length in range(1, 5):
        engine.evaluate(function, (), [array(np.zeros(length))])
    assert [plan.types for _, plan in engine.plans] == [(f64(3),), (f64(4),)]
    assert len([item for item in engine.plans.take_news() if item.get("forgotten")]) == 2


def test_a_plan_that_was_forgotten_and_made_again_is_told_as_one_that_is_there(monkeypatch):
    monkeypatch.setattr(plan_cache, "_MOST_PLANS_EACH", 1)
    function = wrapped(Graph((TensorType("float64", ("n",)),), (), (Equation("sin", (0,), {}, (1,)),), (1,)))
    engine = Engine()
    for length in (1, 2, 1):
        engine.evaluate(function, (), [array(np.zeros(length))])
    there: dict[str, bool] = {}
    for item in engine.plans.take_news():
        there[item["id"]] = not item.get("forgotten")
    assert {plan.id: True for _, plan in engine.plans}.items() <= there.items()
    assert list(there.values()).count(True) == 1


def test_plans_of_one_function_are_forgotten_when_what_they_hold_is_too_much(monkeypatch):
    """A program that was made in idle time holds what depends on constants alone, here half a MiB."""
    monkeypatch.setattr(plan_cache, "_MOST_BYTES", 2 << 20)

    def body(b, x):
        (column,) = b.add("unsqueeze", (b.constant(array(np.ones(256))),), {"dim": 1})
        (square,) = b.add("mul.Tensor", (column, b.constant(array(np.ones(256)))))
        return b.add("add.Tensor", (b.add("sum", (x,))[0], square))[0]

    function = function_of([f64("n")], body)
    engine = Engine()
    for length in range(1, 9):
        for _ in range(2):
            engine.evaluate(function, (), [array(np.zeros(length))])
        while engine.use_idle_time():
            pass
        assert engine.plans.bytes <= 2 << 20
    assert [plan.types for _, plan in engine.plans] == [(f64(6),), (f64(7),), (f64(8),)]


def test_of_many_plans_it_is_told_by_and_by(monkeypatch):
    monkeypatch.setattr(plan_cache, "_MOST_NEWS", 2)
    function = wrapped(Graph((TensorType("float64", ("n",)),), (), (Equation("sin", (0,), {}, (1,)),), (1,)))
    engine = Engine()
    for length in range(5):
        engine.evaluate(function, (), [array(np.zeros(length))])
    told = [[item["arguments"] for item in engine.plans.take_news()] for _ in range(4)]
    assert told == [[["float64[0]"], ["float64[1]"]], [["float64[2]"], ["float64[3]"]], [["float64[4]"]], []]


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    """One package, which takes seconds to make."""
    if (reason := why_not_here()) is not None:
        pytest.skip(reason)
    folder = PackageFolder(tmp_path_factory.mktemp("packages"))
    function = function_of([f64(4, 4)], model)
    spec = PlanSpec("sha256:model", (JACREV,), (f64(4, 4),), (), "cpu", torch.get_num_threads())
    compile_plan(PlanSpec.from_json(spec.to_json()), function, folder)
    return folder, function, spec


@pytest.mark.timeout(600)
def test_compiled_code_serves_after_it_was_checked_and_outlives_the_engine(compiled):
    folder, function, spec = compiled
    for _ in range(2):  # the second engine is that of a restarted worker
        engine = Engine(packages=folder)
        given = array(np.random.default_rng(0).standard_normal((4, 4)))
        expected = Engine().evaluate(function, (JACREV,), [given])
        for _ in range(5):
            found = engine.evaluate(function, (JACREV,), [given], identity=spec.function)
            np.testing.assert_allclose(found[0].data, expected[0].data, rtol=1e-12, atol=1e-14)
            settle(engine)  # no flat program is made, nor takes the place of code that is on trial
        plan = only_plan(engine)
        assert plan.id == spec.digest
        assert plan.stage is Stage.COMPILED
        assert [record.calls for record in plan.records] == [3, 0, 2, 0]


@pytest.mark.timeout(600)
def test_where_compiled_code_is_given_up_a_flat_program_is_made(compiled):
    folder, function, spec = compiled
    engine = Engine(packages=folder)
    given = array(np.ones((4, 4)))
    for number in range(8):
        engine.evaluate(function, (JACREV,), [given], identity=spec.function)
        if number == 1:
            only_plan(engine).give_up(Stage.COMPILED, "for this test")
        settle(engine)
    assert only_plan(engine).stage is Stage.FLAT


@pytest.mark.timeout(600)
def test_code_that_others_can_write_to_is_not_loaded(compiled):
    folder, function, spec = compiled
    package = folder.package(spec.digest)
    package.chmod(0o622)
    try:
        engine = Engine(packages=folder)
        engine.evaluate(function, (JACREV,), [array(np.ones((4, 4)))], identity=spec.function)
        assert "others" in only_plan(engine).records[Stage.COMPILED].note
    finally:
        package.chmod(0o600)


def test_a_hot_plan_asks_for_its_code_once_and_hears_why_there_is_none(tmp_path, monkeypatch):
    monkeypatch.setattr(plan_cache, "_LOOK_SECONDS", 0.0)
    folder = PackageFolder(tmp_path / "packages")
    engine = Engine(packages=folder)
    asked = []
    for _ in range(plan_cache._HOT_CALLS + 5):
        engine.evaluate(SIN, (JACFWD,), [X], identity="sha256:sin")
        settle(engine)
        asked += engine.plans.take_hot()
    (spec,) = asked
    assert spec.digest == only_plan(engine).id
    assert spec.types == (f64(3),)
    folder.note_failure(spec.digest, "the compiler is ill")
    time.sleep(0.01)  # so that the clock has moved on
    engine.evaluate(SIN, (JACFWD,), [X], identity="sha256:sin")
    assert only_plan(engine).records[Stage.COMPILED].note == "the compiler is ill"
    assert only_plan(engine).stage is Stage.FLAT


def test_a_machine_without_a_compiler_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    why_not_here.cache_clear()
    try:
        folder = PackageFolder(tmp_path / "packages")
        spec = PlanSpec("sha256:sin", (JACFWD,), (f64(3),), (), "cpu", 1)
        with pytest.raises(NotCompiled, match=r"no C\+\+ compiler"):
            compile_plan(spec, SIN, folder)
        assert "compiler" in folder.failure(spec.digest)
    finally:
        why_not_here.cache_clear()


def test_the_folder_is_bounded_by_what_was_used_last(tmp_path):
    import os

    folder = PackageFolder(tmp_path / "packages")
    for age, name in enumerate(["new", "older", "oldest"]):
        folder.package(name).write_bytes(bytes(1000))
        os.utime(folder.package(name), (1e9 - age, 1e9 - age))
    folder.trim(2500)
    assert sorted(path.stem for path in folder.path.glob("*.pt2")) == ["new", "older"]
