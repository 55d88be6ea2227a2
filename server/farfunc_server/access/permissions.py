"""What may be done with a server, which role may do it, and which of its routes does it.

A route without a row here ends the start of the server (:mod:`farfunc_server.routes.guard`): a new one cannot be open
by oversight.
"""

from __future__ import annotations

from enum import StrEnum

from farfunc_protocol.errors import Forbidden

from .principal import Principal, Role

__all__ = ["ROUTES", "Permission", "check", "may"]


class Permission(StrEnum):
    """What a route needs."""

    OPEN = "open"
    """Nothing, and no token either."""
    METRICS = "metrics"
    READ = "read"
    EVALUATE = "evaluate"
    WRITE = "write"
    """Register and delete functions."""
    ADMINISTER = "administer"
    """The tokens and members of a tenant, and what it shares."""
    OPERATE = "operate"
    """The server itself, and its tenants."""


_READERS = {Permission.OPEN, Permission.READ}
_MEMBERS = {*_READERS, Permission.EVALUATE, Permission.WRITE}

_OF_ROLES: dict[Role, frozenset[Permission]] = {
    Role.ADMIN: frozenset({*_MEMBERS, Permission.ADMINISTER, Permission.METRICS}),
    Role.MEMBER: frozenset(_MEMBERS),
    Role.READ_ONLY: frozenset(_READERS),
    Role.METRICS: frozenset({Permission.OPEN, Permission.METRICS}),
}

ROUTES: dict[tuple[str, str], Permission] = {
    ("GET", "/"): Permission.OPEN,
    ("GET", "/healthz"): Permission.OPEN,
    ("GET", "/readyz"): Permission.OPEN,
    ("GET", "/metrics"): Permission.METRICS,
    ("POST", "/v1/functions"): Permission.WRITE,
    ("GET", "/v1/functions"): Permission.READ,
    ("GET", "/v1/functions/shared"): Permission.READ,
    ("GET", "/v1/functions/{reference}"): Permission.READ,
    ("GET", "/v1/functions/{reference}/graph"): Permission.READ,
    ("DELETE", "/v1/functions/{reference}"): Permission.WRITE,
    ("GET", "/v1/functions/{reference}/shares"): Permission.ADMINISTER,
    ("PUT", "/v1/functions/{reference}/shares/{tenant}"): Permission.ADMINISTER,
    ("DELETE", "/v1/functions/{reference}/shares/{tenant}"): Permission.ADMINISTER,
    ("POST", "/v1/functions/{reference}/{transform}"): Permission.EVALUATE,
    ("POST", "/v1/evaluate"): Permission.EVALUATE,
    ("POST", "/v1/jobs"): Permission.EVALUATE,
    ("GET", "/v1/jobs"): Permission.READ,
    ("GET", "/v1/jobs/{id}"): Permission.READ,
    ("DELETE", "/v1/jobs/{id}"): Permission.EVALUATE,
    ("GET", "/v1/jobs/{id}/events"): Permission.READ,
    ("GET", "/v1/jobs/{id}/result"): Permission.READ,
    ("GET", "/v1/jobs/{id}/annotation"): Permission.READ,
    ("PUT", "/v1/jobs/{id}/annotation"): Permission.EVALUATE,
    ("POST", "/v1/jobs/{id}/cancel"): Permission.EVALUATE,
    ("POST", "/v1/jobs/{id}/retry"): Permission.EVALUATE,
    ("POST", "/v1/uploads"): Permission.EVALUATE,
    ("GET", "/v1/uploads/{id}"): Permission.READ,
    ("HEAD", "/v1/uploads/{id}"): Permission.READ,
    ("PATCH", "/v1/uploads/{id}"): Permission.EVALUATE,
    ("DELETE", "/v1/uploads/{id}"): Permission.EVALUATE,
    ("GET", "/v1/ops"): Permission.READ,
    ("GET", "/v1/devices"): Permission.READ,
    ("POST", "/v1/devices/{device}/drain"): Permission.OPERATE,
    ("POST", "/v1/devices/{device}/restore"): Permission.OPERATE,
    ("GET", "/v1/plans"): Permission.READ,
    ("GET", "/v1/requests/{request_id}/problem"): Permission.READ,
    ("GET", "/v1/me"): Permission.READ,
    ("GET", "/v1/tokens"): Permission.ADMINISTER,
    ("POST", "/v1/tokens"): Permission.ADMINISTER,
    ("POST", "/v1/tokens/{token}/rotate"): Permission.ADMINISTER,
    ("DELETE", "/v1/tokens/{token}"): Permission.ADMINISTER,
    ("GET", "/v1/members"): Permission.ADMINISTER,
    ("PUT", "/v1/members"): Permission.ADMINISTER,
    ("DELETE", "/v1/members"): Permission.ADMINISTER,
    ("GET", "/v1/tenants"): Permission.OPERATE,
    ("POST", "/v1/tenants"): Permission.OPERATE,
    ("GET", "/v1/tenants/{tenant}"): Permission.OPERATE,
    ("PATCH", "/v1/tenants/{tenant}"): Permission.OPERATE,
    ("DELETE", "/v1/tenants/{tenant}"): Permission.OPERATE,
}
"""Method and path, as the application has them."""


def may(principal: Principal, permission: Permission) -> bool:
    """Whether somebody may do something.

    >>> may(Principal("default", Role.READ_ONLY), Permission.EVALUATE)
    False
    """
    if permission is Permission.OPERATE:
        return principal.is_operator
    return permission in _OF_ROLES[principal.role]


def check(principal: Principal, permission: Permission) -> None:
    """See that somebody may do something.

    Raises
    ------
    Forbidden
        The answer is the same whether there is what was asked for or not.
    """
    if not may(principal, permission):
        if permission is Permission.OPERATE:
            raise Forbidden(
                "only the server's operator may do this",
                where="header.authorization",
                remedy="ask with the operator's token, which is the server's FARFUNC_TOKEN",
            )
        roles = " or ".join(role.value for role in Role if permission in _OF_ROLES[role])
        raise Forbidden(
            f"the role {principal.role.value!r} may not do this",
            where="header.authorization",
            remedy=f"use a token of the role {roles}, which an admin of your tenant can make",
        )
