"""The database on real files: durability, locks, migrations and crashes."""

import resource
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateTable

from device_agent.protocol.envelope import Signature
from device_agent.protocol.ids import ModelName, digest_of
from edgeops.access import audit
from edgeops.domain.errors import Conflict, InvalidInput, MigrationNeeded, StoreFailed
from edgeops.domain.registry import Version
from edgeops.registry import publish, resolve, set_alias
from edgeops.store import Database
from edgeops.store.schema import metadata

THREADS = 8

WRITER = """
import sys, time
from pathlib import Path
from edgeops.access import audit
from edgeops.store import Database
database = Database.open(Path(sys.argv[1]))
while True:
    with database.begin() as work:
        entry = audit.record(work.audit, 1.5, "child", "hub.start", "hub", text="x" * 500)
        if sys.argv[2] == "stay inside":
            print("inside", flush=True)
            time.sleep(60)
    print(entry.sequence, flush=True)
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "home" / "edgeops.db"


@pytest.fixture
def database(file: Path) -> Iterator[Database]:
    database = Database.open(file)
    yield database
    database.close()


def a_version(number: int) -> Version:
    return Version(
        model=ModelName("kws"),
        number=number,
        digest=digest_of(str(number).encode()),
        size_bytes=1,
        signature=Signature(keyid="k", value=b"s"),
        created_s=0.0,
        created_by="ci",
    )


def together(act: Callable[[int], None]) -> None:
    """Run ``act`` in threads that start at once; raise what any of them raised."""
    barrier, failures = threading.Barrier(THREADS), list[BaseException]()

    def run(number: int) -> None:
        barrier.wait()
        try:
            act(number)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


def start_writer(file: Path, mode: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, str(file), mode], stdout=subprocess.PIPE, text=True
    )


def test_sqlite_is_opened_to_survive_a_power_cut(database: Database) -> None:
    with database.engine.connect() as connection:
        assert connection.connection.dbapi_connection.isolation_level is None  # type: ignore[union-attr]
        found = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        }
    assert found == {
        "journal_mode": "wal",
        "synchronous": 2,
        "foreign_keys": 1,
        "busy_timeout": 10_000,
    }


def test_work_is_kept_when_the_block_ends(file: Path, database: Database) -> None:
    with database.begin() as work:
        work.settings.put("epoch", "1")
        work.settings.put("epoch", "2")
    database.close()
    with Database.open(file).read() as work:
        assert work.settings.get("epoch") == "2"
        assert work.settings.get("other") is None


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_work_is_undone_on_any_exception(database: Database, error: type[BaseException]) -> None:
    with pytest.raises(error), database.begin() as work:
        publish(work.registry, a_version(1))
        audit.record(work.audit, 0.0, "ci", "package.publish", "kws:1")
        raise error
    with database.read() as work:
        assert work.registry.models() == ()
        assert audit.require_unbroken(work.audit).count == 0


def test_a_conflict_that_was_caught_leaves_the_work_usable(database: Database) -> None:
    with database.begin() as work:
        work.registry.add_version(a_version(1))
        with pytest.raises(Conflict):
            work.registry.add_version(a_version(1))
        work.registry.add_version(a_version(2))
    with database.read() as work:
        assert resolve(work.registry, "kws").number == 2


def test_a_reader_sees_one_state_while_a_writer_commits(database: Database) -> None:
    with database.read() as reader:
        assert reader.settings.get("epoch") is None
        with database.begin() as writer:
            writer.settings.put("epoch", "1")
        assert reader.settings.get("epoch") is None
    with database.read() as reader:
        assert reader.settings.get("epoch") == "1"


def test_a_reader_cannot_write_and_its_connection_can_later(database: Database) -> None:
    with pytest.raises(StoreFailed, match="readonly"), database.read() as work:
        work.settings.put("epoch", "1")
    with database.begin() as work:
        work.settings.put("epoch", "1")


@pytest.mark.parametrize("where", ["file", "memory"])
def test_threads_write_one_unbroken_chain(file: Path, where: str) -> None:
    database = Database.open(file if where == "file" else "sqlite://")

    def act(number: int) -> None:
        for _ in range(10):
            with database.begin() as work:
                audit.record(work.audit, number, f"thread-{number}", "hub.start", "hub")

    together(act)
    with database.read() as work:
        assert audit.require_unbroken(work.audit).count == THREADS * 10
    database.close()


def test_of_threads_that_move_an_alias_from_one_revision_exactly_one_wins(
    database: Database,
) -> None:
    with database.begin() as work:
        for number in range(1, THREADS + 2):
            publish(work.registry, a_version(number))
        seen = set_alias(work.registry, "kws", "production", THREADS + 1, None)
    won: list[int] = []
    lost: list[int] = []

    def act(number: int) -> None:
        try:
            with database.begin() as work:
                set_alias(work.registry, "kws", "production", number + 1, seen.revision)
        except Conflict:
            lost.append(number + 1)
        else:
            won.append(number + 1)

    together(act)
    assert (len(won), len(lost)) == (1, THREADS - 1)
    with database.read() as work:
        assert resolve(work.registry, "kws@production").number == won[0]


def test_a_writer_killed_inside_its_transaction_leaves_nothing_of_it(file: Path) -> None:
    database = Database.open(file)
    with database.begin() as work:
        audit.record(work.audit, 0.0, "parent", "hub.start", "hub")
    with start_writer(file, "stay inside") as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "inside\n"
        child.kill()
    with database.begin() as work:
        assert audit.require_unbroken(work.audit).count == 1
        audit.record(work.audit, 1.0, "parent", "hub.stop", "hub")
    with database.read() as work:
        assert audit.require_unbroken(work.audit).count == 2
    database.close()


def test_writers_killed_at_any_moment_lose_nothing_that_they_reported(file: Path) -> None:
    reported = 0
    for round_number in range(4):
        with start_writer(file, "go on") as child:
            assert child.stdout is not None
            for _ in range(5 + 7 * round_number):
                reported = int(child.stdout.readline())
            child.kill()
        database = Database.open(file)
        with database.read() as work:
            assert audit.require_unbroken(work.audit).count >= reported
        database.close()


def test_processes_that_open_a_new_database_at_once_all_succeed(file: Path) -> None:
    opener = (
        "import sys; from pathlib import Path; from edgeops.store import Database;"
        "database = Database.open(Path(sys.argv[1]));\n"
        "with database.begin() as work: work.settings.put(sys.argv[2], 'here')"
    )
    children = [
        subprocess.Popen([sys.executable, "-c", opener, str(file), f"child-{number}"])
        for number in range(6)
    ]
    assert [child.wait(timeout=60) for child in children] == [0] * 6
    with Database.open(file, migrate=False).read() as work:
        assert all(work.settings.get(f"child-{number}") == "here" for number in range(6))


def test_the_migrations_make_the_schema_of_the_program(database: Database) -> None:
    with database.engine.connect() as connection:
        context = MigrationContext.configure(connection)
        assert compare_metadata(context, metadata) == []


def test_opening_twice_migrates_once(file: Path, database: Database) -> None:
    with database.begin() as work:
        work.settings.put("epoch", "1")
    with Database.open(file, migrate=False).read() as work:
        assert work.settings.get("epoch") == "1"


def test_a_database_of_a_newer_program_is_refused(file: Path, database: Database) -> None:
    with database.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    for migrate in (True, False):
        with pytest.raises(MigrationNeeded, match="9999") as refused:
            Database.open(file, migrate=migrate)
        assert "update this one" in refused.value.next_step


def test_an_old_schema_is_refused_where_migrating_is_not_wanted(file: Path) -> None:
    file.parent.mkdir()
    with pytest.raises(MigrationNeeded, match="older"):
        Database.open(file, migrate=False)


def test_a_file_that_is_no_database_is_a_store_failure(file: Path) -> None:
    file.parent.mkdir()
    file.write_bytes(b"not a database" * 1000)
    with pytest.raises(StoreFailed, match="not a database"):
        Database.open(file)


@pytest.mark.parametrize("url", ["no url", "oracle-of-delphi://host/name"])
def test_what_is_no_database_url_is_refused(url: str) -> None:
    with pytest.raises(InvalidInput, match="database URL"):
        Database.open(url)


def test_a_database_held_by_another_program_is_a_store_failure(file: Path) -> None:
    Database.open(file).close()
    holder = sqlite3.connect(file, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    database = Database.open(f"sqlite:///{file}", migrate=False, busy_timeout_s=0.01)
    with pytest.raises(StoreFailed, match="locked") as failed, database.begin():
        pass
    assert "another program" in failed.value.next_step
    holder.close()


def test_a_disk_that_is_full_undoes_the_work(database: Database) -> None:
    with database.begin() as work:
        audit.record(work.audit, 0.0, "ci", "hub.start", "hub")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, hard))
    try:
        with pytest.raises(StoreFailed), database.begin() as work:
            audit.record(work.audit, 1.0, "ci", "hub.stop", "hub")
            work.settings.put("large", "x" * 4_000_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    with database.begin() as work:
        assert work.settings.get("large") is None
        audit.record(work.audit, 2.0, "ci", "hub.stop", "hub")
        assert audit.require_unbroken(work.audit).count == 2


def test_every_table_can_be_made_in_postgresql() -> None:
    dialect = postgresql.dialect()  # type: ignore[no-untyped-call]  # SQLAlchemy has no type
    for table in metadata.sorted_tables:
        assert f"CREATE TABLE {table.name}" in str(CreateTable(table).compile(dialect=dialect))
