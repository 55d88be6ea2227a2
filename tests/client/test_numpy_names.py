"""NumPy's functions under other names than ``np.zeros``: bound before the trace, or looked up during it."""

import subprocess
import sys

import numpy as np
import pytest
from numpy import array, zeros
from numpy import eye as identity_matrix
from numpy.lib.stride_tricks import as_strided
from numpy.linalg import norm

from farfunc._numpy import Tracer
from support.numpy_graphs import trace_of

pytestmark = pytest.mark.thin

X = np.array([0.5, -1.0, 2.0])


def test_functions_imported_by_name():
    def function(x):
        y = zeros(3)
        y[0] = x[0] ** 2
        M = identity_matrix(3)
        M[1, 2] = x[1]
        windows = as_strided(x, (2, 2), (8, 8))
        return array([y.sum(), norm([x[0], x[1]]), M[1, 2], windows.sum()])

    before = dict(globals())
    traced = trace_of(function, X)
    assert traced.out.shape == (4,)
    assert {"zeros", "array", "norm"} <= set(before)
    assert all(globals()[name] is value for name, value in before.items())
    assert (zeros, array) == (np.zeros, np.array)


def test_a_function_in_a_variable():
    make = {"zeros": np.zeros}["zeros"]

    def function(x):
        create = np.zeros
        y = create(3)
        y[0] = x[0]
        return y, make(3)

    trace_of(function, X)


def test_the_namespace_of_the_array_api_is_found_during_a_trace():
    """In a process of its own, where nothing has imported ``farfunc.numpy`` before."""
    program = """
import numpy as np, sys
from farfunc._front_ends import numpy_front_end
from farfunc._tracing import spec_of, trace
front_end, x = numpy_front_end(), np.ones(3)
def function(x):
    xp = x.__array_namespace__()
    y = xp.zeros(3)
    y[0] = x[0]
    assert xp.__array_api_version__ >= "2023.12" and x.to_device("cpu") is x
    from numpy import ones
    return xp.sum(y) + xp.linalg.vector_norm(x) + ones(1)
trace(function, spec_of((x,), front_end), {}, front_end, [x])
import farfunc.numpy
assert farfunc.numpy.sin is np.sin and np.zeros(3).sum() == 0
"""
    subprocess.run([sys.executable, "-c", program], check=True)


def test_loops_over_elements_are_left_to_numpy_where_nothing_is_traced():
    def function(x):
        total = sum(value * place[0] for place, value in np.ndenumerate([1.0, 2.0]))
        squares = np.vectorize(lambda t: t**2)([1, 2, 3])
        assert not isinstance(squares, Tracer) or squares.dtype == int
        return x * total + squares

    trace_of(function, X)
