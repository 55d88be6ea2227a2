"""Handles of registered functions, evaluated in this process: no server is asked."""

import functools

import numpy as np
import pytest

import farfunc
from farfunc._functions import FunctionHandle, trace_for_registration
from farfunc._session import FunctionInfo
from farfunc_protocol.document import function_from_bytes, function_to_bytes, identity
from support.evaluators import InProcess


@pytest.fixture
def client():
    return InProcess()


def registered(client, function, *args, name="arm", knows_outputs=True, **kwargs):
    """The handle that :meth:`farfunc.Client.function` gives of a function: read from its file."""
    traced, outputs = trace_for_registration(function, args, kwargs)
    file = function_to_bytes(traced)
    info = FunctionInfo(identity(file), name, 1 if name else None, "(…) -> …")
    return FunctionHandle(client, info, function_from_bytes(file), outputs if knows_outputs else None)


def pose(q, *, tool, mode="exact"):
    scale = {"exact": 1.0, "double": 2.0}[mode]
    return {"position": scale * np.cos(q) * tool["length"], "angles": (q, q * 2)}


TOOL = {"length": np.array(0.5)}
Q = np.array([0.1, 0.2, 0.3])


class TestCalls:
    def test_give_what_the_function_gives(self, client):
        handle = registered(client, pose, Q, tool=TOOL)
        result = handle(Q, tool=TOOL)
        np.testing.assert_allclose(result["position"], pose(Q, tool=TOOL)["position"])
        np.testing.assert_allclose(result["angles"][1], 2 * Q)

    def test_take_other_values_of_the_same_types(self, client):
        handle = registered(client, pose, Q, tool=TOOL)
        other = {"length": np.array(3.0)}
        np.testing.assert_allclose(handle(Q + 1, tool=other)["position"], pose(Q + 1, tool=other)["position"])

    def test_keep_what_the_function_closed_over(self, client):
        offset = np.array([1.0, 2.0, 3.0])
        handle = registered(client, lambda q: q + offset, Q)
        offset[:] = 0
        np.testing.assert_allclose(handle(Q), Q + np.arange(1.0, 4.0))

    def test_return_structures_of_tuples_lists_and_dicts(self, client):
        handle = registered(client, lambda a, b: [a + b[0], {"x": (b[1],)}], Q, (Q, Q))
        result = handle(Q, (Q, 2 * Q))
        np.testing.assert_allclose(result[0], 2 * Q)
        np.testing.assert_allclose(result[1]["x"][0], 2 * Q)


class TestTransforms:
    def test_are_those_of_the_function(self, client):
        handle = registered(client, np.sin, Q)
        np.testing.assert_allclose(handle.jacfwd()(Q), np.diag(np.cos(Q)))
        np.testing.assert_allclose(handle.jacrev()(Q), np.diag(np.cos(Q)))
        output, tangent = handle.jvp((Q,), (Q,))
        np.testing.assert_allclose(tangent, np.cos(Q) * Q)
        output, vjp_fn = handle.vjp(Q)
        np.testing.assert_allclose(vjp_fn(Q)[0], np.cos(Q) * Q)
        output, jvp_fn = handle.linearize(Q)
        np.testing.assert_allclose(output, np.sin(Q))
        np.testing.assert_allclose(jvp_fn(Q), np.cos(Q) * Q)

    def test_of_a_scalar_function(self, client):
        handle = registered(client, lambda q: (q**3).sum(), Q)
        np.testing.assert_allclose(handle.grad()(Q), 3 * Q**2)
        np.testing.assert_allclose(handle.hessian()(Q), np.diag(6 * Q))
        _, value = handle.grad_and_value()(Q)
        np.testing.assert_allclose(value, (Q**3).sum())

    def test_take_their_parameters(self, client):
        handle = registered(client, lambda a, b: (a * b, a), Q, Q)
        jacobian, aux = handle.jacfwd(argnums=(0, 1), has_aux=True)(Q, 2 * Q)
        np.testing.assert_allclose(jacobian[1], np.diag(Q))
        np.testing.assert_allclose(aux, Q)
        jacobian, aux = handle.jacrev(1, has_aux=True, chunk_size=1)(Q, 2 * Q)
        np.testing.assert_allclose(jacobian, np.diag(Q))
        first, _ = handle.vmap(in_dims=(0, None), out_dims=1)(np.stack([Q, Q]), Q)
        assert first.shape == (3, 2)

    def test_compose(self, client):
        handle = registered(client, np.sin, Q)
        batch = np.stack([Q, 2 * Q])
        jacobians = client.vmap(handle.jacfwd())(batch)
        np.testing.assert_allclose(jacobians[1], np.diag(np.cos(2 * Q)))
        np.testing.assert_allclose(handle.vmap()(batch), np.sin(batch))

    def test_inside_another_function(self, client):
        handle = registered(client, lambda q: np.sin(q) * Q, Q)

        def outer(x):
            return handle(x * 2).sum() + farfunc.jacrev(handle)(x).sum()

        def expected(x):
            return (np.sin(2 * x) * Q).sum() + (np.cos(x) * Q).sum()

        np.testing.assert_allclose(client.vmap(outer)(np.stack([Q, Q])), [expected(Q)] * 2)
        np.testing.assert_allclose(client.grad(outer)(Q), 2 * np.cos(2 * Q) * Q - np.sin(Q) * Q)

    def test_registered_again_inside_another(self, client):
        inner = registered(client, np.sin, Q)
        outer = registered(client, lambda q: inner(inner(q)), Q)
        np.testing.assert_allclose(outer(Q), np.sin(np.sin(Q)))

    def test_torch_arguments(self, client):
        torch = pytest.importorskip("torch")
        handle = registered(client, np.sin, Q)
        jacobian = handle.jacfwd()(torch.tensor(Q))
        torch.testing.assert_close(jacobian, torch.diag(torch.cos(torch.tensor(Q))))


class TestWhere:
    def test_its_own_client_evaluates_it(self, client):
        handle = registered(client, np.sin, Q)
        np.testing.assert_allclose(farfunc.jacfwd(handle)(Q), np.diag(np.cos(Q)))
        np.testing.assert_allclose(farfunc.vmap(farfunc.jacrev(handle))(Q[None]), np.diag(np.cos(Q))[None])
        np.testing.assert_allclose(farfunc.vjp(handle, Q)[0], np.sin(Q))
        assert client.chains == [["jacfwd"], ["vmap", "jacrev"], []]

    def test_unless_another_is_named(self, client):
        handle, other = registered(client, np.sin, Q), InProcess()
        np.testing.assert_allclose(other.jacfwd(handle)(Q), np.diag(np.cos(Q)))
        np.testing.assert_allclose(handle.bound_to(other)(Q), np.sin(Q))
        assert (client.chains, other.chains) == ([], [["jacfwd"], []])


class TestRefusals:
    @pytest.fixture
    def handle(self, client):
        return registered(client, pose, Q, tool=TOOL)

    @pytest.mark.parametrize(
        ("args", "tool", "where", "words"),
        [
            ((np.zeros(4),), TOOL, "args[0]", "float64[4] is given, arm@1 takes float64[3]"),
            ((Q.astype(np.float32),), TOOL, "args[0]", "float32[3] is given, arm@1 takes float64[3]"),
            ((Q,), {"length": np.zeros(2)}, "kwargs['tool']['length']", "float64[2] is given, arm@1 takes float64[]"),
        ],
    )
    def test_another_type_points_to_its_argument(self, handle, args, tool, where, words):
        with pytest.raises(farfunc.InvalidRequest) as caught:
            handle(*args, tool=tool)
        assert (caught.value.where, caught.value.detail) == (where, words)
        assert "its signature is" in caught.value.remedy

    @pytest.mark.parametrize(
        ("args", "kwargs", "shown"),
        [
            ((), {}, "()"),
            ((Q,), {}, "(float64[3])"),
            ((Q, Q), {"tool": TOOL}, "(float64[3], float64[3], tool={'length': float64[]})"),
            ((Q,), {"tool": {"width": Q}}, "(float64[3], tool={'width': float64[3]})"),
            ((Q,), {"tool": TOOL, "mode": "double"}, "(float64[3], tool={'length': float64[]}, mode='double')"),
        ],
    )
    def test_another_structure_shows_both(self, handle, args, kwargs, shown):
        with pytest.raises(farfunc.InvalidRequest) as caught:
            handle(*args, **kwargs)
        assert caught.value.detail == (f"arm@1 takes (float64[3], tool={{'length': float64[]}}), and {shown} is given")

    def test_transforms_and_functions_around_it_refuse_alike(self, client, handle):
        for call in (
            lambda: handle.vmap()(np.zeros((2, 4)), tool=TOOL),
            lambda: client.jacfwd(functools.partial(handle, tool=TOOL))(np.zeros(4)),
            lambda: client.grad(lambda q: handle(q, tool=TOOL)["position"].sum())(np.zeros(4)),
        ):
            with pytest.raises(farfunc.InvalidRequest, match=r"float64\[4\] is given"):
                call()

    def test_results_of_unknown_types(self, client):
        handle = registered(client, np.sin, Q, knows_outputs=False)
        with pytest.raises(farfunc.ServerBusy, match="could not tell the types"):
            handle(Q)

    def test_constants_left_open(self, client):
        offset = np.ones(3)
        handle = registered(client, lambda q: q + offset, Q)
        opened = type(handle.stored)(handle.graph, (None,), handle.stored.in_tree, handle.stored.out_tree)
        with pytest.raises(farfunc.InvalidRequest, match="leaves constants open"):
            FunctionHandle(client, handle.info, opened, ())(Q)


class TestDescription:
    def test_what_it_is_called(self, client):
        handle = registered(client, np.sin, Q)
        assert (handle.name, handle.version, handle.id) == ("arm", 1, handle.info.id)
        assert repr(handle) == "<farfunc function arm@1 (…) -> …>"

    def test_without_a_name_it_goes_by_its_identity(self, client):
        handle = registered(client, np.sin, Q, name=None)
        assert repr(handle).startswith(f"<farfunc function {handle.id} ")

    def test_its_graph_can_be_read(self, client):
        assert str(registered(client, np.sin, Q).graph) == ("graph(%0: float64[3]) {\n  %1 = sin(%0)\n  return %1\n}")
