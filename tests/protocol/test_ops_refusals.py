"""Operands and attributes that do not fit: one kind of error, which points at the place."""

import random
from typing import Any

import pytest

from farfunc_protocol.dtypes import DTYPES
from farfunc_protocol.errors import InvalidGraph, UnsupportedOperator
from farfunc_protocol.graph import TensorType
from farfunc_protocol.ops import MAX_OUTPUTS, OPS, TypedOperand, UnknownDimension

pytestmark = pytest.mark.thin


def tensor(*shape: int | str, dtype: str = "float64") -> TensorType:
    return TensorType(dtype, shape)


@pytest.mark.parametrize(
    ("name", "inputs", "attributes", "message", "where"),
    [
        ("add.Tensor", (tensor(2, 3), tensor(4)), {}, r"\(2, 3\) and \(4,\) do not broadcast: axis -1", None),
        ("matmul", (tensor(2, 3), tensor(4, 5)), {}, "lengths 3 and 4 of the contracted axes differ", "in[1]"),
        ("matmul", (tensor(2, 3), tensor(3, dtype="float32")), {}, "float64 and float32 are not mixed", None),
        ("mm", (tensor(2, 3), tensor(3)), {}, "mat2 has 1 axes, not 2", "in[1]"),
        ("sum.dim_IntList", (tensor(2, 3),), {"dim": (2,)}, "axis 2 is out of range", "at.dim"),
        ("sum.dim_IntList", (tensor(2, 3),), {"dim": (1, -1)}, "an axis comes twice", "at.dim"),
        ("mean", (tensor(2, dtype="int64"),), {}, "the mean of int64 has no dtype", None),
        ("amax", (tensor(2, 0),), {"dim": (1,)}, "of which there is no value", "at.dim"),
        ("reshape", (tensor(2, 3),), {"shape": (4,)}, "do not fill the shape", "at.shape"),
        ("reshape", (tensor(2, 3),), {"shape": (-1, -1)}, "2 lengths", "at.shape"),
        ("permute", (tensor(2, 3),), {"dims": (0,)}, "1 axes for a tensor with 2", "at.dims"),
        ("select.int", (tensor(2, 3),), {"dim": 1, "index": 3}, "index 3 of an axis of length 3", "at.index"),
        ("slice.Tensor", (tensor(5),), {"step": -1}, "step -1 is not positive", "at.step"),
        ("cat", ((tensor(2, 3), tensor(2, 4)),), {}, "differ beside axis 0", "in[0]"),
        ("cat", ((),), {}, "there is nothing to join", "in[0]"),
        ("stack", ((tensor(2), tensor(3)),), {}, "differ", "in[0]"),
        ("index.Tensor", (tensor(3), (tensor(3, dtype="bool"),)), {}, "depends on its values", "in[1]"),
        ("index.Tensor", (tensor(3), (tensor(3),)), {}, "indices of dtype float64", "in[1]"),
        ("linalg_solve", (tensor(3, 3), tensor(4, 2)), {}, "B has 4 equations, A 3", "in[1]"),
        ("linalg_inv", (tensor(2, 3),), {}, "2 by 3, not square", "in[0]"),
        ("linalg_inv", (tensor(2, 2, dtype="int64"),), {}, "not defined for int64", "in[0]"),
        ("einsum", ((tensor(2, 3), tensor(4)),), {"equation": "ij,j->i"}, "axis 'j' has lengths 3 and 4", None),
        ("einsum", ((tensor(2, 3),),), {"equation": "i1->i"}, "not made of letters", "at.equation"),
        ("fft_rfft", (tensor(4, dtype="complex64"),), {}, "it takes real tensors", "in[0]"),
        ("lt.Tensor", (tensor(2, dtype="complex64"), tensor(2)), {}, "not defined for complex", None),
        ("bitwise_and.Tensor", (tensor(2), tensor(2)), {}, "integers and booleans only, not for float64", None),
        ("neg", (tensor(2, dtype="bool"),), {}, "not defined for booleans", None),
        ("where.self", (tensor(2), tensor(2), tensor(2)), {}, "the condition has dtype float64", "in[0]"),
        ("clamp", (tensor(2),), {}, "neither a lower nor an upper bound", None),
        ("split.Tensor", (tensor(10**9),), {"split_size": 1}, "it would make 1000000000 pieces", None),
        ("unbind.int", (tensor(10**15),), {}, "pieces, more than", None),
        ("zeros", (), {"size": (2**40, 2**40)}, "more than 2\\*\\*63 elements", None),
        ("zeros", (), {"size": (-1,)}, "length -1 is negative", "at.size"),
        ("zeros", (), {"size": (1,) * 65}, "65 axes, more than 64", None),
        ("arange", (), {"end": float("inf")}, "not finite", None),
        ("arange.start_step", (), {"start": 0, "end": 1, "step": 0}, "step is 0", "at.step"),
        ("sin", (), {}, r"0 inputs were given; its tensor arguments are \(Tensor self\)", None),
        ("sin", (None,), {}, "'self' takes Tensor", "in[0]"),
        ("sin", ((tensor(2),),), {}, "'self' takes Tensor", "in[0]"),
        ("stack", (tensor(2),), {}, "'tensors' takes a list of tensors", "in[0]"),
        ("softmax.int", (tensor(2),), {}, "needs the attribute 'dim'", None),
        ("scaled_dot_product_attention", (tensor(2, 4), tensor(3, 5), tensor(3, 4), None), {}, "of length 4", None),
        ("conv2d", (tensor(1, 3, 8, 8), tensor(4, 2, 3, 3), None), {}, "3 channels, the weight 2", "in[0]"),
        ("conv2d", (tensor(1, 3, 8, 8), tensor(4, 3, 9, 9), None), {}, "reach 9", None),
    ],
)
def test_a_refusal_says_what_and_where(
    name: str, inputs: tuple, attributes: dict[str, Any], message: str, where: str | None
) -> None:
    with pytest.raises(InvalidGraph, match=message) as caught:
        OPS[name].infer(inputs, attributes)
    if where is not None:
        assert caught.value.where == where
    assert not isinstance(caught.value, UnknownDimension)


def test_a_refusal_stands_under_the_path_of_its_equation() -> None:
    with pytest.raises(InvalidGraph) as caught:
        OPS["sum.dim_IntList"].infer((tensor(2),), {"dim": (5,)}, where="equations[7]")
    assert caught.value.where == "equations[7].at.dim"
    with pytest.raises(InvalidGraph) as caught:
        OPS["linalg_det"].infer((tensor(2),), {}, where="equations[7]")
    assert caught.value.where == "equations[7].in[0]"


def test_operators_without_a_rule_say_so() -> None:
    with pytest.raises(UnsupportedOperator, match="no shape rule outside the server"):
        OPS["convolution"].infer((tensor(1), tensor(1), None), {})


@pytest.mark.parametrize(
    ("name", "inputs", "attributes"),
    [
        ("cat", ((tensor("n"), tensor("m")),), {}),
        ("add.Tensor", (tensor("n"), tensor("m")), {}),
        ("add.Tensor", (tensor("n"), tensor(3)), {}),
        ("unbind.int", (tensor("n"),), {}),
        ("flatten.using_ints", (tensor("n", 3),), {}),
        ("fft_rfft", (tensor("n"),), {}),
    ],
)
def test_what_depends_on_a_symbol_is_asked_for(name: str, inputs: tuple, attributes: dict[str, Any]) -> None:
    with pytest.raises(UnknownDimension, match="symbolic dimension"):
        OPS[name].infer(inputs, attributes)


HOSTILE = [
    2**63 - 1, -(2**63), 2**64, 10**400, -1, 0, 1, 7, 10**6, True, None, "x", "...", "", 1.5, float("inf"),
    float("nan"), (), (0,) * 100, (2**62,) * 3, (1, 2), (-1,), (0, 0), {"dim": "n"}, {"dim": 1}, [[1]], 1j, b"x",
    (None,), ("a",), (True,), "float64", "bool", ({"dim": "n"}, 3), (-(2**63),), object(),
]  # fmt: skip


def any_type(chance: random.Random) -> TensorType:
    lengths = (0, 1, 2, 3, 4, 2**31, 2**62, "n", "m")
    rank = chance.choice((0, 1, 1, 2, 2, 3, 4, 5, 6))
    shape = tuple(chance.choice(lengths if chance.random() < 0.3 else (1, 2, 3)) for _ in range(rank))
    return TensorType(chance.choice(("float64", "float64", *DTYPES)), shape)


def any_operand(chance: random.Random, is_list: bool) -> TypedOperand:
    if chance.random() < 0.1:
        return None
    if is_list == (chance.random() < 0.95):
        return tuple(any_type(chance) for _ in range(chance.randrange(4)))
    return any_type(chance)


PLAUSIBLE = {
    "int": (-2, -1, 0, 1, 2, 3),
    "SymInt": (-1, 0, 1, 2, 3, 4),
    "float": (0.0, 0.5, 2.0),
    "bool": (True, False),
    "str": ("ij,jk->ik", "sum", "linear", "reduced", "same", "constant", "ortho"),
    "Scalar": (0, 1, 2.5, True, 1j),
    "ScalarType": ("float32", "float64", "int64"),
}


def any_attribute(chance: random.Random, argument: Any) -> object:
    if chance.random() < 0.2:
        return chance.choice(HOSTILE)
    values = PLAUSIBLE[argument.type.base]
    if argument.type.is_list:
        return tuple(chance.choice(values) for _ in range(argument.type.size or chance.randrange(4)))
    return chance.choice(values)


@pytest.mark.parametrize("name", sorted(name for name, op in OPS.items() if op.shape_rule is not None))
def test_no_operands_break_a_rule(name: str) -> None:
    op, chance = OPS[name], random.Random(name)
    for _ in range(150):
        inputs = tuple(any_operand(chance, argument.type.is_list) for argument in op.schema.tensor_arguments)
        attributes = {
            argument.name: any_attribute(chance, argument)
            for argument in op.schema.attributes
            if chance.random() < 0.7 or argument.default is not None
        }
        try:
            results = op.infer(inputs, attributes)
            op.cost(inputs, results, attributes)
        except InvalidGraph:
            continue
        assert len(results) <= MAX_OUTPUTS
        for result in results:
            assert result.dtype in DTYPES
            assert all(isinstance(length, str) or (type(length) is int and length >= 0) for length in result.shape)
