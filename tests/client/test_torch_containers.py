"""Containers that are registered with torch are containers here: arguments, results and axes may hold them."""

from __future__ import annotations

import dataclasses
from collections import OrderedDict, namedtuple

import pytest
import torch
from torch.utils import _pytree

import farfunc
from farfunc_protocol.document import function_from_bytes, function_to_bytes
from support.evaluators import InProcess

x = torch.tensor([0.3, -1.2, 0.7], dtype=torch.float64)
y = torch.tensor([1.1, 0.2, -0.4], dtype=torch.float64)


class Box:
    """With a context that says more than the leaves."""

    def __init__(self, a, b, tag="t"):
        self.a, self.b, self.tag = a, b, tag


_pytree.register_pytree_node(Box, lambda box: ([box.a, box.b], box.tag), lambda leaves, tag: Box(*leaves, tag))


class Checked:
    """It takes arrays alone."""

    def __init__(self, values):
        assert isinstance(values, torch.Tensor)
        self.values = values


_pytree.register_pytree_node(Checked, lambda checked: ([checked.values], None), lambda leaves, _: Checked(*leaves))


class ModelOutput(OrderedDict):
    """In the way of the outputs of Hugging Face's models."""

    def __init_subclass__(cls):
        _pytree.register_pytree_node(
            cls,
            lambda output: (list(output.values()), list(output.keys())),
            lambda values, names: cls(**dict(zip(names, values, strict=True))),
        )

    def __post_init__(self):
        for field in dataclasses.fields(self):
            if getattr(self, field.name) is not None:
                self[field.name] = getattr(self, field.name)


@dataclasses.dataclass
class Output(ModelOutput):
    logits: torch.Tensor | None = None
    hidden: torch.Tensor | None = None


@dataclasses.dataclass
class Parameters:
    w: torch.Tensor
    b: torch.Tensor | None = None


_pytree.register_dataclass(Parameters)


class Setting:
    def __init__(self, power):
        self.power = power

    def __eq__(self, other):
        return isinstance(other, Setting) and self.power == other.power

    def __hash__(self):
        return hash(self.power)


_pytree.register_constant(Setting)
Pair = namedtuple("Pair", "left right")

CALLS = {
    "an argument": lambda F: F.jacrev(lambda box: box.a.sin() * box.b.sum())(Box(x, y)),
    "a result": lambda F: F.jacrev(lambda a: Box(a.sin(), a * 2))(x),
    "both, forward": lambda F: F.jacfwd(lambda box: Box(box.a.sin() * box.b, box.b, box.tag + "!"))(Box(x, y)),
    "a Hessian": lambda F: F.hessian(lambda box: (box.a.sin() * box.b).sum())(Box(x, y)),
    "a class that checks": lambda F: F.grad(lambda checked: (checked.values.sin() * y).sum())(Checked(x)),
    "a result of a class that checks": lambda F: F.vjp(lambda a: Checked(a * y), x)[0],
    "aux": lambda F: F.jacrev(lambda a: (a.sin(), Box(a, a * 2)), has_aux=True)(x),
    "axes": lambda F: F.vmap(lambda box: box.a.sin() * box.b, in_dims=(Box(0, None),))(Box(x, y)),
    "axes of the result": lambda F: F.vmap(lambda a: Box(a * y, a), out_dims=Box(1, 0))(x),
    "jvp": lambda F: F.jvp(lambda box: Box(box.a.sin(), box.b * box.a), (Box(x, y),), (Box(y, x),)),
    "vjp": lambda F: F.vjp(lambda box: Box(box.a.sin(), box.b * box.a), Box(x, y))[1](Box(y, x)),
    "linearize": lambda F: F.linearize(lambda box: box.a.sin() * box.b, Box(x, y))[1](Box(y, x)),
    "inside": lambda F: F.jacrev(lambda a: F.vmap(lambda box: Box(box.a * box.b, box.a))(Box(a, a * 2)))(x),
    "a model's output": lambda F: F.jacrev(lambda a: Output(logits=a.sin(), hidden=a * 3))(x),
    "a part of a model's output": lambda F: F.vmap(lambda output: Output(logits=output.logits.sin()))(Output(x, y)),
    "a dataclass": lambda F: F.grad(lambda p: (p.w.sin() * p.b).sum())(Parameters(x, y)),
    "a dataclass, in part": lambda F: F.jacrev(lambda p: Parameters(p.w * 2))(Parameters(x)),
    "a constant": lambda F: F.jacrev(lambda pair: pair[0] ** pair[1].power)((x, Setting(3))),
    "torch's own": lambda F: F.vmap(lambda a: torch.max(a, 0))(torch.stack([x, y])),
    "torch's own, given": lambda F: F.jacrev(lambda e: e.eigenvalues.sum() * e.eigenvectors)(
        torch.linalg.eigh(torch.outer(x, x))
    ),
    "a namedtuple": lambda F: F.jacrev(lambda pair: Pair(pair.right, pair.left * 2))(Pair(x, y)),
}


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.filterwarnings("ignore:Attempted to insert a get_attr Node")  # torch.func.linearize does so
def test_call(name):
    given, structure = _pytree.tree_flatten(CALLS[name](InProcess()))
    expected, expected_structure = _pytree.tree_flatten(CALLS[name](torch.func))
    assert structure == expected_structure
    for left, right in zip(given, expected, strict=True):
        torch.testing.assert_close(left, right)


def test_gradients_flow_through():
    def gradient(F):
        leaf = x.clone().requires_grad_()
        return torch.autograd.grad(F.jacrev(lambda box: box.a.sin() * box.b)(Box(leaf, y)).a.sum(), leaf)[0]

    torch.testing.assert_close(gradient(InProcess()), gradient(torch.func))


class Scaled:
    def __init__(self, values, settings):
        self.values, self.settings = values, settings


_pytree.register_pytree_node(
    Scaled, lambda scaled: ([scaled.values], scaled.settings), lambda leaves, settings: Scaled(*leaves, settings)
)


def test_a_context_that_has_changed_is_noticed():
    settings = {"scale": 2.0, "shift": y.clone()}
    far = InProcess()

    def value():
        return far.vmap(lambda scaled, shift: scaled.values * scaled.settings["scale"] + shift)(
            Scaled(x, settings), settings["shift"]
        )

    torch.testing.assert_close(value(), x * 2.0 + y)
    settings["scale"] = 3.0
    torch.testing.assert_close(value(), x * 3.0 + y)


def test_an_array_in_a_context_that_has_changed_is_noticed():
    shift, far = y.clone(), InProcess()

    def value():
        return far.jacrev(lambda scaled: scaled.values * scaled.settings[0])(Scaled(x, (shift,))).values

    torch.testing.assert_close(value(), torch.diag(y))
    shift.add_(1.0)
    torch.testing.assert_close(value(), torch.diag(y + 1.0))


def test_axes_in_a_container_are_part_of_what_is_remembered():
    far, matrix = InProcess(), torch.arange(9.0, dtype=torch.float64).reshape(3, 3)
    for axes in (Box(0, 1), Box(1, 0), Box(0, None)):
        given = far.vmap(lambda box: box.a * box.b.sum(), in_dims=(axes,))(Box(matrix, matrix))
        expected = torch.vmap(lambda box: box.a * box.b.sum(), in_dims=(axes,))(Box(matrix, matrix))
        torch.testing.assert_close(given, expected)


def test_another_context_does_not_fit():
    with pytest.raises(farfunc.TransformValueError, match="in_dims is not compatible"):
        InProcess().vmap(lambda box: box.a, in_dims=(Box(0, 0, "other"),))(Box(x, y))


def test_only_the_name_of_a_class_travels():
    far = InProcess()
    far.jacrev(lambda box: Box(box.a * box.b, box.a, tag=("a", 1)))(Box(x, y, tag={"b": 2}))
    data = function_to_bytes(far.functions[0])
    read = function_from_bytes(data)
    assert str(read.in_tree) == "((Box(*, *),), {})"
    assert read.out_tree.node.cls is None
    assert __name__.encode() not in data
