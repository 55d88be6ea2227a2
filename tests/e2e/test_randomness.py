"""Random operators: the numbers that torch would have drawn here, and torch's rules about them."""

import pytest
import torch
import torch.func

import farfunc


@pytest.fixture(autouse=True)
def _on_the_server(server_url, monkeypatch):
    monkeypatch.setenv("FARFUNC_URL", server_url)


def noisy(x):
    return (torch.nn.functional.dropout(x, 0.5) * torch.randn_like(x)).sum(-1)


def drawn(call, x):
    """The result from a known state of torch's generator, and what the generator draws next."""
    torch.manual_seed(7)
    return call(x), torch.randn(3)


@pytest.mark.parametrize(
    "make",
    [
        lambda api: api.vmap(noisy, randomness="different"),
        lambda api: api.vmap(noisy, randomness="same"),
        lambda api: api.jacrev(noisy),
        lambda api: api.jacfwd(noisy, randomness="different"),
        lambda api: api.grad(lambda x: noisy(x).sum()),
    ],
)
def test_the_numbers_are_those_of_a_local_call(make):
    x = torch.randn(3, 4)
    (expected, next_expected), (found, next_found) = drawn(make(torch.func), x), drawn(make(farfunc), x)
    assert torch.equal(found, expected)
    assert torch.equal(next_found, next_expected), "the local generator has moved on as far"


def test_two_calls_draw_different_numbers():
    x = torch.ones(3, 4)
    call = farfunc.jacrev(noisy)
    assert not torch.equal(call(x), call(x))


def test_random_operators_need_leave():
    with pytest.raises(RuntimeError, match="called random operation while in randomness error mode"):
        farfunc.vmap(noisy)(torch.ones(3, 4))
