"""grad and grad_and_value: the gradient of a scalar function."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from ..dtypes import DTYPES
from ..errors import TransformError
from .argnums import Argnums, leaf_positions, select, wrap_argnums
from .base import Arguments, Transform, aux_attribute, check_aux, is_array, leaves_of, require_grad, split_aux
from .flat import FlatTransform

__all__ = ["Grad", "GradAndValue"]

_API = "grad_and_value(f)(*args)"


@dataclass(frozen=True, slots=True)
class GradAndValue(Transform):
    """``torch.func.grad_and_value``.

    >>> from farfunc_protocol.graph import TensorType
    >>> x, loss = TensorType("float32", (3,)), TensorType("float32", ())
    >>> GradAndValue().outer((x,), {}, loss) == (x, loss)
    True
    """

    name: ClassVar[str] = "grad_and_value"
    argnums: Argnums = 0
    has_aux: bool = False

    def inner(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Arguments:
        arguments = select(args, wrap_argnums(self.argnums, len(args)))
        require_grad(arguments)
        if not leaves_of(arguments):
            raise TransformError(f"{self.name}: argnums must name at least one Tensor")
        return args, dict(kwargs)

    def outer(self, args: tuple[Any, ...], kwargs: Mapping[str, Any], out: Any) -> Any:
        value, aux = split_aux(_API, out, self.has_aux)
        if not is_array(value):
            raise TransformError(f"{_API}: Expected f(*args) to return a Tensor, got {type(value)}")
        if value.shape:
            raise TransformError(
                f"{_API}: Expected f(*args) to return a scalar Tensor, got tensor with {len(value.shape)} dims. "
                "Maybe you wanted to use the vjp or jacrev APIs instead?"
            )
        if DTYPES[value.dtype].category == "complex":
            raise TransformError(
                f"grad can be implicitly created only for real scalar outputs but got torch.{value.dtype}",
                remedy="return its real part, or use vjp",
            )
        check_aux(aux)
        gradient = select(args, wrap_argnums(self.argnums, len(args)))
        return self._result(gradient, value, aux)

    def _result(self, gradient: Any, value: Any, aux: Any) -> Any:
        return (gradient, (value, aux)) if self.has_aux else (gradient, value)

    def flat(self, args: tuple[Any, ...], kwargs: Mapping[str, Any], out: Any) -> FlatTransform:
        attributes: dict[str, Any] = {"argnums": leaf_positions(args, wrap_argnums(self.argnums, len(args)))}
        if self.has_aux:
            attributes |= aux_attribute(out[1])
        return FlatTransform(self.name, attributes)


@dataclass(frozen=True, slots=True)
class Grad(GradAndValue):
    """``torch.func.grad``, whose errors speak of grad_and_value, too."""

    name: ClassVar[str] = "grad"

    def _result(self, gradient: Any, value: Any, aux: Any) -> Any:
        return (gradient, aux) if self.has_aux else gradient
