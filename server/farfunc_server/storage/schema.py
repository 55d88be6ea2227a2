"""The tables of the database, as its newest schema has them; :mod:`.migrations` tells how it came there.

Times are seconds since 1970. A column that is compared and ordered byte by byte says so: PostgreSQL would else do it
by the language of the database.
"""

from __future__ import annotations

import sqlalchemy as sa

__all__ = [
    "blobs",
    "counters",
    "functions",
    "members",
    "metadata",
    "names",
    "shares",
    "tenants",
    "tokens",
]

NAMES_OF_CONSTRAINTS = {
    "pk": "pk_%(table_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s",
    "ix": "ix_%(table_name)s_%(column_0_name)s",
    "uq": "uq_%(table_name)s_%(column_0_name)s",
}

metadata = sa.MetaData(naming_convention=NAMES_OF_CONSTRAINTS)


def _text() -> sa.types.TypeEngine[str]:
    return sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def _time() -> sa.types.TypeEngine[float]:
    return sa.Double()


tenants = sa.Table(
    "tenants",
    metadata,
    sa.Column("id", _text(), primary_key=True),
    sa.Column("name", _text(), nullable=False, unique=True),
    sa.Column("created", _time(), nullable=False),
    sa.Column("weight", sa.Double(), nullable=False, server_default="1"),
)
"""Teams. All else belongs to one of them."""

blobs = sa.Table(
    "blobs",
    metadata,
    sa.Column("digest", _text(), primary_key=True),  # sha256:<hex>
    sa.Column("key", _text(), nullable=False, unique=True),  # in the object store
    sa.Column("bytes", sa.BigInteger(), nullable=False),
    sa.Column("used", _time(), nullable=False),  # when somebody last wanted to refer to it
)
"""Contents, each stored once, whoever refers to it. One that nothing refers to is collected."""

functions = sa.Table(
    "functions",
    metadata,
    sa.Column("tenant", sa.ForeignKey(tenants.c.id), primary_key=True),
    sa.Column("id", sa.ForeignKey(blobs.c.digest), primary_key=True),
    sa.Column("signature", sa.Text(), nullable=False),  # for people, so that a list need not read the files
    sa.Column("created", _time(), nullable=False),
    sa.Index("ix_functions_id", "id"),
)

names = sa.Table(
    "names",
    metadata,
    sa.Column("tenant", _text(), primary_key=True),
    sa.Column("name", _text(), primary_key=True),
    sa.Column("version", sa.BigInteger(), primary_key=True, autoincrement=False),
    sa.Column("id", _text(), nullable=False),
    sa.Column("created", _time(), nullable=False),
    sa.ForeignKeyConstraint(["tenant", "id"], ["functions.tenant", "functions.id"], name="fk_names_function"),
    sa.Index("ix_names_function", "tenant", "id"),
)

counters = sa.Table(
    "counters",
    metadata,
    sa.Column("tenant", sa.ForeignKey(tenants.c.id), primary_key=True),
    sa.Column("name", _text(), primary_key=True),
    sa.Column("last_version", sa.BigInteger(), nullable=False),  # never given twice, even after one was deleted
)

tokens = sa.Table(
    "tokens",
    metadata,
    sa.Column("id", _text(), primary_key=True),
    sa.Column("tenant", sa.ForeignKey(tenants.c.id), nullable=False, index=True),
    sa.Column("label", sa.Text(), nullable=False),
    sa.Column("role", _text(), nullable=False),
    sa.Column("prefix", _text(), nullable=False, unique=True),  # what may be seen of it, and finds it
    sa.Column("digest", _text(), nullable=False),  # the SHA-256 of its text, which is nowhere
    sa.Column("created", _time(), nullable=False),
    sa.Column("expires", _time(), nullable=True),
    sa.Column("revoked", _time(), nullable=True),
    sa.Column("used", _time(), nullable=True),  # to the minute
    sa.Column("old_digest", _text(), nullable=True),  # before the last rotation
    sa.Column("old_expires", _time(), nullable=True),
)

members = sa.Table(
    "members",
    metadata,
    sa.Column("tenant", sa.ForeignKey(tenants.c.id), primary_key=True),
    sa.Column("issuer", _text(), primary_key=True),
    sa.Column("subject", _text(), primary_key=True),
    sa.Column("role", _text(), nullable=False),
    sa.Column("created", _time(), nullable=False),
    sa.Index("ix_members_subject", "issuer", "subject"),
)
"""People and programs that an OpenID provider vouches for. One may be in several tenants."""

shares = sa.Table(
    "shares",
    metadata,
    sa.Column("tenant", _text(), primary_key=True),  # whose function it is
    sa.Column("id", _text(), primary_key=True),
    sa.Column("receiver", sa.ForeignKey(tenants.c.id), primary_key=True),
    sa.Column("created", _time(), nullable=False),
    sa.ForeignKeyConstraint(["tenant", "id"], ["functions.tenant", "functions.id"], name="fk_shares_function"),
    sa.Index("ix_shares_receiver", "receiver", "id"),
)
"""Functions that another tenant may read and evaluate, by their identities."""
