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
    "job_blocks",
    "jobs",
    "members",
    "metadata",
    "names",
    "shares",
    "tenants",
    "tokens",
    "upload_parts",
    "uploads",
    "webhook_deliveries",
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

jobs = sa.Table(
    "jobs",
    metadata,
    sa.Column("id", _text(), primary_key=True),  # job_<random>
    sa.Column("tenant", sa.ForeignKey(tenants.c.id), nullable=False),
    sa.Column("token", _text()),  # that it was submitted with
    sa.Column("state", _text(), nullable=False),
    sa.Column("revision", sa.BigInteger(), nullable=False),  # raised by every change that can be seen
    # What is to be done.
    sa.Column("function", _text(), nullable=False),
    sa.Column("request", sa.ForeignKey(blobs.c.digest), nullable=False),  # an evaluation, in binary
    sa.Column("transforms", sa.Text(), nullable=False),  # JSON, for people
    sa.Column("label", sa.Text()),
    sa.Column("priority", sa.BigInteger(), nullable=False),
    sa.Column("keep_seconds", _time(), nullable=False),
    sa.Column("time_limit", _time()),
    sa.Column("idempotency_key", _text()),
    sa.Column("asked", _text(), nullable=False),  # the digest of all that was asked
    sa.Column("webhook", sa.Text()),  # JSON
    sa.Column("annotation", sa.Text()),  # JSON of the client's own
    # When.
    sa.Column("created", _time(), nullable=False),
    sa.Column("started", _time()),
    sa.Column("finished", _time()),
    sa.Column("expires", _time()),
    # Who runs it.
    sa.Column("owner", _text()),
    sa.Column("claim", sa.BigInteger(), nullable=False),  # its number: whoever holds an earlier one has lost the job
    sa.Column("lease_until", _time()),
    sa.Column("claimed", _time()),
    sa.Column("claimed_rows", sa.BigInteger(), nullable=False),
    sa.Column("attempts", sa.BigInteger(), nullable=False),  # claims, and below deaths of workers, since the last block
    sa.Column("deaths", sa.BigInteger(), nullable=False),
    # How far it has come.
    sa.Column("cursor", _text()),  # JSON: of the first slice that is in no block
    sa.Column("rows_done", sa.BigInteger(), nullable=False),
    sa.Column("rows_total", sa.BigInteger()),  # known once it is evaluated in slices
    sa.Column("seconds", _time(), nullable=False),  # on the device
    sa.Column("outputs", sa.Text()),  # JSON: the types of the result's leaves
    sa.Column("is_in_order", sa.Boolean()),
    sa.Column("result_bytes", sa.BigInteger()),
    sa.Column("problem", sa.Text()),  # JSON
    sa.UniqueConstraint("tenant", "idempotency_key"),
    sa.Index("ix_jobs_state", "state", "lease_until"),
    sa.Index("ix_jobs_tenant", "tenant", "created", "id"),
    sa.Index("ix_jobs_request", "request"),
    sa.Index("ix_jobs_expires", "expires"),
)
"""Evaluations that outlive the request that asked for them."""

job_blocks = sa.Table(
    "job_blocks",
    metadata,
    sa.Column("job", sa.ForeignKey(jobs.c.id), primary_key=True),
    sa.Column("number", sa.BigInteger(), primary_key=True, autoincrement=False),
    sa.Column("key", _text(), nullable=False, unique=True),  # in the object store
    sa.Column("bytes", sa.BigInteger(), nullable=False),
    sa.Column("places", sa.Text(), nullable=False),  # JSON: where its parts belong
    sa.Column("rows", sa.BigInteger(), nullable=False),  # so many are done with it, of all
    sa.Column("seconds", _time(), nullable=False),
)
"""What a job has computed. Of one that has succeeded they are the bytes of its result, one after another."""

uploads = sa.Table(
    "uploads",
    metadata,
    sa.Column("id", _text(), primary_key=True),  # upload_<random>
    sa.Column("tenant", sa.ForeignKey(tenants.c.id), nullable=False),
    sa.Column("bytes", sa.BigInteger(), nullable=False),
    sa.Column("received", sa.BigInteger(), nullable=False),
    sa.Column("digest", _text()),  # as it was announced
    sa.Column("content", sa.ForeignKey(blobs.c.digest)),  # once it is complete
    sa.Column("created", _time(), nullable=False),
    sa.Column("expires", _time(), nullable=False),
    sa.Index("ix_uploads_content", "tenant", "content"),
    sa.Index("ix_uploads_expires", "expires"),
)
"""Contents that arrive in parts."""

upload_parts = sa.Table(
    "upload_parts",
    metadata,
    sa.Column("upload", sa.ForeignKey(uploads.c.id), primary_key=True),
    sa.Column("start", sa.BigInteger(), primary_key=True, autoincrement=False),
    sa.Column("bytes", sa.BigInteger(), nullable=False),
    sa.Column("key", _text(), nullable=False, unique=True),
)

webhook_deliveries = sa.Table(
    "webhook_deliveries",
    metadata,
    sa.Column("id", _text(), primary_key=True),  # msg_<random>
    sa.Column("job", sa.ForeignKey(jobs.c.id), nullable=False),
    sa.Column("url", sa.Text(), nullable=False),
    sa.Column("secret", sa.Text(), nullable=False),
    sa.Column("payload", sa.Text(), nullable=False),
    sa.Column("created", _time(), nullable=False),
    sa.Column("attempts", sa.BigInteger(), nullable=False),
    sa.Column("next_at", _time()),  # None when it has been delivered or given up
    sa.Column("delivered", _time()),
    sa.Column("error", sa.Text()),
    sa.Index("ix_webhook_deliveries_job", "job"),
    sa.Index("ix_webhook_deliveries_next_at", "next_at"),
)
"""What is told to those who do not want to ask."""
