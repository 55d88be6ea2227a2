"""Where webhooks may go, and what signs them."""

from __future__ import annotations

import base64
import binascii
import ipaddress
import secrets
from typing import Any
from urllib.parse import urlsplit

from farfunc_protocol.errors import InvalidRequest
from farfunc_protocol.strict_json import shown

__all__ = ["check_webhook", "is_public", "key_of"]

_PREFIX = "whsec_"
_LONGEST_URL = 2048


def check_webhook(given: dict[str, Any], *, allow_private: bool = False) -> dict[str, str]:
    """Return ``{"url", "secret"}``, with a secret that is drawn if none is given.

    Raises
    ------
    InvalidRequest
        The address is not one of HTTP, or not one that this server sends to; the secret is not one.
    """
    url, secret = given["url"], given.get("secret")
    if not isinstance(url, str) or not _is_address(url, allow_private):
        raise InvalidRequest(
            f"{shown(url)} is not an address that webhooks go to",
            where="request.webhook.url",
            remedy="give http:// or https:// and a public host, without a user or a password in it",
        )
    if secret is None:
        secret = _PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()
    if not isinstance(secret, str) or not 24 <= len(_key(secret) or b"") <= 64:
        raise InvalidRequest(
            "the webhook's secret is not one",
            where="request.webhook.secret",
            remedy="give whsec_ and 24 to 64 bytes in base64, or leave it out to have one drawn",
        )
    return {"url": url, "secret": secret}


def _is_address(url: str, allow_private: bool) -> bool:
    if len(url) > _LONGEST_URL or not url.isascii() or not url.isprintable() or " " in url:
        return False
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return False
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.password or port == 0:
        return False
    try:
        return allow_private or is_public(parts.hostname)
    except ValueError:  # a name, which is looked up when something is sent
        return allow_private or parts.hostname != "localhost"


def is_public(address: str) -> bool:
    """Whether an IP address is one of the internet, and not of this machine or network.

    >>> [is_public(address) for address in ("1.1.1.1", "127.0.0.1", "10.0.0.1", "::1", "::ffff:10.0.0.1", "fe80::1")]
    [True, False, False, False, False, False]
    """
    found = ipaddress.ip_address(address)
    if isinstance(found, ipaddress.IPv6Address):
        found = found.ipv4_mapped or found.sixtofour or found
    return found.is_global and not found.is_multicast


def key_of(secret: str) -> bytes:
    """The key that a secret stands for."""
    key = _key(secret)
    assert key is not None
    return key


def _key(secret: str) -> bytes | None:
    try:
        return base64.b64decode(secret.removeprefix(_PREFIX), validate=True) if secret.startswith(_PREFIX) else None
    except (binascii.Error, ValueError):
        return None
