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
