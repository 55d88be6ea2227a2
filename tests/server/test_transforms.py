"""Each flat transform, and chains of them, beside torch.func of the same function."""

import numpy as np
import pytest
import torch

from farfunc_protocol.errors import EvaluationError, InvalidRequest
from farfunc_protocol.transforms import FlatTransform
from farfunc_server.evaluation.engine import Engine
from farfunc_server.evaluation.transforms import is_stack_empty
from support.graphs import array, f64, function_of

ENGINE = Engine()
RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=3), RNG.normal(size=2)
ROWS, COLUMNS = RNG.normal(size=(4, 3)), RNG.normal(size=(2, 4))


def body(b, x, y):
    (s,) = b.add("sin", (x,))
    (o,) = b.add("outer", (s, y))
    (t,) = b.add("mul.Tensor", (x, x))
    return o, t, y


F = function_of([f64(3), f64(2)], body)


def f(x, y):
    return torch.outer(torch.sin(x), y), x * x, y


G = function_of([f64(3), f64(2)], lambda b, x, y: (b.add("sum", (b.add("outer", (x, y))[0],))[0], x))


def g(x, y):
    return torch.outer(x, y).sum(), x


def leaves(tree):
    return [tree] if isinstance(tree, torch.Tensor) else [leaf for item in tree for leaf in leaves(item)]


def check(chain, expected, *values, function=F):
    results = ENGINE.evaluate(function, [FlatTransform(*item) for item in chain], [array(value) for value in values])
    expected = leaves(expected(*map(torch.from_numpy, values)))
    assert len(results) == len(expected)
    for result, wanted in zip(results, expected, strict=True):
        np.testing.assert_allclose(result.to_numpy(), wanted.numpy(), rtol=1e-14, atol=1e-14)
        assert result.shape == tuple(wanted.shape)


BOTH = {"argnums": (0, 1)}


@pytest.mark.parametrize("name", ["jacfwd", "jacrev"])
def test_jacobians(name):
    transform = getattr(torch.func, name)
    check([(name, {"argnums": (0, 1)})], transform(f, argnums=(0, 1)), X, Y)
    check([(name, {"argnums": (1,)})], transform(f, argnums=1), X, Y)
    with_aux = transform(lambda x, y: (f(x, y)[:1], f(x, y)[1:]), argnums=(0, 1), has_aux=True)
    check([(name, {"argnums": (0, 1), "aux": 2})], with_aux, X, Y)


def test_jacrev_in_chunks():
    check([("jacrev", {**BOTH, "chunk_size": 1})], torch.func.jacrev(f, argnums=(0, 1)), X, Y)


def test_hessian():
    check([("hessian", BOTH)], torch.func.hessian(f, argnums=(0, 1)), X, Y)


def test_gradients():
    check([("grad", {**BOTH, "aux": 1})], torch.func.grad(g, argnums=(0, 1), has_aux=True), X, Y, function=G)
    check(
        [("grad_and_value", {**BOTH, "aux": 1})],
        torch.func.grad_and_value(g, argnums=(0, 1), has_aux=True),
        X,
        Y,
        function=G,
    )


def test_vmap_over_any_axis():
    attributes = {"in_dims": (0, 1), "out_dims": (2, 0, 1)}
    check([("vmap", attributes)], torch.func.vmap(f, in_dims=(0, 1), out_dims=(2, 0, 1)), ROWS, COLUMNS)
    attributes = {"in_dims": (0, None), "out_dims": (0, 0, None)}
    check([("vmap", attributes)], torch.func.vmap(f, in_dims=(0, None), out_dims=(0, 0, None)), ROWS, Y)
    attributes = {"in_dims": (0, 1), "out_dims": (0, 0, 0), "chunk_size": 3}
    check([("vmap", attributes)], torch.func.vmap(f, in_dims=(0, 1)), ROWS, COLUMNS)


def test_products():
    check([("jvp", {})], lambda x, y, u, v: torch.func.jvp(f, (x, y), (u, v)), X, Y, X + 1, Y - 1)

    def pulled(x, y, *cotangents):
        out, pull_back = torch.func.vjp(f, x, y)
        return out, pull_back(cotangents)

    check([("vjp", {})], pulled, X, Y, np.outer(X, Y), X, Y)

    def pulled_with_aux(x, y, cotangent):
        out, pull_back, aux = torch.func.vjp(lambda x, y: (f(x, y)[0], f(x, y)[1:]), x, y, has_aux=True)
        return out, pull_back(cotangent), aux

    check([("vjp", {"aux": 2})], pulled_with_aux, X, Y, np.outer(X, Y))


def test_chains_outermost_first():
    vmapped = {"in_dims": (0, 1), "out_dims": (0,) * 6}
    inner = torch.func.jacrev(f, argnums=(0, 1))
    check([("vmap", vmapped), ("jacrev", BOTH)], torch.func.vmap(inner, in_dims=(0, 1)), ROWS, COLUMNS)
    check(
        [("vmap", {**vmapped, "out_dims": (0,) * 12}), ("jacfwd", BOTH), ("jacrev", BOTH)],
        torch.func.vmap(torch.func.jacfwd(inner, argnums=(0, 1)), in_dims=(0, 1)),
        ROWS,
        COLUMNS,
    )
    check(
        [("jvp", {}), ("jacrev", {"argnums": (0,)})],
        lambda x, y, u, v: torch.func.jvp(torch.func.jacrev(f), (x, y), (u, v)),
        *(X, Y, X, Y),
    )


@pytest.mark.parametrize(
    ("name", "attributes", "words"),
    [
        ("jacfwd", {}, "needs argnums"),
        ("jacfwd", {"argnums": "0"}, "list of positions"),
        ("jacfwd", {"argnums": (True,)}, "list of positions"),
        ("jacfwd", {"argnums": ()}, "list of positions"),
        ("jacfwd", {"argnums": (2,)}, "from 0 to 1"),
        ("jacfwd", {"argnums": (0,), "chunk_size": 1}, "takes no chunk_size"),
        ("jacfwd", {"argnums": (0,), "randomness": {}}, "one of error"),
        ("jacrev", {"argnums": (0,), "chunk_size": 1.5}, "integer or null"),
        ("jacrev", {"argnums": (0,), "aux": 3}, "below 3"),
        ("vmap", {"in_dims": (0,), "out_dims": (0, 0, 0)}, "2 axes"),
        ("vmap", {"in_dims": (0, 0), "out_dims": ({}, 0, 0)}, "3 axes"),
    ],
)
def test_malformed_attributes_are_named(name, attributes, words):
    with pytest.raises(InvalidRequest, match=words) as caught:
        ENGINE.evaluate(F, [FlatTransform(name, attributes)], [array(X), array(Y)])
    assert caught.value.where.startswith(f"{name}.")


@pytest.mark.parametrize(
    ("name", "attributes"),
    [
        ("jacrev", {"argnums": (0,), "chunk_size": 0}),
        ("jacfwd", {"argnums": (0, 0)}),
        ("vmap", {"in_dims": (5, 0), "out_dims": (0, 0, 0)}),
        ("vmap", {"in_dims": (None, None), "out_dims": (0, 0, 0)}),
        ("vmap", {"in_dims": (0, 0), "out_dims": (0, 0, 0)}),
        ("grad", {"argnums": (0,)}),
    ],
)
def test_what_torch_refuses_is_refused_in_its_words(name, attributes):
    with pytest.raises(EvaluationError) as caught:
        ENGINE.evaluate(F, [FlatTransform(name, attributes)], [array(X), array(Y)])
    assert caught.value.detail
    assert "Traceback" not in caught.value.detail


def test_a_refusal_leaves_nothing_behind():
    with pytest.raises(EvaluationError):
        ENGINE.evaluate(F, [FlatTransform("vmap", {"in_dims": (0, 0), "out_dims": (0, 0, 0)})], [array(X), array(Y)])
    assert is_stack_empty()
    check([("jacrev", BOTH)], torch.func.jacrev(f, argnums=(0, 1)), X, Y)
