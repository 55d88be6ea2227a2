"""Tenants: teams that know nothing of each other."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy import exc

from farfunc_protocol.errors import InvalidRequest

from .database import Database
from .missing import NotFound
from .schema import counters, functions, jobs, members, shares, tenants, tokens, uploads

__all__ = ["Tenant", "Tenants"]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


@dataclass(frozen=True, slots=True)
class Tenant:
    """A team.

    Attributes
    ----------
    id:
        What it is known by for ever, and what others share functions with. It is drawn, so that nobody can find out by
        guessing which tenants there are.
    name:
        What its operator calls it.
    weight:
        Its share of the devices, beside those of others.
    created:
        In seconds since 1970.
    """

    id: str
    name: str
    weight: float
    created: float


class Tenants:
    """The tenants of a server. Safe to be used from several threads.

    Parameters
    ----------
    database:
        Where they are.
    forget:
        Is called when something that was checked may hold no longer.
    """

    def __init__(self, database: Database, forget: Callable[[], None]) -> None:
        self._database = database
        self._forget = forget

    def create(self, name: str, weight: float = 1.0) -> Tenant:
        """Make a tenant, of a name that no other has."""
        tenant = Tenant("t" + secrets.token_hex(8), _checked_name(name), _checked_weight(weight), time.time())
        self._write(
            tenants.insert().values(id=tenant.id, name=tenant.name, weight=tenant.weight, created=tenant.created),
            name,
        )
        return tenant

    def list(self) -> list[Tenant]:
        """All of them, by name."""
        with self._database.read() as connection:
            return [Tenant(*row) for row in connection.execute(_TENANTS.order_by(tenants.c.name))]

    def find(self, reference: str) -> Tenant:
        """Look one up by its id or its name.

        Raises
        ------
        NotFound
        """
        found = self.get(reference)
        if found is None:
            raise _no_tenant(reference)
        return found

    def get(self, reference: str) -> Tenant | None:
        """The same; None if there is none. An id wins over a name."""
        query = _TENANTS.where(sa.or_(tenants.c.id == reference, tenants.c.name == reference))
        with self._database.read() as connection:
            rows = connection.execute(query.order_by(tenants.c.id != reference)).all()
        return Tenant(*rows[0]) if rows else None

    def change(self, reference: str, name: str | None = None, weight: float | None = None) -> Tenant:
        """Give a tenant another name or another weight."""
        tenant = self.find(reference)
        values = {
            "name": tenant.name if name is None else _checked_name(name),
            "weight": tenant.weight if weight is None else _checked_weight(weight),
        }
        self._write(tenants.update().where(tenants.c.id == tenant.id).values(values), values["name"])
        self._forget()
        return self.find(tenant.id)

    def delete(self, reference: str) -> None:
        """Delete a tenant that has no functions, jobs, uploads or members, and no token that is good.

        Raises
        ------
        InvalidRequest
            It has, or is the one that cannot go.
        """
        tenant = self.find(reference)
        if tenant.id == "default":
            raise InvalidRequest("the tenant 'default' cannot be deleted", where="tenant", remedy="rename it")
        now = time.time()
        good = [tokens.c.revoked.is_(None), sa.or_(tokens.c.expires.is_(None), tokens.c.expires > now)]
        holds = {
            "functions": sa.select(functions.c.id).where(functions.c.tenant == tenant.id),
            "members": sa.select(members.c.subject).where(members.c.tenant == tenant.id),
            "tokens": sa.select(tokens.c.id).where(tokens.c.tenant == tenant.id, *good),
            "jobs": sa.select(jobs.c.id).where(jobs.c.tenant == tenant.id),
            "uploads": sa.select(uploads.c.id).where(uploads.c.tenant == tenant.id),
        }
        with self._database.write() as connection:
            for what, query in holds.items():
                if connection.execute(query.limit(1)).first() is not None:
                    raise InvalidRequest(
                        f"the tenant {tenant.name!r} still has {what}",
                        where="tenant",
                        remedy="delete its functions, jobs, uploads and members, and revoke its tokens, first",
                    )
            connection.execute(shares.delete().where(shares.c.receiver == tenant.id))
            connection.execute(tokens.delete().where(tokens.c.tenant == tenant.id))
            connection.execute(counters.delete().where(counters.c.tenant == tenant.id))
            connection.execute(tenants.delete().where(tenants.c.id == tenant.id))
        self._forget()

    def _write(self, statement: sa.Executable, name: str) -> None:
        try:
            with self._database.write() as connection:
                connection.execute(statement)
        except exc.IntegrityError:
            raise InvalidRequest(
                f"there is a tenant {name!r} already", where="name", remedy="choose another name"
            ) from None


_TENANTS = sa.select(tenants.c.id, tenants.c.name, tenants.c.weight, tenants.c.created)


def _no_tenant(reference: str) -> NotFound:
    return NotFound(
        f"there is no tenant {reference[:80]!r}", where="tenant", remedy="GET /v1/tenants lists them for the operator"
    )


def _checked_name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise InvalidRequest(
            f"{name[:80]!r} is no name of a tenant",
            where="name",
            remedy="use 1 to 64 letters, digits, '_', '.' and '-', a letter or a digit first",
        )
    return name


def _checked_weight(weight: float) -> float:
    if not 0.01 <= weight <= 1000.0:
        raise InvalidRequest(f"the weight is {weight}", where="weight", remedy="give a number from 0.01 to 1000")
    return weight
