"""The one route that is called in a loop, without the framework's ceremony.

FastAPI finds a route, solves dependencies and opens exit stacks, at a fifth of a millisecond a request.
The route of evaluations needs none of that; it stays in the application, where it is described.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from fastapi import Request, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from farfunc_protocol.errors import FarfuncError

from ..access.permissions import ROUTES, check
from .problems import problem_response

__all__ = ["DirectRoute"]


@dataclass(frozen=True, slots=True)
class _Route:
    path: str


class DirectRoute:
    """Answers the POST requests for one path itself, and hands all others on.

    Parameters
    ----------
    app:
        What answers all others.
    path, endpoint:
        A route of the application.
    """

    def __init__(self, app: ASGIApp, path: str, endpoint: Callable[[Request], Awaitable[Response]]) -> None:
        self._app = app
        self._route = _Route(path)
        self._endpoint = endpoint
        self._permission = ROUTES["POST", path]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or scope["path"] != self._route.path or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        scope["route"] = self._route
        try:
            check(scope["state"]["principal"], self._permission)
            response = await self._endpoint(Request(scope, receive, send))
        except FarfuncError as error:
            state = scope["state"]
            state["error_code"] = error.code
            response = problem_response(error, state["request_id"])
        await response(scope, receive, send)
