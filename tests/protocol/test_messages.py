"""Requests and responses: what is sent is what is read, and nothing else is."""

import contextlib
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from farfunc_protocol import safetensors
from farfunc_protocol.arrays import Array
from farfunc_protocol.errors import FarfuncError, ProtocolError
from farfunc_protocol.messages import (
    EvaluateRequest,
    EvaluateResponse,
    check_reference,
    decode_request,
    decode_response,
    encode_request,
    encode_response,
)
from farfunc_protocol.strict_json import canonical_json
from farfunc_protocol.transforms import FlatTransform
from support.arrays_strategy import arrays

IDENTITY = "sha256:" + "0a" * 32
CHAIN = (FlatTransform("vmap", {"in_dims": (0, None), "out_dims": (0,)}), FlatTransform("jacrev", {"argnums": (0,)}))


@given(st.lists(arrays(), max_size=12), st.none() | st.integers(0, 2**63 - 1))
def test_round_trips_are_bit_exact(leaves, seed):
    request = EvaluateRequest(IDENTITY, CHAIN, tuple(leaves), {3: Array.from_numpy(np.ones(2))}, seed)
    assert decode_request(b"".join(encode_request(request))) == request
    response = EvaluateResponse(tuple(leaves))
    assert decode_response(b"".join(encode_response(response))) == response


def test_the_generator_travels_both_ways():
    state = Array.from_numpy(np.arange(8, dtype=np.uint8))
    request = EvaluateRequest(IDENTITY, (), (state,), generator=state)
    assert decode_request(b"".join(encode_request(request))) == request
    response = EvaluateResponse((state,), state)
    assert decode_response(b"".join(encode_response(response))) == response


def test_a_seed_and_a_generator_contradict_each_other():
    state = Array.from_numpy(np.arange(8, dtype=np.uint8))
    both = EvaluateRequest(IDENTITY, (), (), seed=1, generator=state)
    with pytest.raises(ProtocolError, match="a seed and a generator"):
        decode_request(b"".join(encode_request(both)))


@pytest.mark.parametrize("reference", ["arm", "arm@1", "my.arm-2@123", IDENTITY])
def test_references(reference):
    assert check_reference(reference) == reference


@pytest.mark.parametrize(
    "reference", ["", "arm@", "arm@0", "3arm", "a b", "../x", "sha256:00", IDENTITY.upper(), "a" * 200, None, 3, "é"]
)
def test_what_is_no_reference(reference):
    with pytest.raises(ProtocolError, match="does not name a function"):
        check_reference(reference)


def _request(tensors=("0",), **header):
    header = {"format": 1, "function": "arm", "transforms": [], **header}
    header = {name: value for name, value in header.items() if value is not ...}
    array = Array.from_numpy(np.ones(2))
    metadata = {"farfunc": canonical_json(header).decode()}
    return safetensors.encode_bytes(dict.fromkeys(tensors, array), metadata)


@pytest.mark.parametrize(
    ("body", "where"),
    [
        (b"", None),
        (b"not safetensors", None),
        (safetensors.encode_bytes({}, {}), "metadata"),
        (safetensors.encode_bytes({}, {"farfunc": "[]"}), "request"),
        (safetensors.encode_bytes({}, {"farfunc": "{"}), "request, line 1 column 2"),
        (_request(function=...), "request"),
        (_request(format=2), "request.format"),
        (_request(function="../etc"), "request.function"),
        (_request(extra=1), "request"),
        (_request(seed=-1), "request.seed"),
        (_request(seed=1.5), "request.seed"),
        (_request(transforms={}), "request.transforms"),
        (_request(transforms=[{"transform": "eval"}]), "request.transforms[0]"),
        (_request(transforms=[{"transform": "jacrev"}] * 17), "request.transforms"),
        (_request(tensors=("0", "2")), "tensors[1]"),
        (_request(tensors=("x",)), "tensors[0]"),
        (_request(tensors=("0", "capture.x")), "tensors['capture.x']"),
    ],
)
def test_a_malformed_request_is_refused_with_its_path(body, where):
    with pytest.raises(ProtocolError) as caught:
        decode_request(body)
    if where is not None:
        assert caught.value.where == where


def test_mutated_requests_are_read_or_refused_and_nothing_else():
    rng = random.Random(0)
    request = EvaluateRequest(IDENTITY, CHAIN, (Array.from_numpy(np.ones(3)),) * 2, {}, 5)
    original = b"".join(encode_request(request))
    for _ in range(2000):
        body = bytearray(original)
        for _ in range(rng.randint(1, 3)):
            at = rng.randrange(len(body))
            body[at : at + rng.randint(0, 2)] = rng.randbytes(rng.randint(0, 2))
        with contextlib.suppress(FarfuncError):  # anything else fails the test
            decode_request(bytes(body))
