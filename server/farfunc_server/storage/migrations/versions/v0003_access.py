"""Who may ask: tokens, members, and functions that one tenant shares with another; tenants have a weight.

Back, all of them are gone: the earlier schema knows nobody.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def _text() -> sa.types.TypeEngine[str]:
    return sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Begin with no tokens, no members and nothing shared."""
    op.add_column("tenants", sa.Column("weight", sa.Double(), nullable=False, server_default="1"))
    op.create_table(
        "tokens",
        sa.Column("id", _text(), nullable=False),
        sa.Column("tenant", _text(), nullable=False),
        sa.Column("label", sa.Text(), nullable=False),
        sa.Column("role", _text(), nullable=False),
        sa.Column("prefix", _text(), nullable=False),
        sa.Column("digest", _text(), nullable=False),
        sa.Column("created", sa.Double(), nullable=False),
        sa.Column("expires", sa.Double(), nullable=True),
        sa.Column("revoked", sa.Double(), nullable=True),
        sa.Column("used", sa.Double(), nullable=True),
        sa.Column("old_digest", _text(), nullable=True),
        sa.Column("old_expires", sa.Double(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_tokens"),
        sa.ForeignKeyConstraint(["tenant"], ["tenants.id"], name="fk_tokens_tenant"),
        sa.UniqueConstraint("prefix", name="uq_tokens_prefix"),
    )
    op.create_index("ix_tokens_tenant", "tokens", ["tenant"])
    op.create_table(
        "members",
        sa.Column("tenant", _text(), nullable=False),
        sa.Column("issuer", _text(), nullable=False),
        sa.Column("subject", _text(), nullable=False),
        sa.Column("role", _text(), nullable=False),
        sa.Column("created", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "issuer", "subject", name="pk_members"),
        sa.ForeignKeyConstraint(["tenant"], ["tenants.id"], name="fk_members_tenant"),
    )
    op.create_index("ix_members_subject", "members", ["issuer", "subject"])
    op.create_table(
        "shares",
        sa.Column("tenant", _text(), nullable=False),
        sa.Column("id", _text(), nullable=False),
        sa.Column("receiver", _text(), nullable=False),
        sa.Column("created", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "id", "receiver", name="pk_shares"),
        sa.ForeignKeyConstraint(["tenant", "id"], ["functions.tenant", "functions.id"], name="fk_shares_function"),
        sa.ForeignKeyConstraint(["receiver"], ["tenants.id"], name="fk_shares_receiver"),
    )
    op.create_index("ix_shares_receiver", "shares", ["receiver", "id"])


def downgrade() -> None:
    """Forget them."""
    for table in ("shares", "members", "tokens"):
        op.drop_table(table)
    op.drop_column("tenants", "weight")
