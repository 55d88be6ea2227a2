"""Type promotion against torch: tensors, tensors without axes, and Python numbers."""

import itertools

import pytest

from farfunc_protocol.dtypes import DTYPES
from farfunc_protocol.errors import InvalidGraph
from farfunc_protocol.graph import TensorType
from farfunc_protocol.ops import OPS
from support.operator_calls import run

SHAPES = [((2,), (2,)), ((2,), ()), ((), (2,)), ((), ()), ((1, 3), (2, 1)), ((0,), (1,))]
NUMBERS = [True, 2, -3, 2.5, 1.5 + 2j]

BINARY = ["add.Tensor", "sub.Tensor", "mul.Tensor", "div.Tensor", "pow.Tensor_Tensor", "eq.Tensor", "lt.Tensor",
          "maximum", "atan2", "logical_and", "bitwise_and.Tensor", "remainder.Tensor", "floor_divide", "xlogy.Tensor",
          "float_power.Tensor_Tensor", "copysign.Tensor", "fmod.Tensor", "ldexp.Tensor", "rsub.Tensor"]  # fmt: skip
WITH_NUMBER = ["add.Scalar", "sub.Scalar", "mul.Scalar", "div.Scalar", "pow.Tensor_Scalar", "pow.Scalar", "eq.Scalar",
               "lt.Scalar", "bitwise_or.Scalar", "remainder.Scalar", "floor_divide.Scalar", "xlogy.Scalar_Other",
               "float_power.Scalar", "copysign.Scalar", "fmod.Scalar", "rsub.Scalar", "where.ScalarOther",
               "clamp", "clamp_min"]  # fmt: skip

TORCH_REFUSES = (RuntimeError, NotImplementedError, ZeroDivisionError, TypeError)


def agrees(name: str, inputs: tuple[TensorType, ...], attributes: dict) -> None:
    try:
        truth = run(name, inputs, attributes)
    except TORCH_REFUSES:
        return
    try:
        inferred = OPS[name].infer(inputs, attributes)
    except InvalidGraph as error:
        # farfunc has no dtype for complex numbers of half precision.
        inferred = None if "components of float16" in str(error) else error
    assert inferred in (None, truth), f"{name} {[str(type_) for type_ in inputs]} {attributes}"


@pytest.mark.parametrize("name", BINARY)
def test_two_tensors(name: str) -> None:
    for left, right in itertools.product(DTYPES, DTYPES):
        for one, other in SHAPES:
            agrees(name, (TensorType(left, one), TensorType(right, other)), {})


@pytest.mark.parametrize("name", WITH_NUMBER)
@pytest.mark.parametrize("shape", [(2,), ()])
def test_a_tensor_and_a_number(name: str, shape: tuple) -> None:
    schema = OPS[name].schema
    number = next(argument.name for argument in schema.attributes if argument.type.base == "Scalar")
    for dtype, value in itertools.product(DTYPES, NUMBERS):
        tensors = tuple(TensorType(dtype, shape) for _ in schema.tensor_arguments)
        if name.startswith("where"):
            tensors = (TensorType("bool", shape), tensors[1])
        agrees(name, tensors, {number: value})


@pytest.mark.parametrize("dtypes", list(itertools.product(("int64", "float32", "float64", "complex64"), repeat=3)))
def test_three_tensors(dtypes: tuple[str, str, str]) -> None:
    for shapes in ((2,), (2,), ()), ((), (2,), ()), ((), (), (2,)):
        operands = tuple(TensorType(dtype, shape) for dtype, shape in zip(dtypes, shapes, strict=True))
        agrees("addcmul", operands, {})
        agrees("clamp.Tensor", operands, {})
        agrees("cat", (tuple(TensorType(type_.dtype, (1,)) for type_ in operands),), {})
