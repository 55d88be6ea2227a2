"""Reading and writing at places that tensors of integers give."""

from __future__ import annotations

from . import costs
from .op import Op, rows
from .shapes import indexing

__all__ = ["ROWS"]

ROWS: tuple[Op, ...] = (
    *rows(
        indexing.index,
        "self[i, j], with tensors of integers.",
        "index.Tensor(Tensor self, Tensor?[] indices) -> Tensor",
    ),
    *rows(
        indexing.index_put,
        "self with values at [i, j], or where a mask is true.",
        "index_put(Tensor self, Tensor?[] indices, Tensor values, bool accumulate=False) -> Tensor",
    ),
    *rows(
        indexing.index_select,
        "Some places of an axis.",
        "index_select(Tensor self, int dim, Tensor index) -> Tensor",
    ),
    *rows(
        indexing.index_add,
        "self with parts of source added at places of an axis.",
        "index_add(Tensor self, int dim, Tensor index, Tensor source, *, Scalar alpha=1) -> Tensor",
    ),
    *rows(
        indexing.index_add,
        "self with parts of source at places of an axis.",
        "index_copy(Tensor self, int dim, Tensor index, Tensor source) -> Tensor",
    ),
    *rows(
        indexing.index_add,
        "self with parts of source combined in at places of an axis.",
        "index_reduce(Tensor self, int dim, Tensor index, Tensor source, str reduce, *, "
        "bool include_self=True) -> Tensor",
    ),
    *rows(
        indexing.index_fill,
        "self with a value at places of an axis.",
        "index_fill.int_Scalar(Tensor self, int dim, Tensor index, Scalar value) -> Tensor",
        "index_fill.int_Tensor(Tensor self, int dim, Tensor index, Tensor value) -> Tensor",
    ),
    *rows(
        indexing.gather,
        "One element along an axis for each index.",
        "gather(Tensor self, int dim, Tensor index, *, bool sparse_grad=False) -> Tensor",
    ),
    *rows(
        indexing.scatter,
        "self with elements at places of an axis.",
        "scatter.src(Tensor self, int dim, Tensor index, Tensor src) -> Tensor",
        "scatter.value(Tensor self, int dim, Tensor index, Scalar value) -> Tensor",
    ),
    *rows(
        indexing.scatter,
        "self with elements combined in at places of an axis.",
        "scatter.reduce(Tensor self, int dim, Tensor index, Tensor src, *, str reduce) -> Tensor",
        "scatter.value_reduce(Tensor self, int dim, Tensor index, Scalar value, *, str reduce) -> Tensor",
        "scatter_reduce.two(Tensor self, int dim, Tensor index, Tensor src, str reduce, *, "
        "bool include_self=True) -> Tensor",
    ),
    *rows(
        indexing.scatter,
        "self with elements added at places of an axis.",
        "scatter_add(Tensor self, int dim, Tensor index, Tensor src) -> Tensor",
    ),
    *rows(
        indexing.take,
        "Elements of the flattened tensor.",
        "take(Tensor self, Tensor index) -> Tensor",
    ),
    *rows(
        indexing.put,
        "self with elements at places of the flattened tensor.",
        "put(Tensor self, Tensor index, Tensor source, bool accumulate=False) -> Tensor",
    ),
    *rows(
        indexing.take_along_dim,
        "One element along an axis for each index, broadcast beside it.",
        "take_along_dim(Tensor self, Tensor indices, int? dim=None) -> Tensor",
    ),
    *rows(
        indexing.masked_scatter,
        "self with the elements of source where the mask is true, in order.",
        "masked_scatter(Tensor self, Tensor mask, Tensor source) -> Tensor",
    ),
    *rows(
        indexing.searchsorted,
        "The places where values keep a row sorted.",
        "searchsorted.Tensor(Tensor sorted_sequence, Tensor self, *, bool out_int32=False, bool right=False, "
        "str? side=None, Tensor? sorter=None) -> Tensor",
        "searchsorted.Scalar(Tensor sorted_sequence, Scalar self, *, bool out_int32=False, bool right=False, "
        "str? side=None, Tensor? sorter=None) -> Tensor",
        cost=costs.transcendental,
    ),
    *rows(
        indexing.bucketize,
        "The bucket of each value.",
        "bucketize.Tensor(Tensor self, Tensor boundaries, *, bool out_int32=False, bool right=False) -> Tensor",
        "bucketize.Scalar(Scalar self, Tensor boundaries, *, bool out_int32=False, bool right=False) -> Tensor",
        cost=costs.transcendental,
    ),
    *rows(
        indexing.embedding,
        "Rows of a table.",
        "embedding(Tensor weight, Tensor indices, SymInt padding_idx=-1, bool scale_grad_by_freq=False, "
        "bool sparse=False) -> Tensor",
    ),
    *rows(
        None,
        "A table with the rows in use scaled down to a norm.",
        "embedding_renorm(Tensor self, Tensor indices, float max_norm, float norm_type) -> Tensor",
    ),
    *rows(
        None,
        "Sums or means of rows of a table.",
        "embedding_bag.padding_idx(Tensor weight, Tensor indices, Tensor offsets, bool scale_grad_by_freq, int mode, "
        "bool sparse, Tensor? per_sample_weights, bool include_last_offset, int? padding_idx) -> (Tensor, Tensor, "
        "Tensor, Tensor)",
        "embedding_bag(Tensor weight, Tensor indices, Tensor offsets, bool scale_grad_by_freq=False, int mode=0, "
        "bool sparse=False, Tensor? per_sample_weights=None, bool include_last_offset=False) -> (Tensor, Tensor, "
        "Tensor, Tensor)",
    ),
    *rows(
        indexing.one_hot,
        "Vectors with a 1 at the place of each index.",
        "one_hot(Tensor self, int num_classes=-1) -> Tensor",
    ),
    *rows(
        None,
        "index.Tensor where a mask is true, a number elsewhere.",
        "_unsafe_masked_index(Tensor self, Tensor mask, Tensor?[] indices, Scalar fill) -> Tensor",
    ),
    *rows(
        None,
        "index_put, added, where a mask is true.",
        "_unsafe_masked_index_put_accumulate(Tensor self, Tensor mask, Tensor?[] indices, Tensor values) -> Tensor",
    ),
    *rows(
        indexing.nonzero_static,
        "The places that are not 0, cut or filled up to a given number.",
        "nonzero_static(Tensor self, *, SymInt size, int fill_value=-1) -> Tensor",
    ),
    *rows(
        indexing.repeat_interleave,
        "Each element its own number of times, of a given total.",
        "repeat_interleave.self_Tensor(Tensor self, Tensor repeats, int? dim=None, *, "
        "SymInt? output_size=None) -> Tensor",
    ),
)
