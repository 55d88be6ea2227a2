"""Backward operators that a function may call itself."""

from __future__ import annotations

from . import costs
from .op import Op, rows

__all__ = ["ROWS"]

ROWS: tuple[Op, ...] = (
    *rows(
        None,
        "Gradients of a convolution.",
        "convolution_backward(Tensor grad_output, Tensor input, Tensor weight, SymInt[]? bias_sizes, "
        "SymInt[] stride, SymInt[] padding, SymInt[] dilation, bool transposed, SymInt[] output_padding, "
        "SymInt groups, bool[3] output_mask) -> (Tensor, Tensor, Tensor)",
        cost=costs.convolution,
    ),
    *rows(
        None,
        "Gradient of a pooling.",
        "_adaptive_avg_pool2d_backward(Tensor grad_output, Tensor self) -> Tensor",
        "avg_pool2d_backward(Tensor grad_output, Tensor self, int[2] kernel_size, int[2] stride, int[2] padding, "
        "bool ceil_mode, bool count_include_pad, int? divisor_override) -> Tensor",
        "max_pool2d_with_indices_backward(Tensor grad_output, Tensor self, int[2] kernel_size, int[2] stride, "
        "int[2] padding, int[2] dilation, bool ceil_mode, Tensor indices) -> Tensor",
        cost=costs.window,
    ),
    *rows(
        None,
        "Gradient of an embedding's table.",
        "embedding_dense_backward(Tensor grad_output, Tensor indices, SymInt num_weights, SymInt padding_idx, "
        "bool scale_grad_by_freq) -> Tensor",
        cost=costs.window,
    ),
    *rows(
        None,
        "Gradients of a normalization.",
        "native_layer_norm_backward(Tensor grad_out, Tensor input, SymInt[] normalized_shape, Tensor mean, "
        "Tensor rstd, Tensor? weight, Tensor? bias, bool[3] output_mask) -> (Tensor, Tensor, Tensor)",
        "native_group_norm_backward(Tensor grad_out, Tensor input, Tensor mean, Tensor rstd, Tensor? weight, "
        "SymInt N, SymInt C, SymInt HxW, int group, bool[3] output_mask) -> (Tensor, Tensor, Tensor)",
        cost=costs.window,
    ),
    *rows(
        None,
        "Gradient of a dropout.",
        "native_dropout_backward(Tensor grad_output, Tensor mask, float scale) -> Tensor",
        cost=costs.window,
    ),
    *rows(
        None,
        "Gradient of softmax.",
        "_softmax_backward_data(Tensor grad_output, Tensor output, int dim, ScalarType input_dtype) -> Tensor",
        cost=costs.window,
    ),
    *rows(
        None,
        "Gradient of log_softmax.",
        "_log_softmax_backward_data(Tensor grad_output, Tensor output, int dim, ScalarType input_dtype) -> Tensor",
        cost=costs.window,
    ),
)
