"""Other shapes, other orders, joined and repeated tensors."""

from __future__ import annotations

from . import costs
from .op import Op, rows
from .shapes import joining, network, ordering, repeating, reshaping
from .shapes.elementwise import like, promoted

__all__ = ["ROWS"]

ROWS: tuple[Op, ...] = (
    *rows(
        reshaping.reshape,
        "The same elements in another shape.",
        "reshape(Tensor(a) self, SymInt[] shape) -> Tensor(a)",
        "view(Tensor(a) self, SymInt[] size) -> Tensor(a)",
        cost=costs.free,
    ),
    *rows(
        reshaping.reshape_as,
        "The same elements in the shape of another tensor.",
        "reshape_as(Tensor(a) self, Tensor other) -> Tensor(a)",
        "view_as(Tensor(a) self, Tensor other) -> Tensor(a)",
        cost=costs.free,
    ),
    *rows(
        reshaping.flatten,
        "A range of axes as one.",
        "flatten.using_ints(Tensor(a) self, int start_dim=0, int end_dim=-1) -> Tensor(a)",
        cost=costs.free,
    ),
    *rows(
        reshaping.ravel,
        "All axes as one.",
        "ravel(Tensor(a) self) -> Tensor(a)",
        cost=costs.free,
    ),
    *rows(
        reshaping.unflatten,
        "One axis as several.",
        "unflatten.int(Tensor(a) self, int dim, SymInt[] sizes) -> Tensor(a)",
        cost=costs.free,
    ),
    *rows(
        reshaping.squeeze,
        "Axes of length 1 taken away.",
        "squeeze(Tensor(a) self) -> Tensor(a)",
        "squeeze.dim(Tensor(a) self, int dim) -> Tensor(a)",
        "squeeze.dims(Tensor(a) self, int[] dim) -> Tensor(a)",
        cost=costs.free,
    ),
    *rows(
        reshaping.unsqueeze,
        "A new axis of length 1.",
        "unsqueeze(Tensor(a) self, int dim) -> Tensor(a)",
        cost=costs.free,
    ),
    *rows(
        reshaping.expand,
        "Axes of length 1 grown to a shape.",
        "expand(Tensor(a) self, SymInt[] size, *, bool implicit=False) -> Tensor(a)",
        "broadcast_to(Tensor(a) self, SymInt[] size) -> Tensor(a)",
        cost=costs.free,
    ),
    *rows(
        reshaping.expand_as,
        "Axes of length 1 grown to the shape of another tensor.",
        "expand_as(Tensor(a) self, Tensor other) -> Tensor(a)",
        cost=costs.free,
    ),
    *rows(
        joining.broadcast_tensors,
        "Tensors expanded to their common shape.",
        "broadcast_tensors(Tensor[] tensors) -> Tensor[]",
        cost=costs.free,
    ),
    *rows(
        reshaping.at_least(1),
        "At least one axis.",
        "atleast_1d(Tensor self) -> Tensor",
        "atleast_1d.Sequence(Tensor[] tensors) -> Tensor[]",
        cost=costs.free,
    ),
    *rows(
        reshaping.at_least(2),
        "At least two axes.",
        "atleast_2d(Tensor self) -> Tensor",
        "atleast_2d.Sequence(Tensor[] tensors) -> Tensor[]",
        cost=costs.free,
    ),
    *rows(
        reshaping.at_least(3),
        "At least three axes.",
        "atleast_3d(Tensor self) -> Tensor",
        "atleast_3d.Sequence(Tensor[] tensors) -> Tensor[]",
        cost=costs.free,
    ),
    *rows(
        ordering.permute,
        "The axes in another order.",
        "permute(Tensor(a) self, int[] dims) -> Tensor(a)",
        cost=costs.free,
    ),
    *rows(
        ordering.transpose("dim0", "dim1"),
        "Two axes exchanged.",
        "transpose.int(Tensor(a) self, int dim0, int dim1) -> Tensor(a)",
        cost=costs.free,
    ),
    *rows(
        ordering.reverse_axes,
        "A matrix transposed.",
        "t(Tensor(a) self) -> Tensor(a)",
        cost=costs.free,
    ),
    *rows(
        ordering.reverse_axes,
        "The axes in reverse order.",
        "numpy_T(Tensor(a) self) -> Tensor(a)",
        cost=costs.free,
    ),
    *rows(
        ordering.transpose(-2, -1),
        "The last two axes exchanged.",
        "mT(Tensor(a) self) -> Tensor(a)",
        cost=costs.free,
    ),
    *rows(
        ordering.transpose(-2, -1),
        "The last two axes exchanged, conjugated.",
        "mH(Tensor(a) self) -> Tensor(a)",
        "adjoint(Tensor(a) self) -> Tensor(a)",
        cost=costs.free,
    ),
    *rows(
        ordering.reverse_axes,
        "A matrix transposed and conjugated.",
        "matrix_H(Tensor(a) self) -> Tensor(a)",
        cost=costs.free,
    ),
    *rows(
        ordering.movedim,
        "Axes moved to other places.",
        "movedim.int(Tensor(a) self, int source, int destination) -> Tensor(a)",
        "movedim.intlist(Tensor(a) self, int[] source, int[] destination) -> Tensor(a)",
        cost=costs.free,
    ),
    *rows(
        ordering.flip,
        "The order along axes reversed.",
        "flip(Tensor self, int[] dims) -> Tensor",
    ),
    *rows(
        ordering.flip_axis(1),
        "The order along the second axis reversed.",
        "fliplr(Tensor self) -> Tensor",
    ),
    *rows(
        ordering.flip_axis(0),
        "The order along the first axis reversed.",
        "flipud(Tensor self) -> Tensor",
    ),
    *rows(
        ordering.roll,
        "Elements shifted along axes, around the end.",
        "roll(Tensor self, SymInt[1] shifts, int[1] dims=[]) -> Tensor",
    ),
    *rows(
        ordering.rot90,
        "Quarter turns in the plane of two axes.",
        "rot90(Tensor self, int k=1, int[] dims=[0, 1]) -> Tensor",
    ),
    *rows(
        joining.cat,
        "Tensors joined along an axis.",
        "cat(Tensor[] tensors, int dim=0) -> Tensor",
    ),
    *rows(
        joining.stack,
        "Tensors joined along a new axis.",
        "stack(Tensor[] tensors, int dim=0) -> Tensor",
    ),
    *rows(
        joining.hstack,
        "Tensors joined side by side.",
        "hstack(Tensor[] tensors) -> Tensor",
    ),
    *rows(
        joining.vstack,
        "Tensors joined one below the other.",
        "vstack(Tensor[] tensors) -> Tensor",
    ),
    *rows(
        joining.dstack,
        "Tensors joined along a third axis.",
        "dstack(Tensor[] tensors) -> Tensor",
    ),
    *rows(
        joining.column_stack,
        "Vectors joined as columns.",
        "column_stack(Tensor[] tensors) -> Tensor",
    ),
    *rows(
        joining.block_diag,
        "Matrices along a diagonal.",
        "block_diag(Tensor[] tensors) -> Tensor",
    ),
    *rows(
        joining.meshgrid,
        "The grid that vectors span.",
        "meshgrid.indexing(Tensor[] tensors, *, str indexing) -> Tensor[]",
        cost=costs.free,
    ),
    *rows(
        joining.cartesian_prod,
        "Every combination of elements of vectors.",
        "cartesian_prod(Tensor[] tensors) -> Tensor",
    ),
    *rows(
        joining.combinations,
        "Every choice of r elements of a vector.",
        "combinations(Tensor self, int r=2, bool with_replacement=False) -> Tensor",
    ),
    *rows(
        repeating.repeat,
        "Each axis several times.",
        "repeat(Tensor self, SymInt[] repeats) -> Tensor",
    ),
    *rows(
        repeating.tile,
        "Axes several times, as numpy.tile.",
        "tile(Tensor self, SymInt[] dims) -> Tensor",
    ),
    *rows(
        repeating.repeat_interleave,
        "Each element several times.",
        "repeat_interleave.self_int(Tensor self, SymInt repeats, int? dim=None, *, SymInt? output_size=None) -> Tensor",
    ),
    *rows(
        repeating.constant_pad,
        "Axes made longer by a number, or shorter.",
        "constant_pad_nd(Tensor self, SymInt[] pad, Scalar value=0) -> Tensor",
    ),
    *rows(
        repeating.pad,
        "Axes made longer by a number, or by the tensor's own elements.",
        'pad(Tensor self, SymInt[] pad, str mode="constant", float? value=None) -> Tensor',
    ),
    *rows(
        repeating.border_pad(1),
        "The last axes made longer by reflection.",
        "reflection_pad1d(Tensor self, SymInt[2] padding) -> Tensor",
    ),
    *rows(
        repeating.border_pad(2),
        "The last axes made longer by reflection.",
        "reflection_pad2d(Tensor self, SymInt[4] padding) -> Tensor",
    ),
    *rows(
        repeating.border_pad(3),
        "The last axes made longer by reflection.",
        "reflection_pad3d(Tensor self, SymInt[6] padding) -> Tensor",
    ),
    *rows(
        repeating.border_pad(1),
        "The last axes made longer by their border.",
        "replication_pad1d(Tensor self, SymInt[2] padding) -> Tensor",
    ),
    *rows(
        repeating.border_pad(2),
        "The last axes made longer by their border.",
        "replication_pad2d(Tensor self, SymInt[4] padding) -> Tensor",
    ),
    *rows(
        repeating.border_pad(3),
        "The last axes made longer by their border.",
        "replication_pad3d(Tensor self, SymInt[6] padding) -> Tensor",
    ),
    *rows(
        like(promoted),
        "Channels in an order that mixes groups.",
        "channel_shuffle(Tensor self, SymInt groups) -> Tensor",
    ),
    *rows(
        network.pixel_shuffle,
        "Channels as places: an image made larger.",
        "pixel_shuffle(Tensor self, int upscale_factor) -> Tensor",
    ),
    *rows(
        network.pixel_unshuffle,
        "Places as channels: an image made smaller.",
        "pixel_unshuffle(Tensor self, int downscale_factor) -> Tensor",
    ),
    *rows(
        None,
        "The same bytes in another dtype.",
        "view.dtype(Tensor(a) self, ScalarType dtype) -> Tensor(a)",
        cost=costs.free,
    ),
)
