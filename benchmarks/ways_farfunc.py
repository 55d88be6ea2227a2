"""farfunc: with its NumPy client, with its torch client, and as raw HTTP."""

from __future__ import annotations

import http.client
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import httpx
import numpy as np

import farfunc
from cases import Case, transformed
from farfunc_protocol.arrays import Array
from farfunc_protocol.document import function_to_bytes, identity
from farfunc_protocol.graph import Function
from farfunc_protocol.messages import BINARY_MEDIA_TYPE, EvaluateRequest, decode_response, encode_request
from farfunc_protocol.transforms import FlatTransform
from ways import Addresses

__all__ = [
    "NumpyClient",
    "NumpyClientOverHttpx",
    "Raw",
    "TorchClient",
    "exchanged",
    "httpx_transport",
    "recorded_request",
]


class _Recorder(farfunc.Client):
    """A client that keeps what it last asked for."""

    request: EvaluateRequest

    def evaluate(
        self,
        function: Function,
        transforms: Sequence[FlatTransform],
        arrays: Sequence[Array],
        seed: int | None = None,
        captures: Mapping[int, Array] | None = None,
        generator: Array | None = None,
    ) -> list[Array]:
        reference = identity(function_to_bytes(function))
        self.request = EvaluateRequest(reference, tuple(transforms), tuple(arrays), captures or {}, seed, generator)
        return super().evaluate(function, transforms, arrays, seed, captures, generator)


_recorded: dict[tuple[str, str, str], EvaluateRequest] = {}


def recorded_request(case: Case, xp: Any, argument: Any, url: str) -> EvaluateRequest:
    """Make the case's call once, which leaves its function on the server, and return what was asked for."""
    key = (case.key, xp.__name__, url)
    if key not in _recorded:
        with _Recorder(url) as client:
            transformed(client, case, case.function(xp))(argument)
            _recorded[key] = client.request
    return _recorded[key]


class NumpyClient:
    """``farfunc.jacfwd(f)(x)`` with NumPy, through a client of its own."""

    def __init__(self, case: Case, addresses: Addresses, transport: httpx.BaseTransport | None = None) -> None:
        self.note = ""
        self.client = farfunc.Client(addresses.farfunc, transport=transport)
        self.function: str | None = recorded_request(case, np, case.argument, addresses.farfunc).function
        self.call = transformed(self.client, case, case.function(np))

    def bind(self, argument: np.ndarray) -> Callable[[], Any]:
        call = self.call
        return lambda: call(argument)

    def array(self, result: Any) -> np.ndarray:
        return result

    def close(self) -> None:
        self.client.close()


def httpx_transport() -> httpx.HTTPTransport:
    """httpx's own transport, with the settings that farfunc's client gives it."""
    limits = httpx.Limits(max_connections=64, max_keepalive_connections=32, keepalive_expiry=30.0)
    return httpx.HTTPTransport(limits=limits, verify=False)


class NumpyClientOverHttpx(NumpyClient):
    """The same over httpx's transport, as through TLS or a proxy."""

    def __init__(self, case: Case, addresses: Addresses) -> None:
        super().__init__(case, addresses, httpx_transport())


class TorchClient:
    """``farfunc.jacfwd(f)(x)`` with torch, through a client of its own."""

    def __init__(self, case: Case, addresses: Addresses) -> None:
        import torch

        self.note = ""
        self.from_numpy = torch.from_numpy
        self.client = farfunc.Client(addresses.farfunc)
        argument = torch.from_numpy(case.argument)
        self.function: str | None = recorded_request(case, torch, argument, addresses.farfunc).function
        self.call = transformed(self.client, case, case.function(torch))

    def bind(self, argument: np.ndarray) -> Callable[[], Any]:
        call, tensor = self.call, self.from_numpy(argument)
        return lambda: call(tensor)

    def array(self, result: Any) -> np.ndarray:
        return result.numpy()

    def close(self) -> None:
        self.client.close()


class Raw:
    """A prepared binary request over one kept connection of http.client; the answer is read, not decoded."""

    def __init__(self, case: Case, addresses: Addresses) -> None:
        self.note = ""
        self.request = recorded_request(case, np, case.argument, addresses.farfunc)
        self.function: str | None = self.request.function
        self.connection = http.client.HTTPConnection(urlsplit(addresses.farfunc).netloc)

    def bind(self, argument: np.ndarray) -> Callable[[], Any]:
        body = b"".join(encode_request(replace(self.request, arrays=(Array.from_numpy(argument),))))
        headers = {"content-type": BINARY_MEDIA_TYPE}
        connection = self.connection

        return lambda: exchanged(connection, "/v1/evaluate", body, headers)

    def stages(self, argument: np.ndarray, calls: int) -> dict[str, float]:
        """Where the time of a call goes: medians in seconds of what ``Server-Timing`` tells, and of the whole call."""
        found: dict[str, list[float]] = {}
        told: dict[str, str] = {}
        body = b"".join(encode_request(replace(self.request, arrays=(Array.from_numpy(argument),))))
        for _ in range(calls):
            started = time.perf_counter()
            exchanged(self.connection, "/v1/evaluate", body, {"content-type": BINARY_MEDIA_TYPE}, told)
            found.setdefault("call", []).append(time.perf_counter() - started)
            for part in told["server-timing"].split(", "):
                name, _, milliseconds = part.partition(";dur=")
                found.setdefault(name, []).append(float(milliseconds) / 1e3)
        return {name: statistics.median(seconds) for name, seconds in found.items()}

    def array(self, result: Any) -> np.ndarray:
        return decode_response(result).arrays[0].to_numpy()

    def close(self) -> None:
        self.connection.close()


def exchanged(
    connection: http.client.HTTPConnection,
    path: str,
    body: bytes,
    headers: Mapping[str, str],
    told: dict[str, str] | None = None,
) -> bytearray:
    """Send a request and read the body of its answer 200 into one buffer of its size; its headers go to ``told``."""
    try:
        connection.request("POST", path, body, dict(headers))
        answer = connection.getresponse()
    except (BrokenPipeError, ConnectionResetError, http.client.RemoteDisconnected):
        # While other ways were timed the server has closed what was idle.
        connection.close()
        connection.request("POST", path, body, dict(headers))
        answer = connection.getresponse()
    if answer.status != 200:
        raise RuntimeError(f"{answer.status}: {answer.read(500).decode(errors='replace')}")
    if told is not None:
        told.update((name.lower(), value) for name, value in answer.getheaders())
    if answer.length is None:  # sent in chunks
        return bytearray(answer.read())
    body = bytearray(answer.length)
    view, filled = memoryview(body), 0
    while filled < len(body):
        count = answer.readinto(view[filled:])
        if not count:
            raise RuntimeError(f"the answer ended after {filled} of {len(body)} bytes")
        filled += count
    answer.read()
    return body
