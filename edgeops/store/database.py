"""The door to the database: how it is opened, and units of work on it.

SQLite is opened so that an acknowledged commit survives a power cut (WAL, ``synchronous=FULL``)
and so that a write never fails half-way for a lock: ``BEGIN IMMEDIATE`` takes the write lock
first. Python's own transaction handling is switched off (``isolation_level = None``) and
``BEGIN`` is said by us, as SQLAlchemy documents for SQLite. Another database (PostgreSQL) is
given by its URL; the tables and repositories use no SQL of one dialect.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.exc import ArgumentError, OperationalError, SQLAlchemyError
from sqlalchemy.pool import QueuePool

from edgeops.domain.errors import InvalidInput, StoreFailed
from edgeops.store import migrations
from edgeops.store.audit import AuditStore
from edgeops.store.commands import CommandStore
from edgeops.store.delivery import DeliveryStore
from edgeops.store.drift import DriftStore
from edgeops.store.fleet import FleetStore
from edgeops.store.inbox import InboxStore
from edgeops.store.registry import RegistryStore
from edgeops.store.retraining import RetrainingStore
from edgeops.store.rollouts import RolloutStore
from edgeops.store.settings import SettingsStore
from edgeops.store.tokens import TokenStore

BUSY_TIMEOUT_S = 10.0
"""How long a writer waits for another, in this process or beside it."""
READ_ONLY = "edgeops_read_only"
"""The execution option that makes a transaction a reader's."""


@dataclass(frozen=True, slots=True)
class Work:
    """A unit of work: one transaction, one attribute per aggregate."""

    registry: RegistryStore
    audit: AuditStore
    tokens: TokenStore
    settings: SettingsStore
    fleet: FleetStore
    commands: CommandStore
    rollouts: RolloutStore
    inbox: InboxStore
    drift: DriftStore
    retraining: RetrainingStore
    delivery: DeliveryStore

    @classmethod
    def on(cls, connection: sa.Connection) -> Work:
        """Put every aggregate on the same transaction."""
        return cls(
            registry=RegistryStore(connection),
            audit=AuditStore(connection),
            tokens=TokenStore(connection),
            settings=SettingsStore(connection),
            fleet=FleetStore(connection),
            commands=CommandStore(connection),
            rollouts=RolloutStore(connection),
            inbox=InboxStore(connection),
            drift=DriftStore(connection),
            retraining=RetrainingStore(connection),
            delivery=DeliveryStore(connection),
        )


class Database:
    """A database with this program's schema; any thread may use it."""

    def __init__(self, engine: sa.Engine) -> None:
        """Use ``open`` instead."""
        self.engine = engine
        self._reader = engine.execution_options(**_reader_options(engine))

    @classmethod
    def open(
        cls, where: str | Path, *, migrate: bool = True, busy_timeout_s: float = BUSY_TIMEOUT_S
    ) -> Database:
        """Open a database, create it if it is a file that is not there, update its schema.

        Args:
            where: a file (``Path``) for SQLite, or an SQLAlchemy URL. ``sqlite://`` is a
                database in memory, for tests and the simulation.
            migrate: False refuses an older schema instead of updating it.
            busy_timeout_s: how long a writer waits for another before it fails (SQLite).

        Raises:
            InvalidInput: the URL is none, or its driver is not installed.
            MigrationNeeded: the schema is newer (or older, and ``migrate`` is False).
            StoreFailed: disk or server said no.
        """
        if isinstance(where, Path):
            try:
                where.parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise StoreFailed(f"cannot make {where.parent}: {error}") from error
        database = cls(_make_engine(where, busy_timeout_s))
        try:
            if migrate:
                with database._connect(database.engine) as connection, connection.begin():
                    migrations.upgrade(connection)
            else:
                with database._connect(database._reader) as connection:
                    migrations.check_current(connection)
        except BaseException:
            database.close()
            raise
        return database

    @contextmanager
    def begin(self) -> Iterator[Work]:
        """Open a unit of work that may write; units that write run one after the other.

        It commits when the block ends, and rolls back on any exception. Once the block has
        ended without one, the changes survive a crash. A unit inside another of the same
        thread would wait for itself, and fail.

        Raises:
            StoreFailed: disk or database said no; nothing was changed.
        """
        with self._connect(self.engine) as connection, connection.begin():
            yield Work.on(connection)

    @contextmanager
    def read(self) -> Iterator[Work]:
        """Open a unit of work on one consistent state, beside any writer; writes fail.

        Raises:
            StoreFailed: disk or database said no, or the block tried to write.
        """
        with self._connect(self._reader) as connection, connection.begin():
            yield Work.on(connection)

    def close(self) -> None:
        """Close the connections that are not in use."""
        self.engine.dispose()

    @contextmanager
    def _connect(self, engine: sa.Engine) -> Iterator[sa.Connection]:
        try:
            with engine.connect() as connection:
                yield connection
        except SQLAlchemyError as error:
            raise _failure(error) from error


def _reader_options(engine: sa.Engine) -> dict[str, Any]:
    if engine.dialect.name == "sqlite":
        return {READ_ONLY: True}
    return {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}


def _make_engine(where: str | Path, busy_timeout_s: float) -> sa.Engine:
    try:
        url = (
            sa.URL.create("sqlite", database=str(where))
            if isinstance(where, Path)
            else sa.make_url(where)
        )
        if url.get_backend_name() != "sqlite":
            return sa.create_engine(url, pool_pre_ping=True)
        engine = _make_sqlite_engine(url, busy_timeout_s)
    except (ArgumentError, ImportError) as error:
        raise InvalidInput(
            f"cannot use this database URL: {error}",
            next_step="give a file, or a URL like postgresql+psycopg://user@host/name",
        ) from error
    event.listen(engine, "connect", partial(_on_connect, busy_timeout_s))
    event.listen(engine, "begin", _on_begin)
    return engine


def _make_sqlite_engine(url: sa.URL, busy_timeout_s: float) -> sa.Engine:
    """Return an engine; a database in memory has one connection that the threads take in turn."""
    arguments = {"check_same_thread": False}
    if url.database in (None, "", ":memory:"):
        return sa.create_engine(
            url,
            connect_args=arguments,
            poolclass=QueuePool,
            pool_size=1,
            max_overflow=0,
            pool_timeout=busy_timeout_s,
        )
    return sa.create_engine(url, connect_args=arguments)


def _on_connect(busy_timeout_s: float, dbapi_connection: Any, _record: object) -> None:
    """Switch the driver's transactions off and set what SQLite must promise."""
    dbapi_connection.isolation_level = None
    for pragma in (
        f"busy_timeout = {int(busy_timeout_s * 1000)}",
        "journal_mode = WAL",
        "synchronous = FULL",
        "foreign_keys = ON",
    ):
        dbapi_connection.execute(f"PRAGMA {pragma}").close()


def _on_begin(connection: sa.Connection) -> None:
    is_reader = connection.get_execution_options().get(READ_ONLY, False)
    connection.exec_driver_sql(f"PRAGMA query_only = {'ON' if is_reader else 'OFF'}")
    connection.exec_driver_sql("BEGIN" if is_reader else "BEGIN IMMEDIATE")


def _failure(error: SQLAlchemyError) -> StoreFailed:
    """Say in one line what the database said, and what a person can do about it."""
    cause = str(getattr(error, "orig", None) or error).splitlines()[0]
    if "full" in cause:
        step = "free space where the database is, then try again"
    elif isinstance(error, OperationalError) and "locked" in cause:
        step = "another program holds the database: try again, or stop that program"
    else:
        step = "check the database's file or server, then try again"
    return StoreFailed(f"the database refused: {cause}", next_step=step)
