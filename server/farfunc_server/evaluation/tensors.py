"""Arrays of the protocol as torch tensors, and back, without a copy where there can be one."""

from __future__ import annotations

import sys
import warnings

import torch

from farfunc_protocol.arrays import Array
from farfunc_protocol.dtypes import DTYPES
from farfunc_protocol.graph import TensorType

__all__ = ["TORCH_DTYPES", "from_tensor", "host_tensor", "plain", "to_tensor", "type_of"]

TORCH_DTYPES: dict[str, torch.dtype] = {name: getattr(torch, name) for name in DTYPES}
"""Every dtype that a graph may name: the wire's strings are keys of this table and nothing else."""

_NAMES = {found: name for name, found in TORCH_DTYPES.items()}


def to_tensor(array: Array, device: torch.device) -> torch.Tensor:
    """A tensor of the same bits, which shares the array's memory where the device allows it."""
    return host_tensor(array).to(device)


def host_tensor(array: Array) -> torch.Tensor:
    """A tensor of the same bits on the CPU, which shares the array's memory.

    The operators of a graph are functional, so read-only memory is never written to.
    """
    if array.data.size == 0:  # NumPy gives empty arrays strides of zero, which view_as_complex refuses
        return torch.empty(array.shape, dtype=TORCH_DTYPES[array.dtype])
    data = array.data if sys.byteorder == "little" else array.data.astype(array.data.dtype.newbyteorder("="))
    if data.ctypes.data % data.itemsize:
        # NumPy is content with complex128 at any multiple of 8 bytes, as it may lie in a message;
        # torch's kernels load it as 16 aligned bytes, and crash.
        data = data.copy()
    if data.flags.writeable:
        tensor = torch.from_numpy(data)
    else:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "The given NumPy array is not writable")
            tensor = torch.from_numpy(data)
    # uint16 holds the bits of bfloat16.
    return tensor.view(TORCH_DTYPES[array.dtype])


def from_tensor(tensor: torch.Tensor) -> Array:
    """The array of a result, whatever form it is in."""
    tensor = plain(tensor).cpu()
    name = _NAMES[tensor.dtype]
    data = tensor.view(torch.uint16).numpy() if tensor.dtype is torch.bfloat16 else tensor.numpy()
    # A transposed view may be contiguous by torch's rules and not by NumPy's (axes of length 1).
    return Array(name, tuple(tensor.shape), data.astype(DTYPES[name].storage, order="C", copy=False))


def plain(tensor: torch.Tensor) -> torch.Tensor:
    """A result with its elements in memory, one after another, whatever form it is in.

    Forms are lazy (conjugate, negative, zero) or strided.
    """
    if tensor._is_zerotensor():
        tensor = tensor.clone()
    return tensor.detach().resolve_conj().resolve_neg().contiguous()


def type_of(tensor: torch.Tensor) -> TensorType:
    """The type of a tensor, as graphs write it."""
    return TensorType(_NAMES[tensor.dtype], tuple(tensor.shape))
