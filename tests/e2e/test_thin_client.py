"""The NumPy client from end to end; it runs in the environment without torch as well."""

import asyncio
import importlib.util
import subprocess
import sys
import uuid

import httpx
import numpy as np
import pytest

import farfunc

pytestmark = pytest.mark.thin

HAS_TORCH = importlib.util.find_spec("torch") is not None
Q = np.linspace(0.1, 0.7, 7)

# The DH table of the Franka Panda, as published: a, d, alpha of joints 1 to 7.
DH = np.array(
    [
        [0.0, 0.333, 0.0],
        [0.0, 0.0, -np.pi / 2],
        [0.0, 0.316, np.pi / 2],
        [0.0825, 0.0, np.pi / 2],
        [-0.0825, 0.384, -np.pi / 2],
        [0.0, 0.0, np.pi / 2],
        [0.088, 0.0, np.pi / 2],
    ]
)


def position(q):
    """Where the flange of the arm is."""
    pose = np.eye(4)
    for (a, d, alpha), angle in zip(DH, q, strict=True):
        c, s, ca, sa = np.cos(angle), np.sin(angle), np.cos(alpha), np.sin(alpha)
        zero, one = c * 0, c * 0 + 1
        joint = np.stack(
            [
                np.stack([c, -s, zero, one * a]),
                np.stack([s * ca, c * ca, -sa * one, -d * sa * one]),
                np.stack([s * sa, c * sa, ca * one, d * ca * one]),
                np.stack([zero, zero, zero, one]),
            ]
        )
        pose = pose @ joint
    return pose[:3, 3]


def finite_differences(f, x, h=1e-6):
    return np.stack([(f(x + h * e) - f(x - h * e)) / (2 * h) for e in np.eye(len(x))], axis=1)


@pytest.fixture(autouse=True)
def _on_the_server(server_url, monkeypatch):
    monkeypatch.setenv("FARFUNC_URL", server_url)


@pytest.fixture(autouse=True)
def _without_torch():
    yield
    if not HAS_TORCH:
        assert "torch" not in sys.modules


def test_an_arm():
    np.testing.assert_allclose(farfunc.jacfwd(position)(Q), finite_differences(position, Q), atol=1e-8)
    batch = np.random.default_rng(0).uniform(-1, 1, (20, 7))
    jacobians = farfunc.vmap(farfunc.jacrev(position))(batch)
    assert jacobians.shape == (20, 3, 7)
    np.testing.assert_allclose(jacobians[7], finite_differences(position, batch[7]), atol=1e-8)


def test_what_comes_back_is_numpy():
    jacobian = farfunc.jacfwd(np.sin)(Q.astype(np.float32))
    assert type(jacobian) is np.ndarray
    assert jacobian.dtype == np.float32
    jacobian[0, 0] = 5.0  # and one's own


def test_products_and_gradients():
    value, tangent = farfunc.jvp(np.sin, (Q,), (np.ones(7),))
    np.testing.assert_allclose((value, tangent), (np.sin(Q), np.cos(Q)))
    value, vjp_fn = farfunc.vjp(np.sin, Q)
    np.testing.assert_allclose(vjp_fn(np.ones(7))[0], np.cos(Q))
    value, jvp_fn = farfunc.linearize(np.sin, Q)
    np.testing.assert_allclose(jvp_fn(np.ones(7)), np.cos(Q))
    gradient, value = farfunc.grad_and_value(lambda q: (q**2).sum())(Q)
    np.testing.assert_allclose(gradient, 2 * Q)
    np.testing.assert_allclose(farfunc.hessian(lambda q: (q**2).sum())(Q), 2 * np.eye(7))


def test_trees_of_parameters():
    parameters = {"w": np.ones((2, 7)), "layers": [np.zeros(2), (Q,)]}

    def model(parameters, x):
        return np.tanh(parameters["w"] @ (x + parameters["layers"][1][0]) + parameters["layers"][0])

    jacobian = farfunc.jacrev(model)(parameters, Q)
    assert jacobian["w"].shape == (2, 2, 7)
    assert jacobian["layers"][1][0].shape == (2, 7)


def test_registered_functions():
    name = f"thin_{uuid.uuid4().hex}"
    farfunc.register(position, Q, name=name)
    handle = farfunc.function(f"{name}@1")
    assert handle.signature == "(float64[7]) -> float64[3]"
    np.testing.assert_allclose(handle(Q), position(Q))
    np.testing.assert_allclose(handle.jacfwd()(Q), finite_differences(position, Q), atol=1e-8)
    farfunc.delete(name)


def test_asyncio(server_url):
    async def main():
        async with farfunc.AsyncClient(server_url) as client:
            return await asyncio.gather(*(client.jacfwd(np.sin)(Q + step) for step in range(10)))

    for step, jacobian in enumerate(asyncio.run(main())):
        np.testing.assert_allclose(jacobian, np.diag(np.cos(Q + step)))


def test_the_graph_is_sent_once(server_url):
    class Counting(httpx.HTTPTransport):
        def handle_request(self, request):
            asked.append((request.url.path, int(request.headers.get("content-length", 0))))
            return super().handle_request(request)

    asked = []
    salt, scale = np.array(float(uuid.uuid4().int % 2**40)), np.ones(100_000)
    with farfunc.Client(server_url, transport=Counting()) as client:
        jacobian = client.jacfwd(lambda q: np.sin(q) * scale[:7] + salt * scale.sum())
        results = [jacobian(Q + step) for step in range(3)]
        assert [path for path, _ in asked] == ["/v1/evaluate", "/v1/functions", *["/v1/evaluate"] * 3]
        asked.clear()
        scale[0] = 2.0  # one of the arrays that it closes over: the graph is the same, one value is open from now on
        results += [jacobian(Q + step) for step in range(3)]
        assert [path for path, _ in asked].count("/v1/functions") <= 1
        assert max(size for _, size in asked) < 2000, "what did not change stays there"
    for step, result in enumerate(results):
        factors = np.ones(7) if step < 3 else np.array([2.0, 1, 1, 1, 1, 1, 1])
        np.testing.assert_allclose(result, np.diag(np.cos(Q + step % 3) * factors))


def test_a_branch_on_a_traced_value_names_the_line():
    def f(q):
        return q if q.sum() > 0 else -q

    with pytest.raises(farfunc.DataDependentError, match=r"test_thin_client\.py:"):
        farfunc.jacfwd(f)(Q)


def test_torch_is_never_imported():
    script = (
        "import sys, numpy as np, farfunc\n"
        "np.testing.assert_allclose(farfunc.jacfwd(np.sin)(np.zeros(3)), np.eye(3))\n"
        "assert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=120)
