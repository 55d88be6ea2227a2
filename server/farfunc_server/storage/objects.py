"""Where contents lie: a folder, or a bucket of an S3-compatible object store."""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

from farfunc_protocol.errors import ServerError, StorageFailed

from .database import missing_package

__all__ = ["BucketObjects", "FolderObjects", "Objects", "objects_at"]

_log = logging.getLogger("farfunc.storage")


class Objects(Protocol):
    """Contents by key. A key is ``kind/name``; what was written under one is not changed.

    Attributes
    ----------
    is_shared:
        Whether other servers may use it at the same time.
    """

    is_shared: bool

    def write(self, key: str, content: bytes | memoryview) -> None:
        """Put a content where it belongs: whole and durable when this returns, or not at all.

        Raises
        ------
        StorageFailed
        """
        ...

    def read(self, key: str, start: int = 0, stop: int | None = None) -> bytes | None:
        """A content, or the bytes of it from ``start`` to before ``stop``; None where there is none.

        Raises
        ------
        StorageFailed
            The object store does not answer.
        """
        ...

    def delete(self, key: str) -> None:
        """Remove a content, if it is there."""
        ...

    def keys(self, kind: str) -> Iterator[tuple[str, float]]:
        """The keys of a kind, and how many seconds ago each was written."""
        ...


def objects_at(text: str | None, folder: Path) -> Objects:
    """Read the address of an object store; without one it is the folder.

    Parameters
    ----------
    text:
        ``s3://bucket`` or ``s3://bucket/prefix``; the endpoint, region and credentials are taken from the variables
        ``AWS_ENDPOINT``, ``AWS_REGION``, ``AWS_ACCESS_KEY_ID``, ...

    Raises
    ------
    ServerError
        It is not such an address.
    """
    if text is None:
        return FolderObjects(folder)
    parts = urlsplit(text)
    if parts.scheme != "s3" or not parts.netloc:
        raise ServerError(
            f"--object-store is {text!r}, which is no bucket",
            where="object_store",
            remedy="give s3://bucket or s3://bucket/prefix, or leave it out for the data folder",
        )
    return BucketObjects(text)


class FolderObjects:
    """Contents as files: a key is a path below the folder."""

    is_shared = False

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def write(self, key: str, content: bytes | memoryview) -> None:
        """Write a file and have it on the disk."""
        path = self._folder / key
        partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with open(partial, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(partial, path)
            folder = os.open(path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except OSError as error:
            with contextlib.suppress(OSError):
                partial.unlink(missing_ok=True)  # it would keep a full disk full
            _log.error("the data folder cannot be written to: %s", error.strerror)
            raise StorageFailed(
                f"the server cannot write to its data folder: {error.strerror}",
                remedy="tell the server's operator; functions that it has are evaluated all the same",
            ) from error

    def read(self, key: str, start: int = 0, stop: int | None = None) -> bytes | None:
        """Read a file."""
        try:
            with open(self._folder / key, "rb") as file:
                file.seek(start)
                return file.read() if stop is None else file.read(max(stop - start, 0))
        except OSError:
            return None

    def delete(self, key: str) -> None:
        """Remove a file."""
        (self._folder / key).unlink(missing_ok=True)

    def keys(self, kind: str) -> Iterator[tuple[str, float]]:
        """List a folder; half-written files are in it, too."""
        now = time.time()
        with contextlib.suppress(FileNotFoundError):
            for entry in os.scandir(self._folder / kind):
                yield f"{kind}/{entry.name}", now - entry.stat().st_mtime


class BucketObjects:
    """Contents as the objects of a bucket."""

    is_shared = True

    def __init__(self, url: str) -> None:
        try:
            import obstore
            from obstore.exceptions import BaseError, NotFoundError
            from obstore.store import S3Store
        except ImportError:
            raise missing_package("obstore", "s3") from None

        self._obstore = obstore
        self._failures, self._absent = (OSError, BaseError), (FileNotFoundError, NotFoundError)
        self._title = url
        self._store = S3Store.from_url(
            url,
            client_options={"allow_http": os.environ.get("AWS_ENDPOINT", "").startswith("http://")},
            retry_config={"max_retries": 4, "retry_timeout": timedelta(seconds=20)},
        )

    def write(self, key: str, content: bytes | memoryview) -> None:
        """Put an object; S3 shows it whole or not at all."""
        with self._told():
            self._obstore.put(self._store, key, content)

    def read(self, key: str, start: int = 0, stop: int | None = None) -> bytes | None:
        """Get an object, or a range of one."""
        if stop is not None and stop <= start:
            return b""
        with self._told(), contextlib.suppress(*self._absent):
            if stop is not None:
                return bytes(self._obstore.get_range(self._store, key, start=start, end=stop))
            if start:
                return bytes(self._obstore.get(self._store, key, options={"range": {"offset": start}}).bytes())
            return bytes(self._obstore.get(self._store, key).bytes())
        return None

    def delete(self, key: str) -> None:
        """Delete an object."""
        with self._told(), contextlib.suppress(*self._absent):
            self._obstore.delete(self._store, key)

    def keys(self, kind: str) -> Iterator[tuple[str, float]]:
        """List the objects under a prefix."""
        now = time.time()
        with self._told():
            for page in self._obstore.list(self._store, prefix=f"{kind}/"):
                for meta in page:
                    yield meta["path"], now - meta["last_modified"].timestamp()

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except self._failures as error:
            _log.error("the object store %s failed: %s", self._title, " ".join(str(error).split())[:500])
            raise StorageFailed(
                "the server cannot use its object store",
                remedy="try again in a moment; if it stays so, tell the server's operator",
                retry_after=1.0,
            ) from error
