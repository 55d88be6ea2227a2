"""Functions on a real server: named, versioned, described, listed, deleted, and used from elsewhere."""

import uuid
from collections import namedtuple

import numpy as np
import pytest

import farfunc
from farfunc_protocol.document import function_to_bytes, identity

Q = np.array([0.1, 0.2, 0.3])
State = namedtuple("State", "q v")


@pytest.fixture(autouse=True)
def _on_the_server(server_url, monkeypatch):
    monkeypatch.setenv("FARFUNC_URL", server_url)


@pytest.fixture
def name():
    """A name that no other test has."""
    return f"test_{uuid.uuid4().hex}"


class TestNames:
    def test_another_function_is_the_next_version(self, name):
        first = farfunc.register(np.sin, Q, name=name)
        second = farfunc.register(np.cos, Q, name=name)
        assert (first.version, second.version) == (1, 2)
        np.testing.assert_allclose(farfunc.function(name)(Q), np.cos(Q))
        np.testing.assert_allclose(farfunc.function(f"{name}@1")(Q), np.sin(Q))

    def test_the_same_function_is_the_same_version(self, name):
        first = farfunc.register(lambda q: np.sin(q) * 2, Q, name=name)
        again = farfunc.register(lambda q: np.sin(q) * 2, Q + 1, name=name)
        assert (again.version, again.id) == (1, first.id)
        assert [info.version for info in farfunc.functions() if info.name == name] == [1]

    def test_another_shape_is_another_function(self, name):
        farfunc.register(np.sin, Q, name=name)
        assert farfunc.register(np.sin, Q[:2], name=name).version == 2

    def test_without_a_name_it_goes_by_its_identity(self):
        handle = farfunc.register(lambda q: np.tanh(q) * 0.25, Q)
        assert (handle.name, handle.version) == (None, None)
        np.testing.assert_allclose(farfunc.function(handle.id)(Q), np.tanh(Q) / 4)

    @pytest.mark.parametrize("given", [State(Q, Q + 1), (Q, Q + 1)])
    def test_a_class_of_the_one_who_registered_it_is_a_tuple_for_others(self, name, given):
        handle = farfunc.register(lambda state: State(state.q * state.v, state.q), State(Q, Q), name=name)
        assert isinstance(handle(State(Q, Q)), State)
        found = farfunc.function(name)(given)
        assert type(found) is tuple
        np.testing.assert_allclose(found[0], Q * (Q + 1))
        np.testing.assert_allclose(farfunc.function(name).jacrev()(given)[1][1], np.zeros((3, 3)))
        with pytest.raises(farfunc.InvalidRequest, match="is given"):
            farfunc.function(name)([Q, Q])

    @pytest.mark.parametrize("wrong", ["", "two words", "arm@3", "../arm", "7up", "sha256:00"])
    def test_what_is_no_name_is_refused(self, wrong):
        with pytest.raises(farfunc.InvalidRequest, match="name"):
            farfunc.register(np.sin, Q, name=wrong)

    def test_unknown(self, name):
        for reference in (name, f"{name}@1", "sha256:" + "0" * 64):
            with pytest.raises(farfunc.FunctionNotFound):
                farfunc.function(reference)

    def test_a_version_that_is_not_there(self, name):
        farfunc.register(np.sin, Q, name=name)
        with pytest.raises(farfunc.FunctionNotFound, match="@2"):
            farfunc.function(f"{name}@2")


class TestDescriptions:
    def test_list(self, name):
        farfunc.register(np.sin, Q, name=name)
        farfunc.register(np.cos, Q, name=name)
        found = [info for info in farfunc.functions() if info.name == name]
        assert [info.reference for info in found] == [f"{name}@1", f"{name}@2"]
        assert {info.signature for info in found} == {"(float64[3]) -> float64[3]"}

    def test_describe(self, name):
        farfunc.register(np.sin, Q, name=name)
        handle = farfunc.register(lambda q: np.sin(q) * np.sin(q + 1), Q, name=name)
        info = farfunc.describe(f"{name}@2")
        assert info == handle.info == farfunc.describe(name)
        assert (info.id, info.signature, info.versions) == (handle.id, handle.signature, (1, 2))
        assert info.operators == {"add.Scalar": 1, "mul.Tensor": 1, "sin": 2}
        assert info.nbytes == len(function_to_bytes(handle.stored))
        assert f"{name}@2" in info.names
        with pytest.raises(farfunc.FunctionNotFound):
            farfunc.describe(f"{name}@3")

    def test_more_than_one_page(self, name):
        handle = farfunc.register(np.sin, Q)
        for number in range(105):
            farfunc.current_client().register(handle, Q, name=f"{name}_{number:03}")
        names = [info.name for info in farfunc.functions() if info.name.startswith(name)]
        assert names == [f"{name}_{number:03}" for number in range(105)]

    def test_a_handle_describes_itself(self, name):
        farfunc.register(lambda q, *, tool: {"p": np.sin(q) * tool["length"]}, Q, tool={"length": Q}, name=name)
        handle = farfunc.function(f"{name}@1")
        assert handle.signature == "(float64[3], tool={'length': float64[3]}) -> {'p': float64[3]}"
        assert repr(handle) == f"<farfunc function {name}@1 {handle.signature}>"
        assert str(handle.graph) == (
            "graph(%0: float64[3], %1: float64[3]) {\n  %2 = sin(%0)\n  %3 = mul.Tensor(%2, %1)\n  return %3\n}"
        )

    def test_download(self, name):
        handle = farfunc.register(lambda q: q + np.arange(3.0), Q, name=name)
        function = farfunc.current_client().download(name)
        assert identity(function_to_bytes(function)) == handle.id
        assert function == handle.stored


class TestDeletion:
    def test_of_a_version(self, name):
        farfunc.register(np.sin, Q, name=name)
        farfunc.register(np.cos, Q, name=name)
        farfunc.delete(f"{name}@2")
        assert farfunc.function(name).version == 1
        assert farfunc.register(np.tan, Q, name=name).version == 3

    def test_of_a_name(self, name):
        farfunc.register(np.sin, Q, name=name)
        farfunc.register(np.cos, Q, name=name)
        farfunc.delete(name)
        with pytest.raises(farfunc.FunctionNotFound):
            farfunc.function(name)
        with pytest.raises(farfunc.FunctionNotFound):
            farfunc.delete(name)

    def test_a_handle_outlives_it(self, name):
        # The handle holds the function, and sends it again where the server has it no more.
        handle = farfunc.register(lambda q: np.sin(q) - 0.125, Q, name=name)
        farfunc.delete(name)
        np.testing.assert_allclose(handle.jacfwd()(Q), np.diag(np.cos(Q)))


class TestUse:
    def test_from_another_client(self, name, server_url):
        farfunc.register(lambda q, gain: np.sin(q) * gain, Q, 2.0, name=name)
        with farfunc.Client(server_url) as client:
            handle = client.function(name)
            np.testing.assert_allclose(handle(Q, 3.0), 3 * np.sin(Q))
            np.testing.assert_allclose(handle.jacrev()(Q, 3.0), np.diag(3 * np.cos(Q)))
            np.testing.assert_allclose(handle.vmap(in_dims=(0, None))(np.stack([Q, Q]), 3.0)[1], 3 * np.sin(Q))

    def test_at_another_server(self, name, start_server, monkeypatch):
        # A handle that no client gave goes where calls go; the other server is sent the function.
        handle = farfunc.register(lambda q: np.sin(q) + 0.5, Q, name=name)
        with start_server("--spare", "false") as other:
            monkeypatch.setenv("FARFUNC_URL", other.url)
            np.testing.assert_allclose(handle.jacfwd()(Q), np.diag(np.cos(Q)))
            np.testing.assert_allclose(handle(Q), np.sin(Q) + 0.5)
            assert farfunc.functions() == []

    def test_inside_other_functions_under_vmap(self, name):
        handle = farfunc.register(np.sin, Q, name=name)

        def outer(q):
            return (handle(q) ** 2).sum()

        batch = np.stack([Q, 2 * Q])
        np.testing.assert_allclose(farfunc.vmap(farfunc.grad(outer))(batch), 2 * np.sin(batch) * np.cos(batch))

    def test_structures(self, name):
        def model(q, pair, *, options):
            return (q * pair[0], {"sum": pair[1]["b"] + options["c"]}), q.sum()

        handle = farfunc.register(model, Q, (Q, {"b": Q}), options={"c": Q}, name=name)
        (product, named), total = farfunc.function(name)(Q, (2 * Q, {"b": 3 * Q}), options={"c": 4 * Q})
        np.testing.assert_allclose(product, 2 * Q * Q)
        np.testing.assert_allclose(named["sum"], 7 * Q)
        np.testing.assert_allclose(total, Q.sum())
        assert handle.signature == farfunc.function(name).signature

    def test_constants(self, name):
        weights = np.random.default_rng(0).standard_normal((4, 3))
        farfunc.register(lambda q: np.tanh(weights @ q), Q, name=name)
        handle = farfunc.function(name)
        np.testing.assert_allclose(handle(Q), np.tanh(weights @ Q))
        np.testing.assert_allclose(handle.jacfwd()(Q), (1 - np.tanh(weights @ Q) ** 2)[:, None] * weights)

    def test_wrong_arguments_never_reach_the_server(self, name):
        handle = farfunc.register(np.sin, Q, name=name)
        with pytest.raises(farfunc.InvalidRequest, match=r"float64\[4\] is given, .* takes float64\[3\]"):
            handle(np.zeros(4))

    def test_a_torch_module(self, name):
        torch = pytest.importorskip("torch")
        module = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh()).double()
        farfunc.register(module, torch.zeros(3, dtype=torch.float64), name=name)
        jacobian = farfunc.function(name).jacrev()(Q)  # its caller needs no torch
        expected = torch.func.jacrev(module)(torch.tensor(Q))
        np.testing.assert_allclose(jacobian, expected.detach().numpy())
