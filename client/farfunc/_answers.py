"""What an HTTP answer is: a result, an error that farfunc has sent, or nothing of farfunc's at all."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from farfunc_protocol.errors import (
    PROBLEM_MEDIA_TYPE,
    ConnectionFailed,
    FarfuncError,
    ProtocolError,
    UnsupportedVersion,
    from_problem,
)
from farfunc_protocol.incoming import Incoming
from farfunc_protocol.messages import BINARY_MEDIA_TYPE

from ._body import Body, Plain, media_type_of

__all__ = ["HttpResponse", "error_of", "read_binary", "read_json", "reason_in", "response_of"]

Result = TypeVar("Result")

JSON_MEDIA_TYPE = "application/json"

_NO_ROUTE = "not_found"
"""The code of a server that has nothing at a path: the URL has a path of its own, or is that of something else."""

_CHECK_URL = "check that the URL is that of a farfunc server, and any proxy before it"


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """What came back.

    Attributes
    ----------
    status, headers, content:
        The names of headers are in small letters, or found in any.
    url:
        The server's.
    file:
        In place of the content, a large file of tensors, received into their memory.
    """

    status: int
    headers: Mapping[str, str]
    content: bytes | bytearray
    url: str = "the address"
    file: Incoming | None = None

    @property
    def media_type(self) -> str:
        """The content type without its parameters."""
        return media_type_of(self.headers)


def response_of(status: int, headers: Mapping[str, str], body: Body, url: str) -> HttpResponse:
    """What has come back, all of it."""
    if "content-encoding" in headers and isinstance(body, Plain):
        from ._compression import decoded  # for those alone who ask for it

        body = decoded(status, headers, body, url)
    if isinstance(body, Incoming):
        return HttpResponse(status, headers, b"", url, body)
    assert isinstance(body, Plain)
    return HttpResponse(status, headers, body.content(), url)


def error_of(response: HttpResponse) -> FarfuncError | None:
    """The error that a response stands for; None for a success."""
    if 200 <= response.status < 300:
        return None
    if response.media_type == PROBLEM_MEDIA_TYPE:
        problem = _document(response)
        if isinstance(problem, dict):
            error = from_problem(problem)
            return error if problem.get("code") != _NO_ROUTE else ConnectionFailed(error.detail, remedy=_CHECK_URL)
    if 300 <= response.status < 400 and "location" in response.headers:
        return ConnectionFailed(
            f"{response.url} redirects to {response.headers['location']!r}",
            remedy="give the URL of the farfunc server itself",
        )
    return ConnectionFailed(
        f"{response.url} answers with HTTP {response.status} and no farfunc error{_shown(response)}", remedy=_CHECK_URL
    )


def reason_in(response: HttpResponse) -> FarfuncError | None:
    """The error that a server tells when it is asked why it cut an answer off; None where it knows of none."""
    error = error_of(response)
    return None if isinstance(error, ConnectionFailed) else error


def read_binary(response: HttpResponse, read: Callable[[Any], Result]) -> Result:
    """Read a safetensors answer.

    Raises
    ------
    FarfuncError
        What the server says.
    ConnectionFailed
        It is no answer of a farfunc server.
    ProtocolError
        It is damaged.
    """
    content = response.content if response.file is None else response.file
    return _read(response, BINARY_MEDIA_TYPE, lambda: read(content))


def read_json(response: HttpResponse, read: Callable[[Any], Result]) -> Result:
    """Read a JSON answer; raises as :func:`read_binary` does."""
    return _read(response, JSON_MEDIA_TYPE, lambda: read(_document(response)))


def _read(response: HttpResponse, media_type: str, read: Callable[[], Result]) -> Result:
    error = error_of(response)
    if error is not None:
        raise error
    if response.media_type != media_type:
        raise ConnectionFailed(
            f"{response.url} answers with {response.media_type or 'no content type'}, not as a farfunc server does"
            f"{_shown(response)}",
            remedy=_CHECK_URL,
        )
    try:
        return read()
    except UnsupportedVersion:
        raise
    except ProtocolError as cause:
        reason, where = cause.detail, cause.where
    except (LookupError, TypeError, AttributeError) as cause:
        reason, where = f"it lacks a member or has one of another type ({type(cause).__name__}: {cause})", None
    raise ProtocolError(f"the server's answer cannot be read: {reason}", where=where, remedy=_CHECK_URL)


def _document(response: HttpResponse) -> Any:
    try:
        return json.loads(response.content)
    except ValueError:
        raise ProtocolError("it says that it is JSON and is not", where="body") from None


def _shown(response: HttpResponse) -> str:
    text = " ".join(response.content[:400].decode("utf-8", "replace").split())[:120]
    return f": {text!r}" if text else ""
