"""Functions of NumPy on traced arrays: the graph gives NumPy's values, dtypes and shapes.

Each case is an expression of the arrays below, evaluated by NumPy and, traced, by torch. The calls are
lines of ``numpy_calls.txt``.
"""

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
from support.numpy_graphs import check

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
        if line.startswith("["):
            current = sections.setdefault(line.strip("[]"), [])
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
    names = (
        *("digamma", "entr", "erf", "erfc", "erfcx", "erfinv", "expit", "gammaln", "i0", "i0e", "i1", "i1e"),
        *("log_ndtr", "logit", "ndtr", "ndtri", "psi"),
    )
    for ufunc in (getattr(special, name) for name in names):
        check(ufunc, p)
    check(lambda p: special.xlogy(p, 2 * p), p)
    check(lambda p: special.softmax(p, axis=1), p)
    check(lambda p: special.logsumexp(p, axis=1), p)
