"""From the headers of a request to who makes it."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from farfunc_protocol.errors import Forbidden, ServerError, Unauthorized

from ..settings import Settings
from ..storage.credentials import Credentials
from .oidc import Claims, KeySet, Verifier, check_address
from .principal import ANYONE, OPERATOR, Principal, Role
from .token_text import prefix_of

__all__ = ["Authentication", "verifier_of"]

_FOREVER = float("inf")
_MOST_TENANTS = 100

Headers = Mapping[bytes, bytes]


@dataclass(frozen=True, slots=True)
class _Checked:
    """Somebody, and until when that is so, in seconds since 1970."""

    principal: Principal
    end: float


class Authentication:
    """Knows who makes a request.

    What was checked a moment ago is known without looking anything up (:mod:`farfunc_server.storage.recent`): under the
    digest of what was sent, so that this process keeps no token that it was shown.

    Parameters
    ----------
    settings:
        Which kinds of identity there are; without any, everybody may do everything.
    credentials:
        The rows of tenants, tokens and members.
    verifier:
        What signed tokens are held against; None where none are taken.

    Attributes
    ----------
    is_on:
        Whether it makes a difference who asks.
    """

    def __init__(self, settings: Settings, credentials: Credentials, verifier: Verifier | None) -> None:
        self.is_on = settings.knows_identities
        self._credentials = credentials
        self._recent = credentials.recent
        self._operator = None if settings.token is None else settings.token.encode()
        self._tenant_claim = settings.oidc_tenant_claim
        self._role_claim = settings.oidc_role_claim
        self._verifier = verifier
        self._weights: dict[str, float] = {}

    def weight(self, tenant: str) -> float:
        """The share of the devices of a tenant whose requests were let in, as it was when one was last checked."""
        return self._weights.get(tenant, 1.0)

    def known(self, headers: Headers) -> Principal | None:
        """Who makes a request, if that was found out a moment ago."""
        if not self.is_on:
            return ANYONE
        checked: _Checked | None = self._recent.get(_key(headers))
        if checked is None or time.time() >= checked.end:
            return None
        return checked.principal

    async def principal(self, headers: Headers) -> Principal:
        """Who makes a request.

        Raises
        ------
        Unauthorized
            It bears no token, or one that is not good; the same is said of all that are not.
        Forbidden
            The bearer belongs to no tenant, or not to that which ``X-Tenant`` names.
        """
        if not self.is_on:
            return ANYONE
        kind, _, text = headers.get(b"authorization", b"").decode("latin-1").partition(" ")
        text = text.strip()
        if kind.lower() != "bearer" or not text:
            raise _refusal("the bearer token is missing")
        wanted = headers.get(b"x-tenant", b"").decode("latin-1").strip() or None
        with self._recent.learning(_key(headers)) as learn:
            checked = await self._checked(text, wanted)
            if checked is None:
                raise _refusal("the bearer token is not one that this server takes: it is unknown, or has ended")
            learn(checked)
        return checked.principal

    async def _checked(self, text: str, wanted: str | None) -> _Checked | None:
        # The comparison takes the same time wherever the difference is.
        if self._operator is not None and hmac.compare_digest(text.encode("latin-1"), self._operator):
            return await asyncio.to_thread(self._operating, wanted)
        if prefix_of(text) is not None:
            return await asyncio.to_thread(self._bearing, text, wanted)
        if self._verifier is not None and text.count(".") == 2:
            claims = await self._verifier.claims(text)
            if claims is not None:
                return await asyncio.to_thread(self._vouched_for, self._verifier.issuer, claims, wanted)
        return None

    def _operating(self, wanted: str | None) -> _Checked:
        """The operator may act for any tenant."""
        if wanted is None:
            return self._accepted(OPERATOR, _FOREVER)
        tenant = self._credentials.tenants.get(wanted)
        if tenant is None:
            raise _not_a_member(wanted)
        return self._accepted(replace(OPERATOR, tenant=tenant.id), _FOREVER)

    def _bearing(self, text: str, wanted: str | None) -> _Checked | None:
        found = self._credentials.tokens.check(text)
        if found is None:
            return None
        token, end = found
        if wanted not in (None, token.tenant) and self._credentials.tenants.find(token.tenant).name != wanted:
            raise _not_a_member(str(wanted))
        return self._accepted(Principal(token.tenant, token.role, token.id), end)

    def _vouched_for(self, issuer: str, claims: Claims, wanted: str | None) -> _Checked:
        tenants, members = self._credentials.tenants, self._credentials.members
        roles = {member.tenant: member.role for member in members.of(issuer, claims.subject)}
        named = _texts(_claim(claims.all, self._tenant_claim))[:_MOST_TENANTS]
        if named:  # what the provider says of tenants wins over what is written here
            role = _highest(_texts(_claim(claims.all, self._role_claim)))
            default = Role.MEMBER if self._role_claim is None else None
            found = [tenant.id for tenant in map(tenants.get, named) if tenant is not None]
            roles = {id: own for id in found if (own := role or roles.get(id, default)) is not None}
        if not roles:
            raise Forbidden(
                "the bearer of this token belongs to no tenant of this server",
                where="header.authorization",
                remedy="ask an admin of your tenant to make you a member: PUT /v1/members, with your iss and sub",
            )
        id = next(iter(roles))
        if wanted is not None:
            tenant = tenants.get(wanted)
            if tenant is None or tenant.id not in roles:
                raise _not_a_member(wanted)
            id = tenant.id
        return self._accepted(Principal(id, roles[id], subject=claims.subject), claims.expires)

    def _accepted(self, principal: Principal, end: float) -> _Checked:
        tenant = self._credentials.tenants.get(principal.tenant)
        if tenant is not None:
            self._weights[tenant.id] = tenant.weight
        return _Checked(principal, end)


def _key(headers: Headers) -> bytes:
    sent = headers.get(b"authorization", b"")
    wanted = headers.get(b"x-tenant")
    return hashlib.sha256(sent if wanted is None else sent + b"\0" + wanted).digest()


def verifier_of(settings: Settings) -> Verifier | None:
    """What signed tokens are held against, if the settings name an OpenID provider.

    Raises
    ------
    ServerError
        They do not fit one another, or name nothing that can be asked.
    """
    if settings.oidc_issuer is None:
        return None
    if settings.oidc_audience is None:
        raise ServerError(
            "--oidc-issuer is given without --oidc-audience, so that a token for any other service would be taken",
            where="oidc_audience",
            remedy="give the name that the provider puts into the claim aud for this server",
        )
    for where, url in (("oidc_issuer", settings.oidc_issuer), ("oidc_keys", settings.oidc_keys)):
        try:
            check_address(url or settings.oidc_issuer)
        except Exception as error:  # noqa: BLE001 - httpx says in many ways that something is no address
            raise ServerError(
                f"--{where.replace('_', '-')} cannot be used: {error}", where=where, remedy="give an https address"
            ) from None
    keys = KeySet(settings.oidc_issuer, settings.oidc_keys)
    return Verifier(settings.oidc_issuer, settings.oidc_audience, keys)


def _claim(claims: Mapping[str, Any], name: str | None) -> Any:
    """A claim by its name, or by a path: ``realm_access.roles``."""
    if name is None or name in claims:
        return None if name is None else claims[name]
    found: Any = claims
    for part in name.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found


def _texts(value: Any) -> Sequence[str]:
    if isinstance(value, str):
        return [value]
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []


def _highest(names: Sequence[str]) -> Role | None:
    return next((role for role in Role if role.value in names), None)


def _refusal(detail: str) -> Unauthorized:
    return Unauthorized(
        detail,
        where="header.authorization",
        remedy="send the header Authorization: Bearer <token>, or set FARFUNC_TOKEN for the client",
    )


def _not_a_member(wanted: str) -> Forbidden:
    return Forbidden(
        f"the bearer of this token does not belong to a tenant {wanted[:80]!r}",
        where="header.x-tenant",
        remedy="leave the header X-Tenant out, or name a tenant that GET /v1/me lists",
    )
