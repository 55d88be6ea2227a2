"""``Content-Encoding: zstd``, for slow networks: on request, and with the extra ``farfunc[zstd]``."""

from __future__ import annotations

import io
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from farfunc_protocol.errors import ConnectionFailed, InvalidRequest, ProtocolError
from farfunc_protocol.incoming import Incoming

from ._body import Body, Plain, file_or_plain

__all__ = ["compressed", "decoded", "require_zstd"]

_LEVEL = 3
_LEAST_BYTES = 1024
"""Less is not worth the header."""
_MOST_TEXT_BYTES = 1 << 28
"""Of an answer that is no file of tensors, whose header says how long it is."""


def require_zstd() -> Any:
    """The module that compresses: Python 3.14's own, before that the package that is the same.

    Raises
    ------
    InvalidRequest
        It is not installed.
    """
    try:
        if sys.version_info >= (3, 14):
            from compression import zstd
        else:
            from backports import zstd  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise InvalidRequest(
            "compression needs the package backports.zstd, which is not installed",
            remedy="pip install 'farfunc[zstd]', or leave out compress=True",
        ) from None
    return zstd


def compressed(content: Sequence[bytes | memoryview]) -> Sequence[bytes | memoryview] | None:
    """A body, compressed; None where that makes it no smaller."""
    length = sum(memoryview(buffer).nbytes for buffer in content)
    if length < _LEAST_BYTES:
        return None
    compressor = require_zstd().ZstdCompressor(_LEVEL)
    compressor.set_pledged_input_size(length)  # the frame then tells it, so that a reader can refuse at once
    parts = [compressor.compress(buffer) for buffer in content]
    parts = [part for part in (*parts, compressor.flush()) if part]
    return parts if sum(map(len, parts)) < length else None


def decoded(status: int, headers: Mapping[str, str], body: Plain, url: str) -> Body:
    """The body of an answer that has a content coding.

    Raises
    ------
    ConnectionFailed
        In another than the one that was asked for.
    ProtocolError
        It is damaged.
    """
    coding = headers.get("content-encoding", "").strip().lower()
    if coding in ("", "identity"):
        return body
    if coding != "zstd":
        raise ConnectionFailed(
            f"{url} answers in the content coding {coding[:40]!r}, which was not asked for",
            remedy="check that the URL is that of a farfunc server, and any proxy before it",
        )
    zstd = require_zstd()
    found = file_or_plain(status, headers)
    length = 0
    try:
        with zstd.ZstdFile(io.BytesIO(body.content())) as reader:
            while count := reader.readinto(found.room()):
                found.filled(count)
                length += count
                if found.is_over if isinstance(found, Incoming) else length > _MOST_TEXT_BYTES:
                    break
            else:
                return found
    except (zstd.ZstdError, EOFError) as error:
        raise ProtocolError(f"the server's answer cannot be decompressed: {error}") from None
    if isinstance(found, Incoming):
        return found  # it tells what is wrong
    raise ProtocolError(f"the server's answer has more than {_MOST_TEXT_BYTES:,} bytes, decompressed")
