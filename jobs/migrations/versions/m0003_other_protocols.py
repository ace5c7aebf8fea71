"""What other protocols need to know of a generation, and conversations that branch off others."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds the columns; what was stored before has none of it."""
    op.add_column("generations", sa.Column("asked", sa.JSON(), nullable=True))
    op.add_column("generations", sa.Column("tried", sa.Integer(), nullable=True))
    op.add_column("generations", sa.Column("hidden_at", sa.BigInteger(), nullable=True))
    op.add_column("conversations", sa.Column("forked_from", sa.String(length=40), nullable=True))
