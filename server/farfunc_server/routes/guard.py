"""No route without a permission: the table of :mod:`farfunc_server.access.permissions`, enforced."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.routing import APIRoute

from ..access.permissions import ROUTES, Permission, check
from . import openapi
from .context import principal_of

__all__ = ["GuardedRoute", "check_guarded"]


class GuardedRoute(APIRoute):
    """A route that is entered by those who may: it looks at nothing of a request, its body least of all, for others.

    Raises
    ------
    KeyError
        The table has no row for it. Routes are made when the server starts, so it does not start.
    """

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        found = {ROUTES[method, path] for method in options.get("methods") or ("GET",)}
        if len(found) != 1:
            raise KeyError(f"the methods of {path} need different permissions: make a route of each")
        self.permission = found.pop()
        if self.permission is not Permission.OPEN:
            options["responses"] = {**openapi.problems(401, 403), **(options.get("responses") or {})}
            options["openapi_extra"] = {**(options.get("openapi_extra") or {}), "security": [{"bearer": []}]}
        super().__init__(path, endpoint, **options)

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The framework's handler, behind the check."""
        handler, permission = super().get_route_handler(), self.permission
        if permission is Permission.OPEN:
            return handler

        async def guarded(request: Request) -> Response:
            check(principal_of(request), permission)
            return await handler(request)

        return guarded


def check_guarded(routers: Sequence[APIRouter]) -> None:
    """See that all routes are guarded, and that every row of the table has a route.

    Raises
    ------
    RuntimeError
    """
    open_by_oversight = [route for router in routers for route in router.routes if not isinstance(route, GuardedRoute)]
    if open_by_oversight:
        raise RuntimeError(f"{open_by_oversight[0]} has no permission: give its router route_class=GuardedRoute")
    made = {
        (method, route.path)
        for router in routers
        for route in router.routes
        if isinstance(route, GuardedRoute)
        for method in route.methods or ()
    }
    if made != set(ROUTES):
        raise RuntimeError(f"permissions of routes that there are not: {sorted(set(ROUTES) - made)}")
