"""Elementary functions of one tensor."""

from __future__ import annotations

from . import costs
from .op import Op, rows
from .shapes.elementwise import (
    absolute,
    argument,
    cast,
    cast_like,
    complex_of_parts,
    component,
    floating,
    frexp,
    like,
    numeric,
    promoted,
    real,
    squared,
    view_as_complex,
    view_as_real,
)

__all__ = ["ROWS"]

ROWS: tuple[Op, ...] = (
    *rows(
        like(absolute),
        "Modulus of each element.",
        "abs(Tensor self) -> Tensor",
    ),
    *rows(
        like(promoted),
        "Sign; of a complex number z, z / abs(z).",
        "sgn(Tensor self) -> Tensor",
    ),
    *rows(
        like(real),
        "Sign: -1, 0 or 1.",
        "sign(Tensor self) -> Tensor",
    ),
    *rows(
        like(numeric),
        "Each element with the other sign.",
        "neg(Tensor self) -> Tensor",
    ),
    *rows(
        like(numeric),
        "The tensor itself.",
        "positive(Tensor(a) self) -> Tensor(a)",
        cost=costs.free,
    ),
    *rows(
        like(floating),
        "1 / x.",
        "reciprocal(Tensor self) -> Tensor",
    ),
    *rows(
        squared,
        "x squared.",
        "square(Tensor self) -> Tensor",
    ),
    *rows(
        like(floating),
        "Square root.",
        "sqrt(Tensor self) -> Tensor",
        cost=costs.transcendental,
    ),
    *rows(
        like(floating),
        "1 / sqrt(x).",
        "rsqrt(Tensor self) -> Tensor",
        cost=costs.transcendental,
    ),
    *rows(
        like(floating),
        "The exponential: e to the power x.",
        "exp(Tensor self) -> Tensor",
        cost=costs.transcendental,
    ),
    *rows(
        like(floating),
        "2 to the power x.",
        "exp2(Tensor self) -> Tensor",
        cost=costs.transcendental,
    ),
    *rows(
        like(floating),
        "exp(x) - 1, exact near 0.",
        "expm1(Tensor self) -> Tensor",
        cost=costs.transcendental,
    ),
    *rows(
        like(floating),
        "Natural logarithm.",
        "log(Tensor self) -> Tensor",
        cost=costs.transcendental,
    ),
    *rows(
        like(floating),
        "Logarithm to base 2.",
        "log2(Tensor self) -> Tensor",
        cost=costs.transcendental,
    ),
    *rows(
        like(floating),
        "Logarithm to base 10.",
        "log10(Tensor self) -> Tensor",
        cost=costs.transcendental,
    ),
    *rows(
        like(floating),
        "log(1 + x), exact near 0.",
        "log1p(Tensor self) -> Tensor",
        cost=costs.transcendental,
    ),
    *rows(
        like(floating),
        "Sine.",
        "sin(Tensor self) -> Tensor",
        cost=costs.transcendental,
    ),
    *rows(
        like(floating),
        "Cosine.",
        "cos(Tensor self) -> Tensor",
        cost=costs.transcendental,
    ),
    *rows(
        like(floating),
        "Tangent.",
        "tan(Tensor self) -> Tensor",
        cost=costs.transcendental,
    ),
    *rows(
        like(floating),
        "Inverse sine.",
        "asin(Tensor self) -> Tensor",
        cost=costs.transcendental,
    ),
    *rows(
        like(floating),
        "Inverse cosine.",
        "acos(Tensor self) -> Tensor",
        cost=costs.transcendental,
    ),
    *rows(
        like(floating),
        "Inverse tangent.",
        "atan(Tensor self) -> Tensor",
        cost=costs.transcendental,
    ),
    *rows(
        like(floating),
        "Hyperbolic sine.",
        "sinh(Tensor self) -> Tensor",
        cost=costs.transcendental,
    ),
    *rows(
        like(floating),
        "Hyperbolic cosine.",
        "cosh(Tensor self) -> Tensor",
        cost=costs.transcendental,
    ),
    *rows(
        like(floating),
        "Hyperbolic tangent.",
        "tanh(Tensor self) -> Tensor",
        cost=costs.transcendental,
    ),
    *rows(
        like(floating),
        "Inverse hyperbolic sine.",
        "asinh(Tensor self) -> Tensor",
        cost=costs.transcendental,
    ),
    *rows(
        like(floating),
        "Inverse hyperbolic cosine.",
        "acosh(Tensor self) -> Tensor",
        cost=costs.transcendental,
    ),
    *rows(
        like(floating),
        "Inverse hyperbolic tangent.",
        "atanh(Tensor self) -> Tensor",
        cost=costs.transcendental,
    ),
    *rows(
        like(floating),
        "sin(pi x) / (pi x), and 1 at 0.",
        "sinc(Tensor self) -> Tensor",
        cost=costs.transcendental,
    ),
    *rows(
        like(floating),
        "Degrees to radians.",
        "deg2rad(Tensor self) -> Tensor",
    ),
    *rows(
        like(floating),
        "Radians to degrees.",
        "rad2deg(Tensor self) -> Tensor",
    ),
    *rows(
        like(real),
        "The least integer not below x.",
        "ceil(Tensor self) -> Tensor",
    ),
    *rows(
        like(real),
        "The greatest integer not above x.",
        "floor(Tensor self) -> Tensor",
    ),
    *rows(
        like(real),
        "The nearest integer, of two the even one.",
        "round(Tensor self) -> Tensor",
    ),
    *rows(
        like(real),
        "Rounded to some decimals.",
        "round.decimals(Tensor self, *, int decimals) -> Tensor",
    ),
    *rows(
        like(real),
        "The integer part.",
        "trunc(Tensor self) -> Tensor",
    ),
    *rows(
        like(real),
        "The fractional part.",
        "frac(Tensor self) -> Tensor",
    ),
    *rows(
        frexp,
        "Mantissa and binary exponent.",
        "frexp.Tensor(Tensor self) -> (Tensor mantissa, Tensor exponent)",
    ),
    *rows(
        like(promoted),
        "NaN and infinities replaced by numbers.",
        "nan_to_num(Tensor self, float? nan=None, float? posinf=None, float? neginf=None) -> Tensor",
    ),
    *rows(
        like(argument),
        "The argument of a complex number.",
        "angle(Tensor self) -> Tensor",
        cost=costs.transcendental,
    ),
    *rows(
        like(absolute),
        "The real part.",
        "real(Tensor(a) self) -> Tensor(a)",
        cost=costs.free,
    ),
    *rows(
        component,
        "The imaginary part.",
        "imag(Tensor(a) self) -> Tensor(a)",
        cost=costs.free,
    ),
    *rows(
        like(promoted),
        "The complex conjugate.",
        "conj_physical(Tensor self) -> Tensor",
    ),
    *rows(
        like(promoted),
        "The complex conjugate, as a view.",
        "_conj(Tensor(a) self) -> Tensor(a)",
        cost=costs.free,
    ),
    *rows(
        like(promoted),
        "The tensor with a pending conjugation carried out.",
        "resolve_conj(Tensor(a) self) -> Tensor(a)",
    ),
    *rows(
        like(promoted),
        "The tensor with a pending negation carried out.",
        "resolve_neg(Tensor(a) self) -> Tensor(a)",
    ),
    *rows(
        view_as_real,
        "Real and imaginary parts, as a last axis of length 2.",
        "view_as_real(Tensor(a) self) -> Tensor(a)",
        cost=costs.free,
    ),
    *rows(
        view_as_complex,
        "A last axis of length 2 as real and imaginary parts.",
        "view_as_complex(Tensor(a) self) -> Tensor(a)",
        cost=costs.free,
    ),
    *rows(
        complex_of_parts,
        "A complex tensor of its real and imaginary parts.",
        "complex(Tensor real, Tensor imag) -> Tensor",
    ),
    *rows(
        complex_of_parts,
        "A complex tensor of its moduli and arguments.",
        "polar(Tensor abs, Tensor angle) -> Tensor",
        cost=costs.transcendental,
    ),
    *rows(
        cast,
        "The tensor in another dtype.",
        "to.dtype(Tensor(a) self, ScalarType dtype, bool non_blocking=False, bool copy=False, "
        "MemoryFormat? memory_format=None) -> Tensor(a)",
    ),
    *rows(
        cast_like,
        "The tensor in the dtype of another one.",
        "to.other(Tensor(a) self, Tensor other, bool non_blocking=False, bool copy=False, "
        "MemoryFormat? memory_format=None) -> Tensor(a)",
        "type_as(Tensor self, Tensor other) -> Tensor",
    ),
    *rows(
        cast,
        "A copy, perhaps in another dtype.",
        "_to_copy(Tensor self, *, ScalarType? dtype=None, Layout? layout=None, Device? device=None, "
        "bool? pin_memory=None, bool non_blocking=False, MemoryFormat? memory_format=None) -> Tensor",
    ),
    *rows(
        like(promoted),
        "A copy.",
        "clone(Tensor self, *, MemoryFormat? memory_format=None) -> Tensor",
    ),
    *rows(
        like(promoted),
        "The tensor itself.",
        "alias(Tensor(a) self) -> Tensor(a)",
        cost=costs.free,
    ),
    *rows(
        like(promoted),
        "The tensor, constant in derivatives.",
        "detach(Tensor(a) self) -> Tensor(a)",
        cost=costs.free,
    ),
    *rows(
        like(promoted),
        "The tensor, its elements in order.",
        "contiguous(Tensor(a) self, *, MemoryFormat memory_format=0) -> Tensor(a)",
    ),
    *rows(
        like(promoted),
        "The tensor itself (a constant of a traced function).",
        "lift_fresh(Tensor(a) self) -> Tensor(a)",
        cost=costs.free,
    ),
)
