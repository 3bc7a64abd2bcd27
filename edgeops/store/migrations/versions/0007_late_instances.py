"""Who was held for late, and since when: a device whose number went back."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Add the columns."""
    op.add_column(
        "devices", sa.Column("late_instance", sa.Text, nullable=False, server_default="")
    )
    op.add_column("devices", sa.Column("late_since_s", sa.Double))
