"""Functions whose shapes are open, from every side: JSON, binary, a handle; held against torch.func on the spot."""

import uuid
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import farfunc
from farfunc_protocol.document import function_to_json
from farfunc_protocol.graph import Equation, Function, Graph
from farfunc_protocol.pytree import flatten
from farfunc_protocol.transforms import FlatTransform
from support.graphs import array, f64, wrapped
from support.http import BINARY, evaluation, open_client, register, results

ONES = {"size": ({"dim": "m"}, {"dim": "n"}), "dtype": "float64"}

GRAPHS = SimpleNamespace(
    # x sin x + sum x
    elementwise=Graph(
        (f64("n"),),
        (),
        (
            Equation("sin", (0,), {}, (1,)),
            Equation("mul.Tensor", (0, 1), {}, (2,)),
            Equation("sum", (0,), {}, (3,)),
            Equation("add.Tensor", (2, 3), {}, (4,)),
        ),
        (4,),
    ),
    # tanh(A @ x) * ones(m, n).sum(1)
    layer=Graph(
        (f64("m", "n"), f64("n")),
        (),
        (
            Equation("mv", (0, 1), {}, (2,)),
            Equation("tanh", (2,), {}, (3,)),
            Equation("ones", (), ONES, (4,)),
            Equation("sum.dim_IntList", (4,), {"dim": (1,)}, (5,)),
            Equation("mul.Tensor", (3, 5), {}, (6,)),
        ),
        (6,),
    ),
    # the length of the result is one that no rule knows beforehand: n - 1 differences, of all elements but the last
    differences=Graph(
        (f64("n"),),
        (),
        (
            Equation("diff", (0, None, None), {}, (1,)),
            Equation("mul.Tensor", (1, 1), {}, (2,)),
        ),
        (2,),
    ),
    # whose type has no rule at all: only torch can tell
    ruleless=Graph(
        (f64("n"),),
        (),
        (
            Equation(
                "native_layer_norm",
                (0, None, None),
                {"normalized_shape": ({"dim": "n"},), "eps": 0.1},
                (1, 2, 3),
            ),
        ),
        (1,),
    ),
    # x.squeeze(): of rank 0 where n is 1
    squeezed=Graph((f64("n"),), (), (Equation("squeeze", (0,), {}, (1,)), Equation("exp", (1,), {}, (2,))), (2,)),
    # the gradient of the sum of sines, as an equation with a body that has a symbol of its own
    nested=Graph(
        (f64("n"),),
        (),
        (
            Equation(
                "grad",
                (0,),
                {"argnums": (0,)},
                (1,),
                Graph((f64("k"),), (), (Equation("sin", (0,), {}, (1,)), Equation("sum", (1,), {}, (2,))), (2,)),
            ),
            Equation("mul.Tensor", (0, 1), {}, (2,)),
        ),
        (2,),
    ),
)

LOCAL = {
    "elementwise": lambda x: x * torch.sin(x) + x.sum(),
    "layer": lambda a, x: torch.tanh(a @ x) * a.shape[1],
    "differences": lambda x: torch.diff(x) ** 2,
    "ruleless": lambda x: torch.native_layer_norm(x, x.shape, None, None, 0.1)[0],
    "squeezed": lambda x: torch.exp(x.squeeze()),
    "nested": lambda x: x * torch.cos(x),
}


def arguments(kind, n):
    random = np.random.default_rng(n)
    vector = random.normal(size=n)
    return (random.normal(size=(n + 1, n)), vector) if kind == "layer" else (vector,)


def tensors(given):
    return tuple(map(torch.from_numpy, given))


@pytest.fixture(scope="module")
def names():
    """A name for each graph, that no other test has."""
    suffix = uuid.uuid4().hex
    return {kind: f"symbolic_{kind}_{suffix}" for kind in LOCAL}


@pytest.fixture(scope="module")
def client(server_url, names):
    with open_client(server_url) as client:
        for kind, name in names.items():
            register(client, wrapped(getattr(GRAPHS, kind)), name)
        yield client


def read(tree):
    """The arrays of an answer in JSON, in the structure that it has."""
    if isinstance(tree, dict):
        return np.array(tree["data"], tree["dtype"]).reshape(tree.get("shape", np.shape(tree["data"])))
    return [read(item) for item in tree]


def ask(client, path, **body):
    response = client.post(f"/v1/functions/{path}", json=body)
    assert response.status_code == 200, response.text
    return read(response.json()["result"])


def check(found, expected):
    found, expected = (flatten(tree)[0] for tree in (found, expected))
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert np.shape(one) == tuple(other.shape)
        np.testing.assert_allclose(one, other.detach().numpy(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("n", [1, 2])
@pytest.mark.parametrize("kind", LOCAL)
class TestInJson:
    def test_apply_and_jacobians(self, client, names, kind, n):
        given, name = arguments(kind, n), names[kind]
        args = [arg.tolist() for arg in given]
        check(ask(client, f"{name}/apply", args=args), LOCAL[kind](*tensors(given)))
        argnums = tuple(range(len(given)))
        for transform in ("jacfwd", "jacrev"):
            expected = getattr(torch.func, transform)(LOCAL[kind], argnums)(*tensors(given))
            check(ask(client, f"{name}/{transform}", args=args, argnums=list(argnums)), expected)

    def test_vmap(self, client, names, kind, n):
        given = arguments(kind, n)
        batch = [np.stack([arg, 2 * arg, -arg]) for arg in given]
        expected = torch.func.vmap(LOCAL[kind])(*tensors(batch))
        check(ask(client, f"{names[kind]}/vmap", args=[arg.tolist() for arg in batch]), expected)

    def test_products(self, client, names, kind, n):
        given = arguments(kind, n)
        value = LOCAL[kind](*tensors(given))
        primals, cotangent = [arg.tolist() for arg in given], torch.ones_like(value)
        result, pull_back = torch.func.vjp(LOCAL[kind], *tensors(given))
        answer = ask(client, f"{names[kind]}/vjp", args=[primals, cotangent.tolist()])
        check(answer, (result, pull_back(cotangent)))
        tangents = tuple(torch.ones_like(arg) for arg in tensors(given))
        expected = torch.func.jvp(LOCAL[kind], tensors(given), tangents)
        check(ask(client, f"{names[kind]}/jvp", args=[primals, [t.tolist() for t in tangents]]), expected)


@pytest.mark.parametrize("n", [1, 4])
def test_chains_in_json(client, names, n):
    given = arguments("layer", n)
    batch = np.stack([given[1], -given[1]], axis=1)  # mapped over its second axis
    chain = [
        {"transform": "vmap", "in_dims": [[None, 1], None]},
        {"transform": "vjp"},
    ]
    cotangent = np.ones(n + 1)
    args = [[given[0].tolist(), batch.tolist()], cotangent.tolist()]
    body = {"function": names["layer"], "transforms": chain, "args": args}
    response = client.post("/v1/evaluate", json=body)
    assert response.status_code == 200, response.text

    def pulled(a, x, ct):
        value, pull = torch.func.vjp(LOCAL["layer"], a, x)
        return value, pull(ct)

    expected = torch.func.vmap(pulled, (None, 1, None))(*tensors((given[0], batch, cotangent)))
    check(read(response.json()["result"]), expected)
    hessian = [{"transform": "vmap"}, {"transform": "hessian"}]
    x = np.stack([given[1], given[1] + 1])
    body = {"function": names["elementwise"], "transforms": hessian, "args": [x.tolist()]}
    found = read(client.post("/v1/evaluate", json=body).json()["result"])
    check(found, torch.func.vmap(torch.func.hessian(LOCAL["elementwise"]))(torch.from_numpy(x)))


@pytest.mark.parametrize("n", [1, 5])
@pytest.mark.parametrize("kind", ["elementwise", "layer", "nested", "squeezed"])
def test_in_binary(client, names, kind, n):
    given = arguments(kind, n)
    for name in ("jacfwd", "jacrev", "hessian"):
        flat = FlatTransform(name, {"argnums": (len(given) - 1,)})
        body = evaluation(names[kind], [array(arg) for arg in given], flat)
        (found,) = results(client.post("/v1/evaluate", content=body, headers=BINARY))
        expected = getattr(torch.func, name)(LOCAL[kind], len(given) - 1)(*tensors(given))
        check(found.data, expected)


def test_the_description_keeps_the_symbols(client, names):
    described = client.get(f"/v1/functions/{names['layer']}").json()
    assert described["signature"] == "(float64[m,n], float64[n]) -> float64[m]"
    assert (described["inputs"], described["outputs"]) == (["float64[m,n]", "float64[n]"], ["float64[m]"])
    assert described["operations"] is None
    assert client.get(f"/v1/functions/{names['ruleless']}").json()["signature"] == "(float64[n]) -> ?"
    assert client.get(f"/v1/functions/{names['nested']}").json()["signature"] == "(float64[n]) -> float64[n]"
    assert "size=[m, n]" in client.get(f"/v1/functions/{names['layer']}/graph?format=text").text


class TestWhatDoesNotFit:
    def problem(self, client, path, **body):
        response = client.post(f"/v1/functions/{path}", json=body)
        assert response.status_code == 422, response.text
        return response.json()

    def test_one_symbol_has_one_length(self, client, names):
        found = self.problem(client, f"{names['layer']}/apply", args=[[[1, 2], [3, 4]], [1, 2, 3]])
        assert found["detail"] == "the dimension 'n' is 3 here, and 2 at args[0]"
        assert found["where"] == "args[1]"

    def test_also_below_a_vmap_and_in_primals(self, client, names):
        chain = [{"transform": "vmap", "in_dims": [None, 0]}]
        body = {"function": names["layer"], "transforms": chain, "args": [[[1, 2]], [[1, 2, 3]]]}
        assert client.post("/v1/evaluate", json=body).json()["where"] == "args[1]"
        found = self.problem(client, f"{names['layer']}/vjp", args=[[[[1, 2]], [1, 2, 3]], [1]])
        assert found["where"] == "args[0][1]"

    def test_tangents_have_the_lengths_of_their_primals(self, client, names):
        found = self.problem(client, f"{names['elementwise']}/jvp", args=[[[1, 2, 3]], [[1, 2]]])
        assert (found["where"], found["detail"]) == ("args[1][0]", "float64[2] is given, float64[3] is expected")

    def test_rank_and_dtype(self, client, names):
        found = self.problem(client, f"{names['elementwise']}/apply", args=[[[1, 2]]])
        assert (found["where"], found["detail"]) == ("args[0]", "float64[1,2] is given, float64[n] is expected")

    def test_lengths_that_an_operator_refuses(self, client):
        halves = wrapped(
            Graph((f64("n"),), (), (Equation("reshape", (0,), {"shape": (2, -1)}, (1,)),), (1,)),
        )
        name = f"symbolic_halves_{uuid.uuid4().hex}"
        register(client, halves, name)
        check(ask(client, f"{name}/apply", args=[[1, 2, 3, 4]]), torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
        found = self.problem(client, f"{name}/apply", args=[[1, 2, 3]])
        assert "the function cannot be evaluated for n = 3" in found["detail"]
        assert found["where"].startswith("function.graph.equations[0]")

    def test_open_captures_have_no_place_in_json(self, client):
        mul = (Equation("mul.Tensor", (0, 1), {}, (2,)),)
        name = f"symbolic_open_{uuid.uuid4().hex}"
        register(client, wrapped(Graph((f64("n"),), (f64("n"),), mul, (2,)), [None]), name)
        found = self.problem(client, f"{name}/apply", args=[[1, 2, 3]])
        assert "leaves capture 0 open" in found["detail"]
        assert "binary" in found["remedy"]


def test_a_symbol_may_be_called_like_a_batch(client):
    graph = Graph((f64("batch_0", 2), f64("batch_0")), (), (Equation("sin", (0,), {}, (2,)),), (2,))
    name = f"symbolic_batch_{uuid.uuid4().hex}"
    register(client, wrapped(graph), name)
    x, y = np.ones((5, 3, 2)), np.ones((5, 3))
    check(ask(client, f"{name}/vmap", args=[x.tolist(), y.tolist()]), torch.sin(torch.from_numpy(x)))


def test_empty_arrays(client, names):
    check(ask(client, f"{names['elementwise']}/apply", args=[[]]), torch.zeros(0, dtype=torch.float64))
    check(ask(client, f"{names['elementwise']}/jacrev", args=[[]]), torch.zeros((0, 0), dtype=torch.float64))


def test_keywords(client):
    graph = Graph((f64("n"), f64("n")), (), (Equation("mul.Tensor", (0, 1), {}, (2,)),), (2,))
    is_array = lambda leaf: leaf == 0  # noqa: E731
    trees = (flatten(((0,), {"scale": 0}), is_array=is_array)[1], flatten({"y": 0}, is_array=is_array)[1])
    name = f"symbolic_keywords_{uuid.uuid4().hex}"
    response = client.post(f"/v1/functions?name={name}", json=function_to_json(Function(graph, (), *trees)))
    assert response.status_code == 201
    body = {"args": [[1, 2]], "kwargs": {"scale": [3, 4]}}
    answer = client.post(f"/v1/functions/{name}/apply", json=body).json()
    assert answer["result"] == {"y": {"dtype": "float64", "data": [3.0, 8.0]}}
    refused = client.post(f"/v1/functions/{name}/apply", json={**body, "kwargs": {"scale": [3, 4, 5]}}).json()
    assert (refused["where"], refused["detail"]) == ("kwargs.scale", "the dimension 'n' is 3 here, and 2 at args[0]")


class TestHandles:
    @pytest.fixture(autouse=True)
    def _on_the_server(self, client, server_url, monkeypatch):
        monkeypatch.setenv("FARFUNC_URL", server_url)

    @pytest.mark.parametrize("n", [1, 2, 5])
    @pytest.mark.parametrize("kind", ["elementwise", "layer", "differences", "squeezed"])
    def test_calls_and_transforms(self, names, kind, n):
        handle, given = farfunc.function(names[kind]), arguments(kind, n)
        check(handle(*given), LOCAL[kind](*tensors(given)))
        last = len(given) - 1
        for transform in ("jacfwd", "jacrev"):
            expected = getattr(torch.func, transform)(LOCAL[kind], last)(*tensors(given))
            check(getattr(handle, transform)(last)(*given), expected)
        batch = [np.stack([arg, 2 * arg]) for arg in given]
        check(handle.vmap()(*batch), torch.func.vmap(LOCAL[kind])(*tensors(batch)))
        expected = torch.func.vmap(torch.func.jacrev(LOCAL[kind], last))(*tensors(batch))
        check(farfunc.vmap(farfunc.jacrev(handle, last))(*batch), expected)

    @pytest.mark.parametrize("n", [1, 3])
    def test_inside_another_function_at_two_lengths(self, names, n):
        handle = farfunc.function(names["elementwise"])

        def outer(x):
            return handle(x).sum() * handle(np.concatenate([x, x]))

        def local(x):
            f = LOCAL["elementwise"]
            return f(x).sum() * f(torch.cat([x, x]))

        (x,) = arguments("elementwise", n)
        check(farfunc.jacfwd(outer)(x), torch.func.jacfwd(local)(torch.from_numpy(x)))

    def test_what_does_not_fit(self, names):
        handle = farfunc.function(names["layer"])
        with pytest.raises(farfunc.InvalidRequest, match=r"float64\[3\] is given, .*\[n\], which is float64\[2\]"):
            handle(np.ones((4, 2)), np.ones(3))
        with pytest.raises(farfunc.InvalidRequest, match=r"float64\[2,2\] is given, .* takes float64\[n\]"):
            handle(np.ones((4, 2)), np.ones((2, 2)))
        with pytest.raises(farfunc.InvalidRequest, match="only a server can tell"):
            farfunc.function(names["ruleless"])(np.ones(2))

    def test_the_server_holds_one_function_for_all_lengths(self, names):
        handle = farfunc.function(names["elementwise"])
        before = handle.id
        for n in (2, 3):
            handle.jacrev()(np.ones(n))
        assert farfunc.function(names["elementwise"]).id == before
