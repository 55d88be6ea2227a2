"""Every failure as one RFC 9457 document."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.routing import BaseRoute, Route

from farfunc_protocol.errors import PROBLEM_MEDIA_TYPE, FarfuncError, InvalidRequest
from farfunc_protocol.strict_json import shown

from ..storage.missing import NotFound
from .json_text import json_text

__all__ = [
    "BadContentEncoding",
    "BadRequest",
    "MethodNotAllowed",
    "NotAcceptable",
    "RangeNotSatisfiable",
    "RouteNotFound",
    "UnsupportedContentEncoding",
    "UnsupportedMediaType",
    "add_problem_handlers",
    "internal_error",
    "problem_response",
]


class RouteNotFound(NotFound):
    """There is nothing at the path."""


class MethodNotAllowed(FarfuncError):
    """The path exists, and does not take the method."""

    code, status, title = "method_not_allowed", 405, "Method not allowed"


class NotAcceptable(FarfuncError):
    """No form that the client accepts can be given."""

    code, status, title = "not_acceptable", 406, "Not acceptable"


class UnsupportedMediaType(FarfuncError):
    """The body is of a form that the route does not read."""

    code, status, title = "unsupported_media_type", 415, "Unsupported media type"


class UnsupportedContentEncoding(FarfuncError):
    """The body is compressed in a way that this server does not read."""

    code, status, title = "unsupported_content_encoding", 415, "Unsupported content encoding"


class BadContentEncoding(FarfuncError):
    """The body is not compressed as its Content-Encoding says."""

    code, status, title = "bad_content_encoding", 400, "Bad content encoding"


class BadRequest(FarfuncError):
    """What came is not a request as HTTP wants it."""

    code, status, title = "bad_request", 400, "Bad request"


class RangeNotSatisfiable(FarfuncError):
    """The range begins behind the end."""

    code, status, title = "range_not_satisfiable", 416, "Range not satisfiable"


def problem_response(error: FarfuncError, request_id: str | None, headers: dict[str, str] | None = None) -> Response:
    """The answer for an error."""
    error.request_id = request_id
    headers = dict(headers or {})
    if error.retry_after is not None:
        headers["retry-after"] = str(max(1, math.ceil(error.retry_after)))  # whole seconds, as RFC 9110 wants
    if isinstance(error, UnsupportedContentEncoding):
        headers["accept-encoding"] = "zstd"  # RFC 9110, section 15.5.16
    if error.status == 401:
        headers["www-authenticate"] = "Bearer"
    # A message may quote what the client sent, half a surrogate pair included: ASCII JSON holds it all.
    return Response(json_text(error.to_problem()), error.status, headers, PROBLEM_MEDIA_TYPE)


def internal_error() -> FarfuncError:
    """What a client hears of a bug of ours."""
    return FarfuncError("the server met an error of its own", remedy="report it with the request id")


def add_problem_handlers(app: FastAPI, routes: Sequence[BaseRoute]) -> None:
    """Have the application answer all its errors so; ``routes`` are those that it includes."""

    async def farfunc_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, FarfuncError)
        request.state.error_code = error.code
        return problem_response(error, request.state.request_id)

    async def http_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        headers = {name.lower(): value for name, value in (error.headers or {}).items()}
        if error.status_code == 405:
            headers["allow"] = ", ".join(_methods(request.scope["path"], (*app.routes, *routes)))
        found = _of_starlette(request, error, headers.get("allow"))
        request.state.error_code = found.code
        return problem_response(found, request.state.request_id, headers)

    async def validation_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        allowed = first.get("ctx", {}).get("expected")
        detail = f"{shown(first.get('input'))} is not possible here: {first['msg'][:1].lower()}{first['msg'][1:]}"
        kind = RouteNotFound if first["loc"][0] == "path" else InvalidRequest
        return await farfunc_error(request, kind(detail, where=where, remedy=f"give {allowed}" if allowed else None))

    async def own_error(request: Request, error: Exception) -> Response:
        """Starlette raises the error again once this is sent, and the outermost layer logs it."""
        return await farfunc_error(request, internal_error())

    app.add_exception_handler(Exception, own_error)
    app.add_exception_handler(FarfuncError, farfunc_error)
    app.add_exception_handler(HTTPException, http_error)
    app.add_exception_handler(RequestValidationError, validation_error)


def _methods(path: str, routes: Sequence[BaseRoute]) -> list[str]:
    """All that a path takes: several routes may share it, and Starlette names the first one's."""
    found = [route for route in routes if isinstance(route, Route) and route.path_regex.match(path)]
    return sorted({method for route in found for method in route.methods or ()})


def _of_starlette(request: Request, error: HTTPException, allow: str | None) -> FarfuncError:
    path: Any = request.url.path[:200]
    if error.status_code == 404:
        return RouteNotFound(f"there is nothing at {path!r}", remedy="the routes are listed at /docs")
    if error.status_code == 405:
        return MethodNotAllowed(f"{path!r} does not take {request.method}", remedy=f"use {allow}")
    return InvalidRequest(str(error.detail)) if error.status_code < 500 else FarfuncError(str(error.detail))
