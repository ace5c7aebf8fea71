"""What a deletion has to look up: who refers to a generation, and which personas are deleted."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds the indexes, of small tables or of few rows."""
    op.create_index("ix_persona_versions_generation_id", "persona_versions", ["generation_id"])
    for table, column in (
        ("conversations", "forked_from"),
        ("personas", "deleted_at"),
        ("threads", "generation_id"),
    ):
        there = sa.text(f"{column} IS NOT NULL")
        op.create_index(
            f"ix_{table}_{column}",
            table,
            [column],
            sqlite_where=there,
            postgresql_where=there,
        )
