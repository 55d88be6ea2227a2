"""Parts of a tensor at fixed places: slices, diagonals, pieces."""

from __future__ import annotations

from . import costs
from .op import Op, rows
from .shapes import cutting

__all__ = ["ROWS"]

ROWS: tuple[Op, ...] = (
    *rows(
        cutting.select,
        "One place of an axis.",
        "select.int(Tensor(a) self, int dim, SymInt index) -> Tensor(a)",
        cost=costs.free,
    ),
    *rows(
        cutting.slice_,
        "A slice of an axis.",
        "slice.Tensor(Tensor(a) self, int dim=0, SymInt? start=None, SymInt? end=None, SymInt step=1) -> Tensor(a)",
        cost=costs.free,
    ),
    *rows(
        cutting.narrow,
        "A length of an axis from a start.",
        "narrow(Tensor(a) self, int dim, SymInt start, SymInt length) -> Tensor(a)",
        cost=costs.free,
    ),
    *rows(
        cutting.unbind,
        "Each place of an axis.",
        "unbind.int(Tensor(a -> *) self, int dim=0) -> Tensor(a)[]",
        cost=costs.free,
    ),
    *rows(
        cutting.split,
        "Pieces of one length.",
        "split.Tensor(Tensor(a -> *) self, SymInt split_size, int dim=0) -> Tensor(a)[]",
        "unsafe_split.Tensor(Tensor self, SymInt split_size, int dim=0) -> Tensor[]",
        cost=costs.free,
    ),
    *rows(
        cutting.split_with_sizes,
        "Pieces of given lengths.",
        "split.sizes(Tensor(a -> *) self, SymInt[] split_size, int dim=0) -> Tensor(a)[]",
        "split_with_sizes(Tensor(a -> *) self, SymInt[] split_sizes, int dim=0) -> Tensor(a)[]",
        "unsafe_split_with_sizes(Tensor self, SymInt[] split_sizes, int dim=0) -> Tensor[]",
        cost=costs.free,
    ),
    *rows(
        cutting.chunk,
        "At most so many pieces of one length.",
        "chunk(Tensor(a -> *) self, int chunks, int dim=0) -> Tensor(a)[]",
        "unsafe_chunk(Tensor self, int chunks, int dim=0) -> Tensor[]",
        cost=costs.free,
    ),
    *rows(
        cutting.tensor_split_sections,
        "So many pieces of nearly one length.",
        "tensor_split.sections(Tensor(a -> *) self, SymInt sections, int dim=0) -> Tensor(a)[]",
        cost=costs.free,
    ),
    *rows(
        cutting.tensor_split_indices,
        "Pieces cut before indices.",
        "tensor_split.indices(Tensor(a -> *) self, SymInt[] indices, int dim=0) -> Tensor(a)[]",
        cost=costs.free,
    ),
    *rows(
        cutting.numpy_split(1),
        "Pieces along the second axis.",
        "hsplit.int(Tensor(a -> *) self, int sections) -> Tensor(a)[]",
        "hsplit.array(Tensor(a -> *) self, int[] indices) -> Tensor(a)[]",
        cost=costs.free,
    ),
    *rows(
        cutting.numpy_split(0),
        "Pieces along the first axis.",
        "vsplit.int(Tensor(a -> *) self, int sections) -> Tensor(a)[]",
        "vsplit.array(Tensor(a -> *) self, int[] indices) -> Tensor(a)[]",
        cost=costs.free,
    ),
    *rows(
        cutting.numpy_split(2),
        "Pieces along the third axis.",
        "dsplit.int(Tensor(a -> *) self, int sections) -> Tensor(a)[]",
        "dsplit.array(Tensor(a -> *) self, int[] indices) -> Tensor(a)[]",
        cost=costs.free,
    ),
    *rows(
        cutting.unfold,
        "Sliding windows along an axis.",
        "unfold(Tensor(a) self, int dimension, int size, int step) -> Tensor(a)",
        cost=costs.free,
    ),
    *rows(
        cutting.diagonal,
        "The diagonal of two axes.",
        "diagonal(Tensor(a) self, int offset=0, int dim1=0, int dim2=1) -> Tensor(a)",
        "linalg_diagonal(Tensor(a) A, *, int offset=0, int dim1=-2, int dim2=-1) -> Tensor(a)",
        cost=costs.free,
    ),
    *rows(
        cutting.diag,
        "The diagonal of a matrix, or the matrix of a diagonal.",
        "diag(Tensor self, int diagonal=0) -> Tensor",
        cost=costs.free,
    ),
    *rows(
        cutting.diag_embed,
        "A last axis as a diagonal.",
        "diag_embed(Tensor self, int offset=0, int dim1=-2, int dim2=-1) -> Tensor",
    ),
    *rows(
        cutting.diagflat,
        "A matrix with all elements on its diagonal.",
        "diagflat(Tensor self, int offset=0) -> Tensor",
    ),
    *rows(
        cutting.triangle,
        "The lower triangle, 0 elsewhere.",
        "tril(Tensor self, SymInt diagonal=0) -> Tensor",
    ),
    *rows(
        cutting.triangle,
        "The upper triangle, 0 elsewhere.",
        "triu(Tensor self, SymInt diagonal=0) -> Tensor",
    ),
    *rows(
        cutting.select_scatter,
        "self with src at one place of an axis.",
        "select_scatter(Tensor self, Tensor src, int dim, SymInt index) -> Tensor",
    ),
    *rows(
        cutting.slice_scatter,
        "self with src over a slice of an axis.",
        "slice_scatter(Tensor self, Tensor src, int dim=0, SymInt? start=None, SymInt? end=None, "
        "SymInt step=1) -> Tensor",
    ),
    *rows(
        cutting.diagonal_scatter,
        "self with src on a diagonal.",
        "diagonal_scatter(Tensor self, Tensor src, int offset=0, int dim1=0, int dim2=1) -> Tensor",
    ),
)
