"""Members: people and programs that an OpenID provider vouches for, and the tenants that they belong to."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import sqlalchemy as sa

from farfunc_protocol.errors import InvalidRequest, LimitExceeded

from ..access.principal import Role
from .database import Database, insert_missing
from .missing import NotFound
from .schema import members

__all__ = ["Member", "Members"]

_MOST = 10_000
_LONGEST = 500


@dataclass(frozen=True, slots=True)
class Member:
    """Somebody of a tenant.

    Attributes
    ----------
    tenant, role:
        Of what, and as what.
    issuer, subject:
        The claims ``iss`` and ``sub`` of the bearer's tokens.
    created:
        In seconds since 1970.
    """

    tenant: str
    issuer: str
    subject: str
    role: Role
    created: float


class Members:
    """The members of all tenants. Safe to be used from several threads.

    Parameters
    ----------
    database:
        Where they are.
    forget:
        Is called when what was checked may hold no longer: returns when no server goes by it.
    """

    def __init__(self, database: Database, forget: Callable[[], None]) -> None:
        self._database = database
        self._forget = forget

    def put(self, tenant: str, issuer: str, subject: str, role: Role) -> Member:
        """Take somebody in, or give a member another role."""
        for where, text in (("issuer", issuer), ("subject", subject)):
            if not 0 < len(text) <= _LONGEST or not text.isprintable():
                raise InvalidRequest(
                    f"the {where} is {text[:80]!r}", where=where, remedy=f"give 1 to {_LONGEST} printable characters"
                )
        with self._database.write() as connection:
            counted = sa.select(sa.func.count()).select_from(members).where(members.c.tenant == tenant)
            if (count := connection.scalar(counted) or 0) >= _MOST:
                raise LimitExceeded(f"the tenant has {count:,} members", remedy="use a claim for the tenant")
            key = {"tenant": tenant, "issuer": issuer, "subject": subject}
            insert_missing(connection, members, **key, role=role.value, created=time.time())
            chosen = members.update().where(*_key(tenant, issuer, subject), members.c.role != role.value)
            is_changed = connection.execute(chosen.values(role=role.value)).rowcount > 0
        if is_changed:
            self._forget()
        return next(found for found in self.of(issuer, subject) if found.tenant == tenant)

    def remove(self, tenant: str, issuer: str, subject: str) -> None:
        """Put somebody out. When this returns that is so everywhere.

        Raises
        ------
        NotFound
        """
        with self._database.write() as connection:
            removed = connection.execute(members.delete().where(*_key(tenant, issuer, subject))).rowcount
        if not removed:
            raise NotFound(
                f"there is no member {subject[:80]!r} of {issuer[:200]!r}",
                where="subject",
                remedy="GET /v1/members lists them",
            )
        self._forget()

    def list(self, tenant: str) -> list[Member]:
        """The members of a tenant."""
        query = _MEMBERS.where(members.c.tenant == tenant).order_by(members.c.issuer, members.c.subject)
        with self._database.read() as connection:
            return [_member(row) for row in connection.execute(query)]

    def of(self, issuer: str, subject: str) -> list[Member]:
        """The memberships of somebody, oldest first."""
        query = _MEMBERS.where(members.c.issuer == issuer, members.c.subject == subject)
        with self._database.read() as connection:
            return [_member(row) for row in connection.execute(query.order_by(members.c.created, members.c.tenant))]


_MEMBERS = sa.select(members.c.tenant, members.c.issuer, members.c.subject, members.c.role, members.c.created)


def _key(tenant: str, issuer: str, subject: str) -> tuple[sa.ColumnElement[bool], ...]:
    return members.c.tenant == tenant, members.c.issuer == issuer, members.c.subject == subject


def _member(row: sa.Row) -> Member:
    tenant, issuer, subject, role, created = row
    return Member(tenant, issuer, subject, Role(role), created)
