"""The floor: the bytes of farfunc's request, sent to a bare FastAPI route that answers with them."""

from __future__ import annotations

import http.client
from collections.abc import Callable, Generator
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import httpx
import numpy as np

from cases import Case
from farfunc._address import Address
from farfunc._answers import HttpResponse
from farfunc._connection import Connection
from farfunc._session import HttpRequest
from farfunc_protocol.arrays import Array
from farfunc_protocol.messages import BINARY_MEDIA_TYPE, encode_request
from ways import Addresses
from ways_farfunc import exchanged, httpx_transport, recorded_request

__all__ = ["EchoFarfunc", "EchoHttpx", "EchoRaw"]

_HEADERS = {"content-type": BINARY_MEDIA_TYPE, "accept": BINARY_MEDIA_TYPE}


class _Echo:
    function = None

    def __init__(self, case: Case, addresses: Addresses) -> None:
        self.note = ""
        self.request = recorded_request(case, np, case.argument, addresses.farfunc)
        self.url = addresses.echo

    def buffers(self, argument: np.ndarray) -> list[bytes | memoryview]:
        """The request that farfunc's client would send."""
        return encode_request(replace(self.request, arrays=(Array.from_numpy(argument),)))

    def body(self, argument: np.ndarray) -> bytes:
        """The same in one piece."""
        return b"".join(self.buffers(argument))

    def array(self, result: Any) -> None:
        return None


class EchoFarfunc(_Echo):
    """Through the connections of farfunc's client, buffers as it sends them; the answer is received, not decoded."""

    def __init__(self, case: Case, addresses: Addresses) -> None:
        super().__init__(case, addresses)
        self.connection = Connection(Address.parse(self.url))

    def bind(self, argument: np.ndarray) -> Callable[[], Any]:
        request = HttpRequest("POST", "/echo", self.buffers(argument), _HEADERS, 60.0)
        connection = self.connection

        def conversation() -> Generator[HttpRequest, HttpResponse, HttpResponse]:
            return (yield request)

        def call() -> HttpResponse:
            answer = connection.run(conversation())
            if answer.status != 200:
                raise RuntimeError(f"{answer.status}: {bytes(answer.content[:500])!r}")
            return answer

        return call

    def close(self) -> None:
        self.connection.close()


class EchoHttpx(_Echo):
    """Through httpx with the settings that farfunc's client gives it."""

    def __init__(self, case: Case, addresses: Addresses) -> None:
        super().__init__(case, addresses)
        self.client = httpx.Client(base_url=self.url, transport=httpx_transport(), timeout=60.0)

    def bind(self, argument: np.ndarray) -> Callable[[], Any]:
        body, client = self.body(argument), self.client

        def call() -> bytes:
            answer = client.request("POST", "/echo", content=body, headers=_HEADERS)
            if answer.status_code != 200:
                raise RuntimeError(f"{answer.status_code}: {answer.text[:500]}")
            return answer.content

        return call

    def close(self) -> None:
        self.client.close()


class EchoRaw(_Echo):
    """Through one kept connection of http.client."""

    def __init__(self, case: Case, addresses: Addresses) -> None:
        super().__init__(case, addresses)
        self.connection = http.client.HTTPConnection(urlsplit(self.url).netloc)

    def bind(self, argument: np.ndarray) -> Callable[[], Any]:
        body, connection = self.body(argument), self.connection

        return lambda: exchanged(connection, "/echo", body, _HEADERS)

    def close(self) -> None:
        self.connection.close()
