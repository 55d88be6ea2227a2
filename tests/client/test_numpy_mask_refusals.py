"""What a selection by a traced mask cannot do: each error names the user's line and what to write instead."""

import inspect
import re

import numpy as np
import pytest

import farfunc
from farfunc_protocol.errors import DataDependentError, FarfuncError, UnsupportedOperator
from support.numpy_graphs import trace_of

pytestmark = pytest.mark.thin

X = np.array([0.5, -1.0, 2.0, -3.0, 0.25])
TABLE = np.linspace(1.0, 3.0, 5)

REFUSED = {
    "returned": (lambda x, y, m: x[m], "y[mask]"),
    "returned in a dict": (lambda x, y, m: {"a": x[m]}, "y[mask]"),
    "places returned": (lambda x, y, m: np.where(m), "y[mask]"),
    "length": (lambda x, y, m: len(x[m]), "mask.sum()"),
    "loop": (lambda x, y, m: list(x[m]), "argmax"),
    "branch": (lambda x, y, m: 1.0 if x[m] else 2.0, "np.where"),
    "branch on the size": (lambda x, y, m: 1.0 if x[m].size > 0 else 2.0, "np.where"),
    "number": (lambda x, y, m: float(x[m]), "argmax"),
    "first": (lambda x, y, m: x[m][0], "argmax"),
    "last": (lambda x, y, m: x[m][-1], "argmax"),
    "part": (lambda x, y, m: x[m][1:], "argmax"),
    "the first place": (lambda x, y, m: x[np.where(m)[0][0]], "argmax"),
    "reversed": (lambda x, y, m: x[m][::-1], "argmax"),
    "a position written": (lambda x, y, m: x[m].__setitem__(0, 1.0), "argmax"),
    "reshape": (lambda x, y, m: x[m].reshape(-1, 1), "np.where"),
    "reshape function": (lambda x, y, m: np.reshape(x[m], (-1, 1)), "np.where"),
    "concatenated": (lambda x, y, m: np.concatenate([x[m], x[~m]]), "np.where"),
    "concatenated after an array": (lambda x, y, m: np.concatenate([x, x[~m]]), "np.where"),
    "stacked": (lambda x, y, m: np.array([x[m], x[m]]), "np.where"),
    "an ndarray of it": (lambda x, y, m: np.asarray(x[m]), "np.where"),
    "sorted": (lambda x, y, m: np.sort(x[m]), "np.where"),
    "sorted in place": (lambda x, y, m: x[m].sort(), "np.where"),
    "median": (lambda x, y, m: np.median(x[m]), "np.where"),
    "argmax": (lambda x, y, m: x[m].argmax(), "np.where"),
    "cumsum": (lambda x, y, m: np.cumsum(x[m]), "np.where"),
    "diff": (lambda x, y, m: np.diff(x[m]), "np.where"),
    "outer": (lambda x, y, m: np.outer(x[m], x[m]), "np.where"),
    "outer ufunc": (lambda x, y, m: np.multiply.outer(x[m], x[m]), "np.where"),
    "outer by broadcasting": (lambda x, y, m: x[m][:, None] * x[m], "one mask"),
    "accumulate": (lambda x, y, m: np.add.accumulate(x[m]), "np.where"),
    "einsum": (lambda x, y, m: np.einsum("i,i", x[m], x[m]), "np.where"),
    "another mask": (lambda x, y, m: (x[m] * x[x < 0]).sum(), "one mask"),
    "another mask of the same array later": (lambda x, y, m: _later(x, y), "one mask"),
    "written by another mask": (lambda x, y, m: y.__setitem__(x < 0, x[m]), "one mask"),
    "dot by another mask": (lambda x, y, m: x[m] @ x[x < 0], "one mask"),
    "an array": (lambda x, y, m: (x[m] * y).sum(), "b[m]"),
    "an array on the left": (lambda x, y, m: (y * x[m]).sum(), "b[m]"),
    "an array from outside": (lambda x, y, m: (x[m] * TABLE).sum(), "b[m]"),
    "an array from outside on the left": (lambda x, y, m: (TABLE * x[m]).sum(), "b[m]"),
    "an array added to": (lambda x, y, m: y.__iadd__(x[m]), "b[m]"),
    "a list": (lambda x, y, m: (x[m] + [1.0, 2.0]).sum(), "b[m]"),
    "dot of an array": (lambda x, y, m: x[m] @ y, "b[m]"),
    "an array written": (lambda x, y, m: y.__setitem__(m, x), "v[m]"),
    "an array in np.where": (lambda x, y, m: np.where(x[m] > 1, y, 0.0).sum(), "b[m]"),
    "written to everything": (lambda x, y, m: y.__setitem__(slice(None), x[m]), "one mask"),
    "written to places": (lambda x, y, m: y.__setitem__([0, 1], x[m]), "one mask"),
    "written at moved places": (lambda x, y, m: y.__setitem__(np.where(m)[0] - 1, 1.0), "y[m]"),
    "out": (lambda x, y, m: np.sin(x[m], out=y), "v[m]"),
    "out of a reduction": (lambda x, y, m: np.sum(x[m], out=y), "np.where"),
    "where": (lambda x, y, m: np.sum(x[m], where=x[m] > 1), "np.where"),
    "two masks": (lambda x, y, m: np.outer(x, y)[m, m].sum(), "one mask"),
    "a mask beside places": (lambda x, y, m: np.outer(x, y)[m, [0, 1]].sum(), "one mask"),
    "an extremum of integers": (lambda x, y, m: np.arange(5)[m].max(), "np.where"),
    "multiply.at": (lambda x, y, m: np.multiply.at(y, m, x[m]), "np.where"),
    "a selection as a mask": (lambda x, y, m: x[x[m] > 1].sum(), "np.where"),
    "argwhere": (lambda x, y, m: np.argwhere(m), "np.where"),
    "ravelled rows": (lambda x, y, m: np.outer(x, y)[m].ravel(), "np.where"),
    "tolist": (lambda x, y, m: x[m].tolist(), "np.where"),
    "a table from outside": (lambda x, y, m: TABLE[m].sum(), "np.array(table)[mask]"),
    "a table from outside written": (lambda x, y, m: TABLE.__setitem__(m, 0.0), "np.array"),
    "split": (lambda x, y, m: np.split(x[m], 2), "np.where"),
    "unique": (lambda x, y, m: np.unique(x[m]), "np.where"),
    "given to a nested transform": (lambda x, y, m: farfunc.grad(lambda t: t.sum())(x[m]), "np.where"),
    "put": (lambda x, y, m: np.putmask(y, m, x[m]), "y[m]"),
}  # fmt: skip


def _later(x, y):
    s = y[y > 0]
    y[0] = -1.0
    y[y > 0] = s
    return y


@pytest.mark.parametrize("name", REFUSED)
def test_refusals(name):
    function, remedy = REFUSED[name]

    def traced(x):
        return function(x, x * 2, x > 0)

    with pytest.raises(DataDependentError) as caught:
        trace_of(traced, X)
    found = re.fullmatch(
        r"test_numpy_mask_refusals\.py:(\d+), in (<lambda>|_later|<listcomp>)", caught.value.where or ""
    )
    assert found, caught.value.where
    lines, first = inspect.getsourcelines(_later if "later" in name else function)
    assert first <= int(found[1]) < first + len(lines)
    assert remedy in caught.value.remedy


def test_a_refusal_that_is_caught_is_raised_all_the_same():
    def function(x):
        try:
            return x[x > 0][0]
        except Exception:  # noqa: BLE001 - as people write it
            return x.sum()

    with pytest.raises(DataDependentError):
        trace_of(function, X)


def test_what_numpy_refuses_too():
    for function in (lambda x: x[x[:3] > 0], lambda x: x[x > 0, 0], lambda x: x[x > 0][0, 0]):
        with pytest.raises(IndexError):
            trace_of(lambda x, function=function: function(x).sum(), X)
    for function in (lambda n, x: n.__setitem__(x > 0, n[x > 0].__iadd__(0.5)),):
        with pytest.raises(np._core._exceptions._UFuncOutputCastingError):
            trace_of(lambda x, function=function: function(np.arange(5), x), X)
    with pytest.raises(UnsupportedOperator):
        trace_of(lambda x: x[x > 0].summ(), X)
    with pytest.raises((TypeError, FarfuncError)):
        trace_of(lambda x: x[x > 0] + "a", X)
    with pytest.raises(ValueError, match="read-only"):
        trace_of(lambda x: np.broadcast_to(x, (2, 5)).__setitem__((slice(None), x > 0), 1.0), X)
