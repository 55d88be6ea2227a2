"""Neural-network layers: convolution, pooling, normalization, attention, recurrence."""

from __future__ import annotations

from . import costs
from .op import Op, rows
from .shapes import network

__all__ = ["ROWS"]

ROWS: tuple[Op, ...] = (
    *rows(
        network.convolution(1),
        "Convolution along 1 axis.",
        "conv1d(Tensor input, Tensor weight, Tensor? bias=None, SymInt[1] stride=[1], SymInt[1] padding=[0], "
        "SymInt[1] dilation=[1], SymInt groups=1) -> Tensor",
        'conv1d.padding(Tensor input, Tensor weight, Tensor? bias=None, SymInt[1] stride=[1], str padding="valid", '
        "SymInt[1] dilation=[1], SymInt groups=1) -> Tensor",
        cost=costs.convolution,
    ),
    *rows(
        network.convolution(2),
        "Convolution along 2 axes.",
        "conv2d(Tensor input, Tensor weight, Tensor? bias=None, SymInt[2] stride=[1, 1], SymInt[2] padding=[0, 0], "
        "SymInt[2] dilation=[1, 1], SymInt groups=1) -> Tensor",
        "conv2d.padding(Tensor input, Tensor weight, Tensor? bias=None, SymInt[2] stride=[1, 1], "
        'str padding="valid", SymInt[2] dilation=[1, 1], SymInt groups=1) -> Tensor',
        cost=costs.convolution,
    ),
    *rows(
        network.convolution(3),
        "Convolution along 3 axes.",
        "conv3d(Tensor input, Tensor weight, Tensor? bias=None, SymInt[3] stride=[1, 1, 1], SymInt[3] padding=[0, 0, "
        "0], SymInt[3] dilation=[1, 1, 1], SymInt groups=1) -> Tensor",
        "conv3d.padding(Tensor input, Tensor weight, Tensor? bias=None, SymInt[3] stride=[1, 1, 1], "
        'str padding="valid", SymInt[3] dilation=[1, 1, 1], SymInt groups=1) -> Tensor',
        cost=costs.convolution,
    ),
    *rows(
        network.convolution(1, transposed=True),
        "Transposed convolution along 1 axis.",
        "conv_transpose1d(Tensor input, Tensor weight, Tensor? bias=None, SymInt[1] stride=[1], "
        "SymInt[1] padding=[0], SymInt[1] output_padding=[0], SymInt groups=1, SymInt[1] dilation=[1]) -> Tensor",
        cost=costs.convolution,
    ),
    *rows(
        network.convolution(2, transposed=True),
        "Transposed convolution along 2 axes.",
        "conv_transpose2d.input(Tensor input, Tensor weight, Tensor? bias=None, SymInt[2] stride=[1, 1], "
        "SymInt[2] padding=[0, 0], SymInt[2] output_padding=[0, 0], SymInt groups=1, SymInt[2] dilation=[1, "
        "1]) -> Tensor",
        cost=costs.convolution,
    ),
    *rows(
        network.convolution(3, transposed=True),
        "Transposed convolution along 3 axes.",
        "conv_transpose3d.input(Tensor input, Tensor weight, Tensor? bias=None, SymInt[3] stride=[1, 1, 1], "
        "SymInt[3] padding=[0, 0, 0], SymInt[3] output_padding=[0, 0, 0], SymInt groups=1, SymInt[3] dilation=[1, 1, "
        "1]) -> Tensor",
        cost=costs.convolution,
    ),
    *rows(
        None,
        "Convolution, transposed or not, along any number of axes.",
        "convolution(Tensor input, Tensor weight, Tensor? bias, SymInt[] stride, SymInt[] padding, "
        "SymInt[] dilation, bool transposed, SymInt[] output_padding, SymInt groups) -> Tensor",
        cost=costs.convolution,
    ),
    *rows(
        None,
        "Convolution of (time, batch, channels).",
        "conv_tbc(Tensor self, Tensor weight, Tensor bias, int pad=0) -> Tensor",
        cost=costs.convolution,
    ),
    *rows(
        network.pooling(1),
        "Largest element of each window.",
        "max_pool1d(Tensor self, int[1] kernel_size, int[1] stride=[], int[1] padding=[0], int[1] dilation=[1], "
        "bool ceil_mode=False) -> Tensor",
        cost=costs.window,
    ),
    *rows(
        network.pooling(2),
        "Largest element of each window.",
        "max_pool2d(Tensor self, int[2] kernel_size, int[2] stride=[], int[2] padding=0, int[2] dilation=1, "
        "bool ceil_mode=False) -> Tensor",
        cost=costs.window,
    ),
    *rows(
        network.pooling(3),
        "Largest element of each window.",
        "max_pool3d(Tensor self, int[3] kernel_size, int[3] stride=[], int[3] padding=0, int[3] dilation=1, "
        "bool ceil_mode=False) -> Tensor",
        cost=costs.window,
    ),
    *rows(
        network.pooling(1, indices=True),
        "Largest element of each window, and where it is.",
        "max_pool1d_with_indices(Tensor self, int[1] kernel_size, int[1] stride=[], int[1] padding=[0], "
        "int[1] dilation=[1], bool ceil_mode=False) -> (Tensor, Tensor)",
        cost=costs.window,
    ),
    *rows(
        network.pooling(2, indices=True),
        "Largest element of each window, and where it is.",
        "max_pool2d_with_indices(Tensor self, int[2] kernel_size, int[2] stride=[], int[2] padding=0, "
        "int[2] dilation=1, bool ceil_mode=False) -> (Tensor, Tensor)",
        cost=costs.window,
    ),
    *rows(
        network.pooling(3, indices=True),
        "Largest element of each window, and where it is.",
        "max_pool3d_with_indices(Tensor self, int[3] kernel_size, int[3] stride=[], int[3] padding=0, "
        "int[3] dilation=1, bool ceil_mode=False) -> (Tensor, Tensor)",
        cost=costs.window,
    ),
    *rows(
        network.pooling(1),
        "Mean of each window.",
        "avg_pool1d(Tensor self, int[1] kernel_size, int[1] stride=[], int[1] padding=[0], bool ceil_mode=False, "
        "bool count_include_pad=True) -> Tensor",
        cost=costs.window,
    ),
    *rows(
        network.pooling(2),
        "Mean of each window.",
        "avg_pool2d(Tensor self, int[2] kernel_size, int[2] stride=[], int[2] padding=0, bool ceil_mode=False, "
        "bool count_include_pad=True, int? divisor_override=None) -> Tensor",
        cost=costs.window,
    ),
    *rows(
        network.pooling(3),
        "Mean of each window.",
        "avg_pool3d(Tensor self, int[3] kernel_size, int[3] stride=[], int[3] padding=0, bool ceil_mode=False, "
        "bool count_include_pad=True, int? divisor_override=None) -> Tensor",
        cost=costs.window,
    ),
    *rows(
        network.adaptive_pooling(1),
        "Mean of windows that give a size.",
        "adaptive_avg_pool1d(Tensor self, int[1] output_size) -> Tensor",
        cost=costs.window,
    ),
    *rows(
        network.adaptive_pooling(2),
        "Mean of windows that give a size.",
        "adaptive_avg_pool2d(Tensor self, SymInt[2] output_size) -> Tensor",
        "_adaptive_avg_pool2d(Tensor self, SymInt[2] output_size) -> Tensor",
        cost=costs.window,
    ),
    *rows(
        network.adaptive_pooling(3),
        "Mean of windows that give a size.",
        "adaptive_avg_pool3d(Tensor self, SymInt[3] output_size) -> Tensor",
        "_adaptive_avg_pool3d(Tensor self, SymInt[3] output_size) -> Tensor",
        cost=costs.window,
    ),
    *rows(
        network.adaptive_pooling(1, indices=True),
        "Largest element of windows that give a size, and where it is.",
        "adaptive_max_pool1d(Tensor self, int[1] output_size) -> (Tensor, Tensor)",
        cost=costs.window,
    ),
    *rows(
        network.adaptive_pooling(2, indices=True),
        "Largest element of windows that give a size, and where it is.",
        "adaptive_max_pool2d(Tensor self, int[2] output_size) -> (Tensor, Tensor)",
        cost=costs.window,
    ),
    *rows(
        network.adaptive_pooling(3, indices=True),
        "Largest element of windows that give a size, and where it is.",
        "adaptive_max_pool3d(Tensor self, int[3] output_size) -> (Tensor, Tensor)",
        cost=costs.window,
    ),
    *rows(
        None,
        "Largest element of windows of uneven steps, and where it is.",
        "fractional_max_pool2d(Tensor self, int[2] kernel_size, int[2] output_size, "
        "Tensor random_samples) -> (Tensor, Tensor)",
        "fractional_max_pool3d(Tensor self, int[3] kernel_size, int[3] output_size, "
        "Tensor random_samples) -> (Tensor, Tensor)",
        cost=costs.window,
    ),
    *rows(
        None,
        "Elements at the places that max_pool found.",
        "max_unpool2d(Tensor self, Tensor indices, SymInt[2] output_size) -> Tensor",
        "max_unpool3d(Tensor self, Tensor indices, SymInt[3] output_size, int[3] stride, int[3] padding) -> Tensor",
        cost=costs.window,
    ),
    *rows(
        None,
        "Sliding windows as columns.",
        "im2col(Tensor self, int[2] kernel_size, int[2] dilation, int[2] padding, int[2] stride) -> Tensor",
        cost=costs.window,
    ),
    *rows(
        None,
        "Columns added up as overlapping windows.",
        "col2im(Tensor self, SymInt[2] output_size, int[2] kernel_size, int[2] dilation, int[2] padding, "
        "int[2] stride) -> Tensor",
        cost=costs.window,
    ),
    *rows(
        None,
        "Interpolation at the points of a grid.",
        "grid_sampler(Tensor input, Tensor grid, int interpolation_mode, int padding_mode, "
        "bool align_corners) -> Tensor",
        "grid_sampler_2d(Tensor input, Tensor grid, int interpolation_mode, int padding_mode, "
        "bool align_corners) -> Tensor",
        "grid_sampler_3d(Tensor input, Tensor grid, int interpolation_mode, int padding_mode, "
        "bool align_corners) -> Tensor",
        cost=costs.window,
    ),
    *rows(
        None,
        "The grid of an affine map.",
        "affine_grid_generator(Tensor theta, SymInt[] size, bool align_corners) -> Tensor",
        cost=costs.window,
    ),
    *rows(
        None,
        "Nearest interpolation to another size.",
        "upsample_nearest1d.vec(Tensor input, SymInt[]? output_size, float[]? scale_factors) -> Tensor",
        "upsample_nearest2d.vec(Tensor input, SymInt[]? output_size, float[]? scale_factors) -> Tensor",
        "upsample_nearest3d.vec(Tensor input, SymInt[]? output_size, float[]? scale_factors) -> Tensor",
        "upsample_nearest1d(Tensor self, SymInt[1] output_size, float? scales=None) -> Tensor",
        "upsample_nearest2d(Tensor self, SymInt[2] output_size, float? scales_h=None, float? scales_w=None) -> Tensor",
        "upsample_nearest3d(Tensor self, SymInt[3] output_size, float? scales_d=None, float? scales_h=None, "
        "float? scales_w=None) -> Tensor",
        cost=costs.window,
    ),
    *rows(
        None,
        "Linear interpolation to another size.",
        "upsample_linear1d.vec(Tensor input, SymInt[]? output_size, bool align_corners, "
        "float[]? scale_factors) -> Tensor",
        "upsample_linear1d(Tensor self, SymInt[1] output_size, bool align_corners, float? scales=None) -> Tensor",
        cost=costs.window,
    ),
    *rows(
        None,
        "Bilinear interpolation to another size.",
        "upsample_bilinear2d.vec(Tensor input, SymInt[]? output_size, bool align_corners, "
        "float[]? scale_factors) -> Tensor",
        "upsample_bilinear2d(Tensor self, SymInt[2] output_size, bool align_corners, float? scales_h=None, "
        "float? scales_w=None) -> Tensor",
        cost=costs.window,
    ),
    *rows(
        None,
        "Bicubic interpolation to another size.",
        "upsample_bicubic2d.vec(Tensor input, SymInt[]? output_size, bool align_corners, "
        "float[]? scale_factors) -> Tensor",
        "upsample_bicubic2d(Tensor self, SymInt[2] output_size, bool align_corners, float? scales_h=None, "
        "float? scales_w=None) -> Tensor",
        cost=costs.window,
    ),
    *rows(
        None,
        "Trilinear interpolation to another size.",
        "upsample_trilinear3d.vec(Tensor input, SymInt[]? output_size, bool align_corners, "
        "float[]? scale_factors) -> Tensor",
        "upsample_trilinear3d(Tensor self, SymInt[3] output_size, bool align_corners, float? scales_d=None, "
        "float? scales_h=None, float? scales_w=None) -> Tensor",
        cost=costs.window,
    ),
    *rows(
        None,
        "Exact nearest interpolation to another size.",
        "_upsample_nearest_exact1d.vec(Tensor input, SymInt[]? output_size, float[]? scale_factors) -> Tensor",
        "_upsample_nearest_exact2d.vec(Tensor input, SymInt[]? output_size, float[]? scale_factors) -> Tensor",
        "_upsample_nearest_exact3d.vec(Tensor input, SymInt[]? output_size, float[]? scale_factors) -> Tensor",
        cost=costs.window,
    ),
    *rows(
        None,
        "Antialiased bilinear interpolation to another size.",
        "_upsample_bilinear2d_aa.vec(Tensor input, SymInt[]? output_size, bool align_corners, "
        "float[]? scale_factors) -> Tensor",
        "_upsample_bilinear2d_aa(Tensor self, SymInt[2] output_size, bool align_corners, float? scales_h=None, "
        "float? scales_w=None) -> Tensor",
        cost=costs.window,
    ),
    *rows(
        None,
        "Antialiased bicubic interpolation to another size.",
        "_upsample_bicubic2d_aa.vec(Tensor input, SymInt[]? output_size, bool align_corners, "
        "float[]? scale_factors) -> Tensor",
        cost=costs.window,
    ),
    *rows(
        network.layer_norm,
        "Normalization over the last axes.",
        "layer_norm(Tensor input, SymInt[] normalized_shape, Tensor? weight=None, Tensor? bias=None, "
        "float eps=1.0000000000000001e-05, bool cudnn_enable=True) -> Tensor",
        cost=costs.window,
    ),
    *rows(
        network.layer_norm,
        "Division by the root mean square of the last axes.",
        "rms_norm(Tensor input, SymInt[] normalized_shape, Tensor? weight=None, float? eps=None) -> Tensor",
        cost=costs.window,
    ),
    *rows(
        network.channel_norm,
        "Normalization over groups of channels.",
        "group_norm(Tensor input, int num_groups, Tensor? weight=None, Tensor? bias=None, "
        "float eps=1.0000000000000001e-05, bool cudnn_enabled=True) -> Tensor",
        cost=costs.window,
    ),
    *rows(
        network.channel_norm,
        "Normalization over the batch.",
        "batch_norm(Tensor input, Tensor? weight, Tensor? bias, Tensor? running_mean, Tensor? running_var, "
        "bool training, float momentum, float eps, bool cudnn_enabled) -> Tensor",
        cost=costs.window,
    ),
    *rows(
        network.channel_norm,
        "Normalization of each channel of each instance.",
        "instance_norm(Tensor input, Tensor? weight, Tensor? bias, Tensor? running_mean, Tensor? running_var, "
        "bool use_input_stats, float momentum, float eps, bool cudnn_enabled) -> Tensor",
        cost=costs.window,
    ),
    *rows(
        None,
        "Layer normalization, with mean and reciprocal deviation.",
        "native_layer_norm(Tensor input, SymInt[] normalized_shape, Tensor? weight, Tensor? bias, "
        "float eps) -> (Tensor, Tensor, Tensor)",
        cost=costs.window,
    ),
    *rows(
        None,
        "Group normalization, with mean and reciprocal deviation.",
        "native_group_norm(Tensor input, Tensor? weight, Tensor? bias, SymInt N, SymInt C, SymInt HxW, int group, "
        "float eps) -> (Tensor, Tensor, Tensor)",
        cost=costs.window,
    ),
    *rows(
        None,
        "Batch normalization, with mean and reciprocal deviation.",
        "native_batch_norm(Tensor input, Tensor? weight, Tensor? bias, Tensor? running_mean, Tensor? running_var, "
        "bool training, float momentum, float eps) -> (Tensor, Tensor, Tensor)",
        cost=costs.window,
    ),
    *rows(
        None,
        "Normalization over the batch, with mean and reciprocal deviation.",
        "_native_batch_norm_legit.no_stats(Tensor input, Tensor? weight, Tensor? bias, bool training, "
        "float momentum, float eps) -> (Tensor, Tensor, Tensor)",
        "_native_batch_norm_legit_no_training(Tensor input, Tensor? weight, Tensor? bias, Tensor running_mean, "
        "Tensor running_var, float momentum, float eps) -> (Tensor, Tensor, Tensor)",
        cost=costs.window,
    ),
    *rows(
        None,
        "Normalization over the batch, with the new running statistics.",
        "_native_batch_norm_legit_functional(Tensor input, Tensor? weight, Tensor? bias, Tensor running_mean, "
        "Tensor running_var, bool training, float momentum, float eps) -> (Tensor, Tensor, Tensor, "
        "Tensor running_mean_out, Tensor running_var_out)",
        "_batch_norm_with_update_functional(Tensor input, Tensor? weight, Tensor? bias, Tensor running_mean, "
        "Tensor running_var, float momentum, float eps) -> (Tensor, Tensor, Tensor, Tensor, Tensor running_mean_out, "
        "Tensor running_var_out)",
        cost=costs.window,
    ),
    *rows(
        network.attention,
        "Values weighted by the softmax of queries times keys.",
        "scaled_dot_product_attention(Tensor query, Tensor key, Tensor value, Tensor? attn_mask=None, "
        "float dropout_p=0., bool is_causal=False, *, float? scale=None, bool enable_gqa=False) -> Tensor",
        cost=costs.attention,
        random=True,
    ),
    *rows(
        None,
        "Recurrent network: an LSTM over time.",
        "lstm.input(Tensor input, Tensor[] hx, Tensor[] params, bool has_biases, int num_layers, float dropout, "
        "bool train, bool bidirectional, bool batch_first) -> (Tensor, Tensor, Tensor)",
        "lstm.data(Tensor data, Tensor batch_sizes, Tensor[] hx, Tensor[] params, bool has_biases, int num_layers, "
        "float dropout, bool train, bool bidirectional) -> (Tensor, Tensor, Tensor)",
        cost=costs.einsum,
        random=True,
    ),
    *rows(
        None,
        "Recurrent network: a GRU over time.",
        "gru.input(Tensor input, Tensor hx, Tensor[] params, bool has_biases, int num_layers, float dropout, "
        "bool train, bool bidirectional, bool batch_first) -> (Tensor, Tensor)",
        "gru.data(Tensor data, Tensor batch_sizes, Tensor hx, Tensor[] params, bool has_biases, int num_layers, "
        "float dropout, bool train, bool bidirectional) -> (Tensor, Tensor)",
        cost=costs.einsum,
        random=True,
    ),
    *rows(
        None,
        "Recurrent network: tanh over time.",
        "rnn_tanh.input(Tensor input, Tensor hx, Tensor[] params, bool has_biases, int num_layers, float dropout, "
        "bool train, bool bidirectional, bool batch_first) -> (Tensor, Tensor)",
        "rnn_tanh.data(Tensor data, Tensor batch_sizes, Tensor hx, Tensor[] params, bool has_biases, int num_layers, "
        "float dropout, bool train, bool bidirectional) -> (Tensor, Tensor)",
        cost=costs.einsum,
        random=True,
    ),
    *rows(
        None,
        "Recurrent network: relu over time.",
        "rnn_relu.input(Tensor input, Tensor hx, Tensor[] params, bool has_biases, int num_layers, float dropout, "
        "bool train, bool bidirectional, bool batch_first) -> (Tensor, Tensor)",
        "rnn_relu.data(Tensor data, Tensor batch_sizes, Tensor hx, Tensor[] params, bool has_biases, int num_layers, "
        "float dropout, bool train, bool bidirectional) -> (Tensor, Tensor)",
        cost=costs.einsum,
        random=True,
    ),
    *rows(
        None,
        "Recurrent network: one step of an LSTM.",
        "lstm_cell(Tensor input, Tensor[] hx, Tensor w_ih, Tensor w_hh, Tensor? b_ih=None, "
        "Tensor? b_hh=None) -> (Tensor, Tensor)",
        cost=costs.matmul,
    ),
    *rows(
        None,
        "Recurrent network: one step of a GRU.",
        "gru_cell(Tensor input, Tensor hx, Tensor w_ih, Tensor w_hh, Tensor? b_ih=None, Tensor? b_hh=None) -> Tensor",
        cost=costs.matmul,
    ),
    *rows(
        None,
        "Recurrent network: one step of tanh.",
        "rnn_tanh_cell(Tensor input, Tensor hx, Tensor w_ih, Tensor w_hh, Tensor? b_ih=None, "
        "Tensor? b_hh=None) -> Tensor",
        cost=costs.matmul,
    ),
    *rows(
        None,
        "Recurrent network: one step of relu.",
        "rnn_relu_cell(Tensor input, Tensor hx, Tensor w_ih, Tensor w_hh, Tensor? b_ih=None, "
        "Tensor? b_hh=None) -> Tensor",
        cost=costs.matmul,
    ),
    *rows(
        None,
        "Sums or means of rows of a table.",
        "_embedding_bag(Tensor weight, Tensor indices, Tensor offsets, bool scale_grad_by_freq=False, int mode=0, "
        "bool sparse=False, Tensor? per_sample_weights=None, bool include_last_offset=False, "
        "int padding_idx=-1) -> (Tensor, Tensor, Tensor, Tensor)",
        cost=costs.reduction,
    ),
)
