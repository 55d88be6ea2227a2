"""Functions of NumPy on traced arrays: the graph gives NumPy's values, dtypes and shapes.

Each case is an expression of the arrays below, evaluated by NumPy and, traced, by torch. The calls are
lines of ``numpy_calls.txt``.
"""

import itertools
import re
import warnings
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
from support.numpy_graphs import check, expect, run

_RANDOM = np.random.default_rng(20)
ARRAYS = {
    "x": _RANDOM.normal(size=(3, 4)),
    "y": _RANDOM.normal(size=(3, 4)),
    "p": _RANDOM.uniform(0.5, 2.0, size=(3, 4)),
    "v": _RANDOM.normal(size=5),
    "w": _RANDOM.normal(size=5),
    "n": np.array([1.0, np.nan, -2.0, np.inf, 0.5]),
    "A": _RANDOM.normal(size=(4, 4)) + 4 * np.eye(4),
    "S": np.array([[4.0, 1.0, 0.5], [1.0, 3.0, 0.2], [0.5, 0.2, 2.0]]),
    "B": _RANDOM.normal(size=(2, 3, 3)) + 3 * np.eye(3),
    "t": _RANDOM.normal(size=(2, 3, 4)),
    "f": _RANDOM.normal(size=(3, 4)).astype(np.float32),
    "h": _RANDOM.normal(size=(3, 4)).astype(np.float16),
    "i": _RANDOM.integers(-5, 6, size=(3, 4)),
    "j": _RANDOM.integers(-5, 6, size=(3, 4)).astype(np.int8),
    "u": _RANDOM.integers(0, 9, size=(3, 4)).astype(np.uint8),
    "k": np.array([2, 0, 1, 2]),
    "b": _RANDOM.normal(size=(3, 4)) > 0,
    "z": _RANDOM.normal(size=(3, 4)) + 1j * _RANDOM.normal(size=(3, 4)),
    "c": (_RANDOM.normal(size=5) + 1j * _RANDOM.normal(size=5)).astype(np.complex64),
    "s": np.float64(0.7),
    "g": np.array(1.5),
}


def _sections():
    sections, current = {}, []
    for line in Path(__file__).with_name("numpy_calls.txt").read_text(encoding="utf-8").splitlines():
        heading = re.fullmatch(r"\[([a-z ]+)\]", line)  # a call may begin with a list
        if heading:
            current = sections.setdefault(heading[1], [])
        elif line and not line.startswith("#"):
            current.append(line)
    return sections


CALLS = _sections()

_ORDERED = ("np.max", "np.min", "np.amax", "np.ptp", "np.arg", "np.median", "np.sort", "np.clip", "np.searchsorted")
"""Complex numbers have no order in torch: these raise UnsupportedOperator."""


def _expressions():
    yield from CALLS["calls"]
    for line in CALLS["each dtype"]:
        for name in "xfijubz":
            expression = line.format(a=name)
            if _is_defined(expression):
                yield expression


def _as_function(expression, arrays=ARRAYS):
    code = compile(expression, "case", "eval")
    inner = {name for constant in code.co_consts if hasattr(constant, "co_names") for name in constant.co_names}
    names = sorted(name for name in arrays if name in {*code.co_names, *inner})
    return eval(f"lambda {', '.join(names)}: ({expression})", {"np": np}), [arrays[name] for name in names]


def _is_defined(expression):
    """Whether NumPy itself accepts the dtype: it has no argmax of float16, no percentile of complex numbers, ..."""
    function, arrays = _as_function(expression)
    with warnings.catch_warnings(action="ignore"), np.errstate(all="ignore"):
        try:
            function(*arrays)
        except TypeError:
            return False
    return arrays[0].dtype.kind != "c" or not expression.startswith(_ORDERED)


@pytest.mark.parametrize("expression", list(_expressions()))
@pytest.mark.filterwarnings("ignore")
def test_function(expression):
    function, arrays = _as_function(expression)
    check(function, *arrays)


@pytest.mark.parametrize("pair", CALLS["methods"])
@pytest.mark.filterwarnings("ignore")
def test_method_of_tensors(pair):
    method, expected = (_as_function(side.strip()) for side in pair.split(" = "))
    with np.errstate(all="ignore"):
        expect(expected[0](*expected[1]), run(method[0], *method[1]))


_OPERANDS = [ARRAYS[name][:2, :3] for name in "xfibuz"] + [2, 2.5, np.float32(3), ARRAYS["p"][:2, :3]]
_UNTRACEABLE = {np.spacing, getattr(np, "bitwise_count", None)}
_UNORDERED = {np.maximum, np.minimum, np.fmax, np.fmin}
UFUNCS = {f for f in vars(np).values() if isinstance(f, np.ufunc) and not f.signature and f not in _UNTRACEABLE}


@pytest.mark.parametrize("ufunc", sorted(UFUNCS, key=lambda ufunc: ufunc.__name__), ids=lambda ufunc: ufunc.__name__)
@pytest.mark.filterwarnings("ignore")
def test_ufunc(ufunc):
    """Every ufunc, for operands of every pair of dtypes, Python's numbers among them."""
    for operands in itertools.product(_OPERANDS, repeat=ufunc.nin):
        if not any(isinstance(operand, np.ndarray) for operand in operands):
            continue
        with np.errstate(all="ignore"):
            try:
                results = ufunc(*operands)
            except (TypeError, ValueError):  # NumPy has no such loop, or no negative powers of integers
                continue
        if ufunc in _UNORDERED and results.dtype.kind == "c":
            continue
        if _divides_integers_by_zero(ufunc, operands):  # an error in torch, zero and a warning in NumPy
            continue
        check(ufunc, *operands)


def _divides_integers_by_zero(ufunc, operands):
    names = ("floor_divide", "remainder", "fmod", "divmod", "reciprocal")
    is_integral = all(np.asarray(operand).dtype.kind in "iub" for operand in operands)
    return ufunc.__name__ in names and is_integral and not np.all(operands[-1])


def test_functions_of_scipy():
    """The ufuncs of scipy.special dispatch; functions that it writes in NumPy go through as a user's do."""
    special = pytest.importorskip("scipy.special")
    p = np.array([[0.3, 0.7], [0.2, 0.9]])
    ufuncs = (
        *(special.digamma, special.entr, special.erf, special.erfc, special.erfcx, special.erfinv, special.expit),
        *(special.gammaln, special.i0, special.i0e, special.i1, special.i1e, special.log_ndtr, special.logit),
        *(special.ndtr, special.ndtri, special.psi),
    )
    for ufunc in ufuncs:
        check(ufunc, p)
    check(lambda p: special.xlogy(p, 2 * p), p)
    check(lambda p: special.softmax(p, axis=1), p)
    check(lambda p: special.logsumexp(p, axis=1), p)
