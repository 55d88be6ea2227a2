"""The ufuncs: which operator computes each of them.

NumPy itself says in which dtype a ufunc computes (``np.ufunc.resolve_dtypes``); the operands are
converted to it before the operator is applied, so torch's own promotion never decides.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from farfunc_protocol.builder import Value

from ._emit import add, constant
from ._operands import emit, lower
from ._registry import UFUNCS
from ._tracer import Tracer

__all__ = ["SPECIAL", "Number", "as_value"]

Number = bool | int | float | complex
"""A concrete 0-d operand, which becomes an attribute of the operator."""

_UNARY = {
    np.arccos: "acos",
    np.arccosh: "acosh",
    np.arcsin: "asin",
    np.arcsinh: "asinh",
    np.arctan: "atan",
    np.arctanh: "atanh",
    np.cos: "cos",
    np.cosh: "cosh",
    np.deg2rad: "deg2rad",
    np.degrees: "rad2deg",
    np.exp: "exp",
    np.exp2: "exp2",
    np.expm1: "expm1",
    np.fabs: "abs",
    np.invert: "bitwise_not",
    np.isinf: "isinf",
    np.isnan: "isnan",
    np.isfinite: "isfinite",
    np.log: "log",
    np.log10: "log10",
    np.log1p: "log1p",
    np.log2: "log2",
    np.logical_not: "logical_not",
    np.negative: "neg",
    np.rad2deg: "rad2deg",
    np.radians: "deg2rad",
    np.signbit: "signbit",
    np.sin: "sin",
    np.sinh: "sinh",
    np.sqrt: "sqrt",
    np.square: "square",
    np.tan: "tan",
    np.tanh: "tanh",
}
"""One operand, one operator."""

_WITH_NUMBER = {
    np.bitwise_and: "bitwise_and",
    np.bitwise_or: "bitwise_or",
    np.bitwise_xor: "bitwise_xor",
    np.divide: "div",
    np.equal: "eq",
    np.fmod: "fmod",
    np.greater: "gt",
    np.greater_equal: "ge",
    np.less: "lt",
    np.less_equal: "le",
    np.multiply: "mul",
    np.not_equal: "ne",
    np.remainder: "remainder",
    np.subtract: "sub",
    np.add: "add",
}
"""Two operands: ``name.Tensor`` and, where the second is a number, ``name.Scalar``."""

_REVERSED = {"add": "add", "mul": "mul", "bitwise_and": "bitwise_and", "bitwise_or": "bitwise_or"}
_REVERSED |= {"bitwise_xor": "bitwise_xor", "eq": "eq", "ne": "ne", "lt": "gt", "le": "ge", "gt": "lt", "ge": "le"}
"""The operator that has its operands the other way round."""

_BINARY = {
    np.arctan2: "atan2",
    np.bitwise_left_shift: "bitwise_left_shift.Tensor",
    np.bitwise_right_shift: "bitwise_right_shift.Tensor",
    np.copysign: "copysign.Tensor",
    np.fmax: "fmax",
    np.fmin: "fmin",
    np.gcd: "gcd",
    np.hypot: "hypot",
    np.lcm: "lcm",
    np.logaddexp: "logaddexp",
    np.logaddexp2: "logaddexp2",
    np.logical_and: "logical_and",
    np.logical_or: "logical_or",
    np.logical_xor: "logical_xor",
    np.maximum: "maximum",
    np.minimum: "minimum",
    np.nextafter: "nextafter",
}
"""Two operands, both arrays."""

SPECIAL = {
    "digamma": "digamma",
    "entr": "special_entr",
    "erf": "erf",
    "erfc": "erfc",
    "erfcx": "special_erfcx",
    "erfinv": "erfinv",
    "expit": "sigmoid",
    "gammaln": "lgamma",
    "i0": "i0",
    "i0e": "special_i0e",
    "i1": "special_i1",
    "i1e": "special_i1e",
    "log_ndtr": "special_log_ndtr",
    "logit": "logit",
    "ndtr": "special_ndtr",
    "ndtri": "special_ndtri",
    "psi": "digamma",
    "xlog1py": "special_xlog1py",
    "xlogy": "xlogy.Tensor",
    "zeta": "special_zeta",
}
"""The ufuncs of scipy.special, by name: they dispatch as NumPy's do, and SciPy need not be installed."""


def _unary(op: str) -> Callable[[Value], Value]:
    return lambda x: add(op, x)


def _binary(op: str) -> Callable[[Any, Any], Value]:
    return lambda x, y: add(op, as_value(x, y), as_value(y, x))


def as_value(operand: Value | Number, other: Value | Number) -> Value:
    """A number as a constant of the other operand's dtype."""
    if isinstance(operand, Value):
        return operand
    assert isinstance(other, Value)
    from ._dtypes import numpy_dtype

    return constant(operand, numpy_dtype(other.type.dtype))


def _with_number(name: str) -> Callable[[Any, Any], Value]:
    def apply(x: Value | Number, y: Value | Number) -> Value:
        if isinstance(x, Value):
            if isinstance(y, Value):
                return add(f"{name}.Tensor", x, y)
            return add(f"{name}.Scalar", x, other=y)
        assert isinstance(y, Value)
        if name in _REVERSED:
            return add(f"{_REVERSED[name]}.Scalar", y, other=x)
        if name == "sub":
            return add("rsub.Scalar", y, other=x)
        return add(f"{name}.Tensor", as_value(x, y), y)

    return apply


def composed(ufunc: np.ufunc | None) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register a ufunc that is written with others; its operands are traced arrays or numbers."""

    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        def apply(*operands: Value | Number) -> Any:
            arrays = [Tracer.of(operand) if isinstance(operand, Value) else operand for operand in operands]
            result = function(*arrays)
            return tuple(map(lower, result)) if isinstance(result, tuple) else lower(result)

        if ufunc is not None:
            UFUNCS[ufunc] = apply
        return function

    return register


def _rounding(op: str) -> Callable[[Value], Value]:
    """Truth values and integers are whole already, and torch does not round the former."""
    return lambda x: x if x.type.dtype.startswith(("bool", "int", "uint")) else add(op, x)


def _ordered(name: str) -> Callable[[Any, Any], Value]:
    """A comparison; NumPy orders complex numbers by their real parts, then by the imaginary ones."""
    plain = _with_number(name)

    def apply(x: Any, y: Any) -> Value:
        known = x if isinstance(x, Value) else y
        if not known.type.dtype.startswith("complex"):
            return plain(x, y)
        x, y = (Tracer.of(as_value(operand, known)) for operand in (x, y))
        real, imag = (Tracer.of(plain(lower(part(x)), lower(part(y)))) for part in (np.real, np.imag))
        return lower(np.where(np.equal(np.real(x), np.real(y)), imag, real))

    return apply


for _ufunc, _op in _UNARY.items():
    UFUNCS[_ufunc] = _unary(_op)
for _ufunc, _op in _WITH_NUMBER.items():
    UFUNCS[_ufunc] = _ordered(_op) if _op in ("lt", "le", "gt", "ge") else _with_number(_op)
for _ufunc, _op in {np.ceil: "ceil", np.floor: "floor", np.trunc: "trunc"}.items():
    UFUNCS[_ufunc] = _rounding(_op)
for _ufunc, _op in _BINARY.items():
    UFUNCS[_ufunc] = _binary(_op)


def _power(x: Value | Number, y: Value | Number) -> Value:
    if not isinstance(y, Value):
        if isinstance(y, int) and y < 0 and x.type.dtype.startswith(("int", "uint")):  # type: ignore[union-attr]
            raise ValueError("Integers to negative integer powers are not allowed.")
        return add("pow.Tensor_Scalar", x, exponent=y)  # type: ignore[arg-type]
    if not isinstance(x, Value):
        return add("pow.Scalar", y, **{"self": x})
    return add("pow.Tensor_Tensor", x, y)


UFUNCS[np.power] = _power
UFUNCS[np.float_power] = _power


@composed(np.positive)
def _positive(x: Any) -> Any:
    return x


@composed(np.absolute)
def _absolute(x: Any) -> Any:
    return x if x.dtype.kind == "b" else emit("abs", x)


@composed(np.rint)
def _rint(x: Any) -> Any:
    if x.dtype.kind == "c":
        return emit("complex", emit("round", np.real(x)), emit("round", np.imag(x)))
    return emit("round", x)


@composed(np.conjugate)
def _conjugate(x: Any) -> Any:
    return emit("conj_physical", x) if x.dtype.kind == "c" else x


@composed(np.sign)
def _sign(x: Any) -> Any:
    if x.dtype.kind == "c":
        return emit("sgn", x)
    # torch's sign of NaN is 0.
    return np.where(np.isnan(x), x, emit("sign", x)) if x.dtype.kind == "f" else emit("sign", x)


@composed(np.floor_divide)
def _floor_divide(x: Any, y: Any) -> Any:
    # Unlike floor_divide, div with a rounding mode has a derivative (zero).
    if isinstance(x, Tracer) and not isinstance(y, Tracer):
        return emit("div.Scalar_mode", x, other=y, rounding_mode="floor")
    return emit("div.Tensor_mode", _like(x, y), y, rounding_mode="floor")


@composed(np.divmod)
def _divmod(x: Any, y: Any) -> Any:
    return np.floor_divide(x, y), np.remainder(x, y)


@composed(np.reciprocal)
def _reciprocal(x: Any) -> Any:
    if x.dtype.kind in "iu":
        return emit("div.Tensor_mode", np.ones((), x.dtype), x, rounding_mode="trunc")
    return emit("reciprocal", x)


@composed(np.cbrt)
def _cbrt(x: Any) -> Any:
    return np.copysign(np.abs(x) ** (1 / 3), x)


@composed(np.heaviside)
def _heaviside(x: Any, at_zero: Any) -> Any:
    # NaN stays NaN: no comparison is true of it.
    x, at_zero = _like(x, at_zero), _like(at_zero, x)
    return np.where(x == 0, at_zero, np.where(x < 0, 0.0, np.where(x > 0, 1.0, x)))


@composed(np.ldexp)
def _ldexp(x: Any, exponent: Any) -> Any:
    x = _like(x, np.float64(0))
    return x * np.exp2(np.asarray(exponent, x.dtype) if not isinstance(exponent, Tracer) else exponent.astype(x.dtype))


@composed(np.frexp)
def _frexp(x: Any) -> Any:
    from ._operands import emit_many

    return emit_many("frexp.Tensor", x)


@composed(np.modf)
def _modf(x: Any) -> Any:
    whole = np.trunc(x)
    return np.copysign(np.where(np.isinf(x), 0.0, x - whole), x), whole


def _like(operand: Any, other: Any) -> Any:
    """A number as an array of the other operand's dtype."""
    return operand if isinstance(operand, Tracer) else np.asarray(operand, other.dtype)


@composed(np.matmul)
def _matmul(x: Any, y: Any) -> Any:
    if x.dtype == bool:  # NumPy's product of truth values is `any`, torch has none
        return emit("matmul", x.astype(np.int64), y.astype(np.int64)) != 0
    return emit("matmul", x, y)


@composed(np.vecdot)
def _vecdot(x: Any, y: Any) -> Any:
    return np.sum(np.conjugate(x) * y, axis=-1, dtype=np.result_type(x.dtype, y.dtype))


@composed(getattr(np, "matvec", None))
def _matvec(x: Any, y: Any) -> Any:
    return np.squeeze(np.matmul(x, np.expand_dims(y, -1)), -1)


@composed(getattr(np, "vecmat", None))
def _vecmat(x: Any, y: Any) -> Any:
    return np.squeeze(np.matmul(np.expand_dims(np.conjugate(x), -2), y), -2)
