"""Bearer tokens that an OpenID provider has signed (JWT, RFC 7519), held against the keys that it publishes.

Only asymmetric algorithms are taken (RFC 8725): ``none`` is no signature, and with HS256 the public key would be the
secret. A key is used for its own algorithms alone. Keys are fetched when they are first wanted, again when they are
old, and when a token names one that is not among them, but not more often than every some seconds, whatever is sent.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import httpx

from farfunc_protocol.errors import ServerBusy, ServerError

try:
    import jwt
    from jwt.algorithms import has_crypto
except ImportError:  # an extra
    jwt, has_crypto = None, False

__all__ = ["Claims", "KeySet", "Verifier"]

_log = logging.getLogger("farfunc.access")

_ALGORITHMS = {
    "RSA": ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    "EC": ("ES256", "ES384", "ES512"),
    "OKP": ("EdDSA",),
}
_LEEWAY_SECONDS = 30.0
_OLD_SECONDS = 600.0
_PAUSE_SECONDS = 10.0
_FETCH_SECONDS = 5.0
_MOST_BYTES = 1 << 20
_LONGEST_TOKEN = 16_384


@dataclass(frozen=True, slots=True)
class Claims:
    """What a token says, and its signature holds for.

    Attributes
    ----------
    subject:
        Whom it is about: ``sub``.
    expires:
        When it ends, in seconds since 1970, the leeway included.
    all:
        Every claim.
    """

    subject: str
    expires: float
    all: Mapping[str, Any]


class KeySet:
    """The keys of a provider (JWKS, RFC 7517).

    Parameters
    ----------
    issuer:
        Where the provider's configuration is found.
    url:
        Where the keys are; None to read it in the configuration.
    clock:
        In place of ``time.monotonic``.
    """

    def __init__(self, issuer: str, url: str | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._issuer = issuer
        self._url = url
        self._clock = clock
        self._keys: dict[str | None, list[Any]] = {}
        self._fetched = float("-inf")
        self._tried = float("-inf")
        self._fetching: asyncio.Task[None] | None = None

    async def keys(self, kid: str | None) -> list[Any]:
        """The keys of an id; those without one can be any. Empty if there is none.

        Raises
        ------
        ServerBusy
            There are none yet, for the provider does not answer.
        """
        is_missing = kid not in self._keys
        is_old = self._clock() - self._fetched > _OLD_SECONDS
        if (is_missing or is_old) and self._clock() - self._tried >= _PAUSE_SECONDS and self._fetching is None:
            self._tried = self._clock()
            self._fetching = asyncio.get_running_loop().create_task(self._fetch())
            self._fetching.add_done_callback(self._fetched_all)
        if is_missing and self._fetching is not None:  # what is only old serves on meanwhile
            await asyncio.shield(self._fetching)
        if not self._keys:
            raise ServerBusy(
                "the keys of the OpenID provider cannot be fetched",
                remedy="try again in a moment; if it stays so, tell the server's operator",
                retry_after=_PAUSE_SECONDS,
            )
        return self._keys.get(kid, [])

    def _fetched_all(self, _: asyncio.Task[None]) -> None:
        self._fetching = None

    async def _fetch(self) -> None:
        try:
            async with httpx.AsyncClient(timeout=_FETCH_SECONDS, follow_redirects=False) as client:
                if self._url is None:
                    address = f"{self._issuer.rstrip('/')}/.well-known/openid-configuration"
                    configuration = await _document(client, address)
                    if configuration.get("issuer") != self._issuer:
                        raise ValueError(f"{address} is of the issuer {configuration.get('issuer')!r}")
                    url = str(configuration["jwks_uri"])
                    check_address(url)
                else:
                    url = self._url
                found = _usable_keys(await _document(client, url))
        except (httpx.HTTPError, httpx.InvalidURL, ValueError, KeyError, TypeError, AttributeError) as error:
            _log.warning("the keys of %s cannot be fetched: %s", self._issuer, error or type(error).__name__)
            return
        self._keys, self._fetched = found, self._clock()


class Verifier:
    """Holds tokens against a provider's keys.

    Parameters
    ----------
    issuer, audience:
        What tokens must name as ``iss`` and ``aud``.
    keys:
        The provider's.

    Raises
    ------
    ServerError
        PyJWT, an extra, is not installed.
    """

    def __init__(self, issuer: str, audience: str, keys: KeySet) -> None:
        if jwt is None or not has_crypto:
            raise ServerError(
                "the packages pyjwt and cryptography are not installed",
                remedy="run pip install 'farfunc[server,oidc]'",
            )
        self.issuer = issuer
        self._audience = audience
        self._keys = keys

    async def claims(self, text: str) -> Claims | None:
        """What a token says; None for one that is not good, whyever.

        Raises
        ------
        ServerBusy
            There are no keys.
        """
        assert jwt is not None
        if len(text) > _LONGEST_TOKEN:
            return None
        try:
            head = jwt.get_unverified_header(text)
        except jwt.PyJWTError:
            return None
        kid, algorithm = head.get("kid"), head.get("alg")
        if not isinstance(algorithm, str) or "crit" in head or not (kid is None or isinstance(kid, str)):
            return None
        if not any(algorithm in names for names in _ALGORITHMS.values()):
            return None
        for key in await self._keys.keys(kid):
            if algorithm in _ALGORITHMS[key.key_type] and key.algorithm_name in (algorithm, None):
                # Some tenths of a millisecond, and not on the loop where everybody's requests are.
                found = await asyncio.to_thread(self._decoded, text, key, algorithm)
                if found is not None:
                    return found
        return None

    def _decoded(self, text: str, key: Any, algorithm: str) -> Claims | None:
        assert jwt is not None
        try:
            claims = jwt.decode(
                text,
                key.key,
                algorithms=[algorithm],
                issuer=self.issuer,
                audience=self._audience,
                leeway=_LEEWAY_SECONDS,
                options={"require": ["exp", "iss", "aud", "sub"]},
            )
        except (jwt.PyJWTError, ValueError, TypeError):
            return None
        return Claims(str(claims["sub"]), float(claims["exp"]) + _LEEWAY_SECONDS, claims)


def check_address(url: str) -> None:
    """See that keys come from where nobody can put others in their place: over TLS, or from this machine.

    >>> check_address("https://login.example/keys")
    >>> check_address("http://login.example/keys")
    Traceback (most recent call last):
    ValueError: http://login.example/keys is not https
    """
    found = httpx.URL(url)
    if found.scheme != "https" and not (found.scheme == "http" and found.host in ("127.0.0.1", "::1", "localhost")):
        raise ValueError(f"{url} is not https")


async def _document(client: httpx.AsyncClient, url: str) -> dict[str, Any]:
    async with client.stream("GET", url, headers={"accept": "application/json"}) as response:
        response.raise_for_status()
        body = b""
        async for part in response.aiter_bytes():
            body += part
            if len(body) > _MOST_BYTES:
                raise ValueError(f"{url} is larger than {_MOST_BYTES} bytes")
    document = httpx.Response(200, content=body).json()
    if not isinstance(document, dict):
        raise ValueError(f"{url} is no object")
    return document


@dataclass(frozen=True, slots=True)
class _Key:
    key: Any
    key_type: str
    algorithm_name: str | None


def _usable_keys(document: dict[str, Any]) -> dict[str | None, list[Any]]:
    """The keys that sign, by their ids; a token that names none is tried with all of them."""
    assert jwt is not None
    found: dict[str | None, list[Any]] = {}
    for item in document["keys"]:
        if item.get("kty") not in _ALGORITHMS or item.get("use", "sig") != "sig" or "d" in item:
            continue
        try:
            key = jwt.PyJWK(item).key
        except (jwt.PyJWTError, ValueError, TypeError, KeyError) as error:
            _log.warning("a key of the provider is not understood: %s", error)
            continue
        usable = _Key(key, item["kty"], item.get("alg"))
        found.setdefault(None, []).append(usable)
        if isinstance(kid := item.get("kid"), str):
            found.setdefault(kid, []).append(usable)
    if not found:
        raise ValueError("there is no key among them that signs")
    return found
