"""The table of dtypes, beside NumPy's and torch's own."""

import numpy as np
import pytest

from farfunc_protocol.dtypes import DTYPES, dtype, from_numpy_dtype, promote_types
from farfunc_protocol.errors import InvalidArray


def test_the_table_is_pinned():
    # Names and codes are part of the wire format: a change here needs a new version of it.
    assert {row.name: (row.category, row.itemsize, row.safetensors) for row in DTYPES.values()} == {
        "bool": ("bool", 1, "BOOL"),
        "uint8": ("integral", 1, "U8"),
        "int8": ("integral", 1, "I8"),
        "uint16": ("integral", 2, "U16"),
        "int16": ("integral", 2, "I16"),
        "uint32": ("integral", 4, "U32"),
        "int32": ("integral", 4, "I32"),
        "uint64": ("integral", 8, "U64"),
        "int64": ("integral", 8, "I64"),
        "bfloat16": ("floating", 2, "BF16"),
        "float16": ("floating", 2, "F16"),
        "float32": ("floating", 4, "F32"),
        "float64": ("floating", 8, "F64"),
        "complex64": ("complex", 8, "C64"),
        "complex128": ("complex", 16, "F64"),
    }


@pytest.mark.parametrize("row", DTYPES.values(), ids=str)
def test_a_row_agrees_with_itself(row):
    assert row.storage.itemsize == row.itemsize
    assert row.storage.newbyteorder("<") == row.storage
    assert str(row) == row.name
    assert dtype(row.name) is row
    assert row.is_differentiable == (row.category in ("floating", "complex"))
    if row.name != "bfloat16":
        assert row.storage == np.dtype(row.name)
        assert from_numpy_dtype(row.storage) is row
        assert from_numpy_dtype(row.storage.newbyteorder(">")) is row


@pytest.mark.parametrize("name", ["float", "Float64", "", None, 3, ["float64"]])
def test_an_unknown_name_is_refused_with_the_known_ones(name):
    with pytest.raises(InvalidArray, match="is not a dtype") as caught:
        dtype(name, where="args[0].dtype")
    assert caught.value.where == "args[0].dtype"
    assert "complex128" in caught.value.remedy


@pytest.mark.parametrize("given", ["O", "U3", "S3", "M8[s]", "m8[s]", "V4", [("x", "f8")]])
def test_other_numpy_dtypes_are_refused(given):
    with pytest.raises(InvalidArray, match="cannot be sent"):
        from_numpy_dtype(np.dtype(given))


def test_promotion_is_symmetric_and_idempotent():
    for left in DTYPES:
        assert promote_types(left, left) == left
        for right in DTYPES:
            assert _promoted(left, right) == _promoted(right, left)


def test_promotion_is_that_of_torch():
    torch = pytest.importorskip("torch")
    for left in DTYPES:
        for right in DTYPES:
            try:
                expected = str(torch.promote_types(getattr(torch, left), getattr(torch, right))).removeprefix("torch.")
            except RuntimeError:
                expected = None
            assert _promoted(left, right) == expected, (left, right)


def _promoted(left: str, right: str) -> str | None:
    try:
        return promote_types(left, right)
    except InvalidArray as error:
        return None if error.remedy else "no remedy"
