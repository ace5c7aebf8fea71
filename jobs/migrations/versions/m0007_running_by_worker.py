"""What is asked again and again of all that runs is answered by an index alone."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds an index of the running generations by their workers."""
    running = sa.text("state = 'running'")
    # None is dropped for it: that would keep readers and beats out until this one is built.
    op.create_index(
        "ix_generations_running",
        "generations",
        ["worker_id", "attempt", "handed_over", "cancel_requested", "id", "state"],
        sqlite_where=running,
        postgresql_where=running,
    )
