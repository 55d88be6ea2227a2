"""The safetensors codec: exact, canonical, read by the Rust library, and unmoved by hostile bytes."""

import json
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from farfunc_protocol import safetensors
from farfunc_protocol.arrays import Array
from farfunc_protocol.dtypes import DTYPES
from farfunc_protocol.errors import InvalidArray, LimitExceeded, ProtocolError
from farfunc_protocol.limits import Limits
from support.arrays_strategy import arrays

_TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=8)
_NAMES = _TEXT.filter(lambda name: name != "__metadata__")
_FILES = st.tuples(
    st.dictionaries(_NAMES, arrays(), max_size=5),
    st.dictionaries(_TEXT.filter(lambda key: key != safetensors.COMPLEX128_KEY), _TEXT, max_size=3),
)
_DOCUMENTS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | _TEXT,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(_TEXT | st.sampled_from(["dtype", "shape", "data_offsets"]), inner, max_size=4)
    ),
)


def file(header, data=b"") -> bytes:
    """A file with any header whatever, a document or the text itself."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def entry(dtype="U8", shape=(1,), begin=0, end=1, **more):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end], **more}


class TestRoundTrip:
    @given(_FILES)
    def test_is_exact(self, content):
        tensors, metadata = content
        decoded, decoded_metadata = safetensors.decode(safetensors.encode_bytes(tensors, metadata))
        assert decoded == tensors
        assert decoded_metadata == metadata

    @given(_FILES)
    def test_is_canonical(self, content):
        tensors, metadata = content
        written = safetensors.encode_bytes(tensors, metadata)
        shuffled = dict(reversed(tensors.items())), dict(reversed(metadata.items()))
        assert safetensors.encode_bytes(*shuffled) == written
        assert safetensors.encode_bytes(*safetensors.decode(written)) == written

    @given(_FILES, st.integers(0, 7))
    def test_from_unaligned_memory(self, content, shift):
        written = safetensors.encode_bytes(*content)
        memory = bytearray(shift) + written
        decoded, _ = safetensors.decode(memoryview(memory)[shift:])
        assert decoded == content[0]
        assert all(array.data.flags.aligned for array in decoded.values())

    def test_from_a_strided_buffer(self):
        written = safetensors.encode_bytes({"x": Array.from_numpy([1, 2])})
        doubled = bytes(byte for byte in written for _ in range(2))
        assert safetensors.decode(memoryview(doubled)[::2])[0] == {"x": Array.from_numpy([1, 2])}


class TestLayout:
    def test_the_bytes_of_a_small_file(self):
        written = safetensors.encode_bytes(
            {"b": Array.from_numpy(np.int16([1, 2])), "a": Array.from_numpy(np.int16(3)), "z": Array.from_numpy(1j)},
            {"key": "é"},
        )
        header = (
            b'{"__metadata__":{"farfunc.complex128":"[\\"z\\"]","key":"\\u00e9"},'
            b'"a":{"data_offsets":[16,18],"dtype":"I16","shape":[]},'
            b'"b":{"data_offsets":[18,22],"dtype":"I16","shape":[2]},'
            b'"z":{"data_offsets":[0,16],"dtype":"F64","shape":[2]}}'
        )
        padding = -len(header) % 8
        data = struct.pack("<ddhhh", 0, 1, 3, 1, 2)
        assert written == struct.pack("<Q", len(header) + padding) + header + b" " * padding + data

    def test_the_data_begins_at_a_multiple_of_eight(self):
        for length in range(20):
            first = safetensors.encode({"x" * length: Array.from_numpy(1.0)})[0]
            assert len(first) % 8 == 0

    def test_large_arrays_are_not_copied(self):
        x = np.arange(1000.0)
        buffers = safetensors.encode({"x": Array.from_numpy(x)})
        assert np.shares_memory(np.frombuffer(buffers[1], np.uint8), x)
        decoded, _ = safetensors.decode(memory := bytearray(b"".join(buffers)))
        assert np.shares_memory(decoded["x"].data, np.frombuffer(memory, np.uint8))
        assert decoded["x"].data.flags.writeable
        assert not safetensors.decode(bytes(memory))[0]["x"].data.flags.writeable

    def test_complex128_of_the_largest_rank_comes_back(self):
        x = Array.from_numpy(np.full((1,) * 32, 2j))
        assert safetensors.decode(safetensors.encode_bytes({"x": x}))[0]["x"] == x


class TestBesideTheRustLibrary:
    @given(_FILES)
    def test_it_reads_what_we_write(self, content):
        peer = pytest.importorskip("safetensors")
        tensors, metadata = content
        read = dict(peer.deserialize(safetensors.encode_bytes(tensors, metadata)))
        assert read.keys() == tensors.keys()
        for name, array in tensors.items():
            assert read[name]["dtype"] == DTYPES[array.dtype].safetensors
            assert bytes(read[name]["data"]) == bytes(array.buffer)
            assert read[name]["shape"] == [*array.shape, *([2] if array.dtype == "complex128" else [])]

    @given(
        st.dictionaries(_NAMES, arrays(tuple(row for row in DTYPES.values() if row.name != "complex128")), max_size=5)
    )
    def test_we_read_what_it_writes(self, tensors):
        peer = pytest.importorskip("safetensors")
        document = {
            name: peer.TensorSpec(
                dtype=array.dtype, shape=array.shape, data_ptr=array.data.ctypes.data, data_len=array.nbytes
            )
            for name, array in tensors.items()
        }
        decoded, metadata = safetensors.decode(peer.serialize(document, {"by": "peer"}))
        assert decoded == tensors
        assert metadata == {"by": "peer"}

    def test_through_numpy_files(self, tmp_path):
        peer = pytest.importorskip("safetensors.numpy")
        x = {"x": np.arange(6.0).reshape(2, 3), "y": np.float32([1, 2])}
        peer.save_file(x, tmp_path / "theirs.safetensors")
        decoded, _ = safetensors.decode((tmp_path / "theirs.safetensors").read_bytes())
        assert {name: array.to_numpy().tolist() for name, array in decoded.items()} == {
            name: array.tolist() for name, array in x.items()
        }
        (tmp_path / "ours.safetensors").write_bytes(safetensors.encode_bytes(decoded))
        loaded = peer.load_file(tmp_path / "ours.safetensors")
        assert all(np.array_equal(loaded[name], x[name]) for name in x)


_LIST_BOMB = b"[" * 100_000
_OBJECT_BOMB = b'{"a":' * 100_000


class TestHostileFiles:
    @pytest.mark.parametrize(
        ("content", "says"),
        [
            (b"", "0 bytes are there"),
            (b"1234567", "7 bytes are there"),
            (struct.pack("<Q", 0), "does not begin with a brace"),
            (struct.pack("<Q", 10) + b"{}", "the header has 10 bytes, 2 are there"),
            (file(b"[]"), "does not begin with a brace"),
            (file(b" {}"), "does not begin with a brace"),
            (file(b"{"), "not JSON"),
            (file(b"{} x"), "not JSON"),
            (file(b'{"\xff": 1}'), "not UTF-8"),
            (file(b"{" + b'"a":' + _LIST_BOMB), "nested too deeply"),
            (file(_OBJECT_BOMB), "nested too deeply"),
            (file(b'{"x":' + b"9" * 5000 + b"}"), "cannot be read"),
            (file(b'{"x":NaN}'), "NaN is no JSON"),
            (file(b'{"x":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"x":1}', b"a"), "twice"),
            (file(b'{"__metadata__":{"a":"b","a":"c"}}'), "twice"),
            (file(b'{"\\ud800":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}', b"a"), "surrogate"),
            (file({"__metadata__": None}), "the metadata is an object"),
            (file({"__metadata__": [1]}), "the metadata is an object"),
            (file({"__metadata__": {"a": 1}}), "strings to strings"),
            (file({"x": entry()}), "the tensors take 1 bytes of data, 0 are there"),
            (file({"x": entry()}, b"ab"), "the tensors take 1 bytes of data, 2 are there"),
            (file({}, b"a"), "the tensors take 0 bytes"),
            (file({"__metadata__": {"farfunc.complex128": "["}}), "not JSON"),
            (file({"__metadata__": {"farfunc.complex128": "{}"}}), "list of names"),
            (file({"__metadata__": {"farfunc.complex128": "[]"}}), "list of names"),
            (file({"__metadata__": {"farfunc.complex128": '["x","x"]'}}), "twice"),
            (file({"__metadata__": {"farfunc.complex128": '["x"]'}}), "no tensor 'x'"),
        ],
    )
    def test_a_broken_file(self, content, says):
        with pytest.raises(ProtocolError, match=says):
            safetensors.decode(content)

    @pytest.mark.parametrize(
        ("given", "where", "says"),
        [
            (None, "header['x']", "an entry is an object"),
            ([], "header['x']", "an entry is an object"),
            ({}, "header['x']", "an entry is an object"),
            (entry(extra=1), "header['x']", "no other"),
            (entry(dtype="F8_E4M3"), "header['x'].dtype", "'F8_E4M3' is not a dtype"),
            (entry(dtype=["U8"]), "header['x'].dtype", "is not a dtype"),
            (entry() | {"shape": "1"}, "header['x'].shape", "a shape is a list"),
            (entry(shape=[1.0]), "header['x'].shape[0]", "an integer from 0"),
            (entry(shape=[True]), "header['x'].shape[0]", "an integer from 0"),
            (entry(shape=[-1, -1]), "header['x'].shape[0]", "an integer from 0"),
            (entry(shape=[2**64]), "header['x'].shape[0]", "an integer from 0"),
            (entry(shape=[2**32, 2**32]), "header['x'].shape", "more bytes than an address"),
            (entry(shape=[2**40, 2**40, 0], end=0), "header['x'].shape", "more bytes than an address"),
            (entry() | {"data_offsets": [0]}, "header['x'].data_offsets", "two integers"),
            (entry() | {"data_offsets": [0, 1.0]}, "header['x'].data_offsets", "two integers"),
            (entry() | {"data_offsets": {"0": 1}}, "header['x'].data_offsets", "two integers"),
            (entry(begin=-1, end=0), "header['x'].data_offsets", "takes 1 bytes"),
            (entry(begin=1, end=0), "header['x'].data_offsets", "takes 1 bytes"),
            (entry(shape=[2]), "header['x'].data_offsets", "takes 2 bytes"),
            (entry(dtype="U16"), "header['x'].data_offsets", "takes 2 bytes"),
            (entry(begin=1, end=2), "header['x'].data_offsets", "leaves a hole"),
            (entry(begin=2**70, end=2**70 + 1), "header['x'].data_offsets", "leaves a hole"),
            (entry(dtype="BOOL"), "header['x']", "0 or 1"),
        ],
    )
    def test_a_broken_entry(self, given, where, says):
        with pytest.raises(InvalidArray, match=says) as caught:
            safetensors.decode(file({"x": given}, b"a"))
        assert caught.value.where == where

    def test_tensors_that_overlap(self):
        with pytest.raises(InvalidArray, match="overlaps"):
            safetensors.decode(file({"x": entry(shape=[2], end=2), "y": entry(begin=1, end=2)}, b"ab"))

    def test_an_empty_tensor_inside_another(self):
        with pytest.raises(InvalidArray, match="overlaps"):
            safetensors.decode(file({"x": entry(shape=[2], end=2), "y": entry(shape=[0], begin=1, end=1)}, b"ab"))

    @pytest.mark.parametrize(
        "given", [entry("F32", [2], 0, 8), entry("F64", [], 0, 8), entry("F64", [1], 0, 8), entry("F64", [2, 1], 0, 16)]
    )
    def test_a_mark_on_what_are_no_pairs(self, given):
        header = {"__metadata__": {"farfunc.complex128": '["x"]'}, "x": given}
        with pytest.raises(InvalidArray, match="marked as complex128") as caught:
            safetensors.decode(file(header, bytes(given["data_offsets"][1])))
        assert caught.value.where == "header['x']"

    def test_limits_hold_before_anything_is_allocated(self):
        small = Limits(document_bytes=50, leaves=1, rank=1)
        for content in (
            struct.pack("<Q", 2**63) + b"{}",
            struct.pack("<Q", 101) + b"{}",
            file({"x": entry(shape=[1, 1])}, b"a"),
        ):
            with pytest.raises(LimitExceeded):
                safetensors.decode(content, limits=small)
        with pytest.raises(LimitExceeded, match="leaves"):
            safetensors.decode(file(b'{"x":1,"y":2}'), limits=small)
        with pytest.raises(LimitExceeded, match="100,000,000"):
            safetensors.decode(struct.pack("<Q", 10**8 + 1) + b"{}", limits=Limits(document_bytes=2**40))

    @given(_FILES, st.data())
    def test_a_mutated_file_is_valid_or_refused(self, content, data):
        mutated = bytearray(safetensors.encode_bytes(*content))
        for _ in range(data.draw(st.integers(1, 4))):
            position = data.draw(st.integers(0, len(mutated) - 1))
            if data.draw(st.booleans()):
                mutated[position] = data.draw(
                    st.sampled_from(b'\x00\x01\xff 0129-.eE"\\{}[],:NIu') | st.integers(0, 255)
                )
            else:
                del mutated[position : position + data.draw(st.integers(0, 9))]
            if not mutated:
                break
        _decode_or_refuse(bytes(mutated))

    @given(_DOCUMENTS, st.binary(max_size=16))
    def test_any_document_as_a_header_is_valid_or_refused(self, document, data):
        _decode_or_refuse(file({"x": document}, data))
        _decode_or_refuse(file({"__metadata__": document}, data))
        _decode_or_refuse(file({"x": entry() | {"shape": document}}, data))
        _decode_or_refuse(file({"x": entry() | {"data_offsets": document}}, data))

    @given(st.binary(max_size=64))
    def test_any_bytes_are_valid_or_refused(self, content):
        _decode_or_refuse(content)
        _decode_or_refuse(struct.pack("<Q", len(content)) + content)


def _decode_or_refuse(content: bytes) -> None:
    try:
        tensors, metadata = safetensors.decode(content)
    except ProtocolError:
        return
    again = safetensors.decode(safetensors.encode_bytes(tensors, metadata))
    assert again == (tensors, metadata)


class TestWhatIsNotWritten:
    def test_a_reserved_name(self):
        with pytest.raises(ProtocolError, match="not a name for a tensor"):
            safetensors.encode({"__metadata__": Array.from_numpy(1)})

    def test_what_is_no_array(self):
        with pytest.raises(InvalidArray) as caught:
            safetensors.encode({"x": np.zeros(2)})
        assert caught.value.where == "tensors['x']"
        assert "from_numpy" in caught.value.remedy

    @pytest.mark.parametrize(
        "metadata", [{"a": 1}, {1: "a"}, {"farfunc.complex128": "[]"}, {"a": "\ud800"}, {"\ud800": "a"}]
    )
    def test_metadata(self, metadata):
        with pytest.raises(ProtocolError):
            safetensors.encode({}, metadata)

    def test_half_a_character(self):
        with pytest.raises(ProtocolError, match="surrogate"):
            safetensors.encode({"\udfff": Array.from_numpy(1)})

    def test_a_header_that_the_rust_library_would_not_read(self):
        with pytest.raises(LimitExceeded):
            safetensors.encode({}, {"a": "x" * safetensors.MAX_HEADER_BYTES})
