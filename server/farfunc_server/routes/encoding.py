"""``Content-Encoding: zstd`` (RFC 8878, RFC 9659), for those on the other end of a slow network."""

from __future__ import annotations

import asyncio
import sys
from functools import lru_cache

from starlette.types import Message, Send

from farfunc_protocol.errors import LimitExceeded

from .problems import BadContentEncoding, UnsupportedContentEncoding

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

__all__ = ["CompressedSend", "accepts_zstd", "check_encoding", "decompressed"]

_LEAST = 4096
"""Bytes of an answer that are worth it."""

_SMALL = 1 << 16
"""Bytes that are compressed so fast that no one else has to wait."""

_STEP = 1 << 20
_INPUT_STEP = 1 << 17
"""Bytes: what stands behind a frame is copied, so that it must not be all the rest of a body."""
_MOST_FRAMES = 10_000
"""A frame costs time, and may hold nothing."""

_LARGEST_WINDOW_LOG = 23  # 8 MB: RFC 9659 allows no more, so that a decoder's memory is bounded


def check_encoding(given: bytes | None) -> bool:
    """Whether a body is compressed, by its header Content-Encoding; raises if it is in another way."""
    if given is None:
        return False
    codings = [coding for part in given.lower().split(b",") if (coding := part.strip()) not in (b"", b"identity")]
    if not codings:
        return False
    if codings == [b"zstd"]:
        return True
    raise UnsupportedContentEncoding(
        f"the body is encoded as {given[:80].decode('latin-1')!r}",
        where="header.content-encoding",
        remedy="send it as it is, or with Content-Encoding: zstd",
    )


def decompressed(body: bytes | memoryview, limit: int) -> bytes:
    """The body that was compressed: one frame or several; never more than ``limit`` bytes are made of it."""
    options: dict[int, int] = {zstd.DecompressionParameter.window_log_max: _LARGEST_WINDOW_LOG}
    parts: list[bytes] = []
    size = frames = position = 0
    view = memoryview(body)
    try:
        while position < len(view):
            frames += 1
            if frames > _MOST_FRAMES:
                raise _bad(f"it has more than {_MOST_FRAMES:,} frames")
            decompressor = zstd.ZstdDecompressor(options=options)
            while not decompressor.eof:
                given = view[position : position + _INPUT_STEP] if decompressor.needs_input else b""
                if decompressor.needs_input and not given:
                    raise _bad("it ends in the middle")
                position += len(given)
                part = decompressor.decompress(given, max_length=min(_STEP, limit + 1 - size))
                parts.append(part)
                size += len(part)
                if size > limit:
                    raise LimitExceeded(
                        f"the body has more than {limit:,} bytes when it is decompressed, and {limit:,} are allowed",
                        where="body",
                        remedy="send less at once, or ask the server's operator for a higher limit",
                    )
            position -= len(decompressor.unused_data)
    except zstd.ZstdError as error:
        raise _bad(str(error)) from None
    return b"".join(parts)


def _bad(reason: str) -> BadContentEncoding:
    return BadContentEncoding(
        f"the body is not what Content-Encoding: zstd says: {reason}",
        where="body",
        remedy="compress the body with zstd, with a window of at most 8 MB, or leave the header out",
    )


@lru_cache(64)
def accepts_zstd(header: bytes | None) -> bool:
    """Whether an Accept-Encoding names zstd; ``*`` does not, since it is sent by programs that cannot read it.

    >>> [accepts_zstd(header) for header in (b"gzip, zstd", b"zstd;q=0", b"*", None)]
    [True, False, False, False]
    """
    for part in (header or b"").lower().split(b","):
        coding, *parameters = (item.strip() for item in part.split(b";"))
        if coding == b"zstd":
            return not any(_is_zero(parameter) for parameter in parameters)
    return False


def _is_zero(parameter: bytes) -> bool:
    name, _, value = parameter.partition(b"=")
    return name.strip() == b"q" and not value.strip().strip(b"0.")


class CompressedSend:
    """Compresses an answer on its way, if it is large enough: at once, or part by part as it comes."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._start: Message | None = None
        self._compressor: zstd.ZstdCompressor | None = None

    async def __call__(self, message: Message) -> None:
        """Send a message of ASGI."""
        if message["type"] == "http.response.start":
            headers = dict(message["headers"])
            length = headers.get(b"content-length")
            if b"content-encoding" in headers or (length is not None and int(length) < _LEAST):
                await self._send(message)
            else:
                self._start = message
            return
        if self._start is None and self._compressor is None:
            await self._send(message)
            return
        body, more = message.get("body", b""), message.get("more_body", False)
        if self._compressor is None and not more and len(body) < _LEAST:
            start, self._start = self._start, None
            assert start is not None
            await self._send(start)
            await self._send(message)
            return
        if self._compressor is None:
            self._compressor = zstd.ZstdCompressor()
        mode = self._compressor.FLUSH_BLOCK if more else self._compressor.FLUSH_FRAME
        if len(body) <= _SMALL:
            body = self._compressor.compress(body, mode)
        else:
            body = await asyncio.to_thread(self._compressor.compress, body, mode)
        if (start := self._start) is not None:
            self._start = None
            kept = [item for item in start["headers"] if item[0] != b"content-length"]
            kept += [(b"content-encoding", b"zstd"), (b"vary", b"accept-encoding")]
            if not more:
                kept.append((b"content-length", b"%d" % len(body)))
            await self._send({**start, "headers": kept})
        await self._send({"type": "http.response.body", "body": body, "more_body": more})
