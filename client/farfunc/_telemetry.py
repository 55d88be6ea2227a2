"""Requests as spans of the user's own trace, where the program has one.

farfunc neither needs nor imports OpenTelemetry. A program that is in a span has imported it; then each request is a
span of kind client, and tells the server which, in the header ``traceparent`` (W3C Trace Context).
"""

from __future__ import annotations

import dataclasses
import sys
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from farfunc_protocol.errors import FarfuncError

if TYPE_CHECKING:
    from ._answers import HttpResponse
    from ._session import HttpRequest

__all__ = ["RequestSpan", "request_span"]

_API = "opentelemetry.trace"


def request_span(request: HttpRequest, url: str) -> RequestSpan | None:
    """Begin the span of a request; None where the program is in no span of its own."""
    api = sys.modules.get(_API)  # not imported: most programs have not got it
    if api is None or (current := getattr(api, "get_current_span", None)) is None:
        return None
    if not current().get_span_context().is_valid:
        return None
    return RequestSpan(api, request, url)


class RequestSpan:
    """The span of one request, its attempts included.

    Attributes
    ----------
    request:
        What is to be sent: with the headers that name the span.
    """

    def __init__(self, api: Any, request: HttpRequest, url: str) -> None:
        from opentelemetry.trace.propagation.tracecontext import (  # type: ignore[import-not-found]
            TraceContextTextMapPropagator,
        )

        address = urlsplit(url)
        attributes: dict[str, Any] = {"http.request.method": request.method, "url.path": request.path.partition("?")[0]}
        if address.hostname:
            attributes["server.address"] = address.hostname
        if address.port:
            attributes["server.port"] = address.port
        # Without the reference of a function: names of spans are to be few.
        route = "/".join(request.path.partition("?")[0].split("/")[:3])
        self._api = api
        self._span = api.get_tracer("farfunc").start_span(
            f"{request.method} {route}", kind=api.SpanKind.CLIENT, attributes=attributes
        )
        headers = dict(request.headers)
        TraceContextTextMapPropagator().inject(headers, api.set_span_in_context(self._span))
        self.request = dataclasses.replace(request, headers=headers)

    def answered(self, response: HttpResponse) -> None:
        """The request has an answer, which may be a problem."""
        self._span.set_attribute("http.response.status_code", response.status)
        if request_id := response.headers.get("x-request-id"):
            self._span.set_attribute("farfunc.request_id", request_id)
        if response.status >= 400:
            self._end_in_error(str(response.status))
        else:
            self._span.end()

    def failed(self, error: BaseException | str) -> None:
        """It has none, and will have none."""
        if isinstance(error, BaseException):
            error = error.code if isinstance(error, FarfuncError) else type(error).__qualname__
        self._end_in_error(error)

    def _end_in_error(self, kind: str) -> None:
        self._span.set_attribute("error.type", kind)
        self._span.set_status(self._api.Status(self._api.StatusCode.ERROR))
        self._span.end()
