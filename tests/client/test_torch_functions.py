"""What a torch function may be made of: local and remote results beside each other."""

from __future__ import annotations

import functools
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from farfunc_protocol.errors import TraceError
from support.evaluators import InProcess
from support.local_and_remote import (
    FRONT_END,
    assert_same_as_local,
    evaluate,
    local,
    ops_of,
    remote,
    traced,
    travelled,
)

REVERSE = (None, "jacrev")  # where torch itself has no forward mode: fused attention
torch.manual_seed(20260511)
x = torch.randn(4, 6, dtype=torch.float64)
v = torch.randn(5, dtype=torch.float64)
sequence = torch.randn(3, 2, 8, dtype=torch.float64)
weight = torch.randn(6, 6, dtype=torch.float64, requires_grad=True)
parameter = nn.Parameter(torch.randn(6, dtype=torch.float64))
mask = torch.rand(4, 6) > 0.5


class Derived(torch.Tensor):
    pass


derived = torch.arange(6.0, dtype=torch.float64).as_subclass(Derived)
mlp = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3)).double()


def both_modes(x):
    with torch.no_grad():
        a = x.sin()
        with torch.enable_grad():
            b = x.cos()
    torch.set_grad_enabled(False)
    c = x.exp()
    torch.set_grad_enabled(True)
    return a * x + b * c


@torch.no_grad()
def decorated(x):
    return x.exp()


def in_autocast(x):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        return F.linear(x.float(), torch.ones(3, 6)).float()


def unrolled(x):
    for row in x:
        x = torch.where(row > 0, x, x * row).tanh()
    return x


FUNCTIONS = {
    "numbers on either side": lambda x: 2**x + x**2 + 3 / (x.exp() + 1) - x + x % 1.5 + torch.where(x > 0, x, 0.0),
    "complex numbers": lambda x: torch.view_as_real(x * (1 + 2j) + 1j),
    "booleans": lambda x: (x > 0) * x + (x < 0) * True * x,
    "integers become floats": lambda x: torch.arange(6) / 4 * x + torch.sin(torch.arange(6)) * x,
    "views": lambda x: x.view(-1).view(2, 12).t().contiguous().reshape(4, 6)[1:, ::2].permute(1, 0).unsqueeze(-1),
    "einsum": lambda x: torch.einsum("ij,kj->ik", x, x) + x.mT.T @ x.T,
    "iteration": lambda x: sum(row * i for i, row in enumerate(x)),
    "a loop": unrolled,
    "conjugates": lambda x: torch.view_as_real(torch.fft.fft(x).conj() * torch.fft.fft(x).mH.mT),
    "linear algebra": lambda x: torch.linalg.svdvals(x) + torch.linalg.eigvalsh(x @ x.T),
    "no_grad": both_modes,
    "no_grad as a decorator": lambda x: decorated(x) * x,
    "detach": lambda x: x.detach() * x,
    "autocast": in_autocast,
    "a parameter, twice": lambda x: x @ weight + weight.sum() + parameter,
    "a branch on constants": lambda x: x * 2 if weight.sum() > -1e9 and bool((torch.arange(3) == 1).any()) else x,
    "a mask of constants": lambda x: x[mask] + x[mask.clone() & (torch.ones(4, 6) > 0)] + x.masked_select(mask),
    "a constant's value": lambda x: (
        x * torch.arange(3).sum().item() + float(weight.detach().max()) + len(torch.ones(2).tolist())
    ),
    "positions of constants": lambda x: x[:, torch.nonzero(torch.tensor([1, 0, 1, 0, 0, 1])).squeeze(1)],
    "one_hot": lambda x: F.one_hot(torch.tensor([0, 2, 1]))[:, :1] * x[:3],
    "NumPy constants": lambda x: x * torch.from_numpy(np.arange(6.0)) + torch.as_tensor(np.ones(6)),
    "repeats": lambda x: torch.repeat_interleave(x, torch.tensor([1, 2, 0, 3]), dim=0),
    "distributions": lambda x: torch.distributions.Normal(x, x.exp()).log_prob(x * 2),
    "a distribution that asks whether it is invalid": lambda x: torch.distributions.Wishart(
        x[0, 0].exp() + 9, torch.eye(4, dtype=x.dtype)
    ).log_prob(2 * torch.eye(4, dtype=x.dtype)),
    "a constant of a class derived from Tensor": lambda x: x * derived + derived.sin() @ x.T.sum(1).expand(6),
    "losses": lambda x: F.cross_entropy(x, torch.tensor([0, 1, 2, 3])) + F.gaussian_nll_loss(x, x * 2, x.exp()),
    "an MLP": mlp,
    "other weights": lambda x: torch.func.functional_call(mlp, {"0.weight": x[:, :].new_ones(8, 6) * x[0]}, (x,)),
    "interpolation": lambda x: F.interpolate(x[None, None], scale_factor=2, mode="bilinear"),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_function(name):
    assert_same_as_local(FUNCTIONS[name], x)


def test_grad_mode_of_the_caller_does_not_matter():
    with torch.no_grad():
        assert_same_as_local(lambda x: x.sin() * x, x)


def test_inference_mode_inside():
    def function(x):
        with torch.inference_mode():
            a = x.sin()
        return a.clone() * x

    assert_same_as_local(function, x, transforms=(None,))


def test_the_same_tensor_as_two_arguments_is_two_inputs():
    assert_same_as_local(lambda a, b: a * b.sin(), v, v)


def test_a_constant_used_twice_is_one():
    graph = traced(lambda x: x @ weight + weight.sum(), x).graph
    assert len(graph.captures) == 1


def test_an_argument_is_not_merged_with_a_constant():
    assert_same_as_local(lambda a: a * v, v)


def test_what_is_captured_can_be_compared_later():
    with FRONT_END.start() as trace:
        trace.lower(trace.lift(trace.builder.input(FRONT_END.type_of(x))) @ weight)
    (captured,) = trace.captured
    assert captured.tensor is weight
    assert captured.array.same_bits(FRONT_END.to_array(weight))


def test_constants_are_copies():
    constant = torch.ones(6, dtype=torch.float64)
    function = traced(lambda x: x * constant, x)
    constant.zero_()
    assert function.constants[0].data.min() == 1


MODULES = {
    "MLP": (mlp, (x,)),
    "LSTM": (nn.LSTM(8, 5, 2, bidirectional=True), (sequence,)),
    "GRU": (nn.GRU(8, 5), (sequence,)),
    "RNN": (nn.RNN(8, 5), (sequence,)),
    "LSTMCell": (nn.LSTMCell(8, 5), (sequence[0],)),
    "normalisation": (nn.Sequential(nn.LayerNorm(6), nn.GELU(), nn.BatchNorm1d(6), nn.Softmax(-1)), (x,)),
    "convolutions": (
        nn.Sequential(nn.Conv2d(2, 3, 3, padding=1), nn.BatchNorm2d(3), nn.ReLU(), nn.MaxPool2d(2), nn.GroupNorm(3, 3)),
        (torch.randn(1, 2, 6, 6, dtype=torch.float64),),
    ),
}


@pytest.mark.parametrize("name", MODULES)
def test_module(name):
    module, arguments = MODULES[name]
    assert_same_as_local(module.double().eval(), *arguments)


ATTENTION = {
    "MultiheadAttention": (nn.MultiheadAttention(8, 2), (sequence, sequence, sequence)),
    "TransformerEncoderLayer": (nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), (sequence,)),
    "TransformerEncoder": (
        nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 2, enable_nested_tensor=False),
        (sequence[:1],),
    ),
}


@pytest.mark.parametrize("name", ATTENTION)
@pytest.mark.parametrize("frozen", [False, True])
def test_attention(name, frozen):
    module, arguments = ATTENTION[name]
    module = module.double().eval().requires_grad_(not frozen)
    assert_same_as_local(module, *arguments, transforms=REVERSE)
    assert torch.backends.mha.get_fastpath_enabled()


def test_attention_is_one_operator():
    def attend(x):
        return F.scaled_dot_product_attention(x, x, x, is_causal=True)

    assert_same_as_local(attend, sequence, transforms=REVERSE)
    assert ops_of(attend, sequence) == ["scaled_dot_product_attention"]


def test_weights_of_an_embedding():
    assert_same_as_local(lambda w: F.embedding(torch.tensor([1, 2, 1]), w), torch.randn(5, 3, dtype=torch.float64))


def test_batch_norm_in_training_without_statistics():
    assert_same_as_local(nn.BatchNorm1d(6, track_running_stats=False).double(), x)


def test_batch_norm_in_training_with_statistics_of_its_own():
    def function(x):
        mean, var = torch.zeros(6, dtype=x.dtype), torch.ones(6, dtype=x.dtype)
        return F.batch_norm(x, mean, var, training=True), mean, var

    assert_same_as_local(function, x, transforms=(None,))


def test_checkpoint():
    from torch.utils.checkpoint import checkpoint

    traced(lambda x: checkpoint(lambda y: mlp(y).sin(), x, use_reentrant=False), x)


NATIVE = {
    "vmap": lambda x: torch.vmap(lambda r: (r * r).sum() * r)(x),
    "grad": lambda x: torch.func.grad(lambda a: (a.sin() * a).sum())(x) * x,
    "jacrev": lambda x: torch.func.jacrev(lambda a: a.sin() * a)(x[0]),
    "jacfwd": lambda x: torch.func.jacfwd(lambda a: a.sin() * a)(x[0]),
    "hessian": lambda x: torch.func.hessian(lambda a: (a.sin() * a).sum())(x[0]),
    "jvp": lambda x: torch.func.jvp(lambda a: a.sin() * a, (x,), (x,)),
    "vjp": lambda x: torch.func.vjp(lambda a: a.sin() * a, x)[1](x),
    "vmap of grad": lambda x: torch.vmap(torch.func.grad(lambda a: a.tanh() @ a))(x),
    "a network's gradient": lambda x: torch.func.grad(lambda a: mlp(a).sum())(x),
    "a Laplacian": lambda x: torch.vmap(lambda p: torch.func.hessian(lambda a: mlp(a).sum())(p).trace())(x),
}


@pytest.mark.parametrize("name", NATIVE)
def test_transforms_of_torch_itself_inside(name):
    assert_same_as_local(NATIVE[name], x)


class PartlyScripted(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = torch.jit.script(nn.Linear(6, 4))
        self.outer = nn.Linear(4, 2)

    def forward(self, x):
        return self.outer(self.inner(x).tanh())


@torch.jit.script
def scripted_loop(x: torch.Tensor, count: int) -> torch.Tensor:
    result = torch.zeros_like(x)
    for index in range(count):
        result[index] = x[index] * float(index) + result[index - 1]
    result += x
    return result


TORCHSCRIPT = {
    "a module": (lambda: torch.jit.script(mlp), mlp),
    "a traced module": (lambda: torch.jit.trace(mlp, x), mlp),
    "a function": (lambda: lambda x: scripted_loop(x, 3), lambda x: torch.cat((_loop(x, 3), x[3:]))),
    "a part of a module": (lambda: PartlyScripted().double(), None),
}


def _loop(x, count):
    rows, last = [], torch.zeros_like(x[0])
    for index in range(count):
        last = x[index] * index + last
        rows.append(last + x[index])
    return torch.stack(rows)


@pytest.mark.parametrize("name", TORCHSCRIPT)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_torchscript(name):
    """However often it has run: then TorchScript would make another graph of it, without derivatives."""
    make, same = TORCHSCRIPT[name]
    scripted = make()
    if same is None:
        same = lambda x: F.linear(  # noqa: E731
            F.linear(x, scripted.inner.weight, scripted.inner.bias).tanh(), scripted.outer.weight, scripted.outer.bias
        )
    expected = local("jacrev", same, x)
    for _ in range(3):
        for transform in ("jacrev", "jacfwd"):
            for left, right in zip(remote(transform, scripted, x), expected, strict=True):
                torch.testing.assert_close(left, right.detach())


class Rotary(nn.Module):
    """It makes its table at the first call."""

    def __init__(self):
        super().__init__()
        self.table = None

    def forward(self, x):
        if self.table is None:
            self.table = torch.zeros(6, dtype=x.dtype)
            self.table[0::2] = torch.arange(3, dtype=x.dtype).cos()
        return x * self.table


@functools.cache
def basis(n):
    return torch.linspace(0.0, 1.0, n, dtype=torch.float64)


def test_what_the_first_call_keeps_is_there_for_the_next():
    module, expected = Rotary(), torch.func.jacrev(Rotary())(v[:5].new_ones(6))
    for _ in range(2):
        torch.testing.assert_close(InProcess().jacrev(module)(torch.ones(6, dtype=v.dtype)), expected)
    assert type(module.table) is torch.Tensor
    torch.testing.assert_close(torch.diag(module(torch.ones(6, dtype=v.dtype))), expected)
    for _ in range(2):
        torch.testing.assert_close(InProcess().jacrev(lambda v: v * basis(5))(v), torch.diag(basis(5)))
    assert basis(5)[-1].item() == 1.0


def test_what_depends_on_an_argument_has_nothing_to_keep():
    kept = []
    InProcess().jacrev(lambda v: kept.append(v * 2) or v)(v)
    with pytest.raises(TraceError, match="outside the call"):
        InProcess().jacrev(lambda v: v * kept[0])(v)


def test_random_operators_draw_anew_each_time():
    assert ops_of(lambda x: F.dropout(x, 0.5) + torch.rand(6, dtype=x.dtype), x) == ["dropout", "rand", "add.Tensor"]


def test_the_default_dtype_of_the_caller_holds():
    def function(x):
        return x + torch.zeros(6) + torch.arange(6) / 2 + torch.sin(torch.arange(6)) + torch.tensor(1) * 0.1

    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        graph = travelled(traced(function, x.float()))
        expected = function(x.float())
    finally:
        torch.set_default_dtype(before)
    (given,) = evaluate(graph, None, [x.float()], [0])
    torch.testing.assert_close(given, expected)
    assert given.dtype == torch.float64


def test_the_device_of_the_call_is_seen():
    with FRONT_END.start() as trace:
        tensor = trace.lift(trace.builder.input(FRONT_END.type_of(x)), like=x)
        assert tensor.device == torch.zeros(2).device == x.device


def test_source_lines():
    sources = traced(lambda x: mlp(x).sin(), x).sources
    assert {source.partition(":")[0] for source in sources} == {"test_torch_functions.py"}
    assert all(source.endswith(", in <lambda>") for source in sources)


def test_a_long_loop():
    def function(x):
        for _ in range(5_000):
            x = x * 0.999 + 0.001
        return x

    assert len(traced(function, v).graph.equations) == 10_000


def test_traces_in_several_threads():
    def function(x):
        for _ in range(200):
            x = F.layer_norm(x.sin(), (6,)) @ weight
        return x

    expected = traced(function, x)
    with ThreadPoolExecutor(4) as pool:
        graphs = list(pool.map(lambda _: traced(function, x), range(8)))
    assert all(graph.graph == expected.graph for graph in graphs)
    assert torch.backends.mha.get_fastpath_enabled()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch, on the import of its compiler
def test_a_compiled_function_is_traced_as_it_was_written():
    compiled = torch.compile(lambda x: x.sin() * 2)
    assert ops_of(lambda x: compiled(x), x) == ["sin", "mul.Scalar"]
