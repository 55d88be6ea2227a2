"""jvp and vjp: a Jacobian times a vector, from either side.

Each makes of f one function of two arguments: ``(primals, tangents)`` or ``(primals, cotangents)``.
The callables that ``vjp`` and ``linearize`` return hold the primals and supply the rest.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from ..dtypes import DTYPES
from ..errors import TransformError, TransformTypeError, TransformValueError
from ..pytree import flatten, spec_map
from .base import (
    Arguments,
    Depends,
    Transform,
    arrays_of,
    aux_attribute,
    check_differentiable_outputs,
    check_output_and_aux,
    is_array,
    leaves_of,
    require_grad,
)
from .flat import FlatTransform
from .torch_words import size_text, structure_text, tree_text

__all__ = ["Jvp", "Vjp"]

_JVP = "jvp(f, primals, tangents)"


@dataclass(frozen=True, slots=True)
class Jvp(Transform):
    """``torch.func.jvp``, as a function of ``(primals, tangents)``."""

    name: ClassVar[str] = "jvp"
    strict: bool = False
    has_aux: bool = False

    def inner(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Arguments:
        primals, tangents = args
        if not isinstance(primals, tuple):
            raise TransformError(
                f"{_JVP}: Expected primals to be a tuple. E.g. it should be valid to call f(*primals)."
            )
        flat_primals, flat_tangents = leaves_of(primals), leaves_of(tangents)
        if flatten(primals)[1] != flatten(tangents)[1]:
            raise TransformError(
                f"{_JVP}: Expected primals and tangents to have the same python structure. For example, if primals is "
                f"a tuple of 3 tensors, tangents also must be. Got primals with structure {structure_text(primals)} "
                f"and tangents with structure {structure_text(tangents)}"
            )
        for name, leaves in (("primals", flat_primals), ("tangents", flat_tangents)):
            if not leaves:
                raise TransformError(f"{_JVP}: Expected {name} to contain at least one Tensor.")
            for leaf in leaves:
                if not is_array(leaf):
                    raise TransformError(f"{_JVP}: Expected {name} to only contain Tensors, got {type(leaf)}")
        for primal, tangent in zip(flat_primals, flat_tangents, strict=True):
            for word, leaf in (("primal", primal), ("tangent", tangent)):
                if not DTYPES[leaf.dtype].is_differentiable:
                    raise TransformValueError(
                        f"Expected {word} to be floating point or complex, but got: torch.{leaf.dtype}"
                    )
            if primal.shape != tangent.shape:
                raise TransformError(
                    "Trying to set a forward gradient that has a different size than that of the original Tensor, "
                    f"this is not supported. Tensor is of size {list(primal.shape)} while the given forward gradient "
                    f"is of size {list(tangent.shape)}."
                )
        return primals, {}

    def outer(self, args: tuple[Any, ...], kwargs: Mapping[str, Any], out: Any) -> Any:
        output, aux, _ = check_output_and_aux(_JVP, out, self.has_aux)
        return (output, output, aux) if self.has_aux else (output, output)

    def flat(self, args: tuple[Any, ...], kwargs: Mapping[str, Any], out: Any) -> FlatTransform:
        return FlatTransform("jvp", aux_attribute(out[1]) if self.has_aux else {})

    def check_dependence(self, args: tuple[Any, ...], kwargs: Mapping[str, Any], out: Any, depends: Depends) -> None:
        if not self.strict:
            return
        outputs = len(arrays_of(out[0] if self.has_aux else out))
        if not all(depends(range(len(arrays_of(args[0]))), derivative=True)[:outputs]):
            raise TransformError(
                "jvp(f, primals, tangents, strict=True): The output of f is independent of the inputs. "
                "This is not allowed with strict=True."
            )


@dataclass(frozen=True, slots=True)
class Vjp(Transform):
    """``torch.func.vjp`` together with the callable that it returns: a function of ``(primals, cotangents)``.

    It returns ``(output, gradients)``, or ``(output, gradients, aux)``; gradients is a tuple with
    one tree for each primal.
    """

    name: ClassVar[str] = "vjp"
    has_aux: bool = False

    def inner(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Arguments:
        primals = args[0]
        require_grad(primals)
        return tuple(primals), {}

    def check_output(self, out: Any) -> tuple[Any, Any]:
        """The output and aux of the function, as :func:`torch.func.vjp` checks them before it returns."""
        output, aux, leaves = check_output_and_aux("vjp(f, *primals)", out, self.has_aux)
        check_differentiable_outputs(leaves)
        return output, aux

    def outer(self, args: tuple[Any, ...], kwargs: Mapping[str, Any], out: Any) -> Any:
        primals, cotangents = args
        output, aux = self.check_output(out)
        if flatten(cotangents)[1] != flatten(output)[1]:
            raise TransformError(
                "Expected pytree structure of cotangents to be the same as pytree structure of outputs to the "
                f"function. cotangents: {tree_text(cotangents)}, primal output: {tree_text(output)}"
            )
        pairs = zip(leaves_of(cotangents), leaves_of(output), strict=True)
        for index, (cotangent, leaf) in enumerate(pairs):
            if not is_array(cotangent):
                raise TransformTypeError(
                    f"gradients can be either Tensors or None, but got {type(cotangent).__name__}",
                    remedy="give one array for each output of the function",
                )
            if cotangent.shape != leaf.shape:
                raise TransformError(
                    f"Mismatch in shape: grad_output[{index}] has a shape of {size_text(cotangent.shape)} and "
                    f"output[{index}] has a shape of {size_text(leaf.shape)}."
                )
        gradients = spec_map(lambda leaf: leaf, tuple(primals))
        return (output, gradients, aux) if self.has_aux else (output, gradients)

    def flat(self, args: tuple[Any, ...], kwargs: Mapping[str, Any], out: Any) -> FlatTransform:
        return FlatTransform("vjp", aux_attribute(out[1]) if self.has_aux else {})
