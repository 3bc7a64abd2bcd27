"""Blobs on a real disk: larger than the memory that the agent has to spare, and damaged ones."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import pytest

from device_agent.protocol.chunks import (
    MAX_CHUNK_BYTES,
    BlobRef,
    chunk_hashes,
    decode_chunk,
    encode_chunk,
)
from device_agent.protocol.ids import digest_of
from device_agent.protocol.manifest import ChunkedBlob
from device_agent.shell import packages
from device_agent.shell.blobs import BlobDownload, blob_path, data_path, is_whole
from device_agent.shell.storage import FolderStorage

MIB = 1024 * 1024
LARGE = b"".join(number.to_bytes(4, "little") for number in range(16 * MIB // 4))
FEW = MIB


def large_blob() -> ChunkedBlob:
    ref = BlobRef(digest=digest_of(LARGE), size_bytes=len(LARGE), chunk_bytes=MAX_CHUNK_BYTES)
    return ChunkedBlob(ref=ref, hashes=chunk_hashes(LARGE, MAX_CHUNK_BYTES))


def fill(download: BlobDownload, indexes: range) -> None:
    size = download.ref.chunk_bytes
    for index in indexes:
        piece = LARGE[index * size : (index + 1) * size]
        download.accept(decode_chunk(encode_chunk(download.ref, index, piece)), 0.0)


@pytest.fixture
def storage(tmp_path: Path) -> FolderStorage:
    return FolderStorage(tmp_path / "state")


def test_that_no_step_of_a_download_takes_the_memory_of_the_model(storage: FolderStorage) -> None:
    blob = large_blob()
    half = blob.ref.count // 2
    tracemalloc.start()
    try:
        first = BlobDownload(storage, blob)
        fill(first, range(half))
        first.flush(0.0)
        resumed = BlobDownload(storage, blob)
        assert sum(resumed.have) == half
        fill(resumed, range(half, blob.ref.count))
        assert resumed.finish()
        assert packages.has_blob(storage, blob.ref.digest)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < FEW


@pytest.mark.parametrize("at", [0, MAX_CHUNK_BYTES - 1, 7 * MIB, len(LARGE) - 1])
def test_that_one_flipped_byte_is_found_wherever_it_is(storage: FolderStorage, at: int) -> None:
    blob = large_blob()
    storage.replace(blob_path(blob.ref.digest), LARGE)
    assert packages.has_blob(storage, blob.ref.digest)
    storage.write_at(blob_path(blob.ref.digest), at, bytes([LARGE[at] ^ 1]))
    assert not packages.has_blob(storage, blob.ref.digest)


def test_that_a_cut_file_a_longer_one_and_no_file_are_no_blob(storage: FolderStorage) -> None:
    digest = digest_of(b"model")
    for data in (b"", b"mode", b"model\0"):
        storage.replace("some", data)
        assert not is_whole(storage, "some", digest)
    assert not is_whole(storage, "none", digest)
    storage.replace("some", b"model")
    assert is_whole(storage, "some", digest)


def test_that_the_empty_file_has_the_digest_of_nothing_and_a_missing_one_none(
    storage: FolderStorage,
) -> None:
    storage.replace("empty", b"")
    assert is_whole(storage, "empty", digest_of(b""))
    assert not is_whole(storage, "none", digest_of(b""))


def test_that_a_chunk_that_a_power_cut_spoiled_is_fetched_again(storage: FolderStorage) -> None:
    blob = large_blob()
    download = BlobDownload(storage, blob)
    fill(download, range(3))
    download.flush(0.0)
    storage.write_at(data_path(blob.ref.digest), blob.ref.chunk_bytes + 5, b"\0\0\0\0")
    assert BlobDownload(storage, blob).have[:4] == [True, False, True, False]
