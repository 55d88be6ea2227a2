"""Arithmetic of two and more tensors, or of a tensor and a number."""

from __future__ import annotations

from . import costs
from .op import Op, rows
from .shapes.elementwise import (
    clamp,
    copy_to,
    division,
    fill,
    float_power,
    floating,
    floating_only,
    floating_real,
    floating_real_only,
    heaviside,
    integers,
    ldexp,
    lerp,
    like,
    numeric,
    pointwise,
    promoted,
    real,
    where,
)

__all__ = ["ROWS"]

ROWS: tuple[Op, ...] = (
    *rows(
        pointwise(promoted, "self", "other"),
        "self + alpha * other.",
        "add.Tensor(Tensor self, Tensor other, *, Scalar alpha=1) -> Tensor",
        "add.Scalar(Tensor self, Scalar other, Scalar alpha=1) -> Tensor",
    ),
    *rows(
        pointwise(numeric, "self", "other"),
        "self - alpha * other.",
        "sub.Tensor(Tensor self, Tensor other, *, Scalar alpha=1) -> Tensor",
        "sub.Scalar(Tensor self, Scalar other, Scalar alpha=1) -> Tensor",
    ),
    *rows(
        pointwise(numeric, "self", "other"),
        "other - alpha * self.",
        "rsub.Tensor(Tensor self, Tensor other, *, Scalar alpha=1) -> Tensor",
        "rsub.Scalar(Tensor self, Scalar other, Scalar alpha=1) -> Tensor",
    ),
    *rows(
        pointwise(promoted, "self", "other"),
        "self * other.",
        "mul.Tensor(Tensor self, Tensor other) -> Tensor",
        "mul.Scalar(Tensor self, Scalar other) -> Tensor",
    ),
    *rows(
        division,
        "self / other, perhaps rounded.",
        "div.Tensor(Tensor self, Tensor other) -> Tensor",
        "div.Scalar(Tensor self, Scalar other) -> Tensor",
        "div.Tensor_mode(Tensor self, Tensor other, *, str? rounding_mode) -> Tensor",
        "div.Scalar_mode(Tensor self, Scalar other, *, str? rounding_mode) -> Tensor",
    ),
    *rows(
        pointwise(real, "self", "other"),
        "self / other, rounded down.",
        "floor_divide(Tensor self, Tensor other) -> Tensor",
        "floor_divide.Scalar(Tensor self, Scalar other) -> Tensor",
    ),
    *rows(
        pointwise(real, "self", "other"),
        "Remainder with the sign of the divisor.",
        "remainder.Tensor(Tensor self, Tensor other) -> Tensor",
        "remainder.Scalar(Tensor self, Scalar other) -> Tensor",
        "remainder.Scalar_Tensor(Scalar self, Tensor other) -> Tensor",
    ),
    *rows(
        pointwise(real, "self", "other"),
        "Remainder with the sign of the dividend.",
        "fmod.Tensor(Tensor self, Tensor other) -> Tensor",
        "fmod.Scalar(Tensor self, Scalar other) -> Tensor",
    ),
    *rows(
        pointwise(promoted, "self", "exponent"),
        "self to the power exponent.",
        "pow.Tensor_Tensor(Tensor self, Tensor exponent) -> Tensor",
        "pow.Tensor_Scalar(Tensor self, Scalar exponent) -> Tensor",
        "pow.Scalar(Scalar self, Tensor exponent) -> Tensor",
        cost=costs.transcendental,
    ),
    *rows(
        float_power,
        "self to the power exponent, in double precision.",
        "float_power.Tensor_Tensor(Tensor self, Tensor exponent) -> Tensor",
        "float_power.Tensor_Scalar(Tensor self, Scalar exponent) -> Tensor",
        "float_power.Scalar(Scalar self, Tensor exponent) -> Tensor",
        cost=costs.transcendental,
    ),
    *rows(
        pointwise(real),
        "The larger element of the two tensors; NaN where either is.",
        "maximum(Tensor self, Tensor other) -> Tensor",
    ),
    *rows(
        pointwise(real),
        "The smaller element of the two tensors; NaN where either is.",
        "minimum(Tensor self, Tensor other) -> Tensor",
    ),
    *rows(
        pointwise(real),
        "The larger element of the two tensors; NaN only where both are.",
        "fmax(Tensor self, Tensor other) -> Tensor",
    ),
    *rows(
        pointwise(real),
        "The smaller element of the two tensors; NaN only where both are.",
        "fmin(Tensor self, Tensor other) -> Tensor",
    ),
    *rows(
        pointwise(real),
        "The larger element of the two tensors.",
        "max.other(Tensor self, Tensor other) -> Tensor",
    ),
    *rows(
        pointwise(real),
        "The smaller element of the two tensors.",
        "min.other(Tensor self, Tensor other) -> Tensor",
    ),
    *rows(
        clamp,
        "Each element kept between two numbers.",
        "clamp(Tensor self, Scalar? min=None, Scalar? max=None) -> Tensor",
    ),
    *rows(
        clamp,
        "Each element kept between two tensors.",
        "clamp.Tensor(Tensor self, Tensor? min=None, Tensor? max=None) -> Tensor",
    ),
    *rows(
        pointwise(real, "self", "min"),
        "Each element kept above a bound.",
        "clamp_min(Tensor self, Scalar min) -> Tensor",
        "clamp_min.Tensor(Tensor self, Tensor min) -> Tensor",
    ),
    *rows(
        pointwise(real, "self", "max"),
        "Each element kept below a bound.",
        "clamp_max(Tensor self, Scalar max) -> Tensor",
        "clamp_max.Tensor(Tensor self, Tensor max) -> Tensor",
    ),
    *rows(
        pointwise(floating_real),
        "The angle of the point (other, self).",
        "atan2(Tensor self, Tensor other) -> Tensor",
        cost=costs.transcendental,
    ),
    *rows(
        pointwise(floating_real_only),
        "sqrt(self**2 + other**2).",
        "hypot(Tensor self, Tensor other) -> Tensor",
        cost=costs.transcendental,
    ),
    *rows(
        pointwise(floating_real, "self", "other"),
        "The modulus of self with the sign of other.",
        "copysign.Tensor(Tensor self, Tensor other) -> Tensor",
        "copysign.Scalar(Tensor self, Scalar other) -> Tensor",
    ),
    *rows(
        pointwise(floating_real_only),
        "The next floating-point number towards other.",
        "nextafter(Tensor self, Tensor other) -> Tensor",
    ),
    *rows(
        ldexp,
        "self * 2**other.",
        "ldexp.Tensor(Tensor self, Tensor other) -> Tensor",
    ),
    *rows(
        pointwise(floating),
        "Logarithm of the sum of exponentials, to base e.",
        "logaddexp(Tensor self, Tensor other) -> Tensor",
        cost=costs.transcendental,
    ),
    *rows(
        pointwise(floating),
        "Logarithm of the sum of exponentials, to base 2.",
        "logaddexp2(Tensor self, Tensor other) -> Tensor",
        cost=costs.transcendental,
    ),
    *rows(
        pointwise(floating_real, "self", "other"),
        "self * log(other), and 0 where self is 0.",
        "xlogy.Tensor(Tensor self, Tensor other) -> Tensor",
        "xlogy.Scalar_Self(Scalar self, Tensor other) -> Tensor",
        "xlogy.Scalar_Other(Tensor self, Scalar other) -> Tensor",
        cost=costs.transcendental,
    ),
    *rows(
        heaviside,
        "The step function; values where self is 0.",
        "heaviside(Tensor self, Tensor values) -> Tensor",
    ),
    *rows(
        pointwise(integers),
        "Greatest common divisor of two integers.",
        "gcd(Tensor self, Tensor other) -> Tensor",
    ),
    *rows(
        pointwise(integers),
        "Least common multiple of two integers.",
        "lcm(Tensor self, Tensor other) -> Tensor",
    ),
    *rows(
        pointwise(promoted),
        "self + value * tensor1 * tensor2.",
        "addcmul(Tensor self, Tensor tensor1, Tensor tensor2, *, Scalar value=1) -> Tensor",
    ),
    *rows(
        pointwise(floating_only),
        "self + value * tensor1 / tensor2.",
        "addcdiv(Tensor self, Tensor tensor1, Tensor tensor2, *, Scalar value=1) -> Tensor",
    ),
    *rows(
        lerp,
        "self + weight * (end - self).",
        "lerp.Scalar(Tensor self, Tensor end, Scalar weight) -> Tensor",
        "lerp.Tensor(Tensor self, Tensor end, Tensor weight) -> Tensor",
    ),
    *rows(
        where,
        "self where the condition holds, other elsewhere.",
        "where.self(Tensor condition, Tensor self, Tensor other) -> Tensor",
        "where.ScalarSelf(Tensor condition, Scalar self, Tensor other) -> Tensor",
        "where.ScalarOther(Tensor condition, Tensor self, Scalar other) -> Tensor",
        "where.Scalar(Tensor condition, Scalar self, Scalar other) -> Tensor",
    ),
    *rows(
        copy_to,
        "The values of src in the dtype and shape of self.",
        "copy(Tensor self, Tensor src, bool non_blocking=False) -> Tensor",
    ),
    *rows(
        fill,
        "A tensor like self, all elements one value.",
        "fill.Scalar(Tensor self, Scalar value) -> Tensor",
        "fill.Tensor(Tensor self, Tensor value) -> Tensor",
    ),
    *rows(
        like(promoted),
        "A tensor like self, all elements 0.",
        "zero(Tensor self) -> Tensor",
    ),
    *rows(
        fill,
        "self with a value where the mask is true.",
        "masked_fill.Scalar(Tensor self, Tensor mask, Scalar value) -> Tensor",
        "masked_fill.Tensor(Tensor self, Tensor mask, Tensor value) -> Tensor",
    ),
)
