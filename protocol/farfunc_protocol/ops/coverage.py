"""Operators of ATen without a row: what stands for them, or why they are left out.

Composite operators (``multiply``, ``clip``, ``special_exp2``) are not listed: whoever traces a
function lets torch decompose them until it meets rows.
"""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["DECOMPOSED", "EXCLUDED", "SYNONYMS"]

SYNONYMS: Mapping[str, str] = {
    "alias_copy": "alias",
    "detach_copy": "detach",
    "diagonal_copy": "diagonal",
    "expand_copy": "expand",
    "lift_fresh_copy": "lift_fresh",
    "narrow_copy": "narrow",
    "permute_copy": "permute",
    "select_copy.int": "select.int",
    "slice_copy.Tensor": "slice.Tensor",
    "split_copy.Tensor": "split.Tensor",
    "split_with_sizes_copy": "split_with_sizes",
    "squeeze_copy": "squeeze",
    "squeeze_copy.dim": "squeeze.dim",
    "squeeze_copy.dims": "squeeze.dims",
    "t_copy": "t",
    "transpose_copy.int": "transpose.int",
    "unbind_copy.int": "unbind.int",
    "unfold_copy": "unfold",
    "unsqueeze_copy": "unsqueeze",
    "view_as_complex_copy": "view_as_complex",
    "view_as_real_copy": "view_as_real",
    "view_copy": "view",
}
"""Operators with the arguments and values of a row: in a graph, a view and its copy are one."""

DECOMPOSED: Mapping[str, tuple[str, ...]] = {
    # Forms that write their result somewhere.
    "_batch_norm_with_update": ("_batch_norm_with_update_functional",),
    "_native_batch_norm_legit": ("_native_batch_norm_legit_functional",),
    "atan2.out": ("atan2",),
    "normal_": ("normal_functional",),
    # Memory without values: any values will do.
    "empty.memory_format": ("zeros",),
    "empty_like": ("zeros_like",),
    "empty_permuted": ("zeros",),
    "empty_strided": ("zeros",),
    "new_empty": ("new_zeros",),
    "new_empty_strided": ("new_zeros",),
}
"""Operators that a tracer writes with these rows, by rules of its own."""

_DATA_DEPENDENT = "the shape of its result depends on the values of its operands"
_PYTHON_VALUE = "it returns a Python value, which a traced function does not have"
_LAYOUT = "it sees how a tensor lies in memory, which a graph does not say"
_SPARSE = "it makes or takes a sparse tensor"
_LENGTH = "it returns a length, which a graph holds as a number or a symbolic dimension"

EXCLUDED: Mapping[str, str] = {
    "_unique2": _DATA_DEPENDENT,
    "argwhere": _DATA_DEPENDENT,
    "bincount": _DATA_DEPENDENT,
    "masked_select": _DATA_DEPENDENT,
    "narrow.Tensor": _DATA_DEPENDENT,
    "nonzero": _DATA_DEPENDENT,
    "nonzero_numpy": _DATA_DEPENDENT,
    "repeat_interleave.Tensor": _DATA_DEPENDENT,
    "tensor_split.tensor_indices_or_sections": _DATA_DEPENDENT,
    "unique_consecutive": _DATA_DEPENDENT,
    "unique_dim": _DATA_DEPENDENT,
    "unique_dim_consecutive": _DATA_DEPENDENT,
    "_local_scalar_dense": _PYTHON_VALUE,
    "allclose": _PYTHON_VALUE,
    "equal": _PYTHON_VALUE,
    "is_nonzero": _PYTHON_VALUE,
    "item": _PYTHON_VALUE,
    "as_strided": _LAYOUT,
    "as_strided_copy": _LAYOUT,
    "as_strided_scatter": _LAYOUT,
    "resize_": _LAYOUT,
    "resize_as_": _LAYOUT,
    "sym_is_contiguous": _LAYOUT,
    "sym_storage_offset": _LAYOUT,
    "sym_stride.int": _LAYOUT,
    "sym_numel": _LENGTH,
    "sym_size.int": _LENGTH,
    "_sparse_mm.reduce": _SPARSE,
    "sparse_sampled_addmm": _SPARSE,
    "to_sparse": _SPARSE,
    "to_sparse.sparse_dim": _SPARSE,
    "_chunk_cat": "it is internal to distributed training; write it with chunk and cat",
    "chalf": "there is no dtype for complex numbers of half precision",
    "hash_tensor": "it digests bits, and has no derivative",
}
"""Operators that no function may contain, with the reason."""
