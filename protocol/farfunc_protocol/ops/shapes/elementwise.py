"""Rules of the operators that work element by element: broadcast, promote, choose a dtype."""

from __future__ import annotations

from collections.abc import Callable

from ...graph import TensorType
from ..call import Call
from . import promotion
from .axes import broadcast, expand_to, same_dtype
from .promotion import category, is_complex, real_of, result_type

__all__ = [
    "absolute",
    "argument",
    "boolean",
    "cast",
    "cast_like",
    "clamp",
    "complex_of_parts",
    "component",
    "copy_to",
    "division",
    "fill",
    "float_power",
    "floating",
    "floating_only",
    "floating_real",
    "floating_real_only",
    "frexp",
    "gelu",
    "heaviside",
    "integers",
    "integral",
    "isclose",
    "ldexp",
    "lerp",
    "like",
    "numeric",
    "ordered_boolean",
    "pointwise",
    "promoted",
    "real",
    "relu",
    "shifted",
    "squared",
    "view_as_complex",
    "view_as_real",
    "where",
]

DTypeChoice = Callable[[Call, str], str]
"""From the promoted dtype of the operands to that of the result; may refuse it."""


def pointwise(choice: DTypeChoice, *names: str) -> Callable[[Call], TensorType]:
    """A rule: broadcast all tensors, promote the named arguments (by default every tensor).

    Arguments that are None take no part.
    """

    def rule(call: Call) -> TensorType:
        operands = [call.arguments[name] for name in names] if names else call.tensors
        operands = [operand for operand in operands if operand is not None]
        shape = broadcast(call, *(type_.shape for type_ in call.tensors))
        return TensorType(choice(call, result_type(call, operands)), shape)

    return rule


def promoted(call: Call, dtype: str) -> str:
    """The promoted dtype itself."""
    return dtype


def numeric(call: Call, dtype: str) -> str:
    """The promoted dtype; booleans are refused."""
    if dtype == "bool":
        call.refuse("it is not defined for booleans", remedy="use logical_not, logical_xor or to.dtype")
    return dtype


def real(call: Call, dtype: str) -> str:
    """The promoted dtype; complex numbers, which have no order, are refused."""
    if is_complex(dtype):
        call.refuse("it is not defined for complex numbers", remedy="use abs, real or imag first")
    return dtype


def floating(call: Call, dtype: str) -> str:
    """The promoted dtype; integers and booleans become float32."""
    return promotion.floating(dtype)


def floating_real(call: Call, dtype: str) -> str:
    """Like :func:`floating`, with complex numbers refused."""
    return promotion.floating(real(call, dtype))


def floating_only(call: Call, dtype: str) -> str:
    """The promoted dtype; integers and booleans are refused."""
    if category(dtype) not in ("floating", "complex"):
        call.refuse(f"it is not defined for {dtype}", remedy="convert to a floating dtype with to.dtype")
    return dtype


def floating_real_only(call: Call, dtype: str) -> str:
    """The promoted dtype, which has to be a floating one."""
    return floating_only(call, real(call, dtype))


def absolute(call: Call, dtype: str) -> str:
    """The dtype of a modulus: the real one of a complex dtype."""
    return real_of(dtype)


def argument(call: Call, dtype: str) -> str:
    """The dtype of an angle: real and floating."""
    return promotion.floating(real_of(dtype))


def boolean(call: Call, dtype: str) -> str:
    """Truth values, whatever the operands."""
    return "bool"


def ordered_boolean(call: Call, dtype: str) -> str:
    """Truth values of a comparison that needs an order."""
    real(call, dtype)
    return "bool"


def integral(call: Call, dtype: str) -> str:
    """The promoted dtype, which has to be integers or booleans."""
    if category(dtype) not in ("bool", "integral"):
        call.refuse(f"it is defined for integers and booleans only, not for {dtype}")
    return dtype


def integers(call: Call, dtype: str) -> str:
    """The promoted dtype, which has to be integers."""
    return integral(call, numeric(call, dtype))


def float_power(call: Call) -> TensorType:
    """float_power: converts both operands to double precision before it promotes them."""
    operands = (call.arguments["self"], call.exponent)
    complex_ones = [
        is_complex(operand.dtype) if isinstance(operand, TensorType) else isinstance(operand, complex)
        for operand in operands
    ]
    dtype = "complex128" if any(complex_ones) else "float64"
    return TensorType(dtype, broadcast(call, *(type_.shape for type_ in call.tensors)))


def division(call: Call) -> TensorType:
    """div and its rounding modes: without one, integers become floating."""
    choice = floating
    if call.arguments.get("rounding_mode") is not None:
        if call.rounding_mode not in ("floor", "trunc"):
            call.refuse(
                f"rounding mode {call.rounding_mode!r}", argument="rounding_mode", remedy="use 'floor' or 'trunc'"
            )
        choice = real
    return pointwise(choice, "self", "other")(call)


def where(call: Call) -> TensorType:
    """where.self: a condition, and operands that promote."""
    if call.condition.dtype not in ("bool", "uint8"):
        call.refuse(
            f"the condition has dtype {call.condition.dtype}", argument="condition", remedy="compare it with != 0"
        )
    return pointwise(promoted, "self", "other")(call)


def clamp(call: Call) -> TensorType:
    """clamp: at least one bound."""
    if call.min is None and call.max is None:
        call.refuse("it has neither a lower nor an upper bound", remedy="give min, max or both")
    return pointwise(real, "self", "min", "max")(call)


def gelu(call: Call) -> TensorType:
    """gelu: exact, or by its approximation with tanh."""
    if call.approximate not in ("none", "tanh"):
        call.refuse(f"approximation {call.approximate!r}", argument="approximate", remedy="use 'none' or 'tanh'")
    return like(floating_real_only)(call)


def like(choice: DTypeChoice, name: str | None = None) -> Callable[[Call], TensorType]:
    """A rule: the shape and dtype of one tensor, the only one or the named one."""

    def rule(call: Call) -> TensorType:
        template = call.arguments[name or call.schema.tensor_arguments[0].name]
        return TensorType(choice(call, template.dtype), template.shape)

    return rule


def fill(call: Call) -> TensorType:
    """fill.Tensor, masked_fill: self's dtype, with a value that has no axes."""
    value = call.arguments.get("value")
    if isinstance(value, TensorType) and value.shape:
        call.refuse(f"the value has {len(value.shape)} axes", argument="value", remedy="give a tensor without axes")
    if "mask" in call.arguments:
        if call.mask.dtype != "bool":
            call.refuse(f"the mask has dtype {call.mask.dtype}", argument="mask", remedy="compare it with != 0")
        return TensorType(call.self.dtype, broadcast(call, call.self.shape, call.mask.shape))
    return call.self


def copy_to(call: Call) -> TensorType:
    """copy: the values of src in the dtype and shape of self."""
    expand_to(call, call.src.shape, call.self.shape, argument="src")
    return call.self


def lerp(call: Call) -> TensorType:
    """lerp: operands of one dtype."""
    tensors = [call.self, call.end]
    dtype = floating_only(call, same_dtype(call, tensors))
    return TensorType(dtype, broadcast(call, *(type_.shape for type_ in call.tensors)))


def frexp(call: Call) -> tuple[TensorType, ...]:
    """frexp: mantissa and exponent."""
    dtype = floating_real_only(call, call.self.dtype)
    return TensorType(dtype, call.self.shape), TensorType("int32", call.self.shape)


def complex_of_parts(call: Call) -> TensorType:
    """complex, polar: two floating tensors of one dtype."""
    dtype = floating_real_only(call, same_dtype(call, call.tensors))
    return TensorType(promotion.complex_of(call, dtype), broadcast(call, *(type_.shape for type_ in call.tensors)))


def component(call: Call) -> TensorType:
    """imag: defined for complex tensors only."""
    if not is_complex(call.self.dtype):
        call.refuse(f"it is defined for complex tensors only, not for {call.self.dtype}", argument="self")
    return TensorType(real_of(call.self.dtype), call.self.shape)


def view_as_real(call: Call) -> TensorType:
    """view_as_real: a last axis of length 2."""
    return TensorType(component(call).dtype, (*call.self.shape, 2))


def view_as_complex(call: Call) -> TensorType:
    """view_as_complex: takes the last axis, of length 2, away."""
    if not call.self.shape or call.self.shape[-1] != 2:
        call.refuse("the last axis must have length 2 (real and imaginary part)", argument="self")
    return TensorType(promotion.complex_of(call, call.self.dtype), call.self.shape[:-1])


def cast(call: Call) -> TensorType:
    """to.dtype, _to_copy: another dtype."""
    return TensorType(call.dtype or call.self.dtype, call.self.shape)


def cast_like(call: Call) -> TensorType:
    """to.other, type_as: the dtype of another tensor."""
    return TensorType(call.other.dtype, call.self.shape)


def squared(call: Call) -> TensorType:
    """square: the product with itself, so booleans become int64 (as in torch, ``pow(x, 2)``)."""
    return TensorType(result_type(call, [call.self, 2]), call.self.shape)


def relu(call: Call, dtype: str) -> str:
    """relu: real numbers, not booleans."""
    return numeric(call, real(call, dtype))


def shifted(call: Call, dtype: str) -> str:
    """Shifts: integers."""
    return integers(call, dtype)


def ldexp(call: Call) -> TensorType:
    """ldexp: integers as exponents leave the dtype of self."""
    operands = [call.self] if category(call.other.dtype) in ("bool", "integral") else call.tensors
    dtype = promotion.floating(result_type(call, operands))
    return TensorType(dtype, broadcast(call, call.self.shape, call.other.shape))


def heaviside(call: Call) -> TensorType:
    """heaviside: operands of one dtype."""
    dtype = real(call, same_dtype(call, call.tensors))
    return TensorType(dtype, broadcast(call, call.self.shape, call.arguments["values"].shape))


def isclose(call: Call) -> TensorType:
    """isclose: operands of one dtype, tolerances not negative."""
    same_dtype(call, call.tensors)
    call.require(call.rtol >= 0, f"rtol {call.rtol} is negative", argument="rtol")
    call.require(call.atol >= 0, f"atol {call.atol} is negative", argument="atol")
    return TensorType("bool", broadcast(call, call.self.shape, call.other.shape))
