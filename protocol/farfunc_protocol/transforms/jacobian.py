"""jacfwd, jacrev and hessian: the derivative of each output leaf with respect to each differentiated leaf."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from ..dtypes import DTYPES
from ..errors import TransformError, TransformTypeError, TransformValueError
from ..pytree import flatten, spec_map, spec_tree
from .argnums import Argnums, leaf_positions, select, wrap_argnums
from .base import (
    Arguments,
    Transform,
    aux_attribute,
    check_differentiable_outputs,
    check_is_count,
    check_output_and_aux,
    is_array,
    leaves_of,
    not_differentiable_remedy,
    refuse_complex,
    refuse_keywords,
    require_grad,
)
from .check import RANDOMNESS
from .flat import FlatTransform, jacobian_type

__all__ = ["Hessian", "Jacfwd", "Jacrev", "check_randomness"]

_JVP = "jvp(f, primals, tangents)"
_VJP = "vjp(f, *primals)"


def check_randomness(randomness: Any) -> None:
    """One of three words, as for vmap."""
    if randomness not in RANDOMNESS:
        raise TransformError(
            f"Only allowed values for randomness are 'error', 'different', or 'same'. Got {randomness}"
        )


def _jacobian_tree(output: Any, arguments: Any, *, forward: bool) -> Any:
    """The tree of the output; in the place of each leaf, the tree of the arguments."""
    leaves, tree = flatten(output)
    blocks = [spec_map(lambda leaf, out=out: jacobian_type(out, leaf, forward=forward), arguments) for out in leaves]
    return spec_tree(tree, blocks)


@dataclass(frozen=True, slots=True)
class Jacfwd(Transform):
    """``torch.func.jacfwd``.

    >>> from farfunc_protocol.graph import TensorType
    >>> x = TensorType("float64", (3,))
    >>> Jacfwd().outer((x,), {}, {"y": TensorType("float64", ())})
    {'y': TensorType(dtype='float64', shape=(3,))}
    """

    name: ClassVar[str] = "jacfwd"
    argnums: Argnums | None = 0
    has_aux: bool = False
    randomness: str = "error"

    def inner(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Arguments:
        refuse_keywords("jacfwd", kwargs)
        refuse_complex("jacfwd", args, "inputs")
        leaves = leaves_of(select(args, self._argnums(args)))
        for leaf in leaves:
            if not is_array(leaf):
                raise TransformTypeError(
                    f"jacfwd: {type(leaf).__name__!r} object is no Tensor, and cannot be differentiated",
                    remedy=not_differentiable_remedy(leaf),
                )
        if not leaves:
            raise TransformError("tensors must have at least one element", remedy="argnums must name an array")
        check_randomness(self.randomness)
        for leaf in leaves:
            if not DTYPES[leaf.dtype].is_differentiable:
                raise TransformValueError(
                    f"Expected primal to be floating point or complex, but got: torch.{leaf.dtype}",
                    remedy=not_differentiable_remedy(leaf),
                )
        return args, dict(kwargs)

    def outer(self, args: tuple[Any, ...], kwargs: Mapping[str, Any], out: Any) -> Any:
        output, aux, _ = check_output_and_aux(_JVP, out, self.has_aux)
        refuse_complex("jacfwd", output, "outputs")
        jacobian = _jacobian_tree(output, select(args, self._argnums(args)), forward=True)
        return (jacobian, aux) if self.has_aux else jacobian

    def flat(self, args: tuple[Any, ...], kwargs: Mapping[str, Any], out: Any) -> FlatTransform:
        attributes: dict[str, Any] = {"argnums": leaf_positions(args, self._argnums(args))}
        if self.has_aux:
            attributes |= aux_attribute(out[1])
        if self.randomness != "error":
            attributes["randomness"] = self.randomness
        return FlatTransform("jacfwd", attributes)

    def _argnums(self, args: tuple[Any, ...]) -> Argnums:
        return tuple(range(len(args))) if self.argnums is None else wrap_argnums(self.argnums, len(args))


@dataclass(frozen=True, slots=True)
class Jacrev(Transform):
    """``torch.func.jacrev``.

    >>> from farfunc_protocol.graph import TensorType
    >>> x, n = TensorType("float64", (3,)), TensorType("int64", ())
    >>> Jacrev(argnums=(1,)).flat((n, x), {}, x)
    FlatTransform(name='jacrev', attributes={'argnums': (1,)})
    """

    name: ClassVar[str] = "jacrev"
    argnums: Argnums = 0
    has_aux: bool = False
    chunk_size: int | None = None

    def __post_init__(self) -> None:
        check_is_count("jacrev", self.chunk_size)
        if not (self.chunk_size is None or self.chunk_size > 0):
            raise TransformValueError("jacrev: `chunk_size` should be greater than 0.")

    def inner(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Arguments:
        refuse_keywords("jacrev", kwargs)
        refuse_complex("jacrev", args, "inputs")
        require_grad(select(args, wrap_argnums(self.argnums, len(args))))
        return args, dict(kwargs)

    def outer(self, args: tuple[Any, ...], kwargs: Mapping[str, Any], out: Any) -> Any:
        output, aux, leaves = check_output_and_aux(_VJP, out, self.has_aux)
        check_differentiable_outputs(leaves)
        refuse_complex("jacrev", output, "outputs")
        arguments = select(args, wrap_argnums(self.argnums, len(args)))
        if not leaves_of(arguments):
            raise TransformValueError("jacrev: argnums must name at least one Tensor")
        jacobian = _jacobian_tree(output, arguments, forward=False)
        return (jacobian, aux) if self.has_aux else jacobian

    def flat(self, args: tuple[Any, ...], kwargs: Mapping[str, Any], out: Any) -> FlatTransform:
        attributes: dict[str, Any] = {"argnums": leaf_positions(args, wrap_argnums(self.argnums, len(args)))}
        if self.has_aux:
            attributes |= aux_attribute(out[1])
        if self.chunk_size is not None:
            attributes["chunk_size"] = int(self.chunk_size)
        return FlatTransform("jacrev", attributes)


@dataclass(frozen=True, slots=True)
class Hessian(Transform):
    """``torch.func.hessian``: forward over reverse, ``jacfwd(jacrev(f, argnums), argnums)``."""

    name: ClassVar[str] = "hessian"
    argnums: Argnums = 0

    def inner(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Arguments:
        return Jacrev(self.argnums).inner(*Jacfwd(self.argnums).inner(args, kwargs))

    def outer(self, args: tuple[Any, ...], kwargs: Mapping[str, Any], out: Any) -> Any:
        return Jacfwd(self.argnums).outer(args, kwargs, Jacrev(self.argnums).outer(args, kwargs, out))

    def flat(self, args: tuple[Any, ...], kwargs: Mapping[str, Any], out: Any) -> FlatTransform:
        return FlatTransform("hessian", {"argnums": leaf_positions(args, wrap_argnums(self.argnums, len(args)))})
