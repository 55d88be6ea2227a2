"""Functions belong to tenants, and equal contents are stored once for all of them.

All that there was goes to the tenant ``default``. Back, the functions of all tenants stay, and the names of that one:
the earlier schema has one name space.
"""

from __future__ import annotations

import time

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def _text() -> sa.types.TypeEngine[str]:
    return sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def _rows(query: str) -> list[dict[str, object]]:
    return [dict(row) for row in op.get_bind().execute(sa.text(query)).mappings()]


def _insert(table: sa.Table, rows: list[dict[str, object]]) -> None:
    if rows:
        op.bulk_insert(table, rows)


def upgrade() -> None:
    """Give everything to the tenant ``default``."""
    functions = _rows("SELECT id, signature, bytes, created FROM functions")
    names = _rows("SELECT name, version, id, created FROM names")
    counters = _rows("SELECT name, last_version FROM counters")
    for table in ("counters", "names", "functions"):
        op.drop_table(table)
    tenants = op.create_table(
        "tenants",
        sa.Column("id", _text(), nullable=False),
        sa.Column("name", _text(), nullable=False),
        sa.Column("created", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_tenants"),
        sa.UniqueConstraint("name", name="uq_tenants_name"),
    )
    _insert(tenants, [{"id": "default", "name": "default", "created": time.time()}])
    blobs = op.create_table(
        "blobs",
        sa.Column("digest", _text(), nullable=False),
        sa.Column("key", _text(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("used", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("digest", name="pk_blobs"),
        sa.UniqueConstraint("key", name="uq_blobs_key"),
    )
    _insert(
        blobs,
        [
            {
                "digest": row["id"],
                "key": f"functions/{str(row['id']).removeprefix('sha256:')}",
                "bytes": row["bytes"],
                "used": row["created"],
            }
            for row in functions
        ],
    )
    kept = op.create_table(
        "functions",
        sa.Column("tenant", _text(), nullable=False),
        sa.Column("id", _text(), nullable=False),
        sa.Column("signature", sa.Text(), nullable=False),
        sa.Column("created", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "id", name="pk_functions"),
        sa.ForeignKeyConstraint(["tenant"], ["tenants.id"], name="fk_functions_tenant"),
        sa.ForeignKeyConstraint(["id"], ["blobs.digest"], name="fk_functions_id"),
    )
    op.create_index("ix_functions_id", "functions", ["id"])
    _insert(kept, [{"tenant": "default", **{k: v for k, v in row.items() if k != "bytes"}} for row in functions])
    named = op.create_table(
        "names",
        sa.Column("tenant", _text(), nullable=False),
        sa.Column("name", _text(), nullable=False),
        sa.Column("version", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("id", _text(), nullable=False),
        sa.Column("created", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "name", "version", name="pk_names"),
        sa.ForeignKeyConstraint(["tenant", "id"], ["functions.tenant", "functions.id"], name="fk_names_function"),
    )
    op.create_index("ix_names_function", "names", ["tenant", "id"])
    _insert(named, [{"tenant": "default", **row} for row in names])
    counted = op.create_table(
        "counters",
        sa.Column("tenant", _text(), nullable=False),
        sa.Column("name", _text(), nullable=False),
        sa.Column("last_version", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "name", name="pk_counters"),
        sa.ForeignKeyConstraint(["tenant"], ["tenants.id"], name="fk_counters_tenant"),
    )
    _insert(counted, [{"tenant": "default", **row} for row in counters])


def downgrade() -> None:
    """Leave what one user's schema has a place for."""
    functions = _rows(
        "SELECT functions.id, max(signature) AS signature, max(bytes) AS bytes, min(functions.created) AS created"
        " FROM functions JOIN blobs ON digest = functions.id GROUP BY functions.id"
    )
    names = _rows("SELECT name, version, id, created FROM names WHERE tenant = 'default'")
    counters = _rows("SELECT name, last_version FROM counters WHERE tenant = 'default'")
    for table in ("counters", "names", "functions", "blobs", "tenants"):
        op.drop_table(table)
    kept = op.create_table(
        "functions",
        sa.Column("id", sa.Text(), primary_key=True),
        sa.Column("signature", sa.Text(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("created", sa.Double(), nullable=False),
    )
    _insert(kept, functions)
    named = op.create_table(
        "names",
        sa.Column("name", sa.Text(), primary_key=True),
        sa.Column("version", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("id", sa.Text(), sa.ForeignKey("functions.id"), nullable=False),
        sa.Column("created", sa.Double(), nullable=False),
    )
    op.create_index("names_by_id", "names", ["id"])
    _insert(named, names)
    counted = op.create_table(
        "counters",
        sa.Column("name", sa.Text(), primary_key=True),
        sa.Column("last_version", sa.BigInteger(), nullable=False),
    )
    _insert(counted, counters)
