"""What is asked again and again of all that has not ended is answered by its index alone."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Makes the index of unfinished generations anew, with more columns."""
    unfinished = sa.text("state IN ('queued', 'running')")
    op.drop_index("ix_generations_unfinished", "generations")
    op.create_index(
        "ix_generations_unfinished",
        "generations",
        [
            "state",
            "created_at",
            "id",
            "worker_id",
            "attempt",
            "handed_over",
            "cancel_requested",
        ],
        sqlite_where=unfinished,
        postgresql_where=unfinished,
    )
