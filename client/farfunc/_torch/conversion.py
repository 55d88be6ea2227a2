"""Between torch's tensors and the protocol's arrays, sharing memory where that is safe."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch._subclasses.fake_tensor import FakeTensor

from farfunc_protocol.arrays import Array
from farfunc_protocol.dtypes import DTYPES
from farfunc_protocol.errors import InvalidArray, TraceError
from farfunc_protocol.graph import TensorType

__all__ = [
    "dtype_name",
    "lengths",
    "refuse_sparse",
    "tensor_type",
    "to_array",
    "to_ndarray",
    "to_tensor",
    "torch_dtype",
]

_NAMES = {getattr(torch, name): name for name in DTYPES}
_DTYPES = {name: dtype for dtype, name in _NAMES.items()}


def dtype_name(dtype: torch.dtype) -> str:
    """The name of a dtype in a graph."""
    try:
        return _NAMES[dtype]
    except KeyError:
        raise InvalidArray(
            f"a tensor of dtype {dtype} cannot be sent", remedy=f"convert it to one of {', '.join(DTYPES)}"
        ) from None


def torch_dtype(name: str) -> torch.dtype:
    """The dtype of that name."""
    return _DTYPES[name]


def tensor_type(tensor: torch.Tensor) -> TensorType:
    """The dtype and shape of a tensor."""
    return TensorType(dtype_name(tensor.dtype), tuple(tensor.shape))


def lengths(type: TensorType) -> tuple[int, ...]:
    """The shape of a tensor for which a function is traced: torch code may ask for each length, so each is known."""
    if not all(isinstance(length, int) for length in type.shape):
        raise TraceError(
            f"an argument {type} has a symbolic dimension", remedy="trace a torch function for the lengths of a call"
        )
    return tuple(int(length) for length in type.shape)


def to_array(tensor: torch.Tensor, *, copy: bool = False) -> Array:
    """The elements of a tensor of any device, whatever autograd thinks of it.

    Parameters
    ----------
    tensor:
        Dense. Lazy conjugation and negation are carried out.
    copy:
        Take a copy even where the memory could be shared.
    """
    refuse_sparse(tensor)
    _refuse_without_elements(tensor)
    name = dtype_name(tensor.dtype)
    with torch.no_grad():
        dense = tensor.detach().resolve_conj().resolve_neg().cpu().contiguous()
    if name == "bfloat16":
        data = dense.view(torch.int16).numpy().view(np.uint16)
    else:
        data = dense.numpy()
    if copy and dense.data_ptr() == tensor.data_ptr():
        data = data.copy()
    return Array(name, tuple(tensor.shape), np.asarray(data, DTYPES[name].storage, order="C"))


def to_tensor(array: Array, device: torch.device | str = "cpu") -> torch.Tensor:
    """A tensor of the array's elements, which owns its memory or shares memory that may be written to."""
    if array.data.size == 0:  # NumPy gives empty arrays strides of zero, torch does not
        return torch.empty(array.shape, dtype=torch_dtype(array.dtype), device=device)
    data = array.data if array.data.flags.writeable else array.data.copy()
    data = data.astype(data.dtype.newbyteorder("="), copy=False)
    if array.dtype == "bfloat16":
        tensor = torch.from_numpy(data.view(np.int16)).view(torch.bfloat16)
    else:
        tensor = torch.from_numpy(data)
    return tensor.to(device)


def to_ndarray(array: Array) -> np.ndarray:
    """The array as NumPy knows it, writeable."""
    data = array.to_numpy()
    return data if data.flags.writeable else data.copy()


_WITHOUT_DISPATCH = (torch.Tensor.__torch_dispatch__, torch._C._disabled_torch_dispatch_impl)  # pyright: ignore[reportAttributeAccessIssue]


def _refuse_without_elements(tensor: Any) -> None:
    if isinstance(tensor, FakeTensor):
        raise InvalidArray(
            "the tensor was traced, and has no elements: the function to which it belongs has returned",
            remedy="return it from the function instead of keeping it in a variable or an attribute",
        )
    if torch._C._functorch.is_functorch_wrapped_tensor(tensor):  # pyright: ignore[reportAttributeAccessIssue]
        raise InvalidArray(
            "the tensor belongs to a running local transform of torch.func, and has no value of its own",
            remedy="use farfunc's transforms on the outside, too: farfunc.vmap(farfunc.grad(f))",
        )
    if type(tensor).__torch_dispatch__ not in _WITHOUT_DISPATCH:
        raise InvalidArray(
            f"a {type(tensor).__name__} cannot be sent: its class has operators of its own (__torch_dispatch__)",
            remedy="pass the plain tensors that it is made of, and put it together inside the function",
        )
    if tensor.device.type == "meta":
        raise InvalidArray("a tensor without elements (device meta) cannot be sent", remedy="give it values first")


def refuse_sparse(tensor: torch.Tensor) -> None:
    """Raise InvalidArray for a tensor that is no dense array: sparse, nested or quantized."""
    if tensor.layout is not torch.strided or tensor.is_quantized or tensor.is_nested:
        kind = "nested" if tensor.is_nested else "quantized" if tensor.is_quantized else "sparse"
        remedy = {"quantized": "dequantize", "nested": "to_padded_tensor"}.get(kind, "to_dense")
        raise InvalidArray(
            f"a {kind} tensor cannot be sent: farfunc carries dense arrays", remedy=f"convert it with .{remedy}()"
        )
