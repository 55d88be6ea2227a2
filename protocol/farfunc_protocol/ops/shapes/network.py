"""Rules of neural-network layers: convolutions, pooling, normalization, attention, losses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...graph import TensorType
from ..call import Call, Shape
from .axes import axis, broadcast, expand_to, replace, same_dtype
from .elementwise import floating, floating_only
from .promotion import real_of, result_type
from .reductions import accumulated, averaged

__all__ = [
    "adaptive_pooling",
    "attention",
    "channel_norm",
    "class_loss",
    "convolution",
    "cosine_similarity",
    "ctc_loss",
    "dropout",
    "glu",
    "layer_norm",
    "loss",
    "native_dropout",
    "pairwise_distance",
    "pdist",
    "pixel_shuffle",
    "pixel_unshuffle",
    "pooling",
    "prelu",
]


def _spread(call: Call, values: tuple[int, ...], count: int, argument: str, least: int) -> tuple[int, ...]:
    """One value for each spatial axis; a single one stands for all."""
    values = values * count if len(values) == 1 else values
    call.require(len(values) == count, f"{len(values)} values for {count} axes", argument=argument)
    call.require(all(value >= least for value in values), f"{values} has a value below {least}", argument=argument)
    return values


def convolution(spatial: int, *, transposed: bool = False) -> Callable[[Call], TensorType]:
    """A rule: conv1d to conv3d, conv_transpose1d to 3d; the batch axis may be missing."""

    def rule(call: Call) -> TensorType:
        shape, weight = call.input.shape, call.weight.shape
        call.require(len(weight) == spatial + 2, f"a weight with {len(weight)} axes", argument="weight")
        call.require(len(shape) in (spatial + 1, spatial + 2), f"an input with {len(shape)} axes", argument="input")
        groups = call.groups
        call.require(groups >= 1, f"{groups} groups", argument="groups")
        channels = shape[-spatial - 1]
        if transposed:
            expected, made = weight[0], weight[1] * groups
        else:
            expected, made = weight[1] * groups if groups != 1 else weight[1], weight[0]
        call.require(
            channels == expected, f"the input has {channels} channels, the weight {expected}", argument="input"
        )
        if groups != 1:
            call.require(weight[0] % groups == 0, f"{weight[0]} channels in {groups} groups", argument="groups")
        if call.bias is not None:
            call.require(call.bias.shape == (made,), f"a bias of shape {tuple(call.bias.shape)}", argument="bias")
        stride = _spread(call, call.stride, spatial, "stride", 1)
        dilation = _spread(call, call.dilation, spatial, "dilation", 1)
        padding = _paddings(call, spatial, weight[2:], stride, dilation)
        extra = _spread(call, call.output_padding, spatial, "output_padding", 0) if transposed else (0,) * spatial
        lengths = []
        for at, length in enumerate(shape[-spatial:]):
            reach = dilation[at] * (weight[2 + at] - 1) + 1
            if transposed:
                grown = (length - 1) * stride[at] - padding[at] + reach + extra[at]
            else:
                call.require(
                    length + padding[at] >= reach, f"a filter of reach {reach} for a length of {length + padding[at]}"
                )
                grown = (length + padding[at] - reach) // stride[at] + 1
            call.require(grown >= 0, f"axis {at - spatial} would have the length {grown}")
            lengths.append(grown)
        dtype = same_dtype(call, call.tensors)
        return TensorType(dtype, (*shape[: -spatial - 1], made, *lengths))

    return rule


def _paddings(call: Call, spatial: int, kernel: Shape, stride: Shape, dilation: Shape) -> tuple[Any, ...]:
    """The total padding, on both sides, of each axis."""
    if not isinstance(call.padding, str):
        return tuple(2 * pad for pad in _spread(call, call.padding, spatial, "padding", 0))
    call.require(call.padding in ("valid", "same"), f"padding {call.padding!r}", argument="padding")
    if call.padding == "valid":
        return (0,) * spatial
    call.require(all(step == 1 for step in stride), "padding 'same' needs a stride of 1", argument="stride")
    return tuple(dilation[at] * (kernel[at] - 1) for at in range(spatial))


def pooling(spatial: int, *, indices: bool = False) -> Callable[[Call], Any]:
    """A rule: max_pool and avg_pool; with positions where they are returned."""

    def rule(call: Call) -> Any:
        shape = call.self.shape
        call.require(len(shape) in (spatial + 1, spatial + 2), f"an input with {len(shape)} axes", argument="self")
        kernel = _spread(call, call.kernel_size, spatial, "kernel_size", 1)
        stride = _spread(call, call.stride, spatial, "stride", 1) if call.stride else kernel
        padding = _spread(call, call.padding, spatial, "padding", 0)
        dilation = _spread(call, call.arguments.get("dilation", (1,)), spatial, "dilation", 1)
        lengths = []
        for at, length in enumerate(shape[-spatial:]):
            call.require(
                2 * padding[at] <= kernel[at], f"padding {padding[at]} of a window of {kernel[at]}", argument="padding"
            )
            room = length + 2 * padding[at] - dilation[at] * (kernel[at] - 1) - 1
            count = room // stride[at] + 1
            if call.ceil_mode:
                count = -(-room // stride[at]) + 1
                # A window that would start in the padding on the right is left out.
                count -= (count - 1) * stride[at] >= length + padding[at]
            call.require(count >= 1, f"a window of {kernel[at]} in a length of {length}", argument="kernel_size")
            lengths.append(count)
        result = TensorType(call.self.dtype, (*shape[:-spatial], *lengths))
        return (result, TensorType("int64", result.shape)) if indices else result

    return rule


def adaptive_pooling(spatial: int, *, indices: bool = False) -> Callable[[Call], Any]:
    """A rule: adaptive pooling to a given size."""

    def rule(call: Call) -> Any:
        shape = call.self.shape
        call.require(len(shape) in (spatial + 1, spatial + 2), f"an input with {len(shape)} axes", argument="self")
        size = _spread(call, call.output_size, spatial, "output_size", 0)
        result = TensorType(call.self.dtype, (*shape[:-spatial], *size))
        return (result, TensorType("int64", result.shape)) if indices else result

    return rule


def layer_norm(call: Call) -> TensorType:
    """layer_norm, rms_norm: over the last axes, of which the shape is given."""
    shape, inner = call.input.shape, call.normalized_shape
    call.require(len(inner) >= 1, "no axis is given", argument="normalized_shape")
    call.require(
        len(inner) <= len(shape) and tuple(shape[len(shape) - len(inner) :]) == tuple(inner),
        f"an input of shape {tuple(shape)} does not end in {tuple(inner)}",
        argument="normalized_shape",
    )
    for name in ("weight", "bias"):
        given = call.arguments.get(name)
        if given is not None:
            call.require(tuple(given.shape) == tuple(inner), f"{name} has shape {tuple(given.shape)}", argument=name)
    return call.input


def channel_norm(call: Call) -> TensorType:
    """batch_norm, instance_norm, group_norm: over channels, the second axis."""
    shape = call.input.shape
    if len(shape) == 1 and shape[0] == 0:
        return call.input  # torch returns an empty input before it looks for channels
    call.require(len(shape) >= 2, f"an input with {len(shape)} axes", argument="input")
    if "num_groups" in call.arguments:
        groups = call.num_groups
        call.require(groups >= 1 and shape[1] % groups == 0, f"{shape[1]} channels in {groups} groups")
    for name in ("weight", "bias", "running_mean", "running_var"):
        given = call.arguments.get(name)
        if given is not None:
            call.require(tuple(given.shape) == (shape[1],), f"{name} has shape {tuple(given.shape)}", argument=name)
    return call.input


def attention(call: Call) -> TensorType:
    """scaled_dot_product_attention: (..., L, E), (..., S, E), (..., S, Ev) to (..., L, Ev)."""
    query, key, value = call.query.shape, call.key.shape, call.value.shape
    for name, shape in (("query", query), ("key", key), ("value", value)):
        call.require(len(shape) >= 2, f"{name} has {len(shape)} axes", argument=name)
    call.require(query[-1] == key[-1], f"queries of length {query[-1]}, keys of {key[-1]}", argument="key")
    call.require(key[-2] == value[-2], f"{key[-2]} keys, {value[-2]} values", argument="value")
    if call.enable_gqa:
        batch = query[:-2]
    else:
        batch = broadcast(call, query[:-2], key[:-2], value[:-2])
    if call.attn_mask is not None:
        expand_to(call, call.attn_mask.shape, (*batch, query[-2], key[-2]), argument="attn_mask")
    return TensorType(same_dtype(call, [call.query, call.key, call.value]), (*batch, query[-2], value[-1]))


_REDUCTIONS = (0, 1, 2)
"""torch's enumeration: none, mean, sum."""


def loss(choice: Callable[[Call, str], str] | None = None, *names: str) -> Callable[[Call], TensorType]:
    """A rule: a loss of tensors that broadcast; one number unless reduction is 0 (none).

    The dtype is that of the named operands, by default of all.
    """

    def rule(call: Call) -> TensorType:
        call.require(call.reduction in _REDUCTIONS, f"reduction {call.reduction}", argument="reduction")
        shape = broadcast(call, *(type_.shape for type_ in call.tensors))
        dtype = result_type(call, [call.arguments[name] for name in names] or call.tensors)
        dtype = choice(call, dtype) if choice else dtype
        if call.reduction == 0:
            return TensorType(dtype, shape)
        # The elements are added up by sum and mean, which treat integers as they always do.
        return TensorType(accumulated(call, dtype) if call.reduction == 2 else averaged(call, dtype), ())

    return rule


def class_loss(call: Call) -> TensorType:
    """cross_entropy_loss, nll_loss: of scores by class, and indices of classes or probabilities."""
    shape, target = call.self.shape, call.target.shape
    call.require(call.reduction in _REDUCTIONS, f"reduction {call.reduction}", argument="reduction")
    call.require(bool(shape), "scores without axes", argument="self")
    floating_only(call, call.self.dtype)
    position = 1 if len(shape) > 1 else 0
    expected = (*shape[:position], *shape[position + 1 :])
    if tuple(target) == tuple(shape) and call.schema.name == "cross_entropy_loss":
        dtype = result_type(call, [call.self, call.target])  # probabilities of classes
        return TensorType(dtype, expected if call.reduction == 0 else ())
    call.require(
        tuple(target) == tuple(expected), f"targets of shape {tuple(target)} for {tuple(shape)}", argument="target"
    )
    return TensorType(call.self.dtype, expected if call.reduction == 0 else ())


def ctc_loss(call: Call) -> TensorType:
    """One loss for each sequence of (T, N, C) or (T, C); one number unless reduction is 0 (none)."""
    shape = call.log_probs.shape
    call.require(call.reduction in _REDUCTIONS, f"reduction {call.reduction}", argument="reduction")
    call.require(len(shape) in (2, 3), f"log_probs has {len(shape)} axes", argument="log_probs")
    return TensorType(call.log_probs.dtype, tuple(shape[1:-1]) if call.reduction == 0 else ())


def cosine_similarity(call: Call) -> TensorType:
    """cosine_similarity: along one axis, the others broadcast."""
    shape = broadcast(call, call.x1.shape, call.x2.shape)
    position = axis(call, call.dim, len(shape))
    dtype = floating_only(call, result_type(call, call.tensors))
    return TensorType(dtype, tuple(length for at, length in enumerate(shape) if at != position))


def pairwise_distance(call: Call) -> TensorType:
    """pairwise_distance: the norm of differences along the last axis."""
    shape = broadcast(call, call.x1.shape, call.x2.shape)
    call.require(bool(shape), "operands without axes")
    dtype = real_of(floating(call, result_type(call, call.tensors)))
    return TensorType(dtype, (*shape[:-1], *((1,) if call.keepdim else ())))


def glu(call: Call) -> TensorType:
    """glu: halves an axis."""
    shape = call.self.shape
    position = axis(call, call.dim, len(shape), scalar=False)
    call.require(shape[position] % 2 == 0, f"axis {call.dim} has the odd length {shape[position]}", argument="dim")
    return TensorType(call.self.dtype, replace(shape, position, shape[position] // 2))


def prelu(call: Call) -> TensorType:
    """prelu: one slope, or one for each channel."""
    shape, weight = call.self.shape, call.weight.shape
    channels = shape[1] if len(shape) > 1 else 1
    call.require(len(weight) <= 1, f"the weight has {len(weight)} axes", argument="weight")
    call.require(
        not weight or weight[0] in (1, channels), f"{weight[0:1]} slopes, {channels} channels", argument="weight"
    )
    return TensorType(same_dtype(call, call.tensors), shape)


def pixel_shuffle(call: Call) -> TensorType:
    """pixel_shuffle: channels become places."""
    shape, factor = call.self.shape, call.upscale_factor
    call.require(len(shape) >= 3, f"an input with {len(shape)} axes", argument="self")
    call.require(factor > 0 and shape[-3] % (factor * factor) == 0, f"factor {factor}", argument="upscale_factor")
    *batch, channels, rows, columns = shape
    return TensorType(call.self.dtype, (*batch, channels // factor**2, rows * factor, columns * factor))


def pixel_unshuffle(call: Call) -> TensorType:
    """pixel_unshuffle: places become channels."""
    shape, factor = call.self.shape, call.downscale_factor
    call.require(len(shape) >= 3, f"an input with {len(shape)} axes", argument="self")
    *batch, channels, rows, columns = shape
    fits = factor > 0 and rows % factor == 0 and columns % factor == 0
    call.require(fits, f"factor {factor} for {rows} by {columns}", argument="downscale_factor")
    return TensorType(call.self.dtype, (*batch, channels * factor**2, rows // factor, columns // factor))


def dropout(call: Call) -> TensorType:
    """dropout and its kind: the operand's type."""
    call.require(0 <= call.p <= 1, f"probability {call.p} is not in 0..1", argument="p")
    return call.input


def native_dropout(call: Call) -> tuple[TensorType, ...]:
    """native_dropout: the result, and the mask that was drawn."""
    call.require(0 <= call.p <= 1, f"probability {call.p} is not in 0..1", argument="p")
    return call.input, TensorType("bool", call.input.shape)


def pdist(call: Call) -> TensorType:
    """pdist: one distance for each pair of rows."""
    shape = call.self.shape
    call.require(len(shape) == 2, f"it takes a matrix, not {len(shape)} axes", argument="self")
    rows = shape[0]
    return TensorType(floating_only(call, call.self.dtype), (rows * (rows - 1) // 2,))
