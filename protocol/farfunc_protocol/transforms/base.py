"""A transform as the user states it, over pytrees.

Its rules work on *spec trees*: ordinary Python structures whose array leaves are ``TensorType``
and whose other leaves are static values. Errors have the words of torch.func, and are instances
of the class that torch.func raises (:class:`~farfunc_protocol.errors.TransformError` is a
``RuntimeError``, ``TransformValueError`` a ``ValueError``, and so on).
"""

from __future__ import annotations

import reprlib
from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cache
from typing import Any, ClassVar, Protocol, TypeGuard

import numpy as np

from ..dtypes import DTYPES
from ..errors import TransformError, TransformTypeError, TransformValueError
from ..pytree import LEAF, flatten
from ..tensor_type import TensorType
from .flat import FlatTransform

__all__ = ["Arguments", "Depends", "Transform"]

Arguments = tuple[tuple[Any, ...], dict[str, Any]]
"""``args`` and ``kwargs`` of a call, as spec trees."""


class Depends(Protocol):
    """Which array leaves of a function's result depend on certain array leaves of its arguments."""

    def __call__(self, positions: Collection[int], *, derivative: bool = False) -> Sequence[bool]:
        """Tell it for the arguments at ``positions``; with ``derivative``, whether a derivative arrives."""
        ...


@cache
def _compared(cls: type) -> tuple[str, ...]:
    return tuple(field.name for field in fields(cls) if field.compare)


def _key_of(parameter: Any) -> Hashable:
    if type(parameter) in (int, bool, str, type(None)):  # all there are, in most calls
        return LEAF, repr(parameter)
    leaves, spec = flatten(parameter)
    return spec, *map(repr, leaves)


@dataclass(frozen=True, slots=True)
class Transform:
    """One transform of torch.func with its parameters; each kind is a frozen dataclass."""

    name: ClassVar[str]

    @property
    def key(self) -> Hashable:
        """Equal for two transforms that do the same: parameters that are trees are compared by structure and leaves."""
        return self.name, *[_key_of(getattr(self, name)) for name in _compared(type(self))]

    def inner(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Arguments:
        """What the function inside is called with, if the transformed one is called with ``args`` and ``kwargs``.

        Raises
        ------
        TransformError
            If torch.func refuses the arguments.
        """
        raise NotImplementedError

    def outer(self, args: tuple[Any, ...], kwargs: Mapping[str, Any], out: Any) -> Any:
        """What the transformed function returns, if the one inside returns ``out``.

        Raises
        ------
        TransformError
            If torch.func refuses the result.
        """
        raise NotImplementedError

    def flat(self, args: tuple[Any, ...], kwargs: Mapping[str, Any], out: Any) -> FlatTransform:
        """The same transform over leaves; for arguments and results that are accepted."""
        raise NotImplementedError

    def check_dependence(self, args: tuple[Any, ...], kwargs: Mapping[str, Any], out: Any, depends: Depends) -> None:
        """Raise what torch.func raises where a result must, or must not, depend on certain arguments."""


def is_array(leaf: Any) -> TypeGuard[TensorType]:
    """Whether a leaf of a spec tree stands for an array."""
    return isinstance(leaf, TensorType)


def leaves_of(tree: Any) -> list[Any]:
    """All leaves, static ones included."""
    return flatten(tree)[0]


def arrays_of(tree: Any) -> list[TensorType]:
    """The array leaves: those that have a place in the flat form."""
    return [leaf for leaf in leaves_of(tree) if is_array(leaf)]


def refuse_complex(api: str, tree: Any, what: str) -> None:
    """jacfwd and jacrev are defined for real functions only."""
    for index, leaf in enumerate(leaves_of(tree)):
        if is_array(leaf) and DTYPES[leaf.dtype].category == "complex":
            raise TransformError(
                f"{api}: Expected all {what} to be real but received complex tensor at flattened input idx: {index}",
                remedy="differentiate with respect to the real and imaginary parts, or use vjp or jvp",
            )


def refuse_keywords(api: str, kwargs: Mapping[str, Any]) -> None:
    """What jacfwd and jacrev return takes positional arguments only, in torch.func as well."""
    for name in kwargs:
        raise TransformTypeError(
            f"{api}(f)(...) got an unexpected keyword argument {name!r}",
            remedy="bind it first: functools.partial(f, name=value)",
        )


def require_grad(tree: Any) -> None:
    """Each leaf must be an array of a dtype that can require gradients."""
    for leaf in leaves_of(tree):
        if not is_array(leaf):
            raise TransformValueError(
                f"Thing passed to transform API must be Tensor, got {type(leaf)}",
                remedy=not_differentiable_remedy(leaf),
            )
        if not DTYPES[leaf.dtype].is_differentiable:
            raise TransformError(
                "only Tensors of floating point dtype can require gradients",
                remedy=not_differentiable_remedy(leaf),
            )


def not_differentiable_remedy(leaf: Any) -> str:
    """What to do about an argument by which nothing can be differentiated; torch's words for it do not show it."""
    if is_array(leaf):
        return f"the argument is {leaf}: convert it to a floating dtype, or leave it out of argnums"
    if isinstance(leaf, np.ndarray):
        return f"the argument is an array of dtype {leaf.dtype}: convert it to a floating dtype"
    instead = f"write {float(leaf)}" if isinstance(leaf, int) and abs(leaf) < 2**53 else "give an array"
    return f"the argument is {reprlib.repr(leaf)}, a value of the function: {instead}, or leave it out of argnums"


def check_is_count(api: str, chunk_size: Any) -> None:
    """A chunk size may be whatever Python counts with, NumPy's integers included."""
    if chunk_size is not None and not hasattr(chunk_size, "__index__"):
        raise TransformTypeError(f"{api}: chunk_size is an integer or None, not {reprlib.repr(chunk_size)}")


def split_aux(api: str, out: Any, has_aux: bool) -> tuple[Any, Any]:
    """Take ``(output, aux)`` apart; aux is ``()`` where there is none."""
    if not has_aux:
        return out, ()
    if not (isinstance(out, tuple) and len(out) == 2):
        raise TransformError(f"{api}: output of function f should be a tuple: (output, aux) if has_aux is True")
    return out[0], out[1]


def check_aux(aux: Any) -> None:
    """Aux may be a tree, but of arrays only."""
    for leaf in leaves_of(aux):
        if not is_array(leaf):
            raise TransformError(f"Expected tensors, got unsupported type {type(leaf)}")


def check_outputs(api: str, output: Any) -> list[TensorType]:
    """The leaves of a function's output, which must be arrays and at least one."""
    leaves = leaves_of(output)
    if (len(leaves) == 1 and leaves[0] is None) or not leaves:
        raise TransformError(
            f"{api}: Expected f to be a function that has non-empty output (got output = {leaves})",
            remedy="return an array from the function",
        )
    for leaf in leaves:
        if not is_array(leaf):
            raise TransformError(
                f"{api}: expected f(*primals) to return only tensors, got unsupported type {type(leaf)}"
            )
    return leaves


def check_differentiable_outputs(leaves: Sequence[TensorType]) -> None:
    """Reverse mode starts from floating-point or complex outputs."""
    for leaf in leaves:
        if not DTYPES[leaf.dtype].is_differentiable:
            raise TransformError(
                "vjp(f, ...): All outputs of f must be floating-point or complex Tensors, got Tensor with dtype "
                f"torch.{leaf.dtype}",
                remedy="return it as aux, with has_aux=True",
            )


def check_output_and_aux(api: str, out: Any, has_aux: bool) -> tuple[Any, Any, list[TensorType]]:
    """The output, aux, and the leaves of the output, in torch's order of checks."""
    output, aux = split_aux(api, out, has_aux)
    check_aux(aux)
    return output, aux, check_outputs(api, output)


def aux_attribute(aux: Any) -> dict[str, int]:
    """The flat attribute that counts the leaves of aux."""
    count = len(arrays_of(aux))
    return {"aux": count} if count else {}
