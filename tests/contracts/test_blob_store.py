"""What every blob store promises, and what only the folder can."""

import resource
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import pytest

from device_agent.protocol.ids import Digest, digest_of
from edgeops.domain.errors import InvalidInput, NotFound, StoreFailed
from edgeops.store import FolderBlobStore, MemoryBlobStore

Store = FolderBlobStore | MemoryBlobStore
DATA = bytes(range(256)) * 10
DIGEST = digest_of(DATA)
HOSTILE = [
    "",
    "sha256:",
    "sha256:../../../../etc/passwd",
    "sha256:" + "../" * 21 + "a",
    "/etc/passwd",
    "md5:" + "a" * 64,
    "sha256:" + "A" * 64,
    "sha256:" + "a" * 63 + "/",
    "sha256:" + "a" * 64 + "\n",
    "sha256:" + "a" * 64 + "\0",
]


@pytest.fixture(params=["folder", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return FolderBlobStore(tmp_path / "blobs") if request.param == "folder" else MemoryBlobStore()


@contextmanager
def no_file_larger_than(limit_bytes: int) -> Iterator[None]:
    """The kernel refuses every write beyond the limit, as a full disk would."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def files_in(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_what_was_put_reads_back(store: Store) -> None:
    store.put(DIGEST, DATA)
    assert store.has(DIGEST)
    assert store.size(DIGEST) == len(DATA)
    assert store.read(DIGEST, 0, len(DATA)) == DATA


def test_a_range_ends_where_the_blob_ends(store: Store) -> None:
    store.put(DIGEST, DATA)
    assert store.read(DIGEST, 100, 7) == DATA[100:107]
    assert store.read(DIGEST, len(DATA) - 3, 100) == DATA[-3:]
    assert store.read(DIGEST, len(DATA), 1) == b""
    assert store.read(DIGEST, 10**9, 1) == b""
    assert store.read(DIGEST, 5, 0) == b""


def test_an_empty_blob_is_a_blob(store: Store) -> None:
    store.put(digest_of(b""), b"")
    assert store.size(digest_of(b"")) == 0
    assert store.read(digest_of(b""), 0, 10) == b""


def test_putting_a_blob_again_is_no_harm(store: Store) -> None:
    store.put(DIGEST, DATA)
    store.put(DIGEST, DATA)
    assert store.read(DIGEST, 0, len(DATA)) == DATA


def test_bytes_under_another_digest_are_refused(store: Store) -> None:
    with pytest.raises(InvalidInput, match="are not sha256:"):
        store.put(DIGEST, DATA + b"!")
    assert not store.has(DIGEST)


def test_what_is_not_there_is_not_found(store: Store) -> None:
    assert not store.has(DIGEST)
    with pytest.raises(NotFound):
        store.size(DIGEST)
    with pytest.raises(NotFound):
        store.read(DIGEST, 0, 1)


@pytest.mark.parametrize(("offset", "length"), [(-1, 5), (0, -1)])
def test_a_negative_range_is_refused(store: Store, offset: int, length: int) -> None:
    store.put(DIGEST, DATA)
    with pytest.raises(InvalidInput):
        store.read(DIGEST, offset, length)


@pytest.mark.parametrize("text", HOSTILE)
def test_a_hostile_digest_is_refused_everywhere(store: Store, text: str) -> None:
    digest = cast(Digest, text)
    calls: list[Callable[[], object]] = [
        lambda: store.put(digest, DATA),
        lambda: store.read(digest, 0, 1),
        lambda: store.size(digest),
        lambda: store.has(digest),
    ]
    for call in calls:
        with pytest.raises(InvalidInput, match="is no digest"):
            call()


def test_threads_that_put_the_same_blob_agree(store: Store) -> None:
    threads = [threading.Thread(target=store.put, args=(DIGEST, DATA)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store.read(DIGEST, 0, len(DATA)) == DATA


def test_the_folder_holds_exactly_the_blob(tmp_path: Path) -> None:
    FolderBlobStore(tmp_path).put(DIGEST, DATA)
    name = DIGEST.removeprefix("sha256:")
    assert files_in(tmp_path) == [tmp_path / "sha256" / name[:2] / name]
    assert FolderBlobStore(tmp_path).read(DIGEST, 0, 3) == DATA[:3]


def test_a_full_disk_leaves_nothing_half_written(tmp_path: Path) -> None:
    store = FolderBlobStore(tmp_path)
    big = b"x" * 2_000_000
    with no_file_larger_than(1_000_000), pytest.raises(StoreFailed) as failed:
        store.put(digest_of(big), big)
    assert "free space" in failed.value.next_step
    assert not store.has(digest_of(big))
    assert files_in(tmp_path) == []
    store.put(digest_of(big), big)
    assert store.size(digest_of(big)) == len(big)


def test_a_truncated_file_is_mended_by_putting_the_blob_again(tmp_path: Path) -> None:
    store = FolderBlobStore(tmp_path)
    store.put(DIGEST, DATA)
    files_in(tmp_path)[0].write_bytes(DATA[:5])
    store.put(DIGEST, DATA)
    assert store.read(DIGEST, 0, len(DATA)) == DATA


def test_a_folder_that_cannot_be_one_is_a_store_failure(tmp_path: Path) -> None:
    (tmp_path / "blobs").write_text("a file")
    with pytest.raises(StoreFailed):
        FolderBlobStore(tmp_path / "blobs").put(DIGEST, DATA)
