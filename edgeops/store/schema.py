"""The tables, as SQLAlchemy Core: portable between SQLite and PostgreSQL.

A change here needs a migration in ``migrations/versions``; a test compares the two. Times are
seconds since the epoch in double precision, so that they read back bit for bit.
"""

from __future__ import annotations

import sqlalchemy as sa

metadata = sa.MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(referred_table_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
    }
)

models = sa.Table(
    "models",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
)

versions = sa.Table(
    "versions",
    metadata,
    sa.Column("model", sa.Text, sa.ForeignKey("models.name"), primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("digest", sa.Text, nullable=False, unique=True),
    sa.Column("size_bytes", sa.BigInteger, nullable=False),
    sa.Column("keyid", sa.Text, nullable=False),
    sa.Column("signature", sa.LargeBinary, nullable=False),
    sa.Column("lineage", sa.JSON, nullable=False),
    sa.Column("waivers", sa.JSON, nullable=False),
    sa.Column("created_s", sa.Double, nullable=False),
    sa.Column("created_by", sa.Text, nullable=False),
)

aliases = sa.Table(
    "aliases",
    metadata,
    sa.Column("model", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("number", sa.Integer, nullable=False),
    sa.Column("revision", sa.Integer, nullable=False),
    sa.ForeignKeyConstraint(["model", "number"], ["versions.model", "versions.number"]),
)

audit = sa.Table(
    "audit",
    metadata,
    sa.Column("sequence", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("at_s", sa.Double, nullable=False),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("act", sa.Text, nullable=False),
    sa.Column("subject", sa.Text, nullable=False),
    sa.Column("detail", sa.Text, nullable=False, comment="canonical JSON, as it was hashed"),
    sa.Column("previous_hash", sa.Text, nullable=False),
    sa.Column("hash", sa.Text, nullable=False),
)

audit_head = sa.Table(
    "audit_head",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("entries", sa.BigInteger, nullable=False),
    sa.Column("hash", sa.Text, nullable=False),
)

tokens = sa.Table(
    "tokens",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, nullable=False, unique=True),
    sa.Column("role", sa.Text, nullable=False),
    sa.Column("created_s", sa.Double, nullable=False),
    sa.Column("expires_s", sa.Double),
    sa.Column("hash", sa.Text, nullable=False, unique=True),
)

settings = sa.Table(
    "settings",
    metadata,
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("value", sa.Text, nullable=False),
)

devices = sa.Table(
    "devices",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
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
    sa.Column("late_instance", sa.Text, nullable=False),
    sa.Column("late_since_s", sa.Double),
    sa.Column("reported", sa.Text, comment="the newest report, as the protocol's JSON"),
)

commands = sa.Table(
    "commands",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("device", sa.Text, nullable=False, index=True),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("issued_s", sa.Double, nullable=False),
    sa.Column("expires_s", sa.Double, nullable=False),
    sa.Column("given_by", sa.Text, nullable=False),
    sa.Column("answered_s", sa.Double),
    sa.Column("outcome", sa.JSON, comment="what the device told, as the protocol's JSON"),
)

desired = sa.Table(
    "desired",
    metadata,
    sa.Column("device", sa.Text, primary_key=True),
    sa.Column("generation", sa.BigInteger, nullable=False),
    sa.Column("models", sa.JSON, nullable=False),
    sa.Column("published", sa.Boolean, nullable=False, index=True),
)

rollouts = sa.Table(
    "rollouts",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("model", sa.Text, nullable=False),
    sa.Column("number", sa.Integer, nullable=False),
    sa.Column("selector", sa.Text, nullable=False),
    sa.Column("policy", sa.JSON, nullable=False),
    sa.Column("created_s", sa.Double, nullable=False),
    sa.Column("created_by", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False, index=True),
    sa.Column("wave", sa.Integer, nullable=False),
    sa.Column("why", sa.Text, nullable=False),
    sa.Column("revision", sa.Integer, nullable=False),
)

rollout_members = sa.Table(
    "rollout_members",
    metadata,
    sa.Column("rollout", sa.Text, sa.ForeignKey("rollouts.id"), primary_key=True),
    sa.Column("device", sa.Text, primary_key=True),
    sa.Column("wave", sa.Integer, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("device_state", sa.Text, nullable=False),
    sa.Column("reason", sa.Text),
    sa.Column("detail", sa.Text, nullable=False),
    sa.Column("evidence", sa.JSON, nullable=False),
    sa.Column("previous", sa.Integer),
    sa.Column("ordered_s", sa.Double),
    sa.Column("updated_s", sa.Double),
)

inbox = sa.Table(
    "inbox",
    metadata,
    sa.Column("device", sa.Text, primary_key=True),
    sa.Column("kind", sa.Text, primary_key=True),
    sa.Column("stream", sa.Text, nullable=False),
    sa.Column("sequence", sa.BigInteger, nullable=False),
)

windows = sa.Table(
    "windows",
    metadata,
    sa.Column("device", sa.Text, primary_key=True),
    sa.Column("stream", sa.Text, primary_key=True),
    sa.Column("sequence", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("part", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("model", sa.Text, nullable=False),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("ended_s", sa.Double, nullable=False),
    sa.Column("document", sa.JSON, nullable=False),
    sa.Index("ix_windows_model", "model", "ended_s"),
)

watches = sa.Table(
    "watches",
    metadata,
    sa.Column("device", sa.Text, primary_key=True),
    sa.Column("model", sa.Text, primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("document", sa.JSON, nullable=False),
)

alarms = sa.Table(
    "alarms",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
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
)

samples = sa.Table(
    "samples",
    metadata,
    sa.Column("device", sa.Text, primary_key=True),
    sa.Column("stream", sa.Text, primary_key=True),
    sa.Column("sequence", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("part", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("model", sa.Text, nullable=False),
    sa.Column("at_s", sa.Double, nullable=False),
    sa.Column("labelled", sa.Boolean, nullable=False),
    sa.Column("document", sa.JSON, nullable=False),
    sa.Index("ix_samples_model", "model", "at_s"),
)

data_sets = sa.Table(
    "data_sets",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("digest", sa.Text, nullable=False),
    sa.Column("rows", sa.BigInteger, nullable=False),
    sa.Column("labelled", sa.Boolean, nullable=False),
    sa.Column("origin", sa.JSON, nullable=False),
    sa.Column("created_s", sa.Double, nullable=False),
    sa.Column("created_by", sa.Text, nullable=False),
)

retrain_policies = sa.Table(
    "retrain_policies",
    metadata,
    sa.Column("model", sa.Text, primary_key=True),
    sa.Column("document", sa.JSON, nullable=False),
)

retrainings = sa.Table(
    "retrainings",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("model", sa.Text, nullable=False),
    sa.Column("created_s", sa.Double, nullable=False),
    sa.Column("document", sa.JSON, nullable=False),
)

deliveries = sa.Table(
    "deliveries",
    metadata,
    sa.Column("digest", sa.Text, primary_key=True),
    sa.Column("bytes", sa.BigInteger, nullable=False),
)
