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


IN_PLACE = {
    "uniform_": lambda x, **given: x.uniform_(-1, 2, **given),
    "normal_": lambda x, **given: x.normal_(1, 2, **given),
    "exponential_": lambda x, **given: x.exponential_(2.0, **given),
    "bernoulli_": lambda x, **given: x.bernoulli_(0.3, **given),
    "bernoulli_ by tensor": lambda x, **given: x.bernoulli_(torch.full((4,), 0.3), **given),
    "random_": lambda x, **given: x.random_(3, 9, **given),
    "rand": lambda x, **given: x + torch.rand(4, **given),
    "exponential_ of empty_like": lambda x, **given: x + torch.empty_like(x).exponential_(**given),
    "randperm": lambda x, **given: x + torch.randperm(4, **given),
    "binomial": lambda x, **given: x + torch.binomial(torch.full((4,), 9.0), torch.full((4,), 0.3), **given),
    "poisson": lambda x, **given: x + torch.poisson(torch.full((4,), 3.0), **given),
}


@pytest.mark.parametrize("randomness", ["same", "different"])
@pytest.mark.parametrize("name", IN_PLACE)
@pytest.mark.parametrize("own", [False, True], ids=["default", "own"])
def test_a_generator_goes_on_as_if_it_had_drawn_here(name, randomness, own):
    def run(api):
        torch.manual_seed(7)
        given = {"generator": torch.Generator().manual_seed(11)} if own else {}
        call = api.vmap(lambda x: IN_PLACE[name](x * 1, **given), randomness=randomness)
        results = [call(torch.ones(3, 4)), call(torch.ones(3, 4))]
        return [*results, torch.rand(3, **given), torch.rand(3)]

    for found, expected in zip(run(farfunc), run(torch.func), strict=True):
        assert torch.equal(found, expected)


def test_a_seed_inside_the_function():
    def seeded(x):
        torch.manual_seed(3)
        return (x * torch.randn_like(x)).sum()

    def run(api):
        torch.manual_seed(7)
        call = api.grad(seeded)
        return call(torch.ones(4)), call(torch.ones(4)), torch.randn(2)

    for found, expected in zip(run(farfunc), run(torch.func), strict=True):
        assert torch.equal(found, expected)
    with pytest.raises(NotImplementedError, match="for each chunk"):
        farfunc.vmap(seeded, randomness="same", chunk_size=1)(torch.ones(2, 4))


@pytest.mark.parametrize("name", ["uniform_", "bernoulli_", "random_"])
def test_writes_of_random_numbers_need_leave(name):
    with pytest.raises(RuntimeError, match="called random operation while in randomness error mode"):
        farfunc.vmap(lambda x: IN_PLACE[name](x * 1))(torch.ones(3, 4))
