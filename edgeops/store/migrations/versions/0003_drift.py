"""Watches of devices and the alarms that come of them."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Create the tables of drift."""
    op.create_table(
        "watches",
        sa.Column("device", sa.Text, nullable=False),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("number", sa.Integer, nullable=False, autoincrement=False),
        sa.Column("document", sa.JSON, nullable=False),
        sa.PrimaryKeyConstraint("device", "model", "number", name="pk_watches"),
    )
    op.create_table(
        "alarms",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("opened_s", sa.Double, nullable=False),
        sa.Column("since_s", sa.Double, nullable=False),
        sa.Column("closed_s", sa.Double),
        sa.Column("devices", sa.JSON, nullable=False),
        sa.Column("cohort", sa.Text, nullable=False),
        sa.Column("features", sa.JSON, nullable=False),
        sa.Column("threshold", sa.Double, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_alarms"),
    )
