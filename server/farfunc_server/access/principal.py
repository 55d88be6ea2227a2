"""Who asks: a tenant's member, token or anyone, in a role."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

__all__ = ["ANYONE", "DEFAULT_TENANT", "OPERATOR", "Principal", "Role"]

DEFAULT_TENANT = "default"
"""The tenant of a server without tenants: of all that was there before there were others."""


class Role(StrEnum):
    """What a member or a token of a tenant may do."""

    ADMIN = "admin"
    MEMBER = "member"
    READ_ONLY = "read-only"
    METRICS = "metrics"


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks.

    Attributes
    ----------
    tenant:
        The id of the tenant whose functions, jobs and results these are.
    role:
        What may be done with them.
    token:
        The id of the token that was borne; None where there was none.
    subject:
        Whom an OpenID provider has vouched for; None where none did.
    is_operator:
        Whether the server itself may be administered, its tenants for example.
    """

    tenant: str
    role: Role
    token: str | None = None
    subject: str | None = None
    is_operator: bool = False


ANYONE = Principal(DEFAULT_TENANT, Role.ADMIN, is_operator=True)
"""Whoever asks a server that knows no tokens."""

OPERATOR = Principal(DEFAULT_TENANT, Role.ADMIN, token="operator", is_operator=True)
"""Whoever bears the token that the server was started with."""
