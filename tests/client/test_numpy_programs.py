"""A traced array in programs that ask what it is, catch errors, and keep what they have made."""

import contextlib
import logging
import numbers

import numpy as np
import pytest

from farfunc._numpy import Tracer
from farfunc_protocol.errors import DataDependentError, TraceError
from support.numpy_graphs import trace_of

pytestmark = pytest.mark.thin

X = np.array([0.5, -1.0, 2.0])


def test_an_error_that_the_function_catches_is_raised_all_the_same():
    """Without a trace there is nothing to catch: the function would be another one, and its derivative wrong."""

    def number(x):
        try:
            scale = float(x[0])
        except Exception:  # noqa: BLE001 - as people write it
            scale = 1.0
        return scale * x

    def branch(x):
        with contextlib.suppress(TypeError):
            if x[0] > 0:
                return x
        return 3 * x

    for function in (number, branch):
        with pytest.raises(DataDependentError) as caught:
            trace_of(function, X)
        assert caught.value.where.startswith("test_numpy_programs.py:")
        assert "caught" in caught.value.__notes__[0]


def test_an_error_that_numpy_raises_as_well_may_be_caught():
    def length(x):
        try:
            return x * float(x)
        except TypeError:
            return x * len(x)

    def index(x):
        try:
            return x * [1.0, 2.0][x[0]]
        except TypeError:
            return 3 * x

    for function in (length, index):
        trace_of(function, X)


def test_a_message_of_logging_changes_nothing(caplog):
    def function(x):
        with contextlib.suppress(DataDependentError):  # logging prints it, where pytest does not raise it
            logging.getLogger(__name__).warning("%.2f", x[0])
        return 2 * x

    trace_of(function, X)


def test_what_isinstance_says_of_an_array():
    """A program that asks goes the way that it goes with NumPy's arrays."""

    def function(x, k, s):
        assert isinstance(x, np.ndarray)
        assert not isinstance(x[0], np.ndarray)
        assert isinstance(x[0], float)
        assert isinstance(x[0], np.floating)
        assert isinstance(x[0], numbers.Real)
        assert isinstance(k[0], np.integer)
        assert not isinstance(k[0], float)
        assert isinstance(x.sum() > 0, np.bool_)
        assert isinstance(s, float)
        assert isinstance(np.zeros(3), np.ndarray)
        assert isinstance(x[0] * 1j, complex)
        assert np.isscalar(x[0])
        assert not np.isscalar(x)
        assert hasattr(x, "__len__")
        assert not hasattr(x[0], "__len__")
        assert isinstance(x, Tracer)
        return x * k * s

    trace_of(function, X, np.arange(3), 0.5)


_TABLES: dict[int, np.ndarray] = {}


def _table(n):
    if n not in _TABLES:
        _TABLES[n] = np.eye(n) * np.arange(n)
    return _TABLES[n]


def test_tables_that_a_trace_leaves_in_a_cache_are_arrays_afterwards():
    def function(x):
        return _table(3) @ x

    trace_of(function, X)
    trace_of(function, X)
    expected = np.diag(np.arange(3.0))
    np.testing.assert_array_equal(function(X), expected @ X)
    table = _TABLES[3]
    np.testing.assert_array_equal(table[1:].T * 2 + np.sin(table[1:]).T, expected[1:].T * 2 + np.sin(expected[1:]).T)
    assert (table.reshape(-1).copy().sum(), np.linalg.det(table)) == (3.0, 0.0)


def test_traced_values_that_outlive_their_trace_are_named():
    kept = []

    def function(x):
        kept.append(x * 2)
        return (kept[0] * x).sum()

    trace_of(function, X)
    with pytest.raises(TraceError, match="another trace") as caught:
        trace_of(function, X)
    assert caught.value.where.startswith("test_numpy_programs.py:")
