"""The database's schema through time, one file a step in ``versions``; shipped in the wheel.

A new step: change ``schema.py``, write ``versions/NNNN_name.py`` with explicit operations, run
``tests/integration/test_database.py``, which compares both.
"""

from __future__ import annotations

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from edgeops.domain.errors import MigrationNeeded


def upgrade(connection: Connection) -> None:
    """Bring the schema to this program's version, in the transaction that is open.

    Nothing happens if it is there already; a failure leaves the old schema, data untouched.

    Raises:
        MigrationNeeded: the database was written by a newer program.
    """
    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", "edgeops.store:migrations")
    if not _is_current(connection, ScriptDirectory.from_config(config)):
        command.upgrade(config, "head")


def check_current(connection: Connection) -> None:
    """Refuse a database whose schema is not this program's.

    Raises:
        MigrationNeeded: it is older or newer; the next step says which.
    """
    config = Config()
    config.set_main_option("script_location", "edgeops.store:migrations")
    if not _is_current(connection, ScriptDirectory.from_config(config)):
        raise MigrationNeeded(
            "the database has the schema of an older edgeops",
            next_step="copy the database, then start `edgeops up`, which updates it",
        )


def _is_current(connection: Connection, scripts: ScriptDirectory) -> bool:
    found = MigrationContext.configure(connection).get_current_heads()
    known = {script.revision for script in scripts.walk_revisions()}
    unknown = sorted(set(found) - known)
    if unknown:
        raise MigrationNeeded(
            f"the database has schema {', '.join(unknown)}, which this edgeops does not know",
            next_step="it was written by a newer edgeops: update this one, or restore a copy",
        )
    return set(found) == set(scripts.get_heads())
