"""Functions and their names, of one user.

SQLite folders of this version were made without Alembic, and say ``PRAGMA user_version = 1``.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """From nothing."""
    op.create_table(
        "functions",
        sa.Column("id", sa.Text(), primary_key=True),
        sa.Column("signature", sa.Text(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("created", sa.Double(), nullable=False),
    )
    op.create_table(
        "names",
        sa.Column("name", sa.Text(), primary_key=True),
        sa.Column("version", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("id", sa.Text(), sa.ForeignKey("functions.id"), nullable=False),
        sa.Column("created", sa.Double(), nullable=False),
    )
    op.create_index("names_by_id", "names", ["id"])
    op.create_table(
        "counters",
        sa.Column("name", sa.Text(), primary_key=True),
        sa.Column("last_version", sa.BigInteger(), nullable=False),
    )


def downgrade() -> None:
    """To nothing."""
    op.drop_table("counters")
    op.drop_table("names")
    op.drop_table("functions")
