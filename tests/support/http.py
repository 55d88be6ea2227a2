"""Requests to a server as any program could send them: httpx and the protocol, no client."""

from __future__ import annotations

from collections.abc import Sequence

import httpx

from farfunc_protocol.arrays import Array
from farfunc_protocol.document import function_to_bytes
from farfunc_protocol.graph import Function
from farfunc_protocol.messages import BINARY_MEDIA_TYPE, EvaluateRequest, decode_response, encode_request
from farfunc_protocol.transforms import FlatTransform

__all__ = ["BINARY", "evaluation", "open_client", "register", "results"]

BINARY = {"content-type": BINARY_MEDIA_TYPE}


def open_client(url: str, seconds: float = 60.0) -> httpx.Client:
    """A client that passes by every proxy of the environment."""
    return httpx.Client(base_url=url, timeout=seconds, trust_env=False)


def register(client: httpx.Client, function: Function, name: str | None = None) -> str:
    """Store a function and return its identity."""
    query = {} if name is None else {"name": name}
    response = client.post("/v1/functions", params=query, content=function_to_bytes(function), headers=BINARY)
    assert response.status_code == 201, response.text
    return response.json()["id"]


def evaluation(reference: str, arrays: Sequence[Array], *transforms: FlatTransform, seed: int | None = None) -> bytes:
    """The body of an evaluation."""
    return b"".join(encode_request(EvaluateRequest(reference, transforms, tuple(arrays), seed=seed)))


def results(response: httpx.Response) -> list[Array]:
    """The result leaves of an evaluation that succeeded."""
    assert response.status_code == 200, response.text
    return list(decode_response(response.content).arrays)
