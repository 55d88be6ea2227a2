"""Writes into a function's arguments: the results, and the caller's own arrays afterwards, are torch.func's."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
import torch

import farfunc
from farfunc._front_ends import numpy_front_end, torch_front_end
from farfunc._tracing import trace
from farfunc_protocol.errors import MutationError, TransformValueError
from farfunc_protocol.graph import TensorType
from farfunc_protocol.pytree import flatten
from farfunc_protocol.validate import validate_function
from support.evaluators import AsyncInProcess, InProcess

torch.manual_seed(20261122)
X = torch.randn(4, 6, dtype=torch.float64)
Y = torch.randn(4, 6, dtype=torch.float64)
Z = torch.randn(4, 5, 6, dtype=torch.float64)


@pytest.fixture(scope="module")
def remote():
    return InProcess()


def copies(x, y):
    y.copy_(x.sin())
    return y * x


def returns_what_it_wrote(x, y):
    return y.copy_(x)


def to_a_part(x, y):
    y[..., :2] = x[..., 2:4]
    y.select(-1, 3).mul_(3).add_(x.select(-1, 0))
    return y[..., 1:3] * x[..., 1:3]


def before_and_after(x, y):
    view = y[..., 1:]
    before = view * 2
    y.add_(x)
    return view + before, y.sum()


def integers_into_floats(x, y):
    y.copy_(x > 0)
    y[..., 0] = torch.arange(1)
    return x * y


def under_no_grad(x, y):
    with torch.no_grad():
        y.mul_(2)
        x.add_(1)
    return x * y


def a_map_inside(transforms, x, y):
    transforms.vmap(lambda a, b: b.mul_(2).add_(a))(x, y)
    y[..., 0] = 1.0
    return y * x


def a_derivative_inside(transforms, x, y):
    gradient = transforms.grad(lambda a, b: (b.add_(1) * a).sum())(x, y)
    return gradient * y


def a_hessian_inside(transforms, x, y):
    hessian = transforms.hessian(lambda a, b: (b.mul_(2).sin() * a**3).sum())(x.select(-1, 0), y.select(-1, 1))
    return hessian.sum() * y


def is_its_own_result(transforms, x, y):
    z = transforms.vmap(lambda a, b: b.add_(a))(x, y)
    z.mul_(2)
    return y * x


WRITES_TO_Y = [copies, returns_what_it_wrote, to_a_part, before_and_after, integers_into_floats]
INSIDE = [a_map_inside, a_derivative_inside, a_hessian_inside, is_its_own_result]

TRANSFORMS = {
    "jacfwd": lambda F, f: F.jacfwd(f),
    "jacrev": lambda F, f: F.jacrev(f),
    "jacrev in chunks": lambda F, f: F.jacrev(f, chunk_size=2),
    "grad": lambda F, f: F.grad(lambda x, y: sum(leaf.sum() for leaf in flatten(f(x, y))[0])),
    "grad_and_value": lambda F, f: F.grad_and_value(lambda x, y: sum(leaf.sum() for leaf in flatten(f(x, y))[0])),
    "hessian": lambda F, f: F.hessian(f),
    "vmap": lambda F, f: F.vmap(f),
    "vmap of other axes": lambda F, f: F.vmap(f, in_dims=1, out_dims=0),
    "vmap in chunks": lambda F, f: F.vmap(f, chunk_size=3),
    "vmap of jacfwd": lambda F, f: F.vmap(F.jacfwd(f)),
    "vmap of jacrev": lambda F, f: F.vmap(F.jacrev(f), in_dims=(0, 0)),
    "vmap of hessian": lambda F, f: F.vmap(F.hessian(f)),
    "vmap of vmap": lambda F, f: F.vmap(F.vmap(f)),
    "vmap of a jvp": lambda F, f: F.vmap(lambda x, y: F.jvp(f, (x, y), (x.cos(), y.sin()))),
    "jacfwd of vmap": lambda F, f: F.jacfwd(F.vmap(f)),
}


def assert_same(make, *arguments, remote):
    """The results of both, and what the arguments hold afterwards."""
    ours, theirs = [a.clone() for a in arguments], [a.clone() for a in arguments]
    given = flatten(make(remote)(*ours))[0]
    expected = flatten(make(torch.func)(*theirs))[0]
    for left, right in zip([*given, *ours], [*expected, *theirs], strict=True):
        torch.testing.assert_close(left, right)
    return ours


@pytest.mark.parametrize("function", WRITES_TO_Y)
@pytest.mark.parametrize("name", TRANSFORMS)
def test_results_and_arguments_are_those_of_torch(name, function, remote):
    x, y = (Z, Z.cos()) if name == "vmap of vmap" else (X, Y)
    for _ in range(2):  # the second call finds the trace
        assert_same(lambda F: TRANSFORMS[name](F, function), x, y, remote=remote)


@pytest.mark.parametrize("function", WRITES_TO_Y)
def test_jvp_writes_to_primals_and_to_no_tangent(function, remote):
    def call(F):
        return lambda x, y: F.jvp(function, (x, y), (x.cos(), y.sin()))

    assert_same(call, X, Y, remote=remote)


@pytest.mark.parametrize("transform", ["jacfwd", "jacrev", "vmap", "grad"])
@pytest.mark.parametrize("function", INSIDE)
def test_transforms_inside_the_function(function, transform, remote):
    def make(F):
        inside = farfunc if F is remote else torch.func

        def f(x, y):
            out = function(inside, x, y)
            return out.sum() if transform == "grad" else out

        return getattr(F, transform)(f)

    x, y = (Z, Z.cos()) if transform == "vmap" else (X, Y)
    assert_same(make, x, y, remote=remote)


def test_writes_under_no_grad_reach_what_is_differentiated(remote):
    for name in ("jacrev", "jacfwd"):
        assert_same(lambda F, name=name: TRANSFORMS[name](F, under_no_grad), X, Y, remote=remote)


def test_reverse_mode_refuses_writes_to_what_it_differentiates(remote):
    for name in ("jacrev", "grad", "grad_and_value", "hessian"):
        with pytest.raises(MutationError, match=r"^a leaf Variable that requires grad is being used in an") as caught:
            getattr(remote, name)(lambda x: x.mul_(2).sum())(X)
        assert caught.value.where.startswith("test_argument_writes.py:")
        assert "clone" in caught.value.remedy
    with pytest.raises(RuntimeError, match=r"^a view of a leaf Variable that requires grad"):
        remote.grad(lambda x: x[0].mul_(2).sum())(X)
    with pytest.raises(RuntimeError, match=r"^a leaf Variable"):
        remote.vjp(lambda x: x.mul_(2), X)
    with pytest.raises(RuntimeError, match=r"^a leaf Variable"):
        remote.vmap(lambda x: farfunc.grad(lambda x: x.mul_(2).sum())(x))(X)
    with pytest.raises(MutationError, match="again and again"):
        remote.linearize(lambda x: x.mul_(2), X)


def test_a_failed_call_writes_nothing(remote):
    x = X.clone()
    with pytest.raises(RuntimeError):
        remote.jacrev(lambda x: x.mul_(2))(x)
    assert torch.equal(x, X)


def test_an_argument_that_is_not_mapped(remote):
    assert_same(lambda F: F.vmap(lambda x, y: x + y.add_(1), in_dims=(0, None)), X, Y[0], remote=remote)
    with pytest.raises(RuntimeError, match=r"vmap: inplace arithmetic\(self, \*extra_args\) is not possible") as caught:
        remote.vmap(lambda x, y: y.copy_(x), in_dims=(0, None))(X.clone(), Y[0].clone())
    assert caught.value.where.startswith("test_argument_writes.py:")
    with pytest.raises(MutationError, match="Cannot ask for different inplace randomness on an unbatched tensor"):
        remote.vmap(lambda x, y: y.uniform_(), in_dims=(0, None), randomness="different")(X.clone(), Y[0].clone())
    with pytest.raises(MutationError, match="once for each chunk"):
        remote.vmap(lambda x, y: x + y.add_(1), in_dims=(0, None), chunk_size=2)(X.clone(), Y[0].clone())
    mixed = remote.vmap(remote.vmap(lambda x, y: y.copy_(x), in_dims=(0, None)))
    with pytest.raises(RuntimeError, match="inplace arithmetic"):
        mixed(Z.clone(), X.clone())


def test_the_argument_itself_is_returned(remote):
    for make in (
        lambda F: F.vmap(lambda row: row.add_(1)),
        lambda F: F.vmap(F.vmap(lambda row: row.mul_(2)), in_dims=1, out_dims=1),
        lambda F: F.vmap(F.vmap(torch.Tensor.acos_)),
    ):
        x = X.clone()
        assert make(torch.func)(x.clone()) is not None
        assert make(remote)(x) is x
    x = X.clone()
    pair = remote.vmap(lambda x: (x.add_(1), x * 1))(x)
    assert pair[0] is x
    assert torch.equal(pair[1], X + 1)


@pytest.mark.parametrize("given", [X, Z], ids=["a matrix", "three axes"])
def test_views_of_arguments_are_returned_as_views(given, remote):
    for make in (
        lambda F: F.vmap(lambda x: x.add_(1), out_dims=1),
        lambda F: F.vmap(lambda x: x.add_(1), in_dims=1),
        lambda F: F.vmap(lambda x: x.add_(1)[..., 1:3]),
        lambda F: F.vmap(lambda x: x.view(-1).add_(1)[::2]),
        lambda F: F.vmap(F.vmap(lambda x: x.add_(1).unsqueeze(0), in_dims=-1), in_dims=1),
        lambda F: F.vmap(lambda x: x[1:].squeeze_().mul_(2)),
    ):
        ours, theirs = given.clone(), given.clone()
        result, expected = make(remote)(ours), make(torch.func)(theirs)
        torch.testing.assert_close(ours, theirs)
        torch.testing.assert_close(result, expected)
        assert result._base is ours
        assert result.storage_offset() == expected.storage_offset()
        result.zero_()
        expected.zero_()
        torch.testing.assert_close(ours, theirs)


def test_views_and_unusual_layouts_of_the_caller(remote):
    base = torch.arange(24.0).reshape(4, 6)
    remote.vmap(lambda row: row.neg_())(base.t()[1:3])
    expected = torch.arange(24.0).reshape(4, 6)
    expected[:, 1:3] *= -1
    assert torch.equal(base, expected)
    half = X.half()
    remote.vmap(lambda x: x.mul_(2))(half)
    assert torch.equal(half, X.half() * 2)


def test_trees_keywords_and_numbers(remote):
    def f(x, scale, *, state):
        state["count"].add_(1)
        state["sum"] += x * scale
        return (x * state["sum"]).sum()

    x, state = X.clone(), {"sum": Y.clone(), "count": torch.tensor(3)}
    gradient = remote.grad(f)(x, 2.0, state=state)
    torch.testing.assert_close(gradient, Y + 4 * X)
    torch.testing.assert_close(state["sum"], Y + 2 * X)
    assert state["count"] == 4


def test_memory_that_is_given_twice(remote):
    x = X.clone()
    for arguments in ((x, x), (x, x[1:]), (x[:, 0], x[:, 0])):
        with pytest.raises(MutationError, match="shares memory"):
            remote.jacrev(lambda a, b: b.add_(1).sum() * a.sum())(*arguments)
    columns = x[:, 0], x[:, 1]
    assert torch.equal(x, X)
    remote.vmap(lambda a, b: b.add_(a))(*columns)
    torch.testing.assert_close(x[:, 1], X[:, 0] + X[:, 1])
    both = remote.jacrev(lambda a, b: a * b)(x, x)  # nothing is written
    assert both.shape == (4, 6, 4, 6)
    with pytest.raises(MutationError, match="twice"):
        remote.vmap(lambda a: farfunc.vmap(lambda b, c: b.add_(c))(a, a))(x)


def test_captured_tensors_cannot_be_written_to(remote):
    outside = torch.zeros(6, dtype=torch.float64)
    for function in (lambda x: outside.add_(x), lambda x: farfunc.vmap(lambda a, b: b.add_(a))(x, outside)):
        with pytest.raises(MutationError, match="mutate a captured Tensor") as caught:
            remote.vmap(function)(X)
        assert caught.value.where.startswith("test_argument_writes.py:")
        assert "clone" in caught.value.remedy
    with pytest.raises(MutationError, match="mutate a captured Tensor"):
        remote.vmap(lambda x: farfunc.grad(lambda a: (x.add_(1) * a).sum())(x))(X.clone())
    assert not outside.any()


def test_the_local_autograd_graph(remote):
    """Gradients flow through what was written, to what was there before."""

    def f(x, y):
        y.mul_(x)
        y[..., 0] = x[..., 1]
        return (y * x).sum(-1)

    def run(F):
        w = X.clone().requires_grad_()
        x, y = w * 2, w.sin()
        out = F.vmap(f)(x, y)
        (gradient,) = torch.autograd.grad((out * y.sum(-1)).sum(), w)
        return out, gradient

    given = run(remote)
    w = X.clone().requires_grad_()
    x, y = w * 2, w.sin()
    new = torch.cat([x[:, 1:2], (y * x)[:, 1:]], 1)
    out = (new * x).sum(-1)
    (gradient,) = torch.autograd.grad((out * new.sum(-1)).sum(), w)
    torch.testing.assert_close(given, (out, gradient))

    plain = Y.clone()
    remote.vmap(lambda x, y: y.add_(x))(w, plain)
    assert plain.requires_grad
    (gradient,) = torch.autograd.grad((plain**2).sum(), w)
    torch.testing.assert_close(gradient, 2 * (X + Y))


def test_second_derivatives_by_the_local_autograd_graph(remote):
    w = X.clone().requires_grad_()
    x = w**2
    remote.vmap(lambda x: x.mul_(x))(x)
    (gradient,) = torch.autograd.grad(x.sum(), w, create_graph=True)
    torch.testing.assert_close(gradient, 4 * w**3)
    (second,) = torch.autograd.grad(gradient.sum(), w)
    torch.testing.assert_close(second, 12 * X**2)


def test_tensors_that_require_grad(remote):
    leaf = X.clone().requires_grad_()
    with pytest.raises(RuntimeError, match=r"^a leaf Variable that requires grad is being used in an in-place"):
        remote.vmap(lambda x: x.add_(1))(leaf)
    with pytest.raises(RuntimeError, match=r"^a view of a leaf Variable that requires grad is being used"):
        remote.vmap(lambda x: x.add_(1))(leaf[1:])
    assert torch.equal(leaf, X)
    with torch.no_grad():
        assert remote.vmap(lambda x: x.add_(1))(leaf) is leaf
    assert torch.equal(leaf, X + 1)
    assert leaf.is_leaf


def test_awaited_calls():
    client = AsyncInProcess()
    x = X.clone()

    async def main():
        answer = client.vmap(lambda x: x.add_(1))(x)
        assert torch.equal(x, X)
        return await answer

    assert asyncio.run(main()) is x
    assert torch.equal(x, X + 1)


def test_the_shape_of_the_callers_tensor_stays(remote):
    x = X.clone()
    result = remote.vmap(lambda x: x.unsqueeze_(0).add_(1))(x)
    assert result.shape == (4, 1, 6)
    assert x.shape == (4, 6)
    assert torch.equal(x, X + 1)


def test_written_values_are_the_last_outputs():
    row = TensorType("float64", (3,))
    traced = trace(lambda x, y: {"a": y.add_(x)[1:]}, (row, row), {}, torch_front_end())
    validate_function(traced.function)
    assert [write.position for write in traced.writes] == [1]
    assert len(traced.function.graph.outputs) == traced.function.out_tree.num_leaves == 2
    assert traced.out == {"a": TensorType("float64", (2,))}
    traced = trace(lambda x: x * 2, (row,), {}, numpy_front_end())
    assert not traced.writes
    assert len(traced.function.graph.outputs) == 1


def test_functions_that_write_are_not_registered():
    with pytest.raises(MutationError, match="registered"):
        farfunc.Client("http://127.0.0.1:9").register(lambda x: x.add_(1), X)


class TestNumPy:
    x = X.numpy()
    y = Y.numpy()

    def test_items_slices_and_views(self, remote):
        def f(x, y):
            y[0] = x[1]
            y[1:3] *= x[:2]
            y.T[4] = 7.0
            return y * x

        def expected(x, y):
            f(x, y)
            return y

        given, wanted = self.y.copy(), self.y.copy()
        for _ in range(2):
            jacobian = remote.jacrev(f)(self.x, given)
            expected(self.x, wanted)
            assert np.allclose(given, wanted)
        assert jacobian.shape == (4, 6, 4, 6)
        assert remote.vmap(lambda x: np.add(x, 1, out=x))(given) is given
        assert np.allclose(given, wanted + 1)

    def test_the_callers_views(self, remote):
        base = np.arange(24.0).reshape(4, 6)

        def negate(row):
            row *= -1
            return row.sum()

        remote.vmap(negate)(base[::2, 1:3].T)
        expected = np.arange(24.0).reshape(4, 6)
        expected[::2, 1:3] *= -1
        assert np.array_equal(base, expected)

    def test_dtypes(self, remote):
        counts = np.zeros(3, dtype=np.int32)

        def f(x, counts):
            counts[:] = x * 2
            return (x * counts).sum()

        assert np.allclose(remote.grad(f)(np.array([1.0, 2.4, 3.0]), counts).shape, (3,))
        assert counts.tolist() == [2, 4, 6]
        assert counts.dtype == np.int32

    def test_inside(self, remote):
        def f(x, y):
            def body(a, b):
                b[0] = a[1]
                return a * b

            return farfunc.vmap(body)(x, y) + y

        y = self.y.copy()
        remote.jacfwd(f)(self.x, y)
        expected = self.y.copy()
        expected[:, 0] = self.x[:, 1]
        assert np.allclose(y, expected)

    def test_what_cannot_be_written(self, remote):
        def f(x, y):
            y[...] = x
            return x.sum()

        readonly = self.y.copy()
        readonly.flags.writeable = False
        with pytest.raises(ValueError, match="read-only"):
            remote.grad(f)(self.x, readonly)
        with pytest.raises(TransformValueError, match="read-only"):
            remote.grad(f)(X, readonly)
        x = self.x.copy()
        with pytest.raises(MutationError, match="shares memory"):
            remote.grad(f)(x, x)
        with pytest.raises(MutationError, match="leaf Variable"):
            remote.grad(lambda x: f(x * 1, x))(x)
        with pytest.raises(MutationError, match="captured array"):
            remote.vmap(lambda a: farfunc.grad(lambda b, c: f(b, c))(a, readonly[0]))(x)
        assert np.array_equal(x, self.x)
