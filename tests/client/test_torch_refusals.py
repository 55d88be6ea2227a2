"""What cannot be traced: a typed error, the user's line, and the way out. Never a frozen value."""

from __future__ import annotations

import contextlib
import logging
import threading
from functools import partial

import numpy as np
import pytest
import torch

from farfunc_protocol.errors import DataDependentError, InvalidArray, TraceError, UnsupportedOperator
from support.evaluators import InProcess
from support.local_and_remote import FRONT_END, traced

x = torch.ones(4, 6, dtype=torch.float64)
constant = torch.arange(6.0, dtype=torch.float64)


class Units(torch.Tensor):
    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        return super().__torch_function__(func, types, args, kwargs or {})


units = torch.arange(6.0, dtype=torch.float64).as_subclass(Units)
sparse = torch.eye(6, dtype=torch.float64).to_sparse()


class WrongBackward(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.exp()

    @staticmethod
    def backward(ctx, gradient):
        return gradient * 0


class Reversal(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x

    @staticmethod
    def backward(ctx, gradient):
        return -gradient


def seeded_twice(x):
    torch.manual_seed(3)
    noise = torch.rand(3)
    torch.manual_seed(3)
    return (noise + torch.rand(3)) * x.sum()


def two_generators(x):
    return x * torch.rand(6, generator=torch.Generator()) * torch.rand(6)


def retained(x):
    y = x.sin()
    y.retain_grad()
    return y


def hooked(x):
    y = x.sin()
    y.register_hook(lambda gradient: gradient * 10)
    return y


module_with_backward_hook = torch.nn.Linear(6, 2, dtype=torch.float64)
module_with_backward_hook.register_full_backward_hook(lambda module, given, found: (given[0] * 100,))


@torch.jit.script
def scripted_branch(x: torch.Tensor) -> torch.Tensor:
    return x.sin() if bool(x.sum() > 0) else x


@torch.jit.script
def scripted_positions(x: torch.Tensor) -> torch.Tensor:
    return torch.nonzero(x)


def dual(x):
    with torch.autograd.forward_ad.dual_level():
        return torch.autograd.forward_ad.make_dual(x, x) * 2


REFUSED = {
    "float": (lambda x: float(x.sum()), DataDependentError, "a number"),
    "int": (lambda x: int(x[0, 0]), DataDependentError, "a number"),
    "bool": (lambda x: x if x.sum() > 0 else -x, DataDependentError, "a boolean"),
    "item": (lambda x: x * x.max().item(), DataDependentError, "a number"),
    "tolist": (lambda x: x.tolist(), DataDependentError, "a number"),
    "index": (lambda x: [1, 2, 3][x[0, 0].long()], DataDependentError, "a number"),
    "a Scalar": (lambda x: torch.add(x, x, alpha=x[0, 0]), DataDependentError, "a number"),
    "numpy": (lambda x: x.numpy(), DataDependentError, "NumPy"),
    "a ufunc": (lambda x: np.sin(x), DataDependentError, "NumPy"),
    "an ndarray on the left": (lambda x: np.ones(6) * x, DataDependentError, "NumPy"),
    "torch.tensor": (lambda x: torch.tensor([x[0, 0], 1.0]), DataDependentError, "elements of a tensor"),
    "a mask": (lambda x: x[x > 0], DataDependentError, "a shape"),
    "masked_select": (lambda x: x.masked_select(x > 0), DataDependentError, "a shape"),
    "nonzero": (lambda x: torch.nonzero(x), DataDependentError, "a shape"),
    "unique": (lambda x: torch.unique(x), DataDependentError, "a shape"),
    "autograd.Function": (lambda x: WrongBackward.apply(x), UnsupportedOperator, "torch.autograd.Function"),
    "autograd.Function, identity": (lambda x: Reversal.apply(x) * 2, UnsupportedOperator, "torch.autograd.Function"),
    "backward": (lambda x: x.requires_grad_().sum().backward(), TraceError, "torch.autograd"),
    "autograd.grad": (lambda x: torch.autograd.grad(x.sin().sum(), x), TraceError, "torch.autograd"),
    "requires_grad_": (lambda x: x.requires_grad_() * 2, UnsupportedOperator, "Tensor.requires_grad_()"),
    "retain_grad": (retained, UnsupportedOperator, "Tensor.retain_grad()"),
    "autograd.functional": (
        lambda x: torch.autograd.functional.jacobian(torch.sin, x),
        UnsupportedOperator,
        "torch.autograd.functional",
    ),
    **{
        f"autograd.functional.{name} of a constant": (
            lambda x, function=function: x * function(lambda c: c.sin().sum(), constant)[0].sum(),
            UnsupportedOperator,
            "torch.autograd.functional",
        )
        for name, function in {
            "jacobian": torch.autograd.functional.jacobian,
            "jacobian, create_graph": partial(torch.autograd.functional.jacobian, create_graph=True),
            "jacobian, forward": partial(torch.autograd.functional.jacobian, vectorize=True, strategy="forward-mode"),
            "hessian": torch.autograd.functional.hessian,
            "vjp": torch.autograd.functional.vjp,
        }.items()
    },
    "autograd.functional, forward": (
        lambda x: torch.autograd.functional.jacobian(torch.sin, x, vectorize=True, strategy="forward-mode"),
        UnsupportedOperator,
        "Batching rule not implemented for aten::_make_dual",  # as torch.func.vmap says
    ),
    "autograd.functional of the identity": (
        lambda x: torch.autograd.functional.jacobian(lambda c: c, constant) @ x.T,
        UnsupportedOperator,
        "torch.autograd.functional",
    ),
    "a hook of a tensor": (hooked, UnsupportedOperator, "Tensor.register_hook()"),
    "a backward hook of a module": (
        lambda x: module_with_backward_hook(x),
        UnsupportedOperator,
        "Linear has backward hooks",
    ),
    "a module that is converted": (lambda x: torch.nn.Linear(6, 2).double()(x), TraceError, "Module.double"),
    "a branch in TorchScript": (lambda x: scripted_branch(x), DataDependentError, "a boolean"),
    "positions in TorchScript": (lambda x: scripted_positions(x), DataDependentError, "a shape"),
    "forward_ad": (dual, UnsupportedOperator, "forward_ad"),
    "two generators": (two_generators, UnsupportedOperator, "second generator"),
    "a seed between numbers": (seeded_twice, UnsupportedOperator, "the generator's state"),
    "to_sparse": (lambda x: x.to_sparse(), UnsupportedOperator, "sparse"),
    "a sparse constant": (lambda x: torch.sparse.mm(sparse, x.T), UnsupportedOperator, "sparse"),
    "a sparse tensor that is made of constants": (
        lambda x: constant.diag().to_sparse() @ x.T,
        UnsupportedOperator,
        "the function makes a tensor that cannot travel: a sparse",
    ),
    "a constant of a class with functions of its own": (lambda x: x * units, UnsupportedOperator, "the class Units"),
    "cond": (
        lambda x: torch.cond(x.sum() > 0, torch.sin, torch.cos, (x,)),
        UnsupportedOperator,
        "cond is an operator that takes functions",
    ),
    "set_": (lambda x: x.clone().set_(x), UnsupportedOperator, "other memory"),
    "resize_": (lambda x: x.clone().resize_(2), UnsupportedOperator, "another size"),
    "as_strided": (lambda x: x.as_strided((2,), (1,)), UnsupportedOperator, "lie in memory"),
    "a dtype of no array": (lambda x: x.to(torch.float8_e4m3fn), UnsupportedOperator, "float8"),
}


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_refusal(name):
    function, error, text = REFUSED[name]
    with pytest.raises(error, match=text) as caught:
        traced(function, x)
    assert caught.value.where is not None
    assert caught.value.where.startswith("test_torch_refusals.py:")
    assert caught.value.remedy
    assert caught.value.__suppress_context__ or not isinstance(caught.value.__context__, AssertionError)


def test_a_tensor_without_elements_is_not_computed_with():
    with pytest.raises(RuntimeError, match="meta"):
        traced(lambda x: x * torch.empty(6, device="meta"), x)
    assert len(traced(lambda x: x * torch.empty(6, device="meta").shape[0], x).graph.equations) == 1


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(
    ("make", "remedy"),
    [
        (lambda: torch.nested.nested_tensor([torch.ones(2), torch.ones(3)]), "to_padded_tensor"),
        (lambda: torch.quantize_per_tensor(torch.ones(4), 0.1, 0, torch.qint8), "dequantize"),
        (lambda: torch.masked.masked_tensor(torch.ones(3), torch.ones(3) > 0), "plain tensors"),
        (lambda: torch.ones(3).to(torch.float8_e4m3fn), "float32"),
    ],
)
def test_arguments_that_cannot_travel(make, remedy):
    with pytest.raises(InvalidArray) as caught:
        InProcess().vmap(lambda a: a)(make())
    assert remedy in caught.value.remedy


def test_a_trace_after_a_refusal_is_not_disturbed():
    with pytest.raises(DataDependentError):
        traced(lambda x: float(x.sum()), x)
    assert torch.is_grad_enabled()
    assert torch.ones(2).add(1).tolist() == [2, 2]
    assert len(traced(lambda x: x.sin(), x).graph.equations) == 1


def test_the_errors_of_torch_itself_stay():
    with pytest.raises(RuntimeError, match="reduction dim"):
        traced(lambda x: x @ x, x)
    with pytest.raises(IndexError, match="out of range"):
        traced(lambda x: x.sum(5), x)


def test_the_errors_of_torch_itself_in_torchscript_stay():
    scripted = torch.jit.script(torch.nn.Linear(5, 2, dtype=torch.float64))

    def function(x):
        with contextlib.suppress(DataDependentError):
            float(x.sum())
        return scripted(x)

    with pytest.raises(RuntimeError, match="reduction dim") as caught:
        traced(function, x)
    assert not isinstance(caught.value, DataDependentError)


def test_a_tensor_that_outlives_its_trace():
    kept = []
    traced(lambda x: kept.append(x * 2) or x, x)
    with pytest.raises(TraceError, match="outside the call"):
        traced(lambda x: x + kept[0], x)
    with pytest.raises(InvalidArray, match="was traced"):
        FRONT_END.to_array(kept[0])


def test_a_tensor_of_a_local_transform():
    with pytest.raises(InvalidArray, match="local transform"):
        torch.func.grad(lambda x: FRONT_END.to_array(x) and x.sum())(x)


def test_an_operator_that_refuses_its_operands_says_so_once(caplog):
    logged = []
    handler = logging.Handler()
    handler.emit = logged.append
    logger = logging.getLogger("torch._subclasses.fake_tensor")
    logger.addHandler(handler)
    caplog.set_level(logging.ERROR, logger.name)  # a server in this process has silenced it
    try:
        with pytest.raises(RuntimeError, match="1D tensors"):
            traced(lambda x: torch.dot(x, torch.ones(3)), torch.ones(3, 3))
    finally:
        logger.removeHandler(handler)
    assert not logged


def test_forward_mode_in_another_thread_is_none_of_a_traces():
    """Its level is one for all threads of a process."""
    is_begun, is_open, is_traced = (threading.Event() for _ in range(3))

    def differentiate():
        is_begun.wait(60)
        with torch.autograd.forward_ad.dual_level():
            is_open.set()
            is_traced.wait(60)

    def sine(x):
        is_begun.set()
        is_open.wait(60)
        return torch.sin(x)

    other = threading.Thread(target=differentiate)
    other.start()
    x = torch.ones(3)
    try:
        found = InProcess().jacrev(sine)(x)
    finally:
        is_begun.set()
        is_traced.set()
        other.join()
    torch.testing.assert_close(found, torch.diag(torch.cos(x)))
