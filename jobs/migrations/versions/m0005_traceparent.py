"""The place of a generation's request in its trace, so that workers go on with it."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds the column; what was stored before has no trace."""
    op.add_column("generations", sa.Column("traceparent", sa.String(length=64), nullable=True))
