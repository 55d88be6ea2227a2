"""Arrays as JSON: nested lists and base64, exact, and faults reported with their path."""

import base64
import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from farfunc_protocol.array_json import from_json, to_base64, to_lists
from farfunc_protocol.arrays import Array
from farfunc_protocol.errors import InvalidArray, LimitExceeded, ProtocolError
from farfunc_protocol.limits import Limits
from farfunc_protocol.tensor_type import TensorType
from support.arrays_strategy import arrays, without_nan_payloads


def through_text(document):
    """As it arrives: strict JSON, written and parsed."""
    return json.loads(json.dumps(document, allow_nan=False))


@given(arrays())
def test_base64_keeps_every_bit(array):
    assert from_json(through_text(to_base64(array))) == array


@given(arrays())
def test_lists_keep_every_bit_but_those_of_nan(array):
    assert without_nan_payloads(from_json(through_text(to_lists(array)))) == without_nan_payloads(array)


@given(arrays())
def test_bare_numbers_take_the_expected_type(array):
    document = through_text(to_lists(array))
    read = from_json(document["data"], expected=array.type)
    if array.data.size:
        assert without_nan_payloads(read) == without_nan_payloads(array)
    else:
        assert read.dtype == array.dtype
        assert read.data.size == 0


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        (True, TensorType("bool", ())),
        ([True, False], TensorType("bool", (2,))),
        (3, TensorType("int64", ())),
        ([[1], [2]], TensorType("int64", (2, 1))),
        ([1, 2.0], TensorType("float64", (2,))),
        ("NaN", TensorType("float64", ())),
        ([], TensorType("float64", (0,))),
        ([[], []], TensorType("float64", (2, 0))),
    ],
)
def test_without_context_numbers_are_what_they_look_like(document, expected):
    assert from_json(document).type == expected


class TestNumbers:
    def test_names_of_what_json_has_no_numbers_for(self):
        array = from_json(["NaN", "Infinity", "-Infinity", -0.0])
        assert np.isnan(array.data[0])
        assert array.data[1:].tolist() == [math.inf, -math.inf, 0]
        assert np.signbit(array.data).tolist() == [False, False, True, True]
        assert to_lists(array)["data"] == ["NaN", "Infinity", "-Infinity", -0.0]

    def test_64_bit_integers_are_exact(self):
        for name, value in [("int64", -(2**63)), ("int64", 2**63 - 1), ("uint64", 2**64 - 1)]:
            array = from_json({"dtype": name, "data": [value]})
            assert array.data.tolist() == [value]
            assert through_text(to_lists(array)) == {"dtype": name, "data": [value]}

    def test_decimals_are_rounded_to_the_nearest(self):
        assert from_json(0.1, expected=TensorType("float32", ())).data == np.float32(0.1)
        assert from_json(0.1, expected=TensorType("float16", ())).data == np.float16(0.1)
        # Above the midpoint of 1 and the next bfloat16 by less than float32 can tell.
        assert from_json(1 + 2.0**-8 + 2.0**-40, expected=TensorType("bfloat16", ())).data == 0x3F81
        assert from_json(65519.9, expected=TensorType("float16", ())).data == 65504
        assert from_json(2**70, expected=TensorType("float64", ())).data == 2.0**70

    def test_complex_numbers_are_pairs(self):
        assert from_json({"dtype": "complex64", "data": [1, "Infinity"]}).data == np.complex64(complex(1, math.inf))
        array = from_json([[[1, 2], [3, 4]]], expected=TensorType("complex128", (1, 2)))
        assert array.data.tolist() == [[1 + 2j, 3 + 4j]]
        assert to_lists(array) == {"dtype": "complex128", "data": [[[1.0, 2.0], [3.0, 4.0]]]}

    def test_writing_a_signalling_nan_raises_no_warning(self):
        for name, bits in [("float32", b"\x01\x00\x80\x7f"), ("float64", b"\x01" + bytes(5) + b"\xf0\x7f")]:
            document = {"dtype": name, "shape": [], "base64": base64.b64encode(bits).decode()}
            assert to_lists(from_json(document)) == {"dtype": name, "data": "NaN"}


class TestEmptyArrays:
    @pytest.mark.parametrize("shape", [(0,), (0, 3), (3, 0), (2, 0, 5), (2**40, 0)])
    def test_carry_their_shape(self, shape):
        array = Array.from_numpy(np.empty(shape, "f4"))
        document = to_lists(array)
        assert document == {"dtype": "float32", "shape": list(shape), "data": []}
        assert from_json(through_text(document)) == array

    @pytest.mark.parametrize(
        ("data", "shape"), [([], [0, 3]), ([], [3, 0]), ([[], []], [2, 0]), ([[], []], [2, 0, 5]), ([[]], [1, 0])]
    )
    def test_show_as_much_of_it_as_lists_can(self, data, shape):
        assert from_json({"dtype": "bool", "shape": shape, "data": data}).shape == tuple(shape)

    @pytest.mark.parametrize(("data", "shape"), [([], [1]), ([], []), ([[], []], [3, 0]), ([[]], [0]), ([1], [0])])
    def test_of_another_shape(self, data, shape):
        with pytest.raises(InvalidArray, match="the shape is"):
            from_json({"dtype": "int64", "shape": shape, "data": data})

    @pytest.mark.parametrize(
        ("document", "expected", "shape"),
        [
            ([], (0, 3), (0, 3)),
            ([], (0, "n"), (0,)),
            ([], (3, 0), (0,)),
            ([[], []], (2, 0, 4), (2, 0, 4)),
            ([[], []], ("n", 0), (2, 0)),
        ],
    )
    def test_take_further_axes_from_the_expected_type(self, document, expected, shape):
        assert from_json(document, expected=TensorType("float32", expected)).shape == shape


class TestFaultsHaveAPath:
    @pytest.mark.parametrize(
        ("dtype", "data", "where", "says"),
        [
            ("int64", [[1, 2], [3, 4.0]], "x.data[1][1]", "an integer, not 4.0"),
            ("int64", True, "x.data", "an integer, not true"),
            ("int64", ["1"], "x.data[0]", "an integer, not '1'"),
            ("int8", [[0], [128]], "x.data[1][0]", "from -128 to 127, not 128"),
            ("uint8", [-1], "x.data[0]", "from 0 to 255, not -1"),
            ("int64", [2**63], "x.data[0]", "not 9223372036854775808"),
            ("uint64", [0, 2**64], "x.data[1]", "not 18446744073709551616"),
            ("bool", [True, 1], "x.data[1]", "true or false, not 1"),
            ("float64", [1.0, False], "x.data[1]", "a number, not false"),
            ("float64", [1.0, None], "x.data[1]", "a number, not null"),
            ("float64", [[1.0], ["inf"]], "x.data[1][0]", "not 'inf'"),
            ("float64", [{}], "x.data[0]", "not {}"),
            ("float64", [1.0, math.inf], "x.data[1]", "a number is finite .* not inf"),
            ("float64", ["NaN", math.nan], "x.data[1]", "a number is finite .* not nan"),
            ("float64", [0.0, 10**400], "x.data[1]", "within its range"),
            ("float32", [0.0, 1e39], "x.data[1]", "within its range, not 1e\\+39"),
            ("float16", [[0.0], [65520.0]], "x.data[1][0]", "within its range, not 65520.0"),
            ("bfloat16", [3.4e38], "x.data[0]", "within its range"),
            ("complex64", [[1.0, 1e39]], "x.data[0][1]", "within its range"),
            ("complex64", 1.0, "x.data", "a pair"),
            ("complex64", [1.0, 2.0, 3.0], "x.data", "a pair"),
            ("float64", [[1.0], 2.0], "x.data[1]", "ragged: 2.0"),
            ("float64", [[1.0], [2.0, 3.0]], "x.data[1]", "ragged: a list of 2"),
            ("float64", [[[1], [2]], [[3], []]], "x.data[1][1]", "ragged: a list of 0"),
            ("float64", [1.0, [2.0]], "x.data[1]", "a number, not \\[2.0\\]"),
            ("float64", [[], 1.0], "x.data[1]", "ragged"),
            ("float64", "text", "x.data", "not 'text'"),
            ("float65", 1.0, "x.dtype", "'float65' is not a dtype"),
            (["float64"], 1.0, "x.dtype", "is not a dtype"),
            (None, 1.0, "x.dtype", "null is not a dtype"),
        ],
    )
    def test_in_lists(self, dtype, data, where, says):
        with pytest.raises(InvalidArray, match=says) as caught:
            from_json({"dtype": dtype, "data": data}, where="x")
        assert caught.value.where == where

    def test_in_bare_lists(self):
        with pytest.raises(InvalidArray) as caught:
            from_json([1.0, None], where="args[0][2]")
        assert caught.value.where == "args[0][2][1]"
        with pytest.raises(InvalidArray, match="a number, not true"):
            from_json([1, True])

    def test_an_integer_beyond_64_bits_needs_a_dtype(self):
        with pytest.raises(InvalidArray, match="an element of int64"):
            from_json([2**64])

    @pytest.mark.parametrize(
        ("members", "where", "says"),
        [
            ({"base64": 1}, "x.base64", "base64 is a string"),
            ({"base64": "AAAA"}, "x.base64", "takes 4 bytes, hence 8 characters"),
            ({"base64": "AAAAAAA="}, "x.base64", "takes 4 bytes|not base64"),
            ({"base64": "AAAA!A=="}, "x.base64", "not base64"),
            ({"base64": "AAAAAA=A"}, "x.base64", "not base64"),
            ({"base64": "AAAAééé="}, "x.base64", "not base64"),
            ({"base64": "AAAAAA\n="}, "x.base64", "not base64"),
            ({"base64": "AAAAAA==", "shape": [2]}, "x.base64", "takes 8 bytes"),
            ({"base64": "AAAAAA==", "shape": [2**62]}, "x.shape", "address"),
            ({"base64": "AAAAAA==", "shape": "1"}, "x.shape", "a shape is a list"),
            ({"base64": "Ag==", "dtype": "bool"}, "x.base64", "0 or 1"),
            ({"base64": "AAAAAA==", "data": 1}, "x", "either data or base64"),
            ({"base64": "AAAAAA==", "order": "F"}, "x", "either data or base64"),
            ({}, "x", "either data or base64"),
        ],
    )
    def test_in_base64(self, members, where, says):
        document = {"dtype": "float32", "shape": [1], **members}
        with pytest.raises(InvalidArray, match=says) as caught:
            from_json(document, where="x")
        assert caught.value.where == where

    def test_missing_members(self):
        with pytest.raises(InvalidArray, match="the dtype is missing"):
            from_json({"data": [1]})
        with pytest.raises(InvalidArray, match="the shape is missing"):
            from_json({"dtype": "int8", "base64": "AA=="})

    def test_another_shape(self):
        with pytest.raises(InvalidArray, match=r"the shape is \[2, 1\], that of the data \[2\]"):
            from_json({"dtype": "int64", "shape": [2, 1], "data": [1, 2]})


class TestHostileDocuments:
    def test_depth_is_bounded(self):
        document = 1.0
        for _ in range(5000):
            document = [document]
        with pytest.raises(LimitExceeded):
            from_json(document)
        for _ in range(5000):
            document = {"dtype": document}
        with pytest.raises(InvalidArray):
            from_json(document | {"data": 1})

    def test_limits(self):
        with pytest.raises(LimitExceeded):
            from_json([[1.0]], limits=Limits(rank=1))
        with pytest.raises(LimitExceeded):
            from_json([1.0, 2.0], limits=Limits(elements=1))
        with pytest.raises(LimitExceeded):
            from_json({"dtype": "int8", "shape": [2], "base64": "AAA="}, limits=Limits(elements=1))
        assert from_json([[1.0, 2.0]], expected=TensorType("complex64", (1,)), limits=Limits(rank=1)).shape == (1,)

    @given(
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(["NaN", "float32"]),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(
                    st.sampled_from(["dtype", "shape", "data", "base64"]) | st.text(max_size=2), inner, max_size=4
                )
            ),
        ),
        st.sampled_from([None, TensorType("float16", ("n", 2)), TensorType("complex64", ()), TensorType("int8", (0,))]),
    )
    def test_any_document_is_valid_or_refused(self, document, expected):
        try:
            array = from_json(document, expected=expected)
        except ProtocolError:
            return
        assert from_json(through_text(to_base64(array))) == array

    @given(
        st.fixed_dictionaries(
            {"dtype": st.sampled_from(["float16", "int8", "bool", "complex128"])},
            optional={
                "shape": st.lists(st.integers(-1, 3) | st.sampled_from([2**40, 2**62, 0.5]), max_size=3),
                "data": st.recursive(
                    st.integers(-1, 300) | st.booleans() | st.floats(), lambda inner: st.lists(inner, max_size=2)
                ),
                "base64": st.text("AQ=", max_size=8),
            },
        )
    )
    def test_any_array_object_is_valid_or_refused(self, document):
        try:
            array = from_json(document)
        except ProtocolError:
            return
        assert array.dtype == document["dtype"]
