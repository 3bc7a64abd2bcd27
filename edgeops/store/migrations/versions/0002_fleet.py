"""Devices, desired states, rollouts, and what devices send."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Create the tables of the fleet."""
    _create_fleet()
    _create_rollouts()
    _create_inbox()


def _create_fleet() -> None:
    op.create_table(
        "devices",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("profile", sa.Text, nullable=False),
        sa.Column("enrolled_s", sa.Double, nullable=False),
        sa.Column("password_hash", sa.Text, nullable=False),
        sa.Column("labels", sa.JSON, nullable=False),
        sa.Column("online", sa.Boolean, nullable=False),
        sa.Column("session", sa.BigInteger, nullable=False),
        sa.Column("instance", sa.Text, nullable=False),
        sa.Column("last_seen_s", sa.Double),
        sa.Column("clock_offset_s", sa.Double, nullable=False),
        sa.Column("duplicate", sa.Boolean, nullable=False),
        sa.Column("previous_instance", sa.Text, nullable=False),
        sa.Column("previous_session", sa.BigInteger, nullable=False),
        sa.Column("reported", sa.Text, comment="the newest report, as the protocol's JSON"),
        sa.PrimaryKeyConstraint("id", name="pk_devices"),
    )
    op.create_table(
        "desired",
        sa.Column("device", sa.Text, nullable=False),
        sa.Column("generation", sa.BigInteger, nullable=False),
        sa.Column("models", sa.JSON, nullable=False),
        sa.Column("published", sa.Boolean, nullable=False),
        sa.PrimaryKeyConstraint("device", name="pk_desired"),
    )
    op.create_index("ix_desired_published", "desired", ["published"])


def _create_rollouts() -> None:
    op.create_table(
        "rollouts",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("selector", sa.Text, nullable=False),
        sa.Column("policy", sa.JSON, nullable=False),
        sa.Column("created_s", sa.Double, nullable=False),
        sa.Column("created_by", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("wave", sa.Integer, nullable=False),
        sa.Column("why", sa.Text, nullable=False),
        sa.Column("revision", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_rollouts"),
    )
    op.create_index("ix_rollouts_state", "rollouts", ["state"])
    op.create_table(
        "rollout_members",
        sa.Column("rollout", sa.Text, nullable=False),
        sa.Column("device", sa.Text, nullable=False),
        sa.Column("wave", sa.Integer, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("device_state", sa.Text, nullable=False),
        sa.Column("reason", sa.Text),
        sa.Column("detail", sa.Text, nullable=False),
        sa.Column("evidence", sa.JSON, nullable=False),
        sa.Column("previous", sa.Integer),
        sa.Column("ordered_s", sa.Double),
        sa.Column("updated_s", sa.Double),
        sa.ForeignKeyConstraint(
            ["rollout"], ["rollouts.id"], name="fk_rollout_members_rollouts"
        ),
        sa.PrimaryKeyConstraint("rollout", "device", name="pk_rollout_members"),
    )


def _create_inbox() -> None:
    op.create_table(
        "inbox",
        sa.Column("device", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("stream", sa.Text, nullable=False),
        sa.Column("sequence", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("device", "kind", name="pk_inbox"),
    )
    op.create_table(
        "windows",
        sa.Column("device", sa.Text, nullable=False),
        sa.Column("stream", sa.Text, nullable=False),
        sa.Column("sequence", sa.BigInteger, nullable=False, autoincrement=False),
        sa.Column("part", sa.Integer, nullable=False, autoincrement=False),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("ended_s", sa.Double, nullable=False),
        sa.Column("document", sa.JSON, nullable=False),
        sa.PrimaryKeyConstraint("device", "stream", "sequence", "part", name="pk_windows"),
    )
    op.create_index("ix_windows_model", "windows", ["model", "ended_s"])
