"""Arrays in transport form: what comes in, bit for bit, and what is refused."""

import sys
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from farfunc_protocol.arrays import Array, _convert, read_shape
from farfunc_protocol.bfloat16 import bfloat16_to_float32, float_to_bfloat16
from farfunc_protocol.dtypes import DTYPES
from farfunc_protocol.errors import InvalidArray, LimitExceeded
from farfunc_protocol.limits import DEFAULT_LIMITS
from farfunc_protocol.tensor_type import TensorType
from support.arrays_strategy import arrays


class Subclass(np.ndarray):
    """Any subclass of ndarray that adds nothing to the elements."""


_NUMPY_ROWS = tuple(row for row in DTYPES.values() if row.name != "bfloat16")


@given(arrays(_NUMPY_ROWS))
def test_every_memory_layout_gives_the_same_bits(array):
    native = array.to_numpy()
    swapped = native.astype(native.dtype.newbyteorder(">"))
    assert Array.from_numpy(native) == array
    assert Array.from_numpy(swapped) == array
    assert Array.from_numpy(np.asfortranarray(native) if native.ndim else native) == array
    wide = np.zeros((*native.shape, 2), native.dtype)
    wide[..., 0] = native
    assert Array.from_numpy(wide[..., 0]) == array


@given(arrays(_NUMPY_ROWS))
def test_to_numpy_is_the_inverse(array):
    assert Array.from_numpy(array.to_numpy()) == array
    assert array.to_numpy().dtype == np.dtype(array.dtype)


@given(arrays())
def test_the_buffer_holds_every_byte(array):
    assert array.buffer.nbytes == array.nbytes
    assert Array.from_buffer(array.buffer, DTYPES[array.dtype], array.shape) == array
    assert hash(array) == hash(Array.from_buffer(bytes(array.buffer), DTYPES[array.dtype], array.shape))


def test_nothing_is_copied_without_need():
    x = np.arange(6.0).reshape(2, 3)
    x.setflags(write=False)
    assert np.shares_memory(Array.from_numpy(x).data, x)
    assert np.shares_memory(Array.from_numpy(x).to_numpy(), x)
    assert np.shares_memory(Array.from_numpy(x[1]).data, x)
    assert not np.shares_memory(Array.from_numpy(x.T).data, x)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (True, TensorType("bool", ())),
        (3, TensorType("int64", ())),
        (2**63, TensorType("uint64", ())),
        (3.0, TensorType("float64", ())),
        (3j, TensorType("complex128", ())),
        (np.float16(3), TensorType("float16", ())),
        (np.array(3, ">i2"), TensorType("int16", ())),
        ([[1.0], [2.0]], TensorType("float64", (2, 1))),
        ((), TensorType("float64", (0,))),
        (np.zeros((1, 2), "i4").view(Subclass), TensorType("int32", (1, 2))),
        (np.empty((3, 0), "c8"), TensorType("complex64", (3, 0))),
    ],
)
def test_types(value, expected):
    assert Array.from_numpy(value).type == expected


@pytest.mark.parametrize(
    ("value", "remedy"),
    [
        (np.ma.masked_array([1.0, 2.0], [True, False]), "x.filled"),
        (np.array(["a"]), "convert it"),
        (np.array([b"a"]), "convert it"),
        (np.array([None]), "convert it"),
        (np.array(["2020-01-01"], "M8[D]"), "convert it"),
        (np.array([1], "m8[s]"), "convert it"),
        (np.zeros(2, [("x", "f8")]), "convert it"),
        (np.zeros(2, [("x", "f8")]).view(np.recarray), "convert it"),
        ("text", "np.asarray"),
        (None, "np.asarray"),
        (memoryview(b"12"), "np.asarray"),
        (2**64, "64 bits"),
    ],
)
def test_what_cannot_travel_is_refused_with_a_remedy(value, remedy):
    with pytest.raises(InvalidArray) as caught:
        Array.from_numpy(value, where="args[0]")
    assert caught.value.where == "args[0]"
    assert remedy in caught.value.remedy


@pytest.mark.skipif(np.dtype(np.longdouble).itemsize == 8, reason="longdouble is float64 on this machine")
@pytest.mark.parametrize("value", [np.longdouble(1), np.clongdouble(1)])
def test_longdouble_is_refused(value):
    with pytest.raises(InvalidArray, match="cannot be sent"):
        Array.from_numpy(value)


def test_ragged_lists_are_refused():
    with pytest.raises(InvalidArray, match="make no array"):
        Array.from_numpy([[1], [1, 2]])


def test_an_object_is_not_asked_to_become_an_array():
    class Traced:
        def __array__(self, *args, **kwargs):
            raise AssertionError

    with pytest.raises(InvalidArray, match="Traced is not a NumPy array"):
        Array.from_numpy(Traced())


def test_foreign_booleans_become_zero_and_one():
    foreign = np.frombuffer(b"\x00\x02\xff", np.bool_)
    assert bytes(Array.from_numpy(foreign).buffer) == b"\x00\x01\x01"


class TestConversion:
    @pytest.mark.parametrize(
        ("value", "name", "expected"),
        [
            ([True, False], "int8", [1, 0]),
            ([1, 2], "float32", [1, 2]),
            ([0.1], "float32", [np.float32(0.1)]),
            ([1e6], "float16", [np.inf]),
            ([1.5], "complex64", [1.5]),
            ([250], "uint8", [250]),
            ([], "uint8", []),
        ],
    )
    def test_rounds(self, value, name, expected):
        array = Array.from_numpy(value, dtype=name)
        assert array.dtype == name
        assert array.data.tolist() == expected

    @pytest.mark.parametrize(
        ("value", "name"),
        [([1.5], "int64"), ([1j], "float64"), ([1], "bool"), ([300], "uint8"), ([-1], "uint64"), ([2**63], "int64")],
    )
    def test_refuses_to_lose_more_than_precision(self, value, name):
        with pytest.raises(InvalidArray) as caught:
            Array.from_numpy(value, dtype=name, where="x")
        assert caught.value.remedy

    @given(arrays((DTYPES["bfloat16"],)))
    def test_from_bfloat16_to_float32_and_back(self, array):
        wide = Array.from_buffer(bfloat16_to_float32(array.data).tobytes(), DTYPES["float32"], array.shape)
        assert _convert(array, "float32", None) == wide
        with pytest.raises(InvalidArray, match="without loss"):
            _convert(Array.from_numpy([1.0], dtype="bfloat16"), "int16", None)

    def test_an_unknown_dtype_is_refused(self):
        with pytest.raises(InvalidArray, match="'float8' is not a dtype"):
            Array.from_numpy([1.0], dtype="float8")


def test_the_constructor_checks_its_parts():
    good = np.zeros(2)
    for dtype, shape, data in [
        ("float32", (2,), good),
        ("float64", (3,), good),
        ("float64", (2,), np.zeros(4)[::2]),
        ("float64", (2,), good.astype(">f8")),
        ("float64", (2,), good.view(Subclass)),
        ("bfloat16", (2,), np.zeros(2, "i2")),
        ("float65", (2,), good),
    ]:
        with pytest.raises(InvalidArray):
            Array(dtype, shape, data)


def test_equality_is_of_bits():
    nan, other_nan = np.array([0x7FF8000000000000, 0x7FF8000000000001], "<u8").view("<f8")
    assert Array.from_numpy(nan) == Array.from_numpy(nan.copy())
    assert Array.from_numpy(nan) != Array.from_numpy(other_nan)
    assert Array.from_numpy(0.0) != Array.from_numpy(-0.0)
    assert Array.from_numpy(1.0) != 1.0
    assert Array.from_numpy(np.zeros((2, 0))) != Array.from_numpy(np.zeros((0, 2)))


def test_unaligned_bytes_are_copied():
    content = bytes(1) + np.arange(3.0).tobytes()
    array = Array.from_buffer(memoryview(content)[1:], DTYPES["float64"], (3,))
    assert array.data.flags.aligned
    assert array.data.tolist() == [0, 1, 2]


class TestBfloat16:
    def test_without_a_library_there_is_an_error_with_a_remedy(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "ml_dtypes", None)
        with pytest.raises(InvalidArray) as caught:
            Array.from_numpy([1.0], dtype="bfloat16").to_numpy()
        assert "ml_dtypes" in caught.value.remedy

    def test_with_ml_dtypes(self):
        ml_dtypes = pytest.importorskip("ml_dtypes")
        x = np.array([1.5, -0.0], ml_dtypes.bfloat16)
        assert Array.from_numpy(x).dtype == "bfloat16"
        assert Array.from_numpy(x).to_numpy().dtype == x.dtype
        assert Array.from_numpy(x[::-1]) == Array.from_numpy([-0.0, 1.5], dtype="bfloat16")

    def test_every_value_survives_the_way_through_float(self):
        bits = np.arange(2**16).astype("<u2")
        is_nan = (bits & 0x7FFF) > 0x7F80
        for wide in (np.float32, np.float64):
            with np.errstate(invalid="ignore"):  # signalling NaNs
                values = bfloat16_to_float32(bits).astype(wide)
            back = float_to_bfloat16(values)
            assert np.array_equal(back[~is_nan], bits[~is_nan])
            assert np.array_equal(back[is_nan], bits[is_nan] | 0x40)

    @given(st.floats(allow_nan=False, allow_infinity=False) | st.floats(-4, 4))
    def test_float64_is_rounded_once_to_the_nearest(self, value):
        given_bits = int(float_to_bfloat16(np.array(value)))
        magnitude = given_bits & 0x7FFF
        if magnitude == 0x7F80:  # infinite: half a unit beyond the largest finite number, or more
            assert abs(value) >= 2.0**127 * (2 - 2**-8)
            return
        distance = abs(_value(magnitude) - Fraction(abs(value)))
        for neighbour in (magnitude - 1, magnitude + 1):
            if 0 <= neighbour < 0x7F80:
                other = abs(_value(neighbour) - Fraction(abs(value)))
                assert distance < other or (distance == other and magnitude % 2 == 0)

    def test_what_two_roundings_would_get_wrong(self):
        # Just above the midpoint of 1 and the next bfloat16, by less than float32 can tell.
        assert float_to_bfloat16(np.array([1 + 2.0**-8 + 2.0**-40])).tolist() == [0x3F81]
        assert float_to_bfloat16(np.array([1 + 2.0**-8])).tolist() == [0x3F80]
        assert float_to_bfloat16(np.array([1 + 2.0**-8 - 2.0**-40])).tolist() == [0x3F80]

    def test_as_torch_rounds_float32(self):
        torch = pytest.importorskip("torch")
        x = np.random.default_rng(0).integers(0, 2**32, 4096, dtype=np.uint32).view(np.float32)
        x = x[~np.isnan(x)]
        expected = torch.from_numpy(x).to(torch.bfloat16).view(torch.int16).numpy().view(np.uint16)
        assert np.array_equal(float_to_bfloat16(x), expected)


def _value(bits: int) -> Fraction:
    return Fraction(float(bfloat16_to_float32(np.array(bits, "<u2"))))


class TestReadShape:
    @pytest.mark.parametrize("shape", [[], [0], [2, 3], [2**59, 0]])
    def test_accepts(self, shape):
        assert read_shape(shape, DTYPES["float64"], limits=DEFAULT_LIMITS, where="s") == tuple(shape)

    @pytest.mark.parametrize(
        ("shape", "where"),
        [
            ("2", "s"),
            ({"a": 1}, "s"),
            ([2.0], "s[0]"),
            ([1, True], "s[1]"),
            ([-1], "s[0]"),
            ([2**63], "s[0]"),
            ([2**62, 0], "s"),
            ([2**31, 2**31, 2**31], "s"),
        ],
    )
    def test_refuses(self, shape, where):
        with pytest.raises(InvalidArray) as caught:
            read_shape(shape, DTYPES["float64"], limits=DEFAULT_LIMITS, where="s")
        assert caught.value.where == where

    def test_limits(self):
        for shape in ([1] * 33, [2**41]):
            with pytest.raises(LimitExceeded):
                read_shape(shape, DTYPES["uint8"], limits=DEFAULT_LIMITS, where="s")
