"""Settings of torch that hold inside the function, and what the function builds of modules."""

import copy

import pytest
import torch
import torch.func

import farfunc


@pytest.fixture(autouse=True)
def _on_the_server(server_url, monkeypatch):
    monkeypatch.setenv("FARFUNC_URL", server_url)


def forward_mode_disabled(api):
    def f(x):
        with torch.autograd.forward_ad._set_fwd_grad_enabled(False):
            shift = (x**2).clone() * api.vmap(torch.sin)(x)
        return (x**3 - shift).sum()

    return f


@pytest.mark.parametrize("name", ["jacfwd", "jacrev", "hessian"])
def test_forward_mode_disabled_inside(name):
    data = torch.randn(3, dtype=torch.float64)
    expected = getattr(torch.func, name)(forward_mode_disabled(torch.func))(data)
    torch.testing.assert_close(getattr(farfunc, name)(forward_mode_disabled(farfunc))(data), expected)


def test_a_module_on_meta_is_copied_inside():
    skeleton = torch.nn.Linear(3, 2, device="meta")
    state = {"weight": torch.randn(2, 3), "bias": torch.randn(2)}

    def f(state, x):
        return torch.func.functional_call(copy.deepcopy(skeleton), state, (x,))

    data = torch.randn(3)
    torch.testing.assert_close(farfunc.jacfwd(f)(state, data), torch.func.jacfwd(f)(state, data))


def conjugated(x):
    y = x.conj()
    assert y.is_conj()
    assert not y.conj().is_conj()
    assert y[0].is_conj()
    return (y * x.mT.conj() + y.T.conj() @ x + y.resolve_conj().abs()).real.sum()


def a_write_through_conj(x):
    y = x * 2
    z = y.conj()
    z[0] = x[1]
    y[1] *= 1j
    z += 1
    return (y + z * 2).abs().sum()


@pytest.mark.parametrize("transform", ["grad", "vmap"])
def test_lazy_conjugation(transform):
    data = torch.randn(2, 2, 2, dtype=torch.complex128)[0 if transform == "grad" else slice(None)]
    expected = getattr(torch.func, transform)(conjugated)(data)
    torch.testing.assert_close(getattr(farfunc, transform)(conjugated)(data), expected)


def test_a_write_through_a_conjugate_reaches_its_base():
    data = torch.randn(3, 2, 2, dtype=torch.complex128)
    expected = torch.stack([a_write_through_conj(item) for item in data])
    torch.testing.assert_close(farfunc.vmap(a_write_through_conj)(data), expected)
