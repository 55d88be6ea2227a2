"""torch tensors as arrays of the protocol, and back."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from farfunc._torch import TorchFrontEnd
from farfunc_protocol.arrays import Array
from farfunc_protocol.dtypes import DTYPES
from farfunc_protocol.errors import InvalidArray
from farfunc_protocol.graph import TensorType

front_end = TorchFrontEnd()


@pytest.mark.parametrize("name", DTYPES)
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 3), (1, 0, 2)])
def test_round_trip(name, shape):
    tensor = torch.arange(6).reshape(2, 3).to(getattr(torch, name))
    tensor = tensor.new_zeros(shape) if shape != (2, 3) else tensor
    array = front_end.to_array(tensor)
    assert array.type == TensorType(name, shape) == front_end.type_of(tensor)
    back = front_end.from_array(array, tensor)
    assert back.dtype == tensor.dtype
    assert back.stride() == tensor.stride()
    assert torch.equal(back.view(torch.uint8) if shape else back, tensor.view(torch.uint8) if shape else tensor)


def test_what_is_lazy_or_strided_is_carried_out():
    z = torch.complex(torch.arange(6.0).reshape(2, 3), torch.ones(2, 3))
    assert np.array_equal(front_end.to_array(z.conj().T).data, z.conj().resolve_conj().T.numpy())
    assert np.array_equal(front_end.to_array(z.conj().imag).data, -np.ones((2, 3), np.float32))
    assert np.array_equal(front_end.to_array(torch.arange(6.0)[::2].expand(2, 3)).data, [[0, 2, 4]] * 2)


def test_parameters():
    parameter = torch.nn.Parameter(torch.ones(2))
    assert front_end.to_array(parameter).data.tolist() == [1, 1]


def test_memory_is_shared_where_it_can_be():
    tensor = torch.ones(3)
    assert np.shares_memory(front_end.to_array(tensor).data, tensor.numpy())
    assert front_end.from_array(front_end.to_array(tensor), tensor).data_ptr() == tensor.data_ptr()


def test_read_only_memory_is_copied():
    data = np.ones(3)
    data.flags.writeable = False
    back = front_end.from_array(Array("float64", (3,), data), torch.ones(1))
    back.zero_()
    assert data.sum() == 3


def test_results_come_back_as_the_arguments_came():
    array = Array.from_numpy(np.ones(3))
    assert isinstance(front_end.from_array(array, np.zeros(1)), np.ndarray)
    assert isinstance(front_end.from_array(array, torch.zeros(1)), torch.Tensor)
    assert isinstance(front_end.from_array(array, None), torch.Tensor)


def test_leaves():
    assert front_end.is_array(torch.ones(2))
    assert front_end.is_array(np.ones(2))
    assert not front_end.is_array(2.0)


@pytest.mark.parametrize(
    ("make", "remedy"),
    [
        (lambda: torch.eye(2).to_sparse(), "to_dense"),
        (lambda: torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8), "dequantize"),
        (lambda: torch.ones(2, device="meta"), "values"),
        (lambda: torch.ones(2).to(torch.float8_e4m3fn), "convert"),
    ],
)
@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor:UserWarning")
def test_refused_tensors(make, remedy):
    with pytest.raises(InvalidArray) as caught:
        front_end.to_array(make())
    assert remedy in caught.value.remedy
