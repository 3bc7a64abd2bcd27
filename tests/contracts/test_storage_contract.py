"""What the agent relies on of a disk, on the real one and on the one that tests use."""

from __future__ import annotations

import resource
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from device_agent.protocol.errors import StorageFailed
from device_agent.protocol.reasons import Reason
from device_agent.shell.storage import FolderStorage, Storage
from tests.storage_fakes import MemoryStorage

BIG = b"x" * 4096


@dataclass(frozen=True)
class Case:
    """A disk, and a way to have no room for ``BIG`` on it for a while."""

    storage: Storage
    full: Callable[[], AbstractContextManager[None]]


@contextmanager
def no_large_files() -> Iterator[None]:
    """A file may grow to 2 KiB; beyond, the kernel says EFBIG (Python ignores the signal)."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2048, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture(params=["folder", "memory"])
def case(request: pytest.FixtureRequest, tmp_path: Path) -> Case:
    if request.param == "folder":
        return Case(FolderStorage(tmp_path / "state"), no_large_files)
    memory = MemoryStorage()

    @contextmanager
    def full() -> Iterator[None]:
        before = memory.capacity_bytes
        memory.fill()
        yield
        memory.capacity_bytes = before

    return Case(memory, full)


@pytest.fixture
def storage(case: Case) -> Storage:
    return case.storage


def test_what_does_not_exist_is_none_and_an_empty_file_is_empty(storage: Storage) -> None:
    assert storage.read("models/a/record.json") is None
    storage.replace("empty", b"")
    assert storage.read("empty") == b""


def test_a_document_is_read_as_it_was_replaced_last(storage: Storage) -> None:
    for data in (b"one", b"", b"\0\xff" * 1000):
        storage.replace("models/a/record.json", data)
        assert storage.read("models/a/record.json") == data


def test_replacing_leaves_nothing_beside_the_document(storage: Storage) -> None:
    storage.replace("models/a/record.json", b"one")
    storage.replace("models/a/record.json", b"two")
    assert storage.names("models/a") == ["record.json"]


def test_pieces_may_come_in_any_order_and_gaps_are_zeros(storage: Storage) -> None:
    storage.write_at("partial/x.data", 6, b"world")
    assert storage.read("partial/x.data") == b"\0" * 6 + b"world"
    storage.write_at("partial/x.data", 0, b"hello ")
    storage.write_at("partial/x.data", 4, b"O")
    assert storage.read("partial/x.data") == b"hellO world"
    storage.sync("partial/x.data")
    assert storage.read("partial/x.data") == b"hellO world"


def test_writing_nothing_makes_the_file_and_changes_none(storage: Storage) -> None:
    storage.write_at("partial/x.data", 0, b"")
    assert storage.read("partial/x.data") == b""
    storage.write_at("partial/x.data", 0, b"abc")
    storage.write_at("partial/x.data", 1, b"")
    assert storage.read("partial/x.data") == b"abc"


def test_renaming_moves_into_a_new_folder_and_over_an_existing_file(storage: Storage) -> None:
    storage.replace("partial/x.data", b"new")
    storage.replace("blobs/sha256/x", b"old")
    storage.rename("partial/x.data", "blobs/sha256/x")
    assert storage.read("partial/x.data") is None
    assert storage.read("blobs/sha256/x") == b"new"
    storage.rename("blobs/sha256/x", "elsewhere/deep/x")
    assert storage.read("elsewhere/deep/x") == b"new"


def test_removing_twice_is_no_error(storage: Storage) -> None:
    storage.replace("a", b"1")
    storage.remove("a")
    storage.remove("a")
    storage.remove("no/such/folder/a")
    assert storage.read("a") is None


def test_names_are_sorted_and_of_one_folder_only(storage: Storage) -> None:
    for path in ("models/b/record.json", "models/a/record.json", "models/a/active", "session"):
        storage.replace(path, b"1")
    assert storage.names("models") == ["a", "b"]
    assert storage.names("models/a") == ["active", "record.json"]
    assert storage.names("nothing") == []


@pytest.mark.parametrize("act", ["sync", "rename"])
def test_what_is_missing_cannot_be_synced_or_renamed(storage: Storage, act: str) -> None:
    with pytest.raises(StorageFailed) as raised:
        storage.sync("gone") if act == "sync" else storage.rename("gone", "there")
    assert raised.value.reason is Reason.STORAGE_FAILED


def test_free_space_is_told(storage: Storage) -> None:
    assert storage.free_bytes() > len(BIG)


def test_a_full_disk_says_so_and_keeps_the_old_document_whole(case: Case) -> None:
    case.storage.replace("models/a/record.json", b"old")
    with case.full(), pytest.raises(StorageFailed) as raised:
        case.storage.replace("models/a/record.json", BIG)
    assert raised.value.reason is Reason.DISK_FULL
    assert case.storage.read("models/a/record.json") == b"old"
    assert case.storage.names("models/a") == ["record.json"]
    case.storage.replace("models/a/record.json", BIG)
    assert case.storage.read("models/a/record.json") == BIG


def test_a_piece_that_does_not_fit_says_so(case: Case) -> None:
    case.storage.write_at("partial/x.data", 0, b"abc")
    with case.full(), pytest.raises(StorageFailed) as raised:
        case.storage.write_at("partial/x.data", 4096, BIG)
    assert raised.value.reason is Reason.DISK_FULL
    assert (case.storage.read("partial/x.data") or b"").startswith(b"abc")


def test_a_full_disk_still_lets_remove_and_read(case: Case) -> None:
    case.storage.replace("a", BIG)
    with case.full():
        assert case.storage.read("a") == BIG
        case.storage.remove("a")
    assert case.storage.read("a") is None


# ---- the real disk only


def test_files_of_the_state_folder_are_private(tmp_path: Path) -> None:
    storage = FolderStorage(tmp_path / "state")
    storage.replace("trust/root.json", b"1")
    storage.write_at("partial/x.data", 0, b"1")
    modes = {
        path.relative_to(tmp_path): path.stat().st_mode & 0o777 for path in tmp_path.rglob("*")
    }
    assert set(modes.values()) == {0o600, 0o700}


def test_every_failure_of_the_file_system_is_named_with_a_next_step(tmp_path: Path) -> None:
    storage = FolderStorage(tmp_path / "state")
    storage.replace("folder/file", b"1")
    for act in (
        lambda: storage.read("folder"),
        lambda: storage.replace("folder", b"1"),
        lambda: storage.replace("folder/file/below", b"1"),
        lambda: storage.write_at("folder", 0, b"1"),
        lambda: storage.remove("folder"),
        lambda: storage.names("folder/file"),
        lambda: FolderStorage(tmp_path / "state" / "folder" / "file"),
    ):
        with pytest.raises(StorageFailed) as raised:
            act()
        assert raised.value.reason is Reason.STORAGE_FAILED
        assert str(tmp_path) in str(raised.value)
        assert raised.value.next_step


# ---- the fake only


def test_the_fake_breaks_at_the_call_that_it_was_told() -> None:
    storage = MemoryStorage(break_at=2, broken_for=2)
    storage.replace("a", b"1")
    for _ in range(2):
        with pytest.raises(StorageFailed):
            storage.replace("a", b"2")
    storage.replace("a", b"3")
    assert (storage.read("a"), storage.mutations) == (b"3", 4)


def test_the_fake_loses_what_was_not_synced_when_the_power_goes() -> None:
    storage = MemoryStorage()
    storage.replace("a", b"1")
    storage.write_at("b", 0, b"lost")
    storage.write_at("c", 0, b"kept")
    storage.sync("c")
    storage.write_at("c", 0, b"LOST")
    storage.power_cut()
    assert storage.files == {"a": b"1", "c": b"kept"}
