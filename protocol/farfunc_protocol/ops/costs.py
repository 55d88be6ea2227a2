"""How many scalar operations an operator takes, to the order of magnitude.

The estimates rank plans and admit requests; they do not predict time. One multiplication and one
addition are two operations. A complex operand counts four times in products.
"""

from __future__ import annotations

import math

from ..graph import TensorType
from .call import Call, Shape, shape_of

__all__ = [
    "attention",
    "convolution",
    "cubic",
    "einsum",
    "elementwise",
    "fourier",
    "free",
    "matmul",
    "reduction",
    "sorting",
    "transcendental",
    "window",
]


def _sizes(types: list[TensorType] | tuple[TensorType, ...]) -> float:
    return float(sum(math.prod(shape_of(type_)) for type_ in types))


def free(call: Call, outputs: tuple[TensorType, ...]) -> float:
    """Views and metadata: nothing is computed."""
    return 0.0


def elementwise(call: Call, outputs: tuple[TensorType, ...]) -> float:
    """One operation for each element of the results."""
    return _sizes(outputs)


def transcendental(call: Call, outputs: tuple[TensorType, ...]) -> float:
    """Some ten operations for each element: exp, sin, lgamma."""
    return 10 * _sizes(outputs)


def reduction(call: Call, outputs: tuple[TensorType, ...]) -> float:
    """One operation for each element of the operands."""
    return max(_sizes(call.tensors), _sizes(outputs))


def sorting(call: Call, outputs: tuple[TensorType, ...]) -> float:
    """n log n of the largest operand."""
    size = max((math.prod(shape_of(type_)) for type_ in call.tensors), default=0)
    return float(size * max(1.0, math.log2(max(size, 1))))


def matmul(call: Call, outputs: tuple[TensorType, ...]) -> float:
    """2 m n k: each element of the result is a dot product along the contracted axis."""
    # The last axis of the last tensor but one is that axis in each form: (a, b), (bias, a, b)
    # and (input, weight, bias).
    factors = [shape_of(type_) for type_ in call.tensors[-2:]]
    contracted = factors[0][-1] if factors and factors[0] else 1
    return _products(outputs, contracted)


def einsum(call: Call, outputs: tuple[TensorType, ...]) -> float:
    """The product of the lengths of all axes that are multiplied, at worst."""
    lengths = [length for type_ in call.tensors for length in type_.shape]
    bound = math.sqrt(math.prod(map(float, lengths)) * max(_sizes(outputs), 1.0))
    return 2.0 * bound


def _products(outputs: tuple[TensorType, ...], contracted: float) -> float:
    factor = 4.0 if outputs and outputs[0].dtype.startswith("complex") else 1.0
    return 2.0 * factor * _sizes(outputs) * contracted


def cubic(call: Call, outputs: tuple[TensorType, ...]) -> float:
    """Dense factorizations: some ten n**3 for each matrix of the batch."""
    matrices = [shape_of(type_) for type_ in call.tensors if len(type_.shape) >= 2]
    largest: Shape = max(matrices, key=math.prod, default=())
    if not largest:
        return _sizes(call.tensors)
    return 10.0 * math.prod(largest) * min(largest[-2:])


def fourier(call: Call, outputs: tuple[TensorType, ...]) -> float:
    """5 n log n of the transformed tensor."""
    size = max(_sizes(call.tensors), _sizes(outputs))
    return 5.0 * size * max(1.0, math.log2(max(size, 1.0)))


def convolution(call: Call, outputs: tuple[TensorType, ...]) -> float:
    """Each element of the result is a dot product with one filter."""
    if not outputs or len(call.tensors) < 2:
        return _sizes(outputs)
    data, weight = call.tensors[0], call.tensors[1]
    # A transposed convolution writes as many products for each element that it reads.
    transposed = call.arguments.get("transposed", "conv_transpose" in call.schema.name)
    visited = data if transposed else outputs[0]
    return 2.0 * math.prod(shape_of(visited)) * math.prod(shape_of(weight)[1:])


def attention(call: Call, outputs: tuple[TensorType, ...]) -> float:
    """Scores and their product with the values: 4 L S E for each head of the batch."""
    query, key = shape_of(call.tensors[0]), shape_of(call.tensors[1])
    return 4.0 * math.prod(query) * (key[-2] if len(key) > 1 else 1)


def window(call: Call, outputs: tuple[TensorType, ...]) -> float:
    """Pooling and interpolation: some ten operations for each element on either side."""
    return 10.0 * (_sizes(call.tensors) + _sizes(outputs))
