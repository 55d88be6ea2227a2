"""farfunc's transforms inside a torch function."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import farfunc
from farfunc_protocol.errors import MutationError
from support.local_and_remote import evaluate, floating, local, traced, travelled

torch.manual_seed(20260511)
x = torch.randn(4, 6, dtype=torch.float64)
net = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 1)).double()


def no_grad_outside(F, x):
    with torch.no_grad():
        inner = F.grad(lambda a: (a.sin() * a).sum())(x)
    return inner * x


def writes_in_the_body(F, x):
    def body(row):
        y = row.clone()
        y[0] = x[0, 0] * 2
        y[1:3] *= row[:2]
        return y

    z = F.vmap(body)(x)
    z[0] = 1.0
    return z


def a_view_from_outside(F, x):
    y = x.clone()
    row = y[0]
    y.mul_(2)
    return F.vmap(lambda r: r * row)(y), row * y


def constants_in_the_body(F, x):
    scale = torch.tensor(2.0) * 1
    return F.vmap(lambda r: r * net[0].weight.sum() * scale.item() + r[torch.arange(6) > scale].sum())(x)


FUNCTIONS = {
    "vmap": lambda F, x: F.vmap(lambda r: (r * r).sum() * r)(x),
    "grad": lambda F, x: F.grad(lambda a: (a.sin() * a * x).sum())(x) * x,
    "jvp": lambda F, x: F.jvp(lambda a: a.sin() * x, (x,), (x,)),
    "vjp": lambda F, x: F.vjp(lambda a: a.sin() * x, x)[1](x),
    "a Laplacian": lambda F, x: F.vmap(lambda p: F.hessian(lambda a: net(a).sum())(p).trace())(x),
    "no_grad outside": no_grad_outside,
    "writes in the body": writes_in_the_body,
    "a view from outside": a_view_from_outside,
    "constants in the body": constants_in_the_body,
}


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("transform", [None, "jacrev", "jacfwd"])
def test_transform_inside(name, transform):
    function = FUNCTIONS[name]
    graph = travelled(traced(lambda x: function(farfunc, x), x))
    given = evaluate(graph, transform, [x], floating([x]))
    expected = local(transform, lambda x: function(torch.func, x), x)
    for left, right in zip(given, expected, strict=True):
        torch.testing.assert_close(left, right.detach())


def test_a_body_cannot_write_outside():
    def function(x):
        y = x.clone()

        def body(row):
            y[0] = row.sum()
            return row

        return farfunc.vmap(body)(x)

    with pytest.raises(MutationError, match="enclosing function"):
        traced(function, x)
