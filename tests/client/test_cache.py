"""When a trace is used again, and when it must not be."""

import functools
import gc
import threading
import types
import weakref

import numpy as np
import pytest

import farfunc._plan
from farfunc import _call
from farfunc._cache import TraceCache
from farfunc._call import Call
from farfunc._fingerprint import fingerprint
from farfunc_protocol.transforms import Jacrev, Vmap

pytestmark = pytest.mark.thin

x = np.linspace(0.0, 1.0, 3)


@pytest.fixture(autouse=True)
def traces(monkeypatch):
    """An empty cache, and the traces that are made."""
    made = []

    def counted(*args, **kwargs):
        made.append(args[0])
        return trace(*args, **kwargs)

    trace = farfunc._plan.trace
    monkeypatch.setattr(farfunc._plan, "trace", counted)
    monkeypatch.setattr(_call, "traces", TraceCache())
    return made


JACOBIAN = (Jacrev(),)


def prepare(func, *args, chain=JACOBIAN, **kwargs):
    return Call.prepare(chain, func, args, kwargs, None)


def constants(call):
    """What is sent as the value of each capture."""
    entry = call.entry
    return [entry.captures[i] if c is None else c for i, c in enumerate(entry.function.constants)]


def plain(x):
    return np.sin(x)


def test_the_same_call_is_traced_once(traces):
    first = prepare(plain, x)
    second = prepare(plain, x + 1)
    assert len(traces) == 1
    assert second.entry is first.entry


def test_a_lambda_made_anew_finds_its_trace(traces):
    for _ in range(3):
        prepare(lambda x: np.sin(x) * 2.0, x)
    assert len(traces) == 1


@pytest.mark.parametrize(
    "other",
    [
        lambda: prepare(plain, x[:2]),
        lambda: prepare(plain, x.astype(np.float32)),
        lambda: prepare(plain, x, chain=(Jacrev(chunk_size=2),)),
        lambda: prepare(plain, np.ones((2, 3)), chain=(Vmap(), Jacrev())),
        lambda: prepare(plain, x, chain=()),
        lambda: prepare(lambda x: np.sin(x), x),
    ],
)
def test_other_types_transforms_or_functions_are_traced(traces, other):
    prepare(plain, x)
    other()
    assert len(traces) == 2


@pytest.mark.parametrize(
    ("one", "two"), [(1, 2), (1, True), (1, "1"), ((1, 2), [1, 2]), ({"a": 1}, {"a": 2}), (None, 0)]
)
def test_static_arguments_are_compared_with_their_types(traces, one, two):
    def keep(x, option):
        return x

    prepare(keep, x, one)
    prepare(keep, x, two)
    prepare(keep, x, one)
    assert len(traces) == 2


def test_float_arguments_are_no_part_of_the_key(traces):
    prepare(lambda x, scale: x * scale, x, 1.0)
    prepare(lambda x, scale: x * scale, x, 2.0)
    for value in (3.0, 4.0):
        prepare(lambda x, scale: x * scale, x, value)
    assert len(traces) <= 3  # one for each lambda: these are three pieces of code


class Model:
    gain = 1.0

    def __init__(self):
        self.weights = np.ones(3)
        self.options = {"power": 2}

    def __call__(self, x):
        return (x * self.weights) ** self.options["power"] * self.gain

    def method(self, x):
        return self(x)


class Slotted:
    __slots__ = ("factor",)

    def __init__(self, factor):
        self.factor = factor

    def __call__(self, x):
        return x * self.factor


SETTINGS = types.ModuleType("settings_of_the_test")
SETTINGS.scale = 2.0
FACTOR = 2.0
TABLE = np.arange(3.0)


def helper(x):
    return x * FACTOR


def uses_globals(x):
    return helper(x) + TABLE


def uses_module(x):
    return x * SETTINGS.scale


def with_default(x, *, scale=2.0):
    return x * scale


def closure(cell):
    return lambda x: x * cell[0]


def changes():
    """Name -> the function, and what changes it: twice, the second time back again."""
    model, items, nested = Model(), [2.0], {"a": [np.ones(3)]}
    slotted, array = Slotted(2.0), np.ones(3)

    def attribute(holder, name, value):
        def swap():
            old = getattr(holder, name)
            setattr(holder, name, value)
            swap.undo = lambda: setattr(holder, name, old)

        return swap

    def item(holder, key, value):
        def swap():
            old = holder[key].copy() if isinstance(holder[key], np.ndarray) else holder[key]
            holder[key] = value
            swap.undo = lambda: holder.__setitem__(key, old)

        return swap

    return {
        "list in a cell": (closure(items), item(items, 0, 3.0)),
        "array in a cell, in place": (lambda x: x * array, item(array, slice(1, 2), 5.0)),
        "array deep in a cell": (lambda x: x * nested["a"][0], item(nested["a"], 0, np.zeros(3))),
        "instance's array": (model, item(model.weights, slice(None), 7.0)),
        "instance's attribute": (model.method, attribute(model, "weights", np.zeros(3))),
        "instance's dict": (model, item(model.options, "power", 3)),
        "class's attribute": (model, attribute(Model, "gain", 4.0)),
        "class's method": (model.method, attribute(Model, "__call__", lambda self, x: x)),
        "slot": (slotted, attribute(slotted, "factor", 3.0)),
        "global": (uses_globals, item(globals(), "FACTOR", 3.0)),
        "global's function": (uses_globals, item(globals(), "helper", lambda x: x)),
        "global array, in place": (uses_globals, item(TABLE, slice(0, 1), 9.0)),
        "attribute of a module": (uses_module, attribute(SETTINGS, "scale", 3.0)),
        "default": (with_default, attribute(with_default, "__kwdefaults__", {"scale": 3.0})),
        "partial": (partial := functools.partial(with_default, scale=2.0), item(partial.keywords, "scale", 3.0)),
        "sign of zero": (closure(zero := [0.0]), item(zero, 0, -0.0)),
        "type of a number": (closure(number := [2]), item(number, 0, 2.0)),
        "nan of an array": (lambda x: x * nans, item(nans := np.array([np.nan, 1.0, 2.0]), 0, 1.0)),
    }


@pytest.mark.parametrize("name", changes())
def test_what_a_function_closes_over_is_compared(traces, name):
    func, change = changes()[name]
    prepare(func, x)
    prepare(func, x)
    assert len(traces) == 1
    change()
    try:
        changed = prepare(func, x)
        assert len(traces) == 2
        assert prepare(func, x).entry is changed.entry
    finally:
        change.undo()
    prepare(func, x)
    assert len(traces) == 2  # both states are remembered


def test_changed_arrays_are_sent_with_the_call_and_the_function_stays(traces):
    weights, fixed = np.ones(3), np.full(3, 5.0)

    def model(x):
        return x * weights + fixed

    first = prepare(model, x)
    assert first.entry.captures == {}
    weights[:] = 2.0
    second = prepare(model, x)
    weights[:] = 3.0
    third = prepare(model, x)
    assert third.entry.function is second.entry.function
    assert sorted(len(call.entry.captures) for call in (first, second, third)) == [0, 1, 1]
    for call, expected in ((first, 1.0), (second, 2.0), (third, 3.0)):
        assert {array.data[0] for array in constants(call)} == {expected, 5.0}


def test_a_branch_on_closed_over_values_gives_another_graph(traces):
    weights = np.ones(3)

    def model(x):
        return x * weights if weights.sum() > 0 else np.sin(x)

    first = prepare(model, x)
    weights[:] = -1.0
    second = prepare(model, x)
    assert [e.op for e in first.entry.function.graph.equations] != [e.op for e in second.entry.function.graph.equations]


def test_what_cannot_be_looked_into_is_traced_each_time(traces):
    numbers = iter(range(10))

    def opaque(x):
        return x * next(numbers)

    assert fingerprint(opaque).opaque
    for _ in range(3):
        prepare(opaque, x)
    assert len(traces) == 3
    generator = np.random.default_rng(0)
    assert "Generator" in fingerprint(lambda x: generator.normal()).opaque


def test_an_opaque_function_with_one_graph_is_one_function(traces):
    handle = iter(())

    def constant_graph(x):
        list(handle)
        return np.sin(x)

    first, second = prepare(constant_graph, x), prepare(constant_graph, x)
    assert len(traces) == 2
    assert second.entry.function is first.entry.function


def test_recursive_structures_are_walked_once():
    loop = []
    loop.append(loop)
    node = types.SimpleNamespace(value=1)
    node.self = node
    assert fingerprint(lambda x: (loop, node, x)).opaque is None

    def recursive(x, depth=3):
        return recursive(x, depth - 1) if depth else x

    assert fingerprint(recursive).opaque is None


def test_the_same_object_twice_differs_from_two_equal_ones():
    one, two = np.ones(3), np.ones(3)
    assert fingerprint(lambda: (one, two)).tokens != fingerprint((lambda one, two: lambda: (one, two))(one, one)).tokens


def test_the_function_itself_is_not_kept_alive(traces):
    def make():
        weights = np.ones(3)
        return lambda x: x * weights

    func = make()
    prepare(func, x)
    gone = weakref.ref(func)
    del func
    traces.clear()
    gc.collect()
    assert gone() is None


def test_the_cache_is_bounded(traces, monkeypatch):
    small = TraceCache(keys=3, variants=2, nbytes=100)
    monkeypatch.setattr(_call, "traces", small)
    for size in range(1, 8):
        prepare(plain, np.ones(size))
    assert len(small) == 3
    large = np.ones(100)
    for value in range(5):
        large[:] = value
        prepare(lambda x: x * large, np.ones(100))
    assert len(small) == 1  # more than the bytes allow, but the last trace is kept
    prepare(lambda x: x * large, np.ones(100))


def test_many_threads_get_right_answers(traces):
    weights = [np.full(3, float(i)) for i in range(8)]
    wrong = []

    def work(i):
        for _ in range(20):
            call = prepare(lambda x: x * weights[i], x)
            if [array.data[0] for array in constants(call)] != [float(i)]:
                wrong.append(i)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_callable_object_is_not_kept_alive(traces):
    model = Model()
    prepare(model, x)
    gone = weakref.ref(model)
    del model
    traces.clear()
    gc.collect()
    assert gone() is None
