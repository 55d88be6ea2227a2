"""The flat form: a transform of a function that takes leaves and returns leaves.

It is the form of the wire and of higher-order equations. Positions are leaf positions; what the
function captures is invisible to it. Attributes that have torch.func's default are left out.

================== ============================================= ==================================================
name               attributes                                    outputs
================== ============================================= ==================================================
``jacfwd``         ``argnums``, ``aux``, ``randomness``          for each output leaf, for each argnum; then aux
``jacrev``         ``argnums``, ``aux``, ``chunk_size``          the same
``hessian``        ``argnums``                                   for each output leaf, each argnum, each argnum
``grad``           ``argnums``, ``aux``                          one gradient for each argnum; then aux
``grad_and_value`` ``argnums``, ``aux``                          gradients, value, aux
``vmap``           ``in_dims``, ``out_dims``, ``randomness``,    the function's, each with a batch axis
                   ``chunk_size``
``jvp``            ``aux``                                       outputs, their tangents, aux
``vjp``            ``aux``                                       outputs, one gradient for each leaf, aux
``call``           none                                          the function's own: a stored function inside another
================== ============================================= ==================================================

``aux`` counts the trailing outputs of the function that are not differentiated. ``jvp`` takes
the leaves and then one tangent for each; ``vjp`` the leaves and then one cotangent for each
output that is not aux; all others take the leaves.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..errors import InvalidGraph
from ..strict_json import canonical_json, shown
from ..tensor_type import Dimension, TensorType

__all__ = ["ATTRIBUTES", "TRANSFORM_NAMES", "FlatTransform", "flat_inner_types", "flat_result_types", "primal_count"]

ATTRIBUTES: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "jacfwd": (("argnums",), ("aux", "randomness")),
    "jacrev": (("argnums",), ("aux", "chunk_size")),
    "hessian": (("argnums",), ()),
    "grad": (("argnums",), ("aux",)),
    "grad_and_value": (("argnums",), ("aux",)),
    "vmap": (("in_dims", "out_dims"), ("randomness", "chunk_size")),
    "jvp": ((), ("aux",)),
    "vjp": ((), ("aux",)),
    "call": ((), ()),
}
"""The attributes of each transform: those that must be given, and those that have a default."""

TRANSFORM_NAMES = frozenset(ATTRIBUTES)


@dataclass(frozen=True, slots=True)
class FlatTransform:
    """A transform over leaves.

    Attributes
    ----------
    name:
        One of :data:`TRANSFORM_NAMES`.
    attributes:
        As in the table above; JSON values, lists as tuples.

    >>> FlatTransform("jacrev", {"argnums": (0,)}).to_json()
    {'transform': 'jacrev', 'argnums': [0]}
    """

    name: str
    attributes: Mapping[str, Any] = field(default_factory=dict)
    _text: str | None = field(default=None, init=False, repr=False, compare=False)

    @property
    def text(self) -> str:
        """Its canonical JSON, made once: calls are sent with it, and plans are found by it."""
        if self._text is None:
            object.__setattr__(self, "_text", canonical_json(self.to_json()).decode())
        return self._text  # type: ignore[return-value]

    def __hash__(self) -> int:
        return hash(self.text)

    def to_json(self) -> dict[str, Any]:
        """The form in which it travels."""
        return {
            "transform": self.name,
            **{name: list(value) if isinstance(value, tuple) else value for name, value in self.attributes.items()},
        }

    @classmethod
    def from_json(cls, document: Any, *, where: str = "transform") -> FlatTransform:
        """Read one; what its attributes mean is checked by :func:`~farfunc_protocol.transforms.check_flat`.

        >>> FlatTransform.from_json({"transform": "vmap", "in_dims": [0, None], "out_dims": [0]})
        FlatTransform(name='vmap', attributes={'in_dims': (0, None), 'out_dims': (0,)})
        """
        name = document.get("transform") if isinstance(document, dict) else None
        if not isinstance(name, str) or name not in ATTRIBUTES:
            raise InvalidGraph(
                f"{shown(document if name is None else name)} is not a transform",
                where=where,
                remedy=f'give an object whose member "transform" is one of {", ".join(ATTRIBUTES)}',
            )
        attributes = {
            key: tuple(value) if isinstance(value, list) else value
            for key, value in document.items()
            if key != "transform"
        }
        return cls(name, attributes)


def primal_count(
    name: str, operands: int, body_inputs: int, body_outputs: int, attributes: Mapping[str, Any]
) -> int | None:
    """How many leaves the function has, if its transform takes ``operands`` arrays; None if that cannot be.

    The inputs of the function, ``body_inputs``, must be as many. Attributes may be anything.

    >>> primal_count("jvp", 4, 2, 1, {}), primal_count("vjp", 3, 2, 1, {}), primal_count("jvp", 3, 2, 1, {})
    (2, 2, None)
    """
    if name == "jvp":
        return operands // 2 if operands % 2 == 0 else None
    if name == "vjp":
        aux = attributes.get("aux", 0)
        cotangents = body_outputs - (aux if type(aux) is int else 0)
        return operands - cotangents if 0 <= cotangents <= operands else None
    return operands


def flat_inner_types(
    flat: FlatTransform, input_types: Sequence[TensorType], body_inputs: int | None = None
) -> tuple[TensorType, ...]:
    """The types of the leaves that the function inside sees.

    Parameters
    ----------
    flat:
        A transform that :func:`~farfunc_protocol.transforms.check_flat` accepts.
    input_types:
        What the transformed function is called with.
    body_inputs:
        How many leaves the function has; needed for ``vjp``.

    >>> batch = FlatTransform("vmap", {"in_dims": (1,), "out_dims": (0,)})
    >>> print(*flat_inner_types(batch, [TensorType("float32", (3, 8))]))
    float32[3]
    """
    if flat.name == "vmap":
        pairs = zip(input_types, flat.attributes["in_dims"], strict=True)
        return tuple(type if axis is None else without_axis(type, axis) for type, axis in pairs)
    if flat.name == "jvp":
        return tuple(input_types[: len(input_types) // 2])
    if flat.name == "vjp":
        return tuple(input_types[:body_inputs])
    return tuple(input_types)


def flat_result_types(
    flat: FlatTransform, input_types: Sequence[TensorType], output_types: Sequence[TensorType]
) -> tuple[TensorType, ...]:
    """The types of what the transformed function returns.

    Parameters
    ----------
    flat:
        A transform that :func:`~farfunc_protocol.transforms.check_flat` accepts.
    input_types:
        What the transformed function is called with: for ``vmap`` with the batch axes, for
        ``jvp`` and ``vjp`` with the tangents and cotangents.
    output_types:
        What the function inside returns: for ``vmap`` without the batch axis.

    A Jacobian has the shape of the output followed by that of the input. Its dtype is the
    output's in forward mode, the input's in reverse mode, as in torch.func.

    >>> types = [TensorType("float32", (3,))], [TensorType("float64", ("n",))]
    >>> print(*flat_result_types(FlatTransform("jacfwd", {"argnums": (0,)}), *types))
    float64[n,3]
    >>> print(*flat_result_types(FlatTransform("jacrev", {"argnums": (0,)}), *types))
    float32[n,3]
    """
    attributes = flat.attributes
    if flat.name == "vmap":
        size = batch_size(input_types, attributes["in_dims"])
        pairs = zip(output_types, attributes["out_dims"], strict=True)
        return tuple(type if axis is None else with_axis(type, axis, size) for type, axis in pairs)
    if flat.name == "call":
        return tuple(output_types)
    kept = len(output_types) - attributes.get("aux", 0)
    outputs, aux = tuple(output_types[:kept]), tuple(output_types[kept:])
    if flat.name == "jvp":
        return (*outputs, *outputs, *aux)
    if flat.name == "vjp":
        return (*outputs, *input_types[: len(input_types) - kept], *aux)
    arguments = [input_types[position] for position in attributes["argnums"]]
    if flat.name == "grad":
        return (*arguments, *aux)
    if flat.name == "grad_and_value":
        return (*arguments, *outputs, *aux)
    if flat.name == "hessian":
        return tuple(
            TensorType(first.dtype, (*out.shape, *first.shape, *second.shape))
            for out in outputs
            for first in arguments
            for second in arguments
        )
    forward = flat.name == "jacfwd"
    jacobians = tuple(jacobian_type(out, argument, forward=forward) for out in outputs for argument in arguments)
    return (*jacobians, *aux)


def jacobian_type(output: TensorType, argument: TensorType, *, forward: bool) -> TensorType:
    """The type of one block of a Jacobian."""
    return TensorType(output.dtype if forward else argument.dtype, (*output.shape, *argument.shape))


def batch_size(types: Sequence[TensorType], in_dims: Sequence[int | None]) -> Dimension:
    """The length of the mapped axis."""
    return next(type.shape[axis] for type, axis in zip(types, in_dims, strict=True) if axis is not None)


def without_axis(type: TensorType, axis: int) -> TensorType:
    """The type of one sample of a batch."""
    axis %= len(type.shape)
    return TensorType(type.dtype, (*type.shape[:axis], *type.shape[axis + 1 :]))


def with_axis(type: TensorType, axis: int, size: Dimension) -> TensorType:
    """The type of a batch of samples."""
    axis %= len(type.shape) + 1
    return TensorType(type.dtype, (*type.shape[:axis], size, *type.shape[axis:]))
