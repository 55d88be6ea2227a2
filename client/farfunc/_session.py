"""The conversation with a server, without any I/O.

Each operation is a generator: it yields the :class:`HttpRequest` to send, is resumed with the
:class:`~farfunc._answers.HttpResponse`, and returns the operation's result. So the synchronous and
the asynchronous client run the very same conversation (:mod:`farfunc._connection`).
"""

from __future__ import annotations

import builtins
import re
import weakref
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import quote, urlencode

import numpy as np

from farfunc_protocol.arrays import Array
from farfunc_protocol.document import function_from_bytes, function_to_bytes, identity
from farfunc_protocol.errors import FarfuncError, FunctionNotFound, InvalidRequest, ProtocolError
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

from ._answers import JSON_MEDIA_TYPE, HttpResponse, read_binary, read_json

__all__ = ["Exchange", "FunctionInfo", "HttpRequest", "Session", "why_cut_off"]

Result = TypeVar("Result")

_GREETING_SECONDS = 10.0
_SECONDS = 60.0
"""For what needs no evaluation."""
_LONGEST_SECONDS = 1e9
"""Longer, a socket's clock overflows."""
_GRACE_SECONDS = 10.0
"""The server stops an evaluation at its time limit and says so: the client waits for that answer."""


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """A request to be sent.

    Attributes
    ----------
    path:
        With the query, relative to the server's URL.
    content:
        The body, in one or several buffers.
    seconds:
        How long the server may be silent; None for as long as it likes.
    repeatable:
        Whether sending it twice does no harm, so that it may be retried when the connection
        breaks. Evaluations are pure and functions are stored by content, so these are.
    """

    method: str
    path: str
    content: Sequence[bytes | memoryview] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    seconds: float | None = _SECONDS
    repeatable: bool = True


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
        The types of the result leaves; None in a listing, and where no worker could tell.
    nbytes, created:
        The size of its file, and when it was registered, in seconds since 1970.
    names, versions:
        Every ``name@version`` that it has, and every version of the name that was asked for; empty in a listing.
    operators:
        How often each occurs, those in the bodies of inner transforms included; empty in a listing.
    operations:
        Scalar operations of one evaluation, to the order of magnitude; None in a listing, and where shapes are open.
    """

    id: str
    name: str | None
    version: int | None
    signature: str
    outputs: tuple[TensorType, ...] | None = None
    nbytes: int | None = None
    created: float | None = None
    names: tuple[str, ...] = ()
    versions: tuple[int, ...] = ()
    operators: Mapping[str, int] = field(default_factory=dict)
    operations: float | None = None

    @property
    def reference(self) -> str:
        """``name@version``, or the identity."""
        return f"{self.name}@{self.version}" if self.name else self.id

    @classmethod
    def from_json(cls, document: Any) -> FunctionInfo:
        """Read one from a response; members that a newer server adds are passed over."""
        texts = document.get("outputs", (None,))
        outputs = None if None in texts else tuple(tensor_type_from_text(text) for text in texts)
        return cls(
            document["id"],
            document["name"],
            document["version"],
            document["signature"],
            outputs,
            document.get("bytes"),
            document.get("created"),
            tuple(document.get("names", ())),
            tuple(document.get("versions", ())),
            document.get("operators", {}),
            document.get("operations"),
        )


def why_cut_off(request_id: str) -> HttpRequest:
    """Ask why the answer to a request ended before its end."""
    headers = {"accept": JSON_MEDIA_TYPE}
    return HttpRequest("GET", f"/v1/requests/{quote(request_id, safe='')}/problem", (), headers, _GREETING_SECONDS)


class Session:
    """The conversation with one server.

    Parameters
    ----------
    timeout:
        Seconds that one evaluation may take, on the server too; None for the server's limit.
    compress:
        Whether bodies are compressed, in both directions.

    Raises
    ------
    InvalidRequest
        If ``timeout`` is no such number, or what compresses is not installed.
    """

    def __init__(self, *, timeout: float | None = None, compress: bool = False) -> None:
        self.timeout = None if timeout is None else _seconds(timeout)
        self._compress: Callable[[Sequence[bytes | memoryview]], Sequence[bytes | memoryview] | None] | None = None
        if compress:
            from ._compression import compressed, require_zstd  # for those alone who ask for it

            require_zstd()
            self._compress = compressed

    def evaluate(
        self,
        function: Function,
        transforms: Sequence[FlatTransform],
        arrays: Sequence[Array],
        seed: int | None = None,
        captures: Mapping[int, Array] | None = None,
        generator: Array | None = None,
    ) -> Exchange[list[Array]]:
        """Evaluate a transformed function; the graph is sent only if the server lacks it.

        Returns
        -------
        list[Array]
            The result leaves; then, if a generator was given, its new state.

        Raises
        ------
        FarfuncError
            Whatever the server answers.
        """
        message = EvaluateRequest(
            _identity_of(function), tuple(transforms), tuple(arrays), captures or {}, seed, generator
        )
        headers = {"content-type": BINARY_MEDIA_TYPE, "accept": BINARY_MEDIA_TYPE}
        seconds = None
        if self.timeout is not None:
            headers["x-timeout"] = f"{self.timeout:g}"
            seconds = self.timeout + _GRACE_SECONDS
        request = self._post("/v1/evaluate", encode_request(message), headers, seconds)
        try:
            try:
                response = read_binary((yield request), decode_response)
            except FunctionNotFound:
                yield from self.upload(function)
                response = read_binary((yield request), decode_response)
        except FarfuncError as error:
            _name_the_line(error, function)
            raise
        return [*response.arrays, *([] if response.generator is None else [response.generator])]

    def _post(
        self, path: str, content: Sequence[bytes | memoryview], headers: dict[str, str], seconds: float | None
    ) -> HttpRequest:
        if self._compress is not None:
            headers["accept-encoding"] = "zstd"
            smaller = self._compress(content)
            if smaller is not None:
                content, headers["content-encoding"] = smaller, "zstd"
        return HttpRequest("POST", path, content, headers, seconds)

    def upload(self, function: Function, name: str | None = None) -> Exchange[FunctionInfo]:
        """Store a function, and give it a name or the next version of one."""
        query = "?" + urlencode({"name": name}) if name is not None else ""
        headers = {"content-type": BINARY_MEDIA_TYPE, "accept": JSON_MEDIA_TYPE}
        request = self._post(f"/v1/functions{query}", [function_to_bytes(function)], headers, _SECONDS)
        try:
            return read_json((yield request), FunctionInfo.from_json)
        except FarfuncError as error:
            _name_the_line(error, function)
            raise

    def greet(self) -> Exchange[None]:
        """Ask for something cheap that needs the token: whether a farfunc server answers."""
        request = HttpRequest("GET", "/v1/devices", headers={"accept": JSON_MEDIA_TYPE}, seconds=_GREETING_SECONDS)
        read_json((yield request), lambda document: document["devices"])

    def describe(self, reference: str) -> Exchange[FunctionInfo]:
        """What the server knows of a function."""
        request = HttpRequest("GET", _function_path(reference), headers={"accept": JSON_MEDIA_TYPE})
        return read_json((yield request), FunctionInfo.from_json)

    def download(self, reference: str) -> Exchange[Function]:
        """The function itself."""
        path = f"{_function_path(reference)}/graph?format=safetensors"
        return read_binary((yield HttpRequest("GET", path, headers={"accept": BINARY_MEDIA_TYPE})), _stored_function)

    def fetch(self, reference: str) -> Exchange[tuple[FunctionInfo, Function]]:
        """Both: what is known of a function, and the very function that this was said of."""
        info = yield from self.describe(reference)
        return info, (yield from self.download(info.id))

    def list(self) -> Exchange[builtins.list[FunctionInfo]]:
        """Every named function, in the order of names and versions."""
        found: builtins.list[FunctionInfo] = []
        path: str | None = "/v1/functions"
        seen: set[str] = set()
        while path is not None:
            seen.add(path)
            page, path = read_json((yield HttpRequest("GET", path, headers={"accept": JSON_MEDIA_TYPE})), _page)
            found.extend(page)
            if path in seen:
                raise ProtocolError(f"the server's list of functions leads back to {path!r}")
        return found

    def delete(self, reference: str) -> Exchange[None]:
        """Delete a version, all versions of a name, or what bears an identity."""
        response = yield HttpRequest("DELETE", _function_path(reference), repeatable=False)
        if response.status != 204:  # the one success that has no content type
            read_json(response, lambda _: None)


def _stored_function(content: Any) -> Function:
    function = function_from_bytes(content)
    for constant in function.constants:
        if constant is not None:
            constant.data.flags.writeable = False  # its identity is that of these bytes
    return function


def _seconds(timeout: Any) -> float:
    # NumPy's numbers are as good as Python's; True is no number of seconds.
    if isinstance(timeout, bool) or not isinstance(timeout, int | float | np.integer | np.floating):
        seconds = 0.0
    else:
        seconds = float(timeout)
    if not 0 < seconds <= _LONGEST_SECONDS:
        raise InvalidRequest(
            f"the timeout is {timeout!r}",
            remedy=f"give a positive number of seconds, at most {_LONGEST_SECONDS:g}, or None for the server's",
        )
    return seconds


def _page(document: Any) -> tuple[list[FunctionInfo], str | None]:
    following = document["next"]
    if following is not None and not following.startswith("/v1/functions?"):
        raise ProtocolError(f"the next page is {following!r}", where="next")  # the token is for this server alone
    return [FunctionInfo.from_json(item) for item in document["functions"]], following


_EQUATION = re.compile(r"(?:body\.graph\.)?equations\[(\d+)\]")


def _name_the_line(error: FarfuncError, function: Function) -> None:
    """Say of an equation that the server found fault with on which line of the user's it stands."""
    found = _EQUATION.match(error.where or "")
    number = int(found[1]) if found else len(function.sources)
    source = function.sources[number] if number < len(function.sources) else None
    if source is not None:
        error.where = f"{source}: {error.where}"


def _function_path(reference: str) -> str:
    return f"/v1/functions/{quote(check_reference(reference), safe='@:')}"


_identities: dict[int, str] = {}
"""By the ``id()`` of functions that are alive: an identity takes a pass over all constants."""


def _identity_of(function: Function) -> str:
    key = id(function)
    known = _identities.get(key)
    if known is None:
        known = identity(function_to_bytes(function))
        # Set and finalized while the caller holds the function, so that the key is always its own.
        _identities[key] = known
        weakref.finalize(function, _identities.pop, key, None).atexit = False
    return known
