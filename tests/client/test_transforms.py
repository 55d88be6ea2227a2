"""The transforms beside torch.func: values, structures, dtypes, errors, signatures."""

import asyncio
import functools
import inspect
from collections import OrderedDict, namedtuple

import numpy as np
import pytest
import torch
from torch.testing import assert_close
from torch.utils import _pytree as pytree

import farfunc
from farfunc_protocol.errors import FarfuncError
from support.evaluators import AsyncInProcess, InProcess

far = InProcess()
near = torch.func

Point = namedtuple("Point", "x y")


def sample(*shape, dtype=torch.float64):
    return torch.linspace(0.3, 1.7, int(np.prod(shape)), dtype=dtype).reshape(shape)


def assert_same(left, right):
    """The same structure, dtypes, shapes and, up to rounding, values."""
    leaves, tree = pytree.tree_flatten(left)
    expected, expected_tree = pytree.tree_flatten(right)
    assert tree == expected_tree
    for leaf, other in zip(leaves, expected, strict=True):
        if isinstance(other, torch.Tensor):
            assert leaf.dtype == other.dtype
            assert_close(leaf.detach(), other.detach())
        else:
            assert leaf == other


x, y, batch, matrix = sample(3), sample(3) + 1, sample(4, 3), sample(2, 3)
parameters = {"w": sample(2, 3), "b": [sample(2)]}


def scalar(x):
    return (x.sin() * x.prod()).sum()


def vector(x):
    return torch.stack([x.prod(), x.sum() ** 2]) * x[0]


def linear(parameters, x):
    return (parameters["w"] @ x + parameters["b"][0]).tanh()


def tree_out(x, y):
    return OrderedDict(first=x * y, second=Point(x.sum(), [y.prod()]))


COMPOSITIONS = {
    "jacfwd": lambda F: F.jacfwd(vector)(x),
    "jacrev": lambda F: F.jacrev(vector)(x),
    "jacrev of a builtin": lambda F: F.jacrev(torch.sin)(x),
    "jacrev in chunks": lambda F: F.jacrev(vector, chunk_size=1)(x),
    "jacrev preallocated": lambda F: F.jacrev(vector, chunk_size=1, _preallocate_and_copy=True)(x),
    "hessian": lambda F: F.hessian(scalar)(x),
    "hessian of two": lambda F: F.hessian(lambda x, y: (x * y).sum() ** 2, (0, 1))(x, y),
    "grad": lambda F: F.grad(scalar)(x),
    "grad of grad": lambda F: F.grad(lambda x: F.grad(scalar)(x).sum())(x),
    "grad_and_value": lambda F: F.grad_and_value(scalar)(x),
    "grad with aux": lambda F: F.grad(lambda x: (scalar(x), {"n": x.argmax()}), has_aux=True)(x),
    "grad_and_value with aux": lambda F: F.grad_and_value(lambda x: (scalar(x), x), has_aux=True)(x),
    "grad with kwargs": lambda F: F.grad(lambda x, scale: (x * scale).sum())(x, scale=y),
    "argnums -1": lambda F: F.jacrev(lambda x, y: x * y**2, argnums=-1)(x, y),
    "argnums in another order": lambda F: F.jacfwd(lambda x, y: x * y**2, argnums=(1, 0))(x, y),
    "argnums of one in a tuple": lambda F: F.jacfwd(vector, argnums=(0,))(x),
    "trees in": lambda F: F.jacrev(linear, argnums=(0, 1))(parameters, x),
    "trees out": lambda F: F.jacfwd(tree_out, argnums=(0, 1))(x, y),
    "trees in and out": lambda F: F.jacrev(lambda p: {"y": linear(p, x)})(parameters),
    "jacfwd with aux": lambda F: F.jacfwd(lambda x: (vector(x), [x, x > 1]), has_aux=True)(x),
    "jacrev with aux": lambda F: F.jacrev(lambda x: (vector(x), ()), has_aux=True)(x),
    "static arguments": lambda F: F.jacrev(lambda x, n, mode: getattr(x**n, mode)())(x, 3, "sum"),
    "float32 in, float64 out, forward": lambda F: F.jacfwd(lambda x: x.double().sin())(x.float()),
    "float32 in, float64 out, reverse": lambda F: F.jacrev(lambda x: x.double().sin())(x.float()),
    "integer output, forward": lambda F: F.jacfwd(lambda x: x.argsort())(x),
    "unused argument": lambda F: F.grad(lambda x, y: x.sum(), argnums=(0, 1))(x, y),
    "constant": lambda F: F.jacrev(lambda x: torch.ones(2))(x),
    "the same tensor twice": lambda F: F.jacrev(lambda a, b: a * b**2, argnums=(0, 1))(x, x),
    "empty": lambda F: F.jacfwd(torch.sin)(torch.zeros(0)),
    "no axes": lambda F: F.jacrev(torch.sin)(torch.tensor(0.5)),
    "vmap": lambda F: F.vmap(vector)(batch),
    "vmap of two axes": lambda F: F.vmap(torch.dot, in_dims=(0, 1))(batch, batch.T),
    "vmap of one argument": lambda F: F.vmap(torch.dot, in_dims=(None, 0))(x, batch),
    "vmap with out_dims": lambda F: F.vmap(lambda x: (x * 2, x.sum()), out_dims=(1, 0))(batch),
    "vmap with negative axes": lambda F: F.vmap(lambda x: x * 2, in_dims=-1, out_dims=-1)(batch),
    "vmap over trees": lambda F: F.vmap(lambda d: d["a"] * d["b"], in_dims=({"a": 0, "b": None},))(
        {"a": batch, "b": y}
    ),
    "vmap with kwargs": lambda F: F.vmap(lambda x, scale=4.0: x * scale)(batch, scale=batch),
    "vmap of a scalar": lambda F: F.vmap(lambda x, n: x**n, in_dims=(0, None))(batch, 2),
    "vmap of a constant": lambda F: F.vmap(lambda x: torch.arange(3))(batch),
    "vmap with static outputs": lambda F: F.vmap(lambda x: (x, "text", None), out_dims=(0, None, None))(batch),
    "vmap with an unbatched output": lambda F: F.vmap(lambda x: (x, y * 2), out_dims=(0, None))(batch),
    "vmap in chunks": lambda F: F.vmap(vector, chunk_size=3)(batch),
    "vmap of vmap": lambda F: F.vmap(F.vmap(torch.sin))(batch),
    "vmap inside": lambda F: F.vmap(lambda a: F.vmap(lambda b: a * b)(x))(batch),
    "vmap of a capture": lambda F: F.vmap(lambda a: F.vmap(lambda b: a.sum())(x))(batch),
    "vmap of jacfwd of jacrev": lambda F: F.vmap(F.jacfwd(F.jacrev(scalar)))(batch),
    "vmap of grad": lambda F: F.vmap(F.grad(lambda w, x: (w * x).sum() ** 2), in_dims=(None, 0))(y, batch),
    "jacrev of vmap": lambda F: F.jacrev(F.vmap(scalar))(batch),
    "jacfwd inside": lambda F: F.jacrev(lambda x: F.jacfwd(vector)(x) @ x)(x),
    "Laplacian": lambda F: F.vmap(lambda x: torch.trace(F.hessian(scalar)(x)))(batch),
    "Newton step": lambda F: F.jacfwd(lambda x: x - torch.linalg.solve(F.hessian(scalar)(x), F.grad(scalar)(x)))(x),
    "jvp": lambda F: F.jvp(vector, (x,), (y,)),
    "jvp of trees": lambda F: F.jvp(linear, (parameters, x), (parameters, y)),
    "jvp with aux": lambda F: F.jvp(lambda x: (vector(x), x > 1), (x,), (y,), has_aux=True),
    "jvp of a constant": lambda F: F.jvp(lambda x: torch.ones(2), (x,), (y,)),
    "jvp inside": lambda F: F.grad(lambda x: F.jvp(vector, (x,), (y,))[1].sum())(x),
    "vjp": lambda F: F.vjp(vector, x)[1](sample(2)),
    "vjp output": lambda F: F.vjp(tree_out, x, y)[0],
    "vjp of trees": lambda F: F.vjp(tree_out, x, y)[1](tree_out(y, x)),
    "vjp with aux": lambda F: F.vjp(lambda x: (vector(x), {"x": x}), x, has_aux=True)[2],
    "vjp of jacrev": lambda F: F.vjp(F.jacrev(vector), x)[1](matrix),
    "vjp inside": lambda F: F.jacrev(lambda x: F.vjp(vector, x)[1](sample(2))[0])(x),
    "vjp inside, value": lambda F: F.jacrev(lambda x: F.vjp(vector, x)[0] * 2)(x),
    "vmap of vjp_fn": lambda F: F.vmap(F.vjp(vector, x)[1])(torch.eye(2, dtype=torch.float64)),
    "jacrev of vjp_fn": lambda F: F.jacrev(lambda c: F.vjp(vector, x)[1](c)[0])(sample(2)),
    "linearize": lambda F: F.linearize(tree_out, x, y)[1](y, x),
    "linearize output": lambda F: F.linearize(tree_out, x, y)[0],
    "vmap of jvp_fn": lambda F: F.vmap(F.linearize(vector, x)[1])(torch.eye(3, dtype=torch.float64)),
}


@pytest.mark.filterwarnings("ignore")  # linearize's own warnings, batching rules that fall back to a loop
@pytest.mark.parametrize("name", COMPOSITIONS)
def test_as_torch_func(name):
    assert_same(COMPOSITIONS[name](far), COMPOSITIONS[name](near))


i, c = torch.arange(3), torch.ones(3, dtype=torch.complex64)


ERRORS = {
    "argnums out of range": lambda F: F.grad(scalar, argnums=2)(x),
    "argnums a list": lambda F: F.jacrev(vector, argnums=[0])(x),
    "argnums a float": lambda F: F.jacfwd(vector, argnums=(0.0,))(x),
    "argnums twice": lambda F: F.jacfwd(lambda x, y: x, argnums=(0, -2))(x, y),
    "argnums empty": lambda F: F.jacrev(vector, argnums=())(x),
    "grad of a vector": lambda F: F.grad(vector)(x),
    "grad of a tuple": lambda F: F.grad(lambda x: (x.sum(),))(x),
    "grad of a number": lambda F: F.grad(lambda x: 1.0)(x),
    "grad of a complex": lambda F: F.grad(lambda x: (x * 1j).sum())(x),
    "grad by an integer tensor": lambda F: F.grad(lambda x: x.sum())(i),
    "grad by a number": lambda F: F.grad(lambda a, b: a * b.sum())(2.0, x),
    "aux missing": lambda F: F.grad(scalar, has_aux=True)(x),
    "aux no tensor": lambda F: F.jacrev(lambda x: (x, {"n": 1}), has_aux=True)(x),
    "jacrev of None": lambda F: F.jacrev(lambda x: None)(x),
    "jacfwd of nothing": lambda F: F.jacfwd(lambda x: ())(x),
    "jacfwd of a string": lambda F: F.jacfwd(lambda x: "text")(x),
    "jacrev of integers": lambda F: F.jacrev(lambda x: x.argsort())(x),
    "jacrev of complex": lambda F: F.jacrev(lambda x: x * 1j)(x),
    "jacfwd by complex": lambda F: F.jacfwd(lambda x: x)(c),
    "jacfwd by integers": lambda F: F.jacfwd(lambda x: x)(i),
    "hessian by complex": lambda F: F.hessian(lambda x: x.sum())(c),
    "chunk_size": lambda F: F.jacrev(vector, chunk_size=0),
    "vmap chunk_size": lambda F: F.vmap(vector, chunk_size=0),
    "randomness": lambda F: F.vmap(vector, randomness="some"),
    "jacfwd randomness": lambda F: F.jacfwd(vector, randomness="some")(x),
    "in_dims a list": lambda F: F.vmap(vector, in_dims=[0])(batch),
    "in_dims structure": lambda F: F.vmap(linear, in_dims=({"w": 0}, 0))(parameters, batch),
    "in_dims range": lambda F: F.vmap(vector, in_dims=2)(batch),
    "in_dims of a number": lambda F: F.vmap(lambda x, n: x)(batch, 2),
    "batch sizes": lambda F: F.vmap(torch.mul)(batch, x),
    "nothing mapped": lambda F: F.vmap(vector, in_dims=(None,))(batch),
    "no arguments": lambda F: F.vmap(vector)(),
    "out_dims a string": lambda F: F.vmap(vector, out_dims="0")(batch),
    "out_dims structure": lambda F: F.vmap(vector, out_dims=(0, 0))(batch),
    "out_dims range": lambda F: F.vmap(vector, out_dims=2)(batch),
    "out_dims None": lambda F: F.vmap(vector, out_dims=None)(batch),
    "vmap of a number": lambda F: F.vmap(lambda x: 1)(batch),
    "inner vmap": lambda F: F.vmap(F.vmap(torch.sin))(x),
    "jvp primals": lambda F: F.jvp(vector, x, x),
    "jvp structure": lambda F: F.jvp(vector, (x,), [x]),
    "jvp nothing": lambda F: F.jvp(vector, (), ()),
    "jvp numbers": lambda F: F.jvp(vector, (1.0,), (1.0,)),
    "jvp shapes": lambda F: F.jvp(vector, (x,), (batch,)),
    "jvp strict": lambda F: F.jvp(lambda x: torch.ones(2), (x,), (y,), strict=True),
    "jvp strict, detached": lambda F: F.jvp(lambda x: x.detach(), (x,), (y,), strict=True),
    "vjp integers": lambda F: F.vjp(lambda x: x, i),
    "vjp aux": lambda F: F.vjp(lambda x: [x, x], x, has_aux=True),
    "vjp cotangents": lambda F: F.vjp(vector, x)[1]((x,)),
    "vjp shapes": lambda F: F.vjp(vector, x)[1](x),
    "vjp numbers": lambda F: F.vjp(scalar, x)[1](1.0),
    "linearize structure": lambda F: F.linearize(vector, x)[1](x, x),
    "linearize shape": lambda F: F.linearize(vector, x)[1](batch),
    "linearize dtype": lambda F: F.linearize(vector, x)[1](x.float()),
    "a TypeError of the function": lambda F: F.grad(lambda x, y: x)(x),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ERRORS)
def test_errors_of_torch_func(name):
    with pytest.raises(Exception) as expected:  # noqa: PT011 - whatever torch.func raises
        ERRORS[name](near)
    with pytest.raises(type(expected.value)) as caught:
        ERRORS[name](far)
    detail = caught.value.detail if isinstance(caught.value, FarfuncError) else str(caught.value)
    assert detail == str(expected.value)


@pytest.mark.parametrize("name", ["jacfwd", "jacrev", "hessian", "vmap", "grad", "grad_and_value", "jvp", "vjp"])
@pytest.mark.parametrize("where", [farfunc, far])
def test_signatures_are_those_of_torch_func(name, where):
    assert shape_of(getattr(where, name)) == shape_of(getattr(near, name))


@pytest.mark.parametrize("name", ["linearize", "functional_call", "stack_module_state"])
def test_other_signatures(name):
    assert shape_of(getattr(farfunc, name)) == shape_of(getattr(near, name))


def shape_of(function):
    return [(p.name, p.kind, p.default) for p in inspect.signature(function).parameters.values()]


def test_a_transformed_function_looks_like_its_function():
    def energy(x, *, scale=1.0):
        """Of a state."""
        return (x * scale).sum()

    gradient = far.grad(energy)
    assert (gradient.__name__, gradient.__doc__, gradient.__wrapped__) == ("energy", "Of a state.", energy)
    assert inspect.signature(gradient) == inspect.signature(energy)
    assert inspect.isfunction(gradient)
    far.grad(torch.nn.Linear(2, 1))  # which has no __name__
    far.grad(functools.partial(energy, scale=2.0))


def test_a_wrapper_around_a_transformed_function_is_not_taken_for_it():
    gradient = far.grad(scalar)

    @functools.wraps(gradient)
    def doubled(x):
        return 2 * gradient(x)

    assert_same(far.jacrev(doubled)(x), near.jacrev(lambda x: 2 * near.grad(scalar)(x))(x))


def test_a_chain_is_one_evaluation_of_the_plain_function():
    far.vmap(far.jacfwd(far.jacrev(scalar)))(batch)
    assert far.chains[-1] == ["vmap", "jacfwd", "jacrev"]
    assert all(equation.body is None for equation in far.functions[-1].graph.equations)


def test_results_come_back_as_what_came_in():
    array = np.linspace(0.0, 1.0, 3)
    for function in (np.sin, torch.sin, lambda x: torch.sin(x)):
        result = far.jacfwd(function)(array)
        assert type(result) is np.ndarray
        np.testing.assert_allclose(result, np.diag(np.cos(array)))
    assert isinstance(far.jacfwd(torch.sin)(x), torch.Tensor)


def test_numpy_functions_compose_as_well():
    array = np.linspace(0.3, 1.7, 12).reshape(4, 3)
    result = far.vmap(far.hessian(lambda x: np.sin(x).prod()))(array)
    expected = near.vmap(near.hessian(lambda x: x.sin().prod()))(torch.from_numpy(array))
    np.testing.assert_allclose(result, expected.numpy())
    output, vjp_fn = far.vjp(lambda x: {"y": np.cos(x)}, array[0])
    assert list(output) == ["y"]
    np.testing.assert_allclose(vjp_fn({"y": np.ones(3)})[0], -np.sin(array[0]))


def test_python_numbers_are_arguments_of_numpy_functions():
    assert far.grad(lambda x: x**3)(2.0) == 12.0
    assert far.grad(lambda x, n: x**n)(2.0, 3) == 12.0

    def clipped(x, limit):
        return x.sum() * limit if limit > 1 else x.sum()

    np.testing.assert_allclose(far.grad(clipped)(np.ones(2), 3.0), [3.0, 3.0])
    np.testing.assert_allclose(far.grad(clipped)(np.ones(2), 0.5), [1.0, 1.0])
    with pytest.raises(farfunc.DataDependentError, match=r"np\.where"):
        far.grad(lambda x: x if x > 0 else -x)(2.0)


@pytest.mark.parametrize("capture", [True, False])
def test_results_are_part_of_the_autograd_graph(capture):
    w = sample(3).requires_grad_(capture)
    argument = sample(3).requires_grad_(not capture)
    leaf = w if capture else argument

    def second_order(F):
        jacobian = F.jacrev(lambda x: (x.sin() * w).cumsum(0))(argument)
        (first,) = torch.autograd.grad(jacobian.pow(2).sum(), leaf, create_graph=True)
        (second,) = torch.autograd.grad(first.pow(2).sum(), leaf)
        return jacobian, first, second

    assert far.jacrev(lambda x: x * w)(argument).requires_grad
    assert_same(second_order(far), second_order(near))


def test_autograd_of_trees_and_complex_numbers():
    z = torch.tensor([1.0 + 2.0j, 3.0 - 1.0j], dtype=torch.complex128, requires_grad=True)
    model = torch.nn.Linear(3, 2, dtype=torch.float64)
    for F in (far, near):
        out, tangent = F.jvp(lambda z: {"a": z * z, "n": z.abs()}, (z,), (z.conj(),))
        grads = torch.autograd.grad(out["a"].abs().sum() + tangent["n"].sum(), z)
        jacobians = F.vmap(F.jacrev(model))(batch)
        grads += torch.autograd.grad(jacobians.sum() ** 2, list(model.parameters()), allow_unused=True)
        if F is far:
            ours = grads
    assert_close(ours[:2], grads[:2])
    assert ours[2] is None or not ours[2].any()  # the bias: torch leaves it out of the graph


def test_no_grad_means_no_graph():
    leaf = sample(3).requires_grad_()
    with torch.no_grad():
        assert not far.jacrev(vector)(leaf).requires_grad
    output, vjp_fn = far.vjp(vector, leaf)
    with torch.no_grad():
        assert not vjp_fn(sample(2))[0].requires_grad
    with torch.no_grad():
        output, vjp_fn = far.vjp(vector, leaf)
    assert not output.requires_grad
    assert vjp_fn(sample(2))[0].requires_grad


def test_vjp_runs_the_function_once():
    runs = []

    def counted(x):
        runs.append(1)
        return vector(x)

    _, vjp_fn = far.vjp(counted, x)
    for _ in range(3):
        vjp_fn(sample(2))
    far.vmap(vjp_fn)(torch.eye(2, dtype=torch.float64))
    assert len(runs) == 1


def test_vjp_keeps_what_the_function_closed_over():
    scale = torch.tensor(2.0, dtype=torch.float64)
    _, vjp_fn = far.vjp(lambda x: x * scale, x)
    scale.add_(1.0)
    assert_close(vjp_fn(torch.ones_like(x))[0], torch.full_like(x, 2.0))


def test_functional_call_and_stacked_modules():
    models = [torch.nn.Linear(3, 2, dtype=torch.float64) for _ in range(4)]
    stacked, buffers = farfunc.stack_module_state(models)

    def call(parameters, buffers, x):
        return farfunc.functional_call(models[0], (parameters, buffers), (x,))

    assert_same(far.vmap(call, in_dims=(0, 0, None))(stacked, buffers, x), torch.stack([m(x) for m in models]))
    own = dict(models[0].named_parameters())
    assert_same(far.jacrev(call)(own, {}, x), near.jacrev(call)(own, {}, x))
    with pytest.raises(TypeError):
        farfunc.functional_call()


def test_inside_local_transforms_a_call_is_local():
    before = len(far.chains)
    assert_same(near.vmap(far.jacrev(vector))(batch), near.vmap(near.jacrev(vector))(batch))
    assert_same(
        near.grad(lambda x: far.vjp(vector, x)[1](sample(2))[0].sum())(x),
        far.grad(lambda x: far.vjp(vector, x)[1](sample(2))[0].sum())(x),
    )
    traced = torch.fx.experimental.proxy_tensor.make_fx(far.vmap(far.hessian(scalar)))(batch)
    assert_same(traced(batch + 1), near.vmap(near.hessian(scalar))(batch + 1))
    assert len(far.chains) == before + 1


@pytest.mark.parametrize("name", ["grad", "grad_and_value", "jacrev", "hessian"])
def test_saved_tensor_hooks_are_refused(name):
    with torch.autograd.graph.save_on_cpu(), pytest.raises(RuntimeError, match="saved tensor hooks"):
        getattr(far, name)(scalar)(x)

    def inside(x):
        with torch.autograd.graph.save_on_cpu():
            return scalar(x)

    with pytest.raises(RuntimeError, match="saved tensor hooks"):
        getattr(far, name)(inside)(x)


def test_seeding_torch_makes_calls_reproducible():
    def noisy(x):
        return x * torch.rand_like(x)

    results = []
    for F in (far, near):
        torch.manual_seed(7)
        results.append([F.vmap(noisy, randomness="different")(batch) for _ in range(2)])
    assert_same(*results)
    with pytest.raises(RuntimeError, match="random"):
        far.vmap(noisy)(batch)


def test_an_asynchronous_evaluator_makes_every_call_awaitable():
    remote = AsyncInProcess()

    async def main():
        jacobian, hessian = await asyncio.gather(remote.jacfwd(vector)(x), remote.vmap(remote.hessian(scalar))(batch))
        output, vjp_fn = await remote.vjp(vector, x)
        _, tangent = await remote.jvp(vector, (x,), (y,))
        value, jvp_fn = await remote.linearize(vector, x)
        return jacobian, hessian, output, await vjp_fn(sample(2)), tangent, value, await jvp_fn(y)

    expected = (
        near.jacfwd(vector)(x),
        near.vmap(near.hessian(scalar))(batch),
        vector(x),
        near.vjp(vector, x)[1](sample(2)),
        near.jvp(vector, (x,), (y,))[1],
        vector(x),
        near.jvp(vector, (x,), (y,))[1],
    )
    assert_same(asyncio.run(main()), expected)


@pytest.mark.parametrize("name", ["autograd", "vjp"])
def test_the_way_back_draws_the_same_random_numbers(name):
    def noisy(x):
        return x * torch.rand_like(x)

    results = []
    for F in (far, near):
        torch.manual_seed(7)
        leaf = sample(3).requires_grad_(name == "autograd")
        output, vjp_fn = F.vjp(noisy, leaf)
        gradient = torch.autograd.grad(output.sum(), leaf) if name == "autograd" else vjp_fn(torch.ones_like(leaf))
        results.append((output.detach(), *gradient, torch.rand(2)))
    assert_same(*results)
