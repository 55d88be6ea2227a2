"""Jobs, uploads and webhooks. Back, what was computed is lost, and its contents are collected at the next start."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def _text() -> sa.types.TypeEngine[str]:
    return sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Make their tables."""
    op.create_table(
        "jobs",
        sa.Column("id", _text(), nullable=False),
        sa.Column("tenant", _text(), nullable=False),
        sa.Column("token", _text()),
        sa.Column("state", _text(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("function", _text(), nullable=False),
        sa.Column("request", _text(), nullable=False),
        sa.Column("transforms", sa.Text(), nullable=False),
        sa.Column("label", sa.Text()),
        sa.Column("priority", sa.BigInteger(), nullable=False),
        sa.Column("keep_seconds", sa.Double(), nullable=False),
        sa.Column("time_limit", sa.Double()),
        sa.Column("idempotency_key", _text()),
        sa.Column("asked", _text(), nullable=False),
        sa.Column("webhook", sa.Text()),
        sa.Column("annotation", sa.Text()),
        sa.Column("created", sa.Double(), nullable=False),
        sa.Column("started", sa.Double()),
        sa.Column("finished", sa.Double()),
        sa.Column("expires", sa.Double()),
        sa.Column("owner", _text()),
        sa.Column("claim", sa.BigInteger(), nullable=False),
        sa.Column("lease_until", sa.Double()),
        sa.Column("claimed", sa.Double()),
        sa.Column("claimed_rows", sa.BigInteger(), nullable=False),
        sa.Column("attempts", sa.BigInteger(), nullable=False),
        sa.Column("deaths", sa.BigInteger(), nullable=False),
        sa.Column("cursor", _text()),
        sa.Column("rows_done", sa.BigInteger(), nullable=False),
        sa.Column("rows_total", sa.BigInteger()),
        sa.Column("seconds", sa.Double(), nullable=False),
        sa.Column("outputs", sa.Text()),
        sa.Column("is_in_order", sa.Boolean()),
        sa.Column("result_bytes", sa.BigInteger()),
        sa.Column("problem", sa.Text()),
        sa.PrimaryKeyConstraint("id", name="pk_jobs"),
        sa.ForeignKeyConstraint(["tenant"], ["tenants.id"], name="fk_jobs_tenant"),
        sa.ForeignKeyConstraint(["request"], ["blobs.digest"], name="fk_jobs_request"),
        sa.UniqueConstraint("tenant", "idempotency_key", name="uq_jobs_tenant"),
    )
    op.create_index("ix_jobs_state", "jobs", ["state", "lease_until"])
    op.create_index("ix_jobs_tenant", "jobs", ["tenant", "created", "id"])
    op.create_index("ix_jobs_request", "jobs", ["request"])
    op.create_index("ix_jobs_expires", "jobs", ["expires"])
    op.create_table(
        "job_blocks",
        sa.Column("job", _text(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False, autoincrement=False),
        sa.Column("key", _text(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("places", sa.Text(), nullable=False),
        sa.Column("rows", sa.BigInteger(), nullable=False),
        sa.Column("seconds", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("job", "number", name="pk_job_blocks"),
        sa.ForeignKeyConstraint(["job"], ["jobs.id"], name="fk_job_blocks_job"),
        sa.UniqueConstraint("key", name="uq_job_blocks_key"),
    )
    op.create_table(
        "uploads",
        sa.Column("id", _text(), nullable=False),
        sa.Column("tenant", _text(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("received", sa.BigInteger(), nullable=False),
        sa.Column("digest", _text()),
        sa.Column("content", _text()),
        sa.Column("created", sa.Double(), nullable=False),
        sa.Column("expires", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_uploads"),
        sa.ForeignKeyConstraint(["tenant"], ["tenants.id"], name="fk_uploads_tenant"),
        sa.ForeignKeyConstraint(["content"], ["blobs.digest"], name="fk_uploads_content"),
    )
    op.create_index("ix_uploads_content", "uploads", ["tenant", "content"])
    op.create_index("ix_uploads_expires", "uploads", ["expires"])
    op.create_table(
        "upload_parts",
        sa.Column("upload", _text(), nullable=False),
        sa.Column("start", sa.BigInteger(), nullable=False, autoincrement=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("key", _text(), nullable=False),
        sa.PrimaryKeyConstraint("upload", "start", name="pk_upload_parts"),
        sa.ForeignKeyConstraint(["upload"], ["uploads.id"], name="fk_upload_parts_upload"),
        sa.UniqueConstraint("key", name="uq_upload_parts_key"),
    )
    op.create_table(
        "webhook_deliveries",
        sa.Column("id", _text(), nullable=False),
        sa.Column("job", _text(), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("secret", sa.Text(), nullable=False),
        sa.Column("payload", sa.Text(), nullable=False),
        sa.Column("created", sa.Double(), nullable=False),
        sa.Column("attempts", sa.BigInteger(), nullable=False),
        sa.Column("next_at", sa.Double()),
        sa.Column("delivered", sa.Double()),
        sa.Column("error", sa.Text()),
        sa.PrimaryKeyConstraint("id", name="pk_webhook_deliveries"),
        sa.ForeignKeyConstraint(["job"], ["jobs.id"], name="fk_webhook_deliveries_job"),
    )
    op.create_index("ix_webhook_deliveries_job", "webhook_deliveries", ["job"])
    op.create_index("ix_webhook_deliveries_next_at", "webhook_deliveries", ["next_at"])


def downgrade() -> None:
    """Take them away."""
    for table in ("webhook_deliveries", "upload_parts", "uploads", "job_blocks", "jobs"):
        op.drop_table(table)
