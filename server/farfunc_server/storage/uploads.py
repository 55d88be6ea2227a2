"""Contents that arrive in parts, and may be interrupted: what has arrived is kept, and the rest follows.

A part is in the object store before its row is in the database, and its row comes with the new end of the upload, if
that still is where the part begins. So a part counts once, whoever sends it how often.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, fields
from typing import Any

import sqlalchemy as sa

from farfunc_protocol.document import identity
from farfunc_protocol.errors import DigestMismatch, ServerError, UploadConflict, UploadNotFound

from .contents import ABANDONED_SECONDS, Contents
from .database import Database, now_of
from .objects import Objects
from .schema import upload_parts, uploads

__all__ = ["Upload", "UploadStore"]

_KEPT_SECONDS = 86400.0
"""So long an upload, or what became of it, is kept after it was begun."""


@dataclass(frozen=True, slots=True)
class Upload:
    """A row of ``uploads``: see :mod:`.schema`."""

    id: str
    tenant: str
    bytes: int
    received: int
    digest: str | None
    content: str | None
    created: float
    expires: float

    @classmethod
    def of(cls, row: sa.Row[Any]) -> Upload:
        """Take one from the answer of a query for all columns."""
        return cls(**{field.name: row._mapping[field.name] for field in fields(cls)})


class UploadStore:
    """The uploads of all tenants. Safe to be used from several threads.

    Parameters
    ----------
    database, objects, contents:
        Where rows, parts and whole contents are; opened and closed by the caller.
    """

    def __init__(self, database: Database, objects: Objects, contents: Contents) -> None:
        self._database = database
        self._objects = objects
        self._contents = contents

    def begin(self, tenant: str, size: int, digest: str | None = None) -> Upload:
        """Expect a content of so many bytes, of which the digest may be known."""
        with self._database.write() as connection:
            now = now_of(connection)
            new = uploads.insert().values(
                id=f"upload_{secrets.token_hex(12)}",
                tenant=tenant,
                bytes=size,
                received=0,
                digest=digest,
                created=now,
                expires=now + _KEPT_SECONDS,
            )
            return Upload.of(connection.execute(new.returning(uploads)).one())

    def find(self, tenant: str, id: str) -> Upload:
        """A tenant's upload.

        Raises
        ------
        UploadNotFound
        """
        query = sa.select(uploads).where(uploads.c.tenant == tenant, uploads.c.id == id)
        with self._database.read() as connection:
            row = connection.execute(query).one_or_none()
        if row is None:
            raise UploadNotFound(
                f"this server has no upload {id[:100]!r}",
                where="id",
                remedy="begin another: POST /v1/uploads; one is kept for a day",
            )
        return Upload.of(row)

    def append(self, upload: Upload, start: int, part: bytes) -> Upload:
        """Add a part that begins where the others end.

        Raises
        ------
        UploadConflict
            It does not, or no more.
        """
        key = f"uploads/{upload.id}.{start}.{secrets.token_hex(6)}"
        self._objects.write(key, part)
        with self._database.write() as connection:
            change = uploads.update().where(
                uploads.c.id == upload.id, uploads.c.received == start, uploads.c.content.is_(None)
            )
            change = change.values(received=uploads.c.received + len(part)).returning(uploads)
            row = connection.execute(change).one_or_none()
            if row is not None:
                new = upload_parts.insert().values(upload=upload.id, start=start, bytes=len(part), key=key)
                connection.execute(new)
        if row is None:
            self._objects.delete(key)
            raise UploadConflict(
                f"a part at {start:,} does not follow what has arrived: another has come first",
                where="header.upload-offset",
                remedy="ask for the end with HEAD, and go on from there",
            )
        return Upload.of(row)

    def complete(self, upload: Upload) -> Upload:
        """Put the parts together, once all have arrived; to do it twice is to do it once.

        Raises
        ------
        DigestMismatch
            What has arrived is not what was announced: the upload is gone.
        """
        if upload.content is not None:
            return upload
        query = sa.select(upload_parts.c.key).where(upload_parts.c.upload == upload.id).order_by(upload_parts.c.start)
        with self._database.read() as connection:
            keys = list(connection.scalars(query))
        content = bytearray()
        for key in keys:
            content += self._objects.read(key) or b""
        if len(content) != upload.bytes:
            found = self.find(upload.tenant, upload.id)
            if found.content is None:
                raise ServerError("a part of the upload is gone", remedy="begin another: POST /v1/uploads")
            return found  # another request has put the same parts together, meanwhile
        digest = identity(content)
        if upload.digest not in (None, digest):
            self.delete(upload.tenant, upload.id)
            raise DigestMismatch(
                f"what has arrived has the digest {digest}, and {upload.digest} was announced",
                where="body",
                remedy="begin another upload: this one is gone",
            )

        def refer(connection: sa.Connection, digest: str) -> sa.Row[Any] | None:
            chosen = (uploads.c.id == upload.id, uploads.c.content.is_(None))
            change = uploads.update().where(*chosen).values(content=digest)
            row = connection.execute(change.returning(uploads)).one_or_none()
            connection.execute(upload_parts.delete().where(upload_parts.c.upload == upload.id))
            return row

        row = self._contents.keep(memoryview(content), "requests", refer)
        for key in keys:
            self._objects.delete(key)
        return self.find(upload.tenant, upload.id) if row is None else Upload.of(row)

    def content(self, tenant: str, digest: Any) -> bytes:
        """A content that a tenant has uploaded.

        Raises
        ------
        UploadNotFound
        """
        query = sa.select(uploads.c.id).where(uploads.c.tenant == tenant, uploads.c.content == digest).limit(1)
        found = None
        if isinstance(digest, str):
            with self._database.read() as connection:
                found = connection.scalar(query)
        content = None if found is None else self._contents.read(digest)
        if content is None:
            raise UploadNotFound(
                f"no upload of yours has the digest {str(digest)[:100]!r}",
                where="request.input",
                remedy="give the `content` of an upload that is complete: POST /v1/uploads begins one",
            )
        return content

    def delete(self, tenant: str, id: str) -> None:
        """Forget an upload; jobs that were made of it have what they need."""
        self.find(tenant, id)
        self._remove([id])
        self._contents.collect()

    def expire(self) -> None:
        """Forget what has been kept long enough."""
        with self._database.read() as connection:
            ids = list(connection.scalars(sa.select(uploads.c.id).where(uploads.c.expires <= now_of(connection))))
        if ids:
            self._remove(ids)
            self._contents.collect()

    def _remove(self, ids: list[str]) -> None:
        with self._database.write() as connection:
            parts = upload_parts.delete().where(upload_parts.c.upload.in_(ids)).returning(upload_parts.c.key)
            keys = list(connection.scalars(parts))
            connection.execute(uploads.delete().where(uploads.c.id.in_(ids)))
        for key in keys:
            self._objects.delete(key)

    def sweep(self) -> None:
        """Remove parts that a death has left between their writing and their row."""
        for key, age in list(self._objects.keys("uploads")):
            if age < ABANDONED_SECONDS and self._database.is_shared:
                continue
            with self._database.read() as connection:
                known = connection.scalar(sa.select(upload_parts.c.upload).where(upload_parts.c.key == key))
            if known is None:
                self._objects.delete(key)
