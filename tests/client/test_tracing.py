"""Running a function on tracers: the choice of the front end, what is captured, what is refused."""

import sys

import numpy as np
import pytest

from farfunc._front_ends import front_end_for, numpy_front_end, torch_front_end
from farfunc._tracing import current_trace, running, spec_of, trace
from farfunc_protocol.errors import DataDependentError, TraceError
from farfunc_protocol.graph import TensorType

torch = pytest.importorskip("torch")


def f64(*shape):
    return TensorType("float64", shape)


def test_the_trees_keep_what_is_no_array():
    traced = trace(lambda x, mode, *, n: {"y": x * n, "mode": mode}, (f64(3), "mean"), {"n": 2}, numpy_front_end())
    assert traced.out == {"y": f64(3), "mode": "mean"}
    assert (traced.function.in_tree.num_leaves, traced.function.out_tree.num_leaves) == (1, 1)
    assert "'mean'" in str(traced.function.in_tree)


@pytest.mark.parametrize("name", ["numpy", "torch"])
def test_closed_over_arrays_are_constants_as_they_are_now(name):
    front_end, ones = (numpy_front_end(), np.ones) if name == "numpy" else (torch_front_end(), lambda n: torch.ones(n))
    weights = ones(3)
    function = trace(lambda x: x * weights, (TensorType("float32", (3,)),), {}, front_end).function
    weights[:] = 5.0
    (constant,) = function.constants
    assert constant.data.tolist() == [1.0, 1.0, 1.0]


def test_captured_tensors_are_told_with_their_number():
    used, unused = torch.ones(3), torch.zeros(3)
    traced = trace(lambda x: (x * used, x + unused)[0], (TensorType("float32", (3,)),), {}, torch_front_end())
    ((number, tensor),) = traced.captured
    assert (number, tensor is used) == (0, True)


FRONT_ENDS = {
    "a NumPy function": (np.sin, [np.ones(3)], "numpy"),
    "a Python function": (lambda x: x * 2, [np.ones(3)], "numpy"),
    "a tensor among the arguments": (lambda x, y: x, [np.ones(3), torch.ones(3)], "torch"),
    "a function of torch": (torch.sin, [np.ones(3)], "torch"),
    "a functional of torch": (torch.nn.functional.relu, [np.ones(3)], "torch"),
    "a method of tensors": (torch.Tensor.sin, [np.ones(3)], "torch"),
    "a module": (torch.nn.Linear(3, 2), [np.ones(3)], "torch"),
    "a method of a module": (torch.nn.Linear(3, 2).forward, [np.ones(3)], "torch"),
    "a tensor in a closure": ((lambda t: lambda x: x * t)(torch.ones(3)), [np.ones(3)], "torch"),
    "a module in a closure": ((lambda m: lambda x: m(x))(torch.nn.Linear(3, 2)), [np.ones(3)], "torch"),
    "no arguments": (lambda: 1, [], "numpy"),
}


@pytest.mark.parametrize("name", FRONT_ENDS)
def test_the_choice_of_the_front_end(name):
    function, leaves, expected = FRONT_ENDS[name]
    assert front_end_for(function, leaves).name == expected


def test_without_torch_there_is_no_choice(monkeypatch):
    monkeypatch.delitem(sys.modules, "torch")
    assert front_end_for(lambda x: x, [np.ones(3)]).name == "numpy"


def test_the_current_trace_is_that_of_this_thread():
    import threading

    seen = []

    def function(x):
        thread = threading.Thread(target=lambda: seen.append(current_trace()))
        thread.start()
        thread.join()
        seen.append(current_trace())
        return x

    trace(function, (f64(3),), {}, numpy_front_end())
    assert seen[0] is None
    assert seen[1] is not None
    assert current_trace() is None


def test_after_an_error_no_trace_is_current():
    with pytest.raises(ZeroDivisionError):
        trace(lambda x: 1 / 0, (f64(3),), {}, numpy_front_end())
    with pytest.raises(DataDependentError):
        trace(lambda x: float(x.sum()), (f64(3),), {}, numpy_front_end())
    assert current_trace() is None


def test_a_traced_value_must_not_outlive_its_trace():
    kept = []
    trace(lambda x: kept.append(x) or x, (f64(3),), {}, numpy_front_end())
    with pytest.raises((TraceError, ValueError)):
        trace(lambda x: x + kept[0], (f64(3),), {}, numpy_front_end())


def test_traces_nest():
    with numpy_front_end().start() as outer, running(outer):
        with numpy_front_end().start() as inner, running(inner):
            assert current_trace() is inner
        assert current_trace() is outer


def test_spec_trees():
    assert spec_of({"x": np.ones(3), "n": 2}, numpy_front_end()) == {"x": f64(3), "n": 2}
    assert spec_of([torch.ones(3), "a"], torch_front_end()) == [TensorType("float32", (3,)), "a"]
