"""Tokens: their rows. What they look like is told by :mod:`farfunc_server.access.token_text`."""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass

import sqlalchemy as sa

from farfunc_protocol.errors import InvalidRequest, LimitExceeded, StorageFailed

from ..access.principal import Role
from ..access.token_text import digest_of, has_digest, new_prefix, new_token, prefix_of
from .database import Database
from .missing import NotFound
from .schema import tokens

__all__ = ["Token", "Tokens"]

_MOST = 10_000
_ENDED_SECONDS = 30 * 86400.0
_LONGEST_LABEL = 200
_LONGEST_SECONDS = 100 * 365 * 86400.0
_LONGEST_OVERLAP = 30 * 86400.0


@dataclass(frozen=True, slots=True)
class Token:
    """What is known of a token; its text is not.

    Attributes
    ----------
    id:
        Its name in lists and in logs.
    tenant, role:
        Whom it lets in, and as what.
    label:
        What its maker says that it is for.
    prefix:
        The characters that its text begins with.
    created, expires, revoked:
        In seconds since 1970; None for what has not come.
    used:
        When it was last used, to the minute.
    old_expires:
        Until when the text is good that it had before it was rotated.
    """

    id: str
    tenant: str
    role: Role
    label: str
    prefix: str
    created: float
    expires: float | None
    revoked: float | None
    used: float | None
    old_expires: float | None


class Tokens:
    """The tokens of all tenants. Safe to be used from several threads.

    Parameters
    ----------
    database:
        Where they are.
    forget:
        Is called when a token that was checked may be good no longer: returns when no server goes by it.
    """

    def __init__(self, database: Database, forget: Callable[[], None]) -> None:
        self._database = database
        self._forget = forget

    def create(self, tenant: str, role: Role, label: str = "", seconds: float | None = None) -> tuple[Token, str]:
        """Make a token.

        Parameters
        ----------
        seconds:
            How long it is good; None for ever.

        Returns
        -------
        tuple
            The token, and its text, which nobody can be told again.
        """
        now = time.time()
        if len(label) > _LONGEST_LABEL or not label.isprintable():
            raise InvalidRequest(
                "the label is too long, or not printable", where="label", remedy=f"use {_LONGEST_LABEL} characters"
            )
        if seconds is not None and not 1.0 <= seconds <= _LONGEST_SECONDS:
            raise InvalidRequest(
                f"the token would be good for {seconds} s", where="seconds", remedy="give a second or more"
            )
        text = new_token(new_prefix())
        row = {
            "id": secrets.token_hex(6),
            "tenant": tenant,
            "role": role.value,
            "label": label,
            "prefix": prefix_of(text),
            "digest": digest_of(text),
            "created": now,
            "expires": None if seconds is None else now + seconds,
        }
        own = tokens.c.tenant == tenant
        ended = sa.func.coalesce(tokens.c.revoked, tokens.c.expires) < now - _ENDED_SECONDS
        with self._database.write() as connection:
            connection.execute(tokens.delete().where(own, ended))
            count = connection.scalar(sa.select(sa.func.count()).select_from(tokens).where(own)) or 0
            if count >= _MOST:
                raise LimitExceeded(
                    f"the tenant has {count:,} tokens", remedy="those that ended are removed after 30 days"
                )
            connection.execute(tokens.insert().values(row))
        return self.find(tenant, row["id"]), text

    def list(self, tenant: str) -> list[Token]:
        """The tokens of a tenant, oldest first; those that ended stay for a month."""
        query = _TOKENS.where(tokens.c.tenant == tenant).order_by(tokens.c.created, tokens.c.id)
        with self._database.read() as connection:
            return [_token(row) for row in connection.execute(query)]

    def rotate(self, tenant: str, id: str, overlap: float = 0.0) -> tuple[Token, str]:
        """Give a token another text; the one that it has stays good for ``overlap`` seconds.

        Raises
        ------
        NotFound
            The tenant has no such token that is good.
        """
        if not 0.0 <= overlap <= _LONGEST_OVERLAP:
            raise InvalidRequest(
                f"the overlap is {overlap} s", where="overlap", remedy=f"give 0 to {_LONGEST_OVERLAP:g} seconds"
            )
        now = time.time()
        good = [tokens.c.tenant == tenant, tokens.c.id == id, tokens.c.revoked.is_(None)]
        good.append(sa.or_(tokens.c.expires.is_(None), tokens.c.expires > now))
        with self._database.write() as connection:
            row = connection.execute(sa.select(tokens.c.prefix).where(*good).with_for_update()).one_or_none()
            if row is None:
                raise _no_token(id)
            text = new_token(row.prefix)
            connection.execute(
                tokens.update()
                .where(tokens.c.id == id)
                .values(digest=digest_of(text), old_digest=tokens.c.digest, old_expires=now + overlap)
            )
        self._forget()
        return self.find(tenant, id), text

    def revoke(self, tenant: str, id: str) -> None:
        """End a token. When this returns it is good nowhere.

        Raises
        ------
        NotFound
            The tenant has no such token.
        """
        chosen = [tokens.c.tenant == tenant, tokens.c.id == id]
        now = sa.func.coalesce(tokens.c.revoked, time.time())
        with self._database.write() as connection:
            changed = connection.execute(tokens.update().where(*chosen).values(revoked=now, old_digest=None)).rowcount
        if not changed:
            raise _no_token(id)
        self._forget()

    def check(self, text: str) -> tuple[Token, float] | None:
        """Find the token of a text.

        Returns
        -------
        tuple
            The token, and when the text ends, in seconds since 1970; None for a text that is not good, whyever.
        """
        prefix = prefix_of(text)
        if prefix is None:
            return None
        query = sa.select(*_TOKENS.selected_columns, tokens.c.digest, tokens.c.old_digest)
        with self._database.read() as connection:
            row = connection.execute(query.where(tokens.c.prefix == prefix)).one_or_none()
        is_current = has_digest(text, None if row is None else row.digest)
        is_old = has_digest(text, None if row is None else row.old_digest)
        if row is None or row.revoked is not None:
            return None
        end = float("inf") if row.expires is None else row.expires
        if not is_current:
            end = min(end, row.old_expires or 0.0) if is_old else 0.0
        if time.time() >= end:
            return None
        self._note_use(row.id, row.used)
        return _token(row), end

    def _note_use(self, id: str, used: float | None) -> None:
        minute = time.time() // 60 * 60
        if used is not None and used >= minute:
            return
        # It is for people; nothing depends on it.
        with contextlib.suppress(StorageFailed), self._database.write() as connection:
            connection.execute(tokens.update().where(tokens.c.id == id).values(used=minute))

    def find(self, tenant: str, id: str) -> Token:
        """One token of a tenant, by its id."""
        with self._database.read() as connection:
            row = connection.execute(_TOKENS.where(tokens.c.tenant == tenant, tokens.c.id == id)).one_or_none()
        if row is None:
            raise _no_token(id)
        return _token(row)


_TOKENS = sa.select(
    tokens.c.id,
    tokens.c.tenant,
    tokens.c.role,
    tokens.c.label,
    tokens.c.prefix,
    tokens.c.created,
    tokens.c.expires,
    tokens.c.revoked,
    tokens.c.used,
    tokens.c.old_expires,
)


def _token(row: sa.Row) -> Token:
    id, tenant, role, label, prefix, created, expires, revoked, used, old_expires = row[:10]
    return Token(id, tenant, Role(role), label, prefix, created, expires, revoked, used, old_expires)


def _no_token(id: str) -> NotFound:
    return NotFound(f"there is no token {id[:80]!r}", where="token", remedy="GET /v1/tokens lists them, with their ids")
