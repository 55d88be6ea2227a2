"""The functions of tenants: what is known of them in the database, what they are in the object store.

The order of steps makes every moment safe to die at. A content is durable before a row of ``functions`` speaks of it;
a row of ``blobs`` is there before the content is, so that what a death leaves behind is known, and is collected.
Equal contents of several tenants are one blob; whoever registers one sends and writes all of it, so that nobody can
tell from an answer, or from the time that it took, that another has it.
"""

from __future__ import annotations

import logging
import re
import secrets
import time
from dataclasses import dataclass

import sqlalchemy as sa

from farfunc_protocol.document import identity
from farfunc_protocol.errors import FunctionNotFound, InvalidRequest, ServerError
from farfunc_protocol.messages import check_reference

from .database import Database, insert_missing
from .objects import Objects
from .recent import Recent
from .schema import blobs, counters, functions, names

__all__ = ["Entry", "FunctionStore", "check_name"]

_log = logging.getLogger("farfunc.storage")

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,127}")
_VERSION = re.compile("[0-9]{1,9}")
_LARGEST_VERSION = 2**62

_ABANDONED_SECONDS = 3600.0
"""So long after it was last wanted a blob that nothing refers to is collected, where other servers may be about to
refer to it."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A function as the store knows it.

    Attributes
    ----------
    id:
        Its identity, ``sha256:<hex>``.
    name, version:
        Those it was asked by; None for an identity.
    signature:
        Types and trees, as text.
    bytes:
        The size of its file.
    created:
        When the version (or, without a name, the function) was stored, in seconds since 1970.
    """

    id: str
    name: str | None
    version: int | None
    signature: str
    bytes: int
    created: float


class FunctionStore:
    """The functions of all tenants. Safe to be used from several threads.

    Parameters
    ----------
    database, objects:
        Where rows and contents are; both opened and closed by the caller.
    """

    def __init__(self, database: Database, objects: Objects) -> None:
        self._database = database
        self._objects = objects
        self._is_shared = database.is_shared
        self._recent: Recent[tuple[str, str], bool] = Recent(is_shared=self._is_shared)

    def add(self, tenant: str, file: bytes, signature: str, name: str | None = None) -> Entry:
        """Keep a function file, and give it a name's next version.

        The name's latest version stays what it is if it is this very function.

        Returns
        -------
        Entry
            Durable when this returns.
        """
        if name is not None:
            check_name(name)
        id = identity(file)
        while True:
            key = self._reserve(id, len(file))
            self._objects.write(key, file)
            with self._database.write() as connection:
                held = sa.select(blobs.c.key).where(blobs.c.digest == id).with_for_update(read=True)
                if connection.scalar(held) != key:
                    continue  # it was collected before anything referred to it
                insert_missing(connection, functions, tenant=tenant, id=id, signature=signature, created=time.time())
                latest = None if name is None else _find(connection, tenant, name)
                if name is not None and (latest is None or latest.id != id):
                    version = _next_version(connection, tenant, name)
                    connection.execute(
                        names.insert().values(tenant=tenant, name=name, version=version, id=id, created=time.time())
                    )
                found = _find(connection, tenant, name or id)  # not what comes or goes a moment later
            return _required(found, name or id)

    def _reserve(self, id: str, size: int) -> str:
        """The key under which a content lies, or is to lie."""
        with self._database.write() as connection:
            # Where several servers share the store a key is never used twice: so one of them may remove what lies
            # under a key that it has taken out, while another writes the same content again.
            key = f"functions/{id.removeprefix('sha256:')}" + (f".{secrets.token_hex(6)}" if self._is_shared else "")
            insert_missing(connection, blobs, digest=id, key=key, bytes=size, used=time.time())
            connection.execute(blobs.update().where(blobs.c.digest == id).values(used=time.time()))
            return connection.scalar(sa.select(blobs.c.key).where(blobs.c.digest == id)) or key

    def set_signature(self, id: str, signature: str) -> None:
        """Say it better than :meth:`add` could; a content has one signature, whoever has it."""
        with self._database.write() as connection:
            connection.execute(functions.update().where(functions.c.id == id).values(signature=signature))

    def find(self, tenant: str, reference: str) -> Entry:
        """Look up ``sha256:<hex>``, ``name`` (its latest version) or ``name@version``.

        Raises
        ------
        FunctionNotFound
        InvalidRequest
            The reference has not the form of one.
        """
        check_reference(reference)
        with self._database.read() as connection:
            return _required(_find(connection, tenant, reference), reference)

    def known(self, tenant: str, reference: str) -> bool:
        """Whether a reference is an identity that was found a moment ago, so that it need not be looked up again."""
        return self._recent.get((tenant, reference)) is True

    def resolve(self, tenant: str, reference: str) -> str:
        """The identity that a reference stands for; raises as :meth:`find`."""
        if self.known(tenant, reference):
            return reference
        with self._recent.learning((tenant, reference)) as learn:
            id = self.find(tenant, reference).id
            if id == reference:
                learn(True)
        return id

    def names(self, tenant: str, id: str) -> list[str]:
        """The names of a function, as ``name@version``."""
        with self._database.read() as connection:
            return _names(connection, tenant, id)

    def versions(self, tenant: str, name: str) -> list[int]:
        """The versions of a name, oldest first."""
        query = sa.select(names.c.version).where(names.c.tenant == tenant, names.c.name == name)
        with self._database.read() as connection:
            return list(connection.scalars(query.order_by(names.c.version)))

    def page(self, tenant: str, limit: int, after: str | None = None) -> list[Entry]:
        """Named functions in the order of names and versions: at most ``limit`` that stand behind ``after``."""
        name, _, version = (after or "").partition("@")
        if after is not None and not (_NAME.fullmatch(name) and _VERSION.fullmatch(version)):
            raise InvalidRequest(
                f"{after[:200]!r} is not name@version",
                where="query.after",
                remedy="follow the path that `next` gives, or leave `after` out",
            )
        start = sa.tuple_(name, int(version or 0))
        query = (
            _NAMED.where(names.c.tenant == tenant, sa.tuple_(names.c.name, names.c.version) > start)
            .order_by(names.c.name, names.c.version)
            .limit(limit)
        )
        with self._database.read() as connection:
            return [Entry(*row) for row in connection.execute(query)]

    def read(self, id: str) -> bytes:
        """The file of a function that :meth:`find` has found; its content is checked.

        Raises
        ------
        FunctionNotFound
            It has been deleted since.
        ServerError
            Its file is damaged.
        """
        with self._database.read() as connection:
            has = sa.exists().where(functions.c.id == blobs.c.digest)
            key = connection.scalar(sa.select(blobs.c.key).where(blobs.c.digest == id, has))
        if key is None:
            raise _not_found(id)
        file = self._objects.read(key)
        if file is None or identity(file) != id:
            _log.error("the file of %s is damaged or gone", id)
            raise ServerError(f"the stored file of {id} is damaged", remedy="register the function again")
        return file

    def delete(self, tenant: str, reference: str) -> None:
        """Delete a version, all versions of a name, or a function that has no name.

        A function goes with its last name. When this returns it is gone for every server that shares the store.

        Raises
        ------
        FunctionNotFound
        InvalidRequest
            A function is asked by its identity and has names.
        """
        check_reference(reference)
        with self._database.write() as connection:
            entry = _required(_find(connection, tenant, reference), reference)
            if entry.name is None and (named := _names(connection, tenant, entry.id)):
                raise InvalidRequest(
                    f"the function is named {', '.join(named[:5])}", where="reference", remedy="delete its names"
                )
            chosen = [names.c.tenant == tenant, names.c.name == entry.name]
            if "@" in reference:
                chosen.append(names.c.version == entry.version)
            ids = set(connection.scalars(sa.select(names.c.id).where(*chosen)))
            connection.execute(names.delete().where(*chosen))
            for id in {*ids, entry.id}:
                if not _names(connection, tenant, id):
                    connection.execute(functions.delete().where(functions.c.tenant == tenant, functions.c.id == id))
        self._recent.forget()
        self.collect()

    def collect(self) -> int:
        """Remove contents that nothing refers to; returns how many."""
        latest = time.time() - (_ABANDONED_SECONDS if self._is_shared else 0.0)
        unwanted = [blobs.c.used <= latest, ~sa.exists().where(functions.c.id == blobs.c.digest)]
        with self._database.write() as connection:
            keys = list(connection.scalars(blobs.delete().where(*unwanted).returning(blobs.c.key)))
        for key in keys:
            self._objects.delete(key)
        return len(keys)

    def heal(self) -> None:
        """Put right what a death in the middle of a step, or a hand in the folder, has left."""
        self.collect()
        with self._database.read() as connection:
            digests = {row.key: row.digest for row in connection.execute(sa.select(blobs.c.key, blobs.c.digest))}
        ages = dict(self._objects.keys("functions"))
        for key, age in ages.items():
            if key not in digests and (age > _ABANDONED_SECONDS or not self._is_shared):
                self._objects.delete(key)
        if self._is_shared:
            return  # what another server adds just now is not missing
        for id in [digest for key, digest in digests.items() if key not in ages]:
            _log.error("the file of %s is gone: the function and its names are deleted", id)
            with self._database.write() as connection:
                connection.execute(names.delete().where(names.c.id == id))
                connection.execute(functions.delete().where(functions.c.id == id))
                connection.execute(blobs.delete().where(blobs.c.digest == id))


_NAMED = sa.select(
    names.c.id, names.c.name, names.c.version, functions.c.signature, blobs.c.bytes, names.c.created
).select_from(
    names.join(functions, sa.and_(functions.c.tenant == names.c.tenant, functions.c.id == names.c.id)).join(
        blobs, blobs.c.digest == functions.c.id
    )
)
_UNNAMED = sa.select(functions.c.signature, blobs.c.bytes, functions.c.created).select_from(functions.join(blobs))


def _find(connection: sa.Connection, tenant: str, reference: str) -> Entry | None:
    if reference.startswith("sha256:"):
        query = _UNNAMED.where(functions.c.tenant == tenant, functions.c.id == reference)
        row = connection.execute(query).one_or_none()
        return None if row is None else Entry(reference, None, None, *row)
    name, _, version = reference.partition("@")
    query = _NAMED.where(names.c.tenant == tenant, names.c.name == name)
    if version:
        query = query.where(names.c.version == min(int(version), _LARGEST_VERSION))
    row = connection.execute(query.order_by(names.c.version.desc()).limit(1)).one_or_none()
    return None if row is None else Entry(*row)


def _names(connection: sa.Connection, tenant: str, id: str) -> list[str]:
    query = sa.select(names.c.name, names.c.version).where(names.c.tenant == tenant, names.c.id == id)
    return [f"{name}@{version}" for name, version in connection.execute(query.order_by(names.c.name, names.c.version))]


def _next_version(connection: sa.Connection, tenant: str, name: str) -> int:
    insert_missing(connection, counters, tenant=tenant, name=name, last_version=0)
    chosen = (counters.c.tenant == tenant, counters.c.name == name)
    raised = counters.update().where(*chosen).values(last_version=counters.c.last_version + 1)
    return connection.execute(raised.returning(counters.c.last_version)).scalar_one()


def _required(found: Entry | None, reference: str) -> Entry:
    if found is None:
        raise _not_found(reference)
    return found


def _not_found(reference: str) -> FunctionNotFound:
    return FunctionNotFound(
        f"this server has no function {reference!r}",
        remedy="register it, or check the name: GET /v1/functions (farfunc.functions) lists what there is",
    )


def check_name(name: str) -> str:
    """Return ``name`` if a function may be called so.

    >>> check_name("arm.v2")
    'arm.v2'
    """
    if not _NAME.fullmatch(name):
        raise InvalidRequest(
            f"{name[:200]!r} is not a name",
            where="query.name",
            remedy="use 1 to 128 letters, digits, '_', '.' and '-', a letter or '_' first",
        )
    return name
