"""What a token looks like: ``ff_``, twelve characters that find it, an underscore, and forty that prove it.

The shape is one that scanners of secrets can be told (:data:`PATTERN`). The last six characters are a checksum, so that
a scanner, and a server, can tell a token from a text that only looks like one without asking anybody. The other 34 are
drawn from 62, which is 202 bits: nothing is gained by hashing them slowly, and SHA-256 it is.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import string
import zlib

__all__ = ["PATTERN", "digest_of", "has_digest", "new_prefix", "new_token", "prefix_of"]

PATTERN = r"ff_[0-9A-Za-z]{12}_[0-9A-Za-z]{40}"
_TOKEN = re.compile(PATTERN)

_ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase
_PREFIX_LENGTH = len("ff_") + 12
_SECRET_LENGTH = 34


def new_prefix() -> str:
    """Draw what is public of a token."""
    return "ff_" + _draw(12)


def new_token(prefix: str) -> str:
    """Draw a token with a prefix.

    >>> token = new_token(new_prefix())
    >>> len(token), prefix_of(token) == token[:15]
    (56, True)
    """
    body = f"{prefix}_{_draw(_SECRET_LENGTH)}"
    return body + _checksum(body)


def prefix_of(text: str) -> str | None:
    """What finds a token; None for a text that is none, its checksum included.

    >>> prefix_of("ff_" + 12 * "0" + "_" + 40 * "0")
    """
    if not _TOKEN.fullmatch(text) or _checksum(text[:-6]) != text[-6:]:
        return None
    return text[:_PREFIX_LENGTH]


def digest_of(token: str) -> str:
    """What is kept of a token."""
    return hashlib.sha256(token.encode()).hexdigest()


def has_digest(token: str, digest: str | None) -> bool:
    """Whether it is the token that a digest was made of; takes the same time wherever they differ."""
    return hmac.compare_digest(digest_of(token), digest or _NOBODY)


_NOBODY = "-" * 64
"""Compared with where there is nothing, so that this takes as long."""


def _draw(length: int) -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(length))


def _checksum(text: str) -> str:
    rest = zlib.crc32(text.encode())
    characters = []
    for _ in range(6):
        rest, last = divmod(rest, len(_ALPHABET))
        characters.append(_ALPHABET[last])
    return "".join(reversed(characters))
