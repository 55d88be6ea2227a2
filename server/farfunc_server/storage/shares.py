"""Functions that one tenant lets another read and evaluate."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy import exc

from .database import Database, insert_missing
from .functions import FunctionStore
from .missing import NotFound
from .schema import blobs, functions, shares, tenants

__all__ = ["Share", "SharedFunction", "Shares"]


@dataclass(frozen=True, slots=True)
class Share:
    """A tenant that a function is shared with; ``created`` is in seconds since 1970."""

    tenant: str
    created: float


@dataclass(frozen=True, slots=True)
class SharedFunction:
    """A function that another tenant shares.

    Attributes
    ----------
    id:
        Its identity, by which it can be read and evaluated; its names are its owner's.
    owner:
        The id of the tenant that has it.
    signature:
        Types and trees, as text.
    bytes:
        The size of its file.
    created:
        When it was shared, in seconds since 1970.
    """

    id: str
    owner: str
    signature: str
    bytes: int
    created: float


class Shares:
    """What tenants share. Safe to be used from several threads.

    Parameters
    ----------
    database:
        Where that is.
    store:
        The functions themselves.
    forget:
        Is called when a function was taken back: returns when no server goes by it any more.
    """

    def __init__(self, database: Database, store: FunctionStore, forget: Callable[[], None]) -> None:
        self._database = database
        self._store = store
        self._forget = forget

    def add(self, owner: str, reference: str, receiver: str) -> None:
        """Share what a reference stands for now with the tenant of an id.

        Raises
        ------
        FunctionNotFound
            The owner has no such function.
        NotFound
            There is no such tenant, or it is the owner.
        """
        id = self._store.find_own(owner, reference).id
        try:
            self._insert(owner, id, receiver)
        except exc.IntegrityError:  # the function, or the tenant, went this very moment
            self._store.find_own(owner, id)
            raise _no_receiver(receiver) from None

    def _insert(self, owner: str, id: str, receiver: str) -> None:
        with self._database.write() as connection:
            known = sa.select(tenants.c.id).where(tenants.c.id == receiver)
            if receiver == owner or connection.scalar(known) is None:
                raise _no_receiver(receiver)
            insert_missing(connection, shares, tenant=owner, id=id, receiver=receiver, created=time.time())

    def remove(self, owner: str, reference: str, receiver: str) -> None:
        """Take a function back. When this returns, the other tenant finds it no more.

        Raises
        ------
        FunctionNotFound
        NotFound
            It is not shared with that tenant.
        """
        id = self._store.find_own(owner, reference).id
        chosen = shares.c.tenant == owner, shares.c.id == id, shares.c.receiver == receiver
        with self._database.write() as connection:
            removed = connection.execute(shares.delete().where(*chosen)).rowcount
        if not removed:
            raise NotFound(
                f"the function is not shared with a tenant of the id {receiver[:80]!r}",
                where="tenant",
                remedy="GET /v1/functions/{reference}/shares lists those that it is shared with",
            )
        self._forget()

    def list(self, owner: str, reference: str) -> list[Share]:
        """Whom a function is shared with."""
        id = self._store.find_own(owner, reference).id
        query = sa.select(shares.c.receiver, shares.c.created).where(shares.c.tenant == owner, shares.c.id == id)
        with self._database.read() as connection:
            return [Share(*row) for row in connection.execute(query.order_by(shares.c.created, shares.c.receiver))]

    def with_tenant(self, receiver: str) -> list[SharedFunction]:
        """What others share with a tenant, in the order in which they did."""
        joined = shares.join(functions, sa.and_(functions.c.tenant == shares.c.tenant, functions.c.id == shares.c.id))
        query = (
            sa.select(shares.c.id, shares.c.tenant, functions.c.signature, blobs.c.bytes, shares.c.created)
            .select_from(joined.join(blobs, blobs.c.digest == shares.c.id))
            .where(shares.c.receiver == receiver)
            .order_by(shares.c.created, shares.c.id, shares.c.tenant)
        )
        with self._database.read() as connection:
            return [SharedFunction(*row) for row in connection.execute(query)]


def _no_receiver(receiver: str) -> NotFound:
    return NotFound(
        f"there is no other tenant of the id {receiver[:80]!r}",
        where="tenant",
        remedy="ask its members for the id that GET /v1/me tells them",
    )
