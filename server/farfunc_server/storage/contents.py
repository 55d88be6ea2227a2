"""Contents by their digests: each stored once, whoever refers to it, and removed when nobody does.

The order of steps makes every moment safe to die at. A row of ``blobs`` is there before the content is, so that what a
death leaves behind is known, and is collected; a content is durable before any other row speaks of it. Whoever brings
a content sends and writes all of it, so that nobody can tell from an answer, or from the time that it took, that
another has it.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from typing import TypeVar

import sqlalchemy as sa

from farfunc_protocol.document import identity

from .database import Database, insert_missing
from .objects import Objects
from .schema import blobs, functions, jobs, uploads

__all__ = ["ABANDONED_SECONDS", "UNREFERENCED", "Contents"]

Referred = TypeVar("Referred")

ABANDONED_SECONDS = 3600.0
"""So long after it was last wanted a content that nothing refers to is collected, where other servers may be about to
refer to it."""

UNREFERENCED = [
    ~sa.exists().where(reference == blobs.c.digest) for reference in (functions.c.id, jobs.c.request, uploads.c.content)
]
"""What a row of ``blobs`` fulfils that may be deleted."""


class Contents:
    """The contents of all tenants. Safe to be used from several threads.

    Parameters
    ----------
    database, objects:
        Where rows and contents are; both opened and closed by the caller.
    """

    def __init__(self, database: Database, objects: Objects) -> None:
        self._database = database
        self._objects = objects
        self._is_shared = database.is_shared

    def keep(self, content: bytes | memoryview, kind: str, refer: Callable[[sa.Connection, str], Referred]) -> Referred:
        """Keep a content, and have ``refer`` write the rows that speak of its digest.

        Returns
        -------
        Referred
            What ``refer`` has returned; all is durable when this returns.
        """
        digest = identity(content)
        while True:
            key = self._reserve(digest, memoryview(content).nbytes, kind)
            self._objects.write(key, content)
            with self._database.write() as connection:
                held = sa.select(blobs.c.key).where(blobs.c.digest == digest).with_for_update(read=True)
                if connection.scalar(held) == key:
                    return refer(connection, digest)
            # It was collected before anything referred to it.

    def _reserve(self, digest: str, size: int, kind: str) -> str:
        """The key under which a content lies, or is to lie."""
        with self._database.write() as connection:
            # Where several servers share the store a key is never used twice: so one of them may remove what lies
            # under a key that it has taken out, while another writes the same content again.
            key = f"{kind}/{digest.removeprefix('sha256:')}" + (f".{secrets.token_hex(6)}" if self._is_shared else "")
            insert_missing(connection, blobs, digest=digest, key=key, bytes=size, used=time.time())
            connection.execute(blobs.update().where(blobs.c.digest == digest).values(used=time.time()))
            return connection.scalar(sa.select(blobs.c.key).where(blobs.c.digest == digest)) or key

    def read(self, digest: str) -> bytes | None:
        """A content that something refers to; None if it is gone, or damaged."""
        with self._database.read() as connection:
            key = connection.scalar(sa.select(blobs.c.key).where(blobs.c.digest == digest))
        content = None if key is None else self._objects.read(key)
        return content if content is not None and identity(content) == digest else None

    def collect(self) -> int:
        """Remove contents that nothing refers to; returns how many."""
        latest = time.time() - (ABANDONED_SECONDS if self._is_shared else 0.0)
        with self._database.write() as connection:
            chosen = blobs.delete().where(blobs.c.used <= latest, *UNREFERENCED)
            keys = list(connection.scalars(chosen.returning(blobs.c.key)))
        for key in keys:
            self._objects.delete(key)
        return len(keys)
