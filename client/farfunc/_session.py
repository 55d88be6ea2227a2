"""The conversation with a server, without any I/O.

Each operation is a generator: it yields the :class:`HttpRequest` to send, is resumed with the
:class:`HttpResponse`, and returns the operation's result. So the synchronous and the asynchronous
client run the very same conversation (:mod:`farfunc._client`).
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import quote, urlencode

from farfunc_protocol.arrays import Array
from farfunc_protocol.document import function_from_bytes, function_to_bytes, identity
from farfunc_protocol.errors import (
    PROBLEM_MEDIA_TYPE,
    ConnectionFailed,
    FarfuncError,
    FunctionNotFound,
    ProtocolError,
    from_problem,
)
from farfunc_protocol.graph import Function, TensorType
from farfunc_protocol.graph_json import tensor_type_from_text
from farfunc_protocol.messages import (
    BINARY_MEDIA_TYPE,
    EvaluateRequest,
    check_reference,
    decode_response,
    encode_request,
)
from farfunc_protocol.transforms import FlatTransform

__all__ = ["Exchange", "FunctionInfo", "HttpRequest", "HttpResponse", "Session"]

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """A request to be sent.

    Attributes
    ----------
    path:
        With the query, relative to the server's URL.
    content:
        The body, in one or several buffers.
    repeatable:
        Whether sending it twice does no harm, so that it may be retried when the connection
        breaks. Evaluations are pure and functions are stored by content, so these are.
    """

    method: str
    path: str
    content: Sequence[bytes | memoryview] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    repeatable: bool = True


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    content: bytes


Exchange = Generator[HttpRequest, HttpResponse, Result]


@dataclass(frozen=True, slots=True)
class FunctionInfo:
    """What a server tells of a registered function.

    Attributes
    ----------
    id:
        Its identity, ``sha256:<hex>``.
    name, version:
        As it was asked for or registered; None for a function without a name.
    signature:
        Types and trees, as text: ``(float64[7]) -> float64[6]``.
    outputs:
        The types of the result leaves; empty in a listing.
    """

    id: str
    name: str | None
    version: int | None
    signature: str
    outputs: tuple[TensorType, ...] = ()

    @property
    def reference(self) -> str:
        """``name@version``, or the identity."""
        return f"{self.name}@{self.version}" if self.name else self.id

    @classmethod
    def from_json(cls, document: Any) -> FunctionInfo:
        """Read one from a response; members that a newer server adds are passed over."""
        try:
            outputs = tuple(tensor_type_from_text(text) for text in document.get("outputs", ()))
            return cls(document["id"], document.get("name"), document.get("version"), document["signature"], outputs)
        except (KeyError, TypeError, AttributeError):
            raise ProtocolError("the server's description of a function lacks its id or signature") from None


@dataclass(frozen=True, slots=True)
class _Encoded:
    """A function with its file and identity; holds the function, so that its id() stays its own."""

    function: Function
    file: bytes
    identity: str


class Session:
    """The conversation with one server; remembers which functions it has."""

    _REMEMBERED = 256

    def __init__(self, *, timeout: float | None = None) -> None:
        self.timeout = timeout
        self._encoded: OrderedDict[int, _Encoded] = OrderedDict()

    def encode(self, function: Function) -> _Encoded:
        """The file and identity of a function, made once for each function."""
        found = self._encoded.get(id(function))
        if found is None:
            file = function_to_bytes(function)
            found = _Encoded(function, file, identity(file))
            self._encoded[id(function)] = found
            while len(self._encoded) > self._REMEMBERED:
                self._encoded.popitem(last=False)
        return found

    def evaluate(
        self,
        function: Function | str,
        transforms: Sequence[FlatTransform],
        arrays: Sequence[Array],
        seed: int | None = None,
        captures: Mapping[int, Array] | None = None,
        generator: Array | None = None,
    ) -> Exchange[list[Array]]:
        """Evaluate a transformed function; the graph is sent only if the server lacks it.

        Raises
        ------
        FarfuncError
            Whatever the server answers.
        """
        encoded = None if isinstance(function, str) else self.encode(function)
        reference = encoded.identity if encoded else check_reference(function)
        asked = EvaluateRequest(reference, tuple(transforms), tuple(arrays), captures or {}, seed, generator)
        content = encode_request(asked)
        headers = {"content-type": BINARY_MEDIA_TYPE, "accept": BINARY_MEDIA_TYPE, **self._limit()}
        request = HttpRequest("POST", "/v1/evaluate", content, headers)
        try:
            response = _checked((yield request))
        except FunctionNotFound:
            if encoded is None:
                raise
            yield from self.upload(encoded)
            response = _checked((yield request))
        answer = decode_response(response.content)
        return [*answer.arrays, *([] if answer.generator is None else [answer.generator])]

    def upload(self, encoded: _Encoded, name: str | None = None) -> Exchange[FunctionInfo]:
        """Store a function, and give it a name or the next version of one."""
        query = "?" + urlencode({"name": name}) if name is not None else ""
        headers = {"content-type": BINARY_MEDIA_TYPE, "accept": "application/json"}
        response = yield HttpRequest("POST", f"/v1/functions{query}", [encoded.file], headers)
        return FunctionInfo.from_json(_json(_checked(response)))

    def greet(self) -> Exchange[None]:
        """Ask for something cheap that needs the token: whether a farfunc server answers."""
        _json(_checked((yield HttpRequest("GET", "/v1/devices", headers={"accept": "application/json"}))))

    def describe(self, reference: str) -> Exchange[FunctionInfo]:
        """What the server knows of a function."""
        response = yield HttpRequest("GET", _function_path(reference), headers={"accept": "application/json"})
        return FunctionInfo.from_json(_json(_checked(response)))

    def download(self, reference: str) -> Exchange[Function]:
        """The function itself."""
        path = f"{_function_path(reference)}/graph?format=safetensors"
        response = yield HttpRequest("GET", path, headers={"accept": BINARY_MEDIA_TYPE})
        return function_from_bytes(_checked(response).content)

    def list(self) -> Exchange[list[FunctionInfo]]:
        """Every named function, in the order of names and versions."""
        found: list[FunctionInfo] = []
        path: str | None = "/v1/functions"
        while path is not None:
            document = _json(_checked((yield HttpRequest("GET", path, headers={"accept": "application/json"}))))
            found.extend(FunctionInfo.from_json(item) for item in document["functions"])
            path = document.get("next")
        return found

    def delete(self, reference: str) -> Exchange[None]:
        """Delete a version, all versions of a name, or what bears an identity."""
        _checked((yield HttpRequest("DELETE", _function_path(reference), repeatable=False)))

    def _limit(self) -> dict[str, str]:
        return {} if self.timeout is None else {"x-timeout": f"{self.timeout:g}"}


def _function_path(reference: str) -> str:
    return f"/v1/functions/{quote(check_reference(reference), safe='@:')}"


def _checked(response: HttpResponse) -> HttpResponse:
    if 200 <= response.status < 300:
        return response
    raise _error(response)


def _error(response: HttpResponse) -> FarfuncError:
    media_type = response.headers.get("content-type", "").partition(";")[0].strip()
    if media_type == PROBLEM_MEDIA_TYPE:
        return from_problem(_json(response))
    shown = response.content[:200].decode("utf-8", "replace").strip()
    return ConnectionFailed(
        f"the address answers with HTTP {response.status} and no farfunc error: {shown!r}",
        remedy="check that the URL is that of a farfunc server, and any proxy before it",
    )


def _json(response: HttpResponse) -> Any:
    try:
        return json.loads(response.content)
    except ValueError:
        shown = response.content[:200].decode("utf-8", "replace").strip()
        raise ConnectionFailed(
            f"the address answers with something that is no JSON: {shown!r}",
            remedy="check that the URL is that of a farfunc server",
        ) from None
