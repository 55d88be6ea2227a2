"""Files that come in parts: what is made of them is what decode makes of the whole, faults included."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from farfunc_protocol.arrays import Array
from farfunc_protocol.errors import FarfuncError, LimitExceeded
from farfunc_protocol.incoming import _SHARED_BYTES, Incoming
from farfunc_protocol.limits import DEFAULT_LIMITS
from farfunc_protocol.messages import EvaluateResponse, decode_response, encode_response
from farfunc_protocol.safetensors import decode, encode_bytes
from support.arrays_strategy import arrays


def received(data, sizes=(1 << 30,), length=None):
    incoming, position, turn = Incoming(length), 0, 0
    while position < len(data):
        count = min(len(incoming.room()), len(data) - position, sizes[turn % len(sizes)])
        incoming.room()[:count] = data[position : position + count]
        incoming.filled(count)
        position, turn = position + count, turn + 1
    return incoming


def outcome(read):
    """What a reader returns, or what it raises, told so that it can be compared."""
    try:
        tensors, metadata = read()
    except FarfuncError as error:
        return type(error), error.where
    return list(tensors), tensors, metadata


@settings(deadline=None)
@given(
    st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=5).filter(lambda name: name != "__metadata__"),
                    arrays(), max_size=5),
    st.lists(st.integers(1, 50), min_size=1, max_size=3),
    st.booleans(),
)  # fmt: skip
def test_any_file(tensors, sizes, is_known):
    data = encode_bytes(tensors, {"k": "v"})
    incoming = received(data, sizes, len(data) if is_known else None)
    assert outcome(incoming.tensors) == outcome(lambda: decode(data))


FILE = encode_bytes(
    {"a": Array.from_numpy(np.arange(3.0)), "b": Array.from_numpy([True, False]), "c": Array.from_numpy(1j)}
)


@pytest.mark.parametrize("is_known", [True, False])
@pytest.mark.parametrize("end", range(len(FILE)))
def test_a_part_of_a_file(end, is_known):
    data = FILE[:end]
    expected = outcome(lambda: decode(data))
    assert isinstance(expected[0], type)
    assert outcome(received(data, (7,), end if is_known else None).tensors) == expected


@settings(deadline=None)
@given(st.integers(0, len(FILE) - 1), st.integers(0, 255), st.booleans())
def test_a_damaged_file(place, byte, is_known):
    data = bytearray(FILE)
    data[place] = byte
    incoming = received(bytes(data), (5,), len(data) if is_known else None)
    assert outcome(incoming.tensors)[0] == outcome(lambda: decode(bytes(data)))[0]


@pytest.mark.parametrize("is_known", [True, False])
def test_what_follows_a_file_is_a_fault(is_known):
    data = FILE + b"12345678"
    assert outcome(received(data, (9,), len(data) if is_known else None).tensors) == outcome(lambda: decode(data))


def test_what_cannot_be_read_is_received_to_its_end():
    data = b"\xff" * 8 + bytes(200_000)
    assert outcome(received(data, length=len(data)).tensors)[0] is LimitExceeded


def test_more_than_there_is_memory_for():
    count = DEFAULT_LIMITS.elements
    header = b'{"0":{"dtype":"F64","shape":[%d],"data_offsets":[0,%d]}}' % (count, 8 * count)
    incoming = received(len(header).to_bytes(8, "little") + header)
    with pytest.raises(LimitExceeded, match="more than there is memory here"):
        incoming.tensors()


def test_a_large_tensor_has_memory_of_its_own_and_small_ones_share():
    half = _SHARED_BYTES // 16
    given_arrays = {
        "large": np.arange(100_000.0),
        "x": np.ones(3),
        "y": np.ones(5),
        "z": np.ones(half),
        "w": np.ones(half),
    }
    data = encode_bytes({name: Array.from_numpy(array) for name, array in given_arrays.items()})
    tensors, _ = received(data).tensors()
    for name, array in given_arrays.items():
        np.testing.assert_array_equal(tensors[name].data, array)
    assert tensors["large"].data.flags.owndata

    def holder(array):
        while array.base is not None:
            array = array.base.obj if isinstance(array.base, memoryview) else array.base
        return array

    held = {name: holder(tensor.data) for name, tensor in tensors.items()}
    assert held["x"] is held["y"]
    assert all(memory.nbytes <= _SHARED_BYTES for name, memory in held.items() if name != "large")


def test_a_response():
    response = EvaluateResponse((Array.from_numpy(np.arange(20_000.0)), Array.from_numpy([1, 2])))
    data = b"".join(encode_response(response))
    assert decode_response(received(data, (1000,))) == response
