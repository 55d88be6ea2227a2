"""Requests and responses of an evaluation, in their binary form.

Both are safetensors files. A request's metadata ``farfunc`` is
``{"format": 1, "function": "sha256:…", "transforms": [{"transform": "jacrev", "argnums": [0]}], "seed": 7}``:
the transforms in flat form, outermost first. Tensor ``"i"`` is argument leaf ``i`` of the
outermost transform, ``"capture.i"`` a capture that the function file leaves open, ``"generator"``
the state of torch's CPU generator, from which random operators go on. A response has the result
leaves as its tensors and, where it was given, the generator's state afterwards.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from . import safetensors
from .arrays import Array
from .document import FORMAT_VERSION, METADATA_KEY, check_format
from .errors import InvalidRequest
from .strict_json import canonical_json, list_of, members_of, parse_json, shown
from .tensor_type import TensorType
from .transforms import FlatTransform

__all__ = [
    "BINARY_MEDIA_TYPE",
    "MAX_SEED",
    "MAX_TRANSFORMS",
    "EvaluateRequest",
    "EvaluateResponse",
    "check_reference",
    "check_seed",
    "decode_request",
    "decode_response",
    "encode_request",
    "encode_response",
    "response_header",
]

BINARY_MEDIA_TYPE = safetensors.MEDIA_TYPE
"""The media type of function files, requests and responses."""

MAX_SEED = 2**63 - 1

MAX_TRANSFORMS = 16
"""How long a chain may be."""

_GENERATOR = "generator"
_RESPONSE = f'{{"format":{FORMAT_VERSION}}}'
_LARGEST_KEPT = 1 << 14
_REFERENCE = re.compile(r"sha256:[0-9a-f]{64}|[A-Za-z_][A-Za-z0-9_.-]{0,127}(@[1-9][0-9]{0,8})?")


@dataclass(frozen=True, slots=True)
class EvaluateRequest:
    """What to evaluate.

    Attributes
    ----------
    function:
        ``sha256:<hex>``, ``name`` (its latest version) or ``name@version``.
    transforms:
        The chain, outermost first; empty to evaluate the function itself.
    arrays:
        The argument leaves of the outermost transform.
    captures:
        Values of captures that the function file leaves open, by number.
    seed:
        Seeds the random operators; None draws one.
    generator:
        In place of a seed the state of torch's CPU generator, so that a caller with torch gets
        the very numbers that torch would have drawn there.
    """

    function: str
    transforms: tuple[FlatTransform, ...]
    arrays: tuple[Array, ...]
    captures: Mapping[int, Array] = field(default_factory=dict)
    seed: int | None = None
    generator: Array | None = None


@dataclass(frozen=True, slots=True)
class EvaluateResponse:
    """The result leaves, and the generator's state after the evaluation if the request had one."""

    arrays: tuple[Array, ...]
    generator: Array | None = None


def check_reference(reference: Any, where: str = "function") -> str:
    """Return ``reference`` if it has the form of one.

    >>> check_reference("arm@3")
    'arm@3'
    """
    if not isinstance(reference, str) or not _REFERENCE.fullmatch(reference):
        raise InvalidRequest(
            f"{shown(reference)} does not name a function",
            where=where,
            remedy="give sha256:<64 hexadecimal digits>, a name, or name@version",
        )
    return reference


def encode_request(request: EvaluateRequest) -> list[bytes | memoryview]:
    """Return the request's bytes, as buffers to be written one after another."""
    chain = ",".join([transform.text for transform in request.transforms])
    seed = "" if request.seed is None else f'"seed":{int(request.seed)},'
    header = f'{{"format":{FORMAT_VERSION},"function":{_json_text(request.function)},{seed}"transforms":[{chain}]}}'
    tensors = {str(i): array for i, array in enumerate(request.arrays)}
    tensors.update({f"capture.{i}": array for i, array in request.captures.items()})
    if request.generator is not None:
        tensors[_GENERATOR] = request.generator
    return safetensors.encode(tensors, {METADATA_KEY: header})


@lru_cache(256)
def _json_text(text: str) -> str:
    return canonical_json(text).decode()


def decode_request(body: bytes | bytearray | memoryview) -> EvaluateRequest:
    """Read a request.

    Raises
    ------
    ProtocolError
        For anything that is not one, with the path of the fault.
    """
    tensors, metadata = safetensors.decode(body)
    if METADATA_KEY not in metadata:
        raise InvalidRequest(
            "the safetensors file holds no farfunc request",
            where="metadata",
            remedy=f'its metadata needs the key {METADATA_KEY!r}: {{"format": 1, "function": …, "transforms": […]}}',
        )
    text = metadata[METADATA_KEY]
    read = _read_request_again if len(text) <= _LARGEST_KEPT else _read_request
    function, transforms, seed = read(text)
    generator = tensors.pop(_GENERATOR, None)
    if generator is not None and seed is not None:
        raise InvalidRequest("a seed and a generator are given", where="request.seed", remedy="give one of them")
    captures = {}
    for name in [name for name in tensors if name.startswith("capture.")]:
        captures[_number(name.removeprefix("capture."), name)] = tensors.pop(name)
    missing = [i for i in range(len(tensors)) if str(i) not in tensors]
    if missing:
        raise InvalidRequest(
            f"the tensors are named {', '.join(map(repr, sorted(tensors)[:5]))}",
            where=f"tensors[{missing[0]}]",
            remedy='name the argument leaves "0", "1", … in order, and open captures "capture.0", …',
        )
    arrays = tuple(tensors[str(i)] for i in range(len(tensors)))
    return EvaluateRequest(function, transforms, arrays, captures, seed, generator)


def _read_request(text: str) -> tuple[str, tuple[FlatTransform, ...], int | None]:
    """The function, the chain and the seed of a request's document, which is the same for calls alike."""
    header = members_of(
        parse_json(text, where="request"),
        "request",
        required=("format", "function", "transforms"),
        optional=("seed",),
        error=InvalidRequest,
    )
    check_format(header["format"], "request")
    items = list_of(header["transforms"], "request.transforms", error=InvalidRequest)
    if len(items) > MAX_TRANSFORMS:
        raise InvalidRequest(
            f"{len(items)} transforms are given, {MAX_TRANSFORMS} are allowed", where="request.transforms"
        )
    transforms = tuple(FlatTransform.from_json(item, where=f"request.transforms[{i}]") for i, item in enumerate(items))
    return check_reference(header["function"], "request.function"), transforms, check_seed(header.get("seed"))


_read_request_again = lru_cache(256)(_read_request)


def encode_response(response: EvaluateResponse) -> list[bytes | memoryview]:
    """Return the response's bytes, as buffers to be written one after another."""
    tensors = {str(i): array for i, array in enumerate(response.arrays)}
    if response.generator is not None:
        tensors[_GENERATOR] = response.generator
    return safetensors.encode(tensors, {METADATA_KEY: _RESPONSE})


def response_header(types: Sequence[TensorType]) -> tuple[bytes, tuple[int, ...]]:
    """The beginning of a response whose result leaves are still to be computed, and the order in which they follow.

    Each of them is its elements, row-major and little-endian, with nothing in between.
    """
    names = {str(i): type for i, type in enumerate(types)}
    header, order = safetensors.encode_header(names, {METADATA_KEY: _RESPONSE})
    return header, tuple(map(int, order))


def decode_response(body: bytes | bytearray | memoryview) -> EvaluateResponse:
    """Read a response."""
    tensors, metadata = safetensors.decode(body)
    _check_response(metadata.get(METADATA_KEY, "{}"))
    generator = tensors.pop(_GENERATOR, None)
    if any(str(i) not in tensors for i in range(len(tensors))):
        raise InvalidRequest("the response's tensors are not numbered from 0", where="tensors")
    return EvaluateResponse(tuple(tensors[str(i)] for i in range(len(tensors))), generator)


@lru_cache(16)
def _check_response(text: str) -> None:
    header = members_of(parse_json(text, where="response"), "response", required=("format",))
    check_format(header["format"], "response")


def _number(text: str, where: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise InvalidRequest(f"{shown(text)} is not the number of a capture", where=f"tensors[{where!r}]")
    return int(text)


def check_seed(given: Any, where: str = "request.seed") -> int | None:
    """Return ``given`` if it is a seed, or None."""
    if given is None:
        return None
    if not isinstance(given, int) or isinstance(given, bool) or not 0 <= given <= MAX_SEED:
        raise InvalidRequest(f"the seed {shown(given)} is not an integer of 0 to 2**63-1", where=where)
    return given
