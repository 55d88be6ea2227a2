"""``x[i]`` and ``x[i] = y`` for a number ``i`` that depends on arguments."""

from __future__ import annotations

import pytest
import torch

import farfunc
from support.evaluators import InProcess
from support.local_and_remote import assert_same_as_local, traced

torch.manual_seed(20260511)
x = torch.randn(3, 4, 5, dtype=torch.float64)
rows = torch.tensor([0, 2])


def number(x):
    return x.sum().long().clamp(0, 2)


SUBSCRIPTS = {
    "alone": number,
    "from the end": lambda x: -1 - number(x),
    "behind an ellipsis": lambda x: (..., number(x)),
    "before an ellipsis": lambda x: (0, number(x), ...),
    "among slices": lambda x: (slice(0, 2), number(x), slice(1, 3)),
    "with new axes": lambda x: (None, number(x), None, slice(0, 2)),
    "twice": lambda x: (number(x), slice(None), number(x)),
    "with a constant": lambda x: (torch.tensor(1), number(x)),
}
AND_POSITIONS = {"with positions": lambda x: (number(x), rows), "with a mask": lambda x: (rows >= 0, number(x))}


@pytest.mark.parametrize("name", SUBSCRIPTS | AND_POSITIONS)
def test_read(name):
    subscript = (SUBSCRIPTS | AND_POSITIONS)[name]
    assert_same_as_local(lambda x: x[: 2 if name == "with a mask" else 3][subscript(x)] ** 2, x)


@pytest.mark.parametrize("name", SUBSCRIPTS)
@pytest.mark.parametrize("value", [3.0, torch.tensor(2.0), torch.ones(1, 1), None])
def test_write(name, value):
    def function(x):
        y = x.clone()
        y[SUBSCRIPTS[name](x)] = x.sum() if value is None else value
        return y * x

    assert_same_as_local(function, x)


def augmented(v):
    y = v.clone()
    y[v.argmax()] *= v[0]
    y[v.argmin()] += 1.0
    return y


def interpolated(q):
    """Piecewise linear, in the way of a spline."""
    knots = torch.arange(6.0, dtype=q.dtype)
    values = knots.sin()
    i = torch.searchsorted(knots, q).clamp(1, 5)
    t = (q - knots[i - 1]) / (knots[i] - knots[i - 1])
    return torch.lerp(values[i - 1], values[i], t)


def mapped_inside(F, v):
    return F.vmap(lambda i: v[i] * 2)(torch.arange(3)) + F.vmap(lambda row: row[row.argmax()] * 0.5)(x[0, :3, :3] * v)


@pytest.mark.parametrize(("function", "batch"), [(augmented, x[0]), (interpolated, torch.tensor([0.5, 1.5, 3.2]))])
def test_mapped(function, batch):
    """torch.vmap itself would ask for the number here: the samples, one by one, say what is right."""
    given = InProcess().vmap(InProcess().jacrev(function))(batch)
    torch.testing.assert_close(given, torch.stack([torch.func.jacrev(function)(sample) for sample in batch]))


@pytest.mark.parametrize("inner", [torch, farfunc])
def test_mapped_inside(inner):
    given = InProcess().jacrev(lambda v: mapped_inside(inner, v))(x[0, 0, :3])
    torch.testing.assert_close(given, torch.func.jacrev(lambda v: mapped_inside(torch, v))(x[0, 0, :3]))


def test_where_the_order_of_axes_would_depend_on_the_transform():
    with pytest.raises(farfunc.DataDependentError, match="a number"):
        traced(lambda x: x[number(x), :, rows], x)
