"""vmap: one function over a batch of arguments."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from ..errors import TransformIndexError, TransformValueError
from ..pytree import broadcast_prefix, flatten, spec_tree
from .base import Arguments, Depends, Transform, arrays_of, check_is_count, is_array, leaves_of
from .flat import FlatTransform, with_axis, without_axis
from .jacobian import check_randomness
from .torch_words import structure_text

__all__ = ["Vmap"]


@dataclass(frozen=True, slots=True)
class Vmap(Transform):
    """``torch.func.vmap``.

    Attributes
    ----------
    in_dims, out_dims, randomness, chunk_size:
        As in torch.func; ``in_dims`` and ``out_dims`` may be trees.
    function_name:
        What the messages call the function.

    >>> from farfunc_protocol.graph import TensorType
    >>> x, w = TensorType("float32", (8, 3)), TensorType("float32", (3,))
    >>> Vmap(in_dims=(0, None)).inner((x, w), {})[0]
    (TensorType(dtype='float32', shape=(3,)), TensorType(dtype='float32', shape=(3,)))
    """

    name: ClassVar[str] = "vmap"
    in_dims: Any = 0
    out_dims: Any = 0
    randomness: str = "error"
    chunk_size: int | None = None
    function_name: str = field(default="f", compare=False, repr=False)

    def __post_init__(self) -> None:
        check_randomness(self.randomness)
        check_is_count("vmap", self.chunk_size)
        if not (self.chunk_size is None or self.chunk_size > 0):
            raise TransformValueError(f"vmap: chunk_size should be None or greater than 0. (got {self.chunk_size})")

    def inner(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Arguments:
        self._check_out_dims()
        in_dims = self._flat_in_dims(args)
        leaves, tree = flatten(args)
        sizes = [leaf.shape[axis] for leaf, axis in zip(leaves, in_dims, strict=True) if axis is not None]
        if not sizes:
            raise TransformValueError("vmap: Expected at least one Tensor to vmap over")
        if any(size != sizes[0] for size in sizes):
            raise TransformValueError(
                "vmap: Expected all tensors to have the same size in the mapped dimension, "
                f"got sizes {sizes} for the mapped dimension"
            )
        inside = [
            leaf if axis is None else without_axis(leaf, axis) for leaf, axis in zip(leaves, in_dims, strict=True)
        ]
        return spec_tree(tree, inside), dict(kwargs)

    def outer(self, args: tuple[Any, ...], kwargs: Mapping[str, Any], out: Any) -> Any:
        pairs = zip(leaves_of(args), self._flat_in_dims(args), strict=True)
        size = next(leaf.shape[axis] for leaf, axis in pairs if axis is not None)
        leaves, tree = flatten(out)
        outside = [
            leaf if axis is None else with_axis(leaf, axis, size)
            for leaf, axis in zip(leaves, self._flat_out_dims(out), strict=True)
        ]
        return spec_tree(tree, outside)

    def flat(self, args: tuple[Any, ...], kwargs: Mapping[str, Any], out: Any) -> FlatTransform:
        # Axes from the front: torch.func takes a negative out_dim of an unbatched output for another axis.
        in_dims = [axis for leaf, axis in zip(leaves_of(args), self._flat_in_dims(args), strict=True) if is_array(leaf)]
        out_dims = [axis for leaf, axis in zip(leaves_of(out), self._flat_out_dims(out), strict=True) if is_array(leaf)]
        attributes: dict[str, Any] = {
            "in_dims": (*in_dims, *[None] * len(arrays_of(kwargs))),
            "out_dims": tuple(out_dims),
        }
        if self.randomness != "error":
            attributes["randomness"] = self.randomness
        if self.chunk_size is not None:
            attributes["chunk_size"] = int(self.chunk_size)
        return FlatTransform("vmap", attributes)

    def check_dependence(self, args: tuple[Any, ...], kwargs: Mapping[str, Any], out: Any, depends: Depends) -> None:
        unbatched = [
            position
            for position, axis in enumerate(self.flat(args, kwargs, out).attributes["out_dims"])
            if axis is None
        ]
        if not unbatched:
            return
        in_dims = self.flat(args, kwargs, out).attributes["in_dims"]
        batched = depends([position for position, axis in enumerate(in_dims) if axis is not None])
        if any(batched[position] for position in unbatched):
            raise TransformValueError(
                f"vmap({self.function_name}, ...): `{self.function_name}` can not return a BatchedTensor when "
                "out_dim is None"
            )

    def _flat_in_dims(self, args: tuple[Any, ...]) -> list[int | None]:
        """One axis for each leaf of ``args``, static ones included; None where it is not mapped."""
        name, in_dims = self.function_name, self.in_dims
        call = f"vmap({name}, in_dims={in_dims}, ...)(<inputs>)"
        if not isinstance(in_dims, int | tuple):
            raise TransformValueError(
                f"{call}: expected `in_dims` to be int or a (potentially nested) tuple matching the structure of "
                f"inputs, got: {type(in_dims)}."
            )
        if not args:
            raise TransformValueError(
                f"vmap({name})(<inputs>): got no inputs. Maybe you forgot to add inputs, or you are trying to vmap "
                "over a function with no inputs. The latter is unsupported."
            )
        leaves, tree = flatten(args)
        try:
            axes = broadcast_prefix(in_dims, tree)
        except TransformValueError:
            raise TransformValueError(
                f"{call}: in_dims is not compatible with the structure of `inputs`. in_dims has structure "
                f"{structure_text(in_dims)} but inputs has structure {structure_text(args)}."
            ) from None
        return [_in_axis(call, leaf, axis) for leaf, axis in zip(leaves, axes, strict=True)]

    def _check_out_dims(self) -> None:
        for axis in [self.out_dims] if isinstance(self.out_dims, int) else leaves_of(self.out_dims):
            if not isinstance(axis, int) and axis is not None:
                raise TransformValueError(
                    f"vmap({self.function_name}, ..., out_dims={self.out_dims}): `out_dims` must be an int, None or a "
                    "python collection of ints representing where in the outputs the vmapped dimension should appear."
                )

    def _flat_out_dims(self, out: Any) -> list[int | None]:
        """One axis for each leaf of ``out``, static ones included."""
        name, out_dims = self.function_name, self.out_dims
        leaves, tree = flatten(out)
        try:
            single = is_array(out) and isinstance(out_dims, tuple) and len(out_dims) == 1
            axes = broadcast_prefix(out_dims[0] if single else out_dims, tree)  # torch takes (0,) for one tensor, too
        except TransformValueError:
            raise TransformValueError(
                f"vmap({name}, ..., out_dims={out_dims})(<inputs>): out_dims is not compatible with the structure of "
                f"`outputs`. out_dims has structure {structure_text(out_dims)} but outputs has structure "
                f"{structure_text(out)}."
            ) from None
        return [_out_axis(name, leaf, axis) for leaf, axis in zip(leaves, axes, strict=True)]


def _in_axis(call: str, leaf: Any, axis: Any) -> int | None:
    if axis is None:
        return None
    if not isinstance(axis, int):
        raise TransformValueError(
            f"{call}: Got in_dim={axis} for an input but in_dim must be either an integer dimension or None."
        )
    if not is_array(leaf):
        raise TransformValueError(
            f"{call}: Got in_dim={axis} for an input but the input is of type {type(leaf)}. We cannot vmap over "
            "non-Tensor arguments, please use None as the respective in_dim"
        )
    rank = len(leaf.shape)
    if not -rank <= axis < rank:
        raise TransformValueError(
            f"{call}: Got in_dim={axis} for some input, but that input is a Tensor of dimensionality {rank} so "
            f"expected in_dim to satisfy -{rank} <= in_dim < {rank}."
        )
    return axis % rank


def _out_axis(name: str, leaf: Any, axis: Any) -> int | None:
    if axis is None:
        return None
    if not is_array(leaf):
        raise TransformValueError(
            f"vmap({name}, ...): `{name}` must only return Tensors, got type {type(leaf)}. "
            "Did you mean to set out_dims= to None for output?"
        )
    rank = len(leaf.shape) + 1
    if not -rank <= axis < rank:
        raise TransformIndexError(
            f"Dimension out of range (expected to be in range of [{-rank}, {rank - 1}], but got {axis})"
        )
    return axis % rank
