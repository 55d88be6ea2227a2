"""A function as a document: canonical JSON, one file, one identity.

A function file is a safetensors file. Its metadata ``farfunc`` is the canonical JSON of the
graph and the trees, its tensor ``"i"`` the constant of capture ``i``. The function's identity is
the SHA-256 of the file, so equal functions are one function, on every machine.

Reading checks the form of a document; :mod:`farfunc_protocol.validate` checks what it means.

Version log of the format
    1 (2026-11-22): the first.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from . import array_json, pytree, safetensors
from .errors import InvalidGraph, ProtocolError, UnsupportedVersion
from .graph import Function, Graph
from .graph_json import graph_from_json, graph_to_json
from .limits import DEFAULT_LIMITS, Limits
from .strict_json import canonical_json, list_of, members_of, parse_json, shown

__all__ = [
    "FORMAT_VERSION",
    "METADATA_KEY",
    "check_format",
    "function_from_bytes",
    "function_from_json",
    "function_to_bytes",
    "function_to_json",
    "identity",
]

FORMAT_VERSION = 1
"""Written into every document; see the version log above."""

METADATA_KEY = "farfunc"
"""The key of a safetensors file's metadata that holds farfunc's JSON."""


def identity(file: bytes | Sequence[Any]) -> str:
    """The identity of a function file: ``sha256:`` and 64 hexadecimal digits."""
    digest = hashlib.sha256()
    for part in [file] if isinstance(file, bytes | bytearray | memoryview) else file:
        digest.update(part)
    return f"sha256:{digest.hexdigest()}"


def function_to_json(function: Function) -> dict[str, Any]:
    """The JSON document of a function, constants in base64; for people and for curl."""
    return {
        **_header(function),
        "constants": [None if array is None else array_json.to_base64(array) for array in function.constants],
    }


def function_from_json(document: Any, *, limits: Limits = DEFAULT_LIMITS, where: str = "function") -> Function:
    """Read the JSON document of a function."""
    members = members_of(document, where, required=("format", "graph", "in_tree", "out_tree"), optional=("constants",))
    graph, in_tree, out_tree = _read_header(members, limits, where)
    constants = list_of(members.get("constants", []), f"{where}.constants")
    if len(constants) != len(graph.captures):
        raise InvalidGraph(
            f"{len(constants)} constants are given for {len(graph.captures)} captures", where=f"{where}.constants"
        )
    arrays = tuple(
        None if item is None else array_json.from_json(item, expected=type, where=f"{where}.constants[{i}]")
        for i, (item, type) in enumerate(zip(constants, graph.captures, strict=True))
    )
    return Function(graph, arrays, in_tree, out_tree)


def function_to_bytes(function: Function) -> bytes:
    """The file of a function, ready to be stored, sent and hashed.

    >>> from farfunc_protocol.graph import Equation, Function, Graph, TensorType
    >>> from farfunc_protocol.pytree import flatten
    >>> graph = Graph((TensorType("float64", (3,)),), (), (Equation("sin", (0,), {}, (1,)),), (1,))
    >>> sin = Function(graph, (), flatten(((0,), {}))[1], flatten(0)[1])
    >>> function_from_bytes(function_to_bytes(sin)) == sin
    True
    """
    tensors = {str(i): array for i, array in enumerate(function.constants) if array is not None}
    return safetensors.encode_bytes(tensors, {METADATA_KEY: canonical_json(_header(function)).decode()})


def function_from_bytes(
    file: bytes | bytearray | memoryview, *, limits: Limits = DEFAULT_LIMITS, where: str = "function"
) -> Function:
    """Read a function file.

    Raises
    ------
    ProtocolError
        For bytes that are no safetensors file, or not one of a function.
    """
    tensors, metadata = safetensors.decode(file, limits=limits)
    if METADATA_KEY not in metadata:
        raise ProtocolError(
            "the safetensors file holds no farfunc function",
            where=where,
            remedy=f"its metadata must have the key {METADATA_KEY!r}",
        )
    limits.check("document_bytes", len(metadata[METADATA_KEY]), where)
    document = parse_json(metadata[METADATA_KEY], where=where)
    members = members_of(document, where, required=("format", "graph", "in_tree", "out_tree"))
    graph, in_tree, out_tree = _read_header(members, limits, where)
    unknown = sorted(set(tensors) - {str(i) for i in range(len(graph.captures))})
    if unknown:
        raise InvalidGraph(f"the tensor {unknown[0]!r} is the constant of no capture", where=where)
    constants = tuple(tensors.get(str(i)) for i in range(len(graph.captures)))
    limits.check("constant_bytes", sum(array.nbytes for array in tensors.values()), where)
    return Function(graph, constants, in_tree, out_tree)


def check_format(version: Any, where: str) -> None:
    """Raise UnsupportedVersion unless this side can read the format ``version``."""
    if version != FORMAT_VERSION or isinstance(version, bool):
        raise UnsupportedVersion(
            f"the document has format {shown(version)}, and this side reads format {FORMAT_VERSION}",
            where=f"{where}.format",
            remedy="use a farfunc of the version that wrote it",
        )


def _header(function: Function) -> dict[str, Any]:
    return {
        "format": FORMAT_VERSION,
        "graph": graph_to_json(function.graph),
        "in_tree": pytree.to_json(function.in_tree),
        "out_tree": pytree.to_json(function.out_tree),
    }


def _read_header(
    members: Mapping[str, Any], limits: Limits, where: str
) -> tuple[Graph, pytree.TreeSpec, pytree.TreeSpec]:
    check_format(members["format"], where)
    graph = graph_from_json(members["graph"], limits=limits, where=f"{where}.graph")
    in_tree = pytree.from_json(members["in_tree"], where=f"{where}.in_tree")
    out_tree = pytree.from_json(members["out_tree"], where=f"{where}.out_tree")
    return graph, in_tree, out_tree
