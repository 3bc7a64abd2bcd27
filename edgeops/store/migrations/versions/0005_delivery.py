"""Bytes that delivery published of each blob."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Create the table of delivery."""
    op.create_table(
        "deliveries",
        sa.Column("digest", sa.Text, nullable=False),
        sa.Column("bytes", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("digest", name="pk_deliveries"),
    )
