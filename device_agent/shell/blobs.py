"""Blobs on the device: content-addressed files, and downloads that survive a power cut.

A download is a data file and a bitmap, one bit a chunk. A chunk is verified before it is
written; the data is synced before its bits are. On opening, every chunk whose bit is set is
hashed again: bits are a claim, the data is the proof.
"""

from __future__ import annotations

import hashlib
from typing import Protocol

from device_agent.protocol.chunks import MAX_BLOB_BYTES, BlobRef, Chunk, belongs
from device_agent.protocol.ids import Digest, digest_hex, digest_of
from device_agent.protocol.manifest import ChunkedBlob
from device_agent.shell.storage import Storage

SYNC_EVERY_CHUNKS = 64
SYNC_EVERY_S = 1.0
PIECE_BYTES = 64 * 1024
"""Of a file that is hashed, so much is in memory at a time."""
UNFINISHED = ".new"
"""Ending of the temporary file of ``Storage.replace``."""


def blob_path(digest: Digest) -> str:
    """Return where a complete blob lies, relative to the state folder."""
    return f"blobs/sha256/{digest_hex(digest)}"


def is_whole(storage: Storage, path: str, digest: Digest) -> bool:
    """Tell whether a file is there and has this digest.

    It is read piece by piece: a model may be larger than the memory of the device.
    """
    hashed, at = hashlib.sha256(), 0
    while piece := storage.read(path, at, PIECE_BYTES):
        hashed.update(piece)
        at += len(piece)
    return hashed.hexdigest() == digest_hex(digest) and piece is not None


def data_path(digest: Digest) -> str:
    """Return where the data of an incomplete blob lies."""
    return f"partial/{digest_hex(digest)}.data"


def bitmap_path(digest: Digest) -> str:
    """Return where the bitmap of an incomplete blob lies."""
    return f"partial/{digest_hex(digest)}.bitmap"


class Download(Protocol):
    """A blob on its way in: takes chunks, knows what is missing, becomes a blob."""

    ref: BlobRef
    have: list[bool]

    def accept(self, chunk: Chunk, now_s: float) -> bool:
        """Take a chunk; False if it is not of this blob, not right, or already there."""
        ...

    def flush(self, now_s: float) -> None:
        """Make what was accepted durable."""
        ...

    def finish(self) -> bool:
        """Turn a complete download into a blob; False (and empty again) if it is corrupt."""
        ...


class ManifestDownload:
    """A manifest on its way in.

    Its chunk hashes are not known, so it is kept in memory until the digest of the whole
    proves it.
    """

    def __init__(self, storage: Storage, ref: BlobRef) -> None:
        """Begin with nothing."""
        self.ref = ref
        self.have = [False] * ref.count
        self._storage = storage
        self._pieces: dict[int, bytes] = {}

    def accept(self, chunk: Chunk, now_s: float) -> bool:
        """Take a chunk that has the right shape; its content is proved by ``finish``."""
        if not belongs(chunk, self.ref) or self.have[chunk.index]:
            return False
        self._pieces[chunk.index] = chunk.data
        self.have[chunk.index] = True
        return True

    def flush(self, now_s: float) -> None:
        """Nothing to do: a manifest is small and fetched again after a restart."""

    def finish(self) -> bool:
        """Write the manifest if its digest is right, else begin anew."""
        data = b"".join(self._pieces[index] for index in range(self.ref.count))
        if digest_of(data) != self.ref.digest:
            self.have = [False] * self.ref.count
            self._pieces.clear()
            return False
        self._storage.replace(blob_path(self.ref.digest), data)
        return True


class BlobDownload:
    """An artifact on its way in: verified chunk by chunk, resumable at any moment."""

    def __init__(self, storage: Storage, blob: ChunkedBlob) -> None:
        """Open what an earlier run left, trusting only chunks whose hash is right."""
        self.ref = blob.ref
        self._blob = blob
        self._storage = storage
        self._unsynced = 0
        self._synced_s = 0.0
        self.have = self._recover()

    def accept(self, chunk: Chunk, now_s: float) -> bool:
        """Verify and write a chunk; its bit becomes durable at the next ``flush``."""
        if not belongs(chunk, self.ref) or self.have[chunk.index]:
            return False
        if hashlib.sha256(chunk.data).digest() != self._blob.hash_of(chunk.index):
            return False
        self._storage.write_at(
            data_path(self.ref.digest), chunk.index * self.ref.chunk_bytes, chunk.data
        )
        self.have[chunk.index] = True
        self._unsynced += 1
        late = now_s - self._synced_s >= SYNC_EVERY_S
        if self._unsynced >= SYNC_EVERY_CHUNKS or late:
            self.flush(now_s)
        return True

    def flush(self, now_s: float) -> None:
        """Sync the data, then the bits that vouch for it."""
        if self._unsynced:
            self._storage.sync(data_path(self.ref.digest))
            self._storage.replace(bitmap_path(self.ref.digest), pack_bits(self.have))
            self._unsynced = 0
        self._synced_s = now_s

    def finish(self) -> bool:
        """Prove the whole and move it in among the blobs; a corrupt one begins anew."""
        if not is_whole(self._storage, data_path(self.ref.digest), self.ref.digest):
            discard(self._storage, self.ref.digest)
            self.have = [False] * self.ref.count
            self._unsynced = 0
            return False
        self._storage.sync(data_path(self.ref.digest))
        self._storage.rename(data_path(self.ref.digest), blob_path(self.ref.digest))
        self._storage.remove(bitmap_path(self.ref.digest))
        return True

    def _recover(self) -> list[bool]:
        bits = self._storage.read(bitmap_path(self.ref.digest))
        claimed = unpack_bits(bits or b"", self.ref.count)
        if not any(claimed):
            self._storage.write_at(data_path(self.ref.digest), 0, b"")
            return claimed
        return [claim and self._is_proved(index) for index, claim in enumerate(claimed)]

    def _is_proved(self, index: int) -> bool:
        start, length = index * self.ref.chunk_bytes, self.ref.length_of(index)
        piece = self._storage.read(data_path(self.ref.digest), start, length) or b""
        return hashlib.sha256(piece).digest() == self._blob.hash_of(index)


def discard(storage: Storage, digest: Digest) -> None:
    """Remove what a download left behind."""
    storage.remove(bitmap_path(digest))
    storage.remove(data_path(digest))


def collect_garbage(storage: Storage, keep: frozenset[Digest]) -> int:
    """Remove every blob that is not in ``keep``, and partial downloads that lead to none.

    Also what writes left that never ended: by the thread that writes here, so none is under way.

    Returns:
        How many files were removed.
    """
    kept = {digest_hex(digest) for digest in keep}
    complete = set(storage.names("blobs/sha256"))
    needless = [f"blobs/sha256/{name}" for name in sorted(complete - kept)]
    for name in storage.names("partial"):
        digest = name.split(".")[0]
        if digest not in kept or digest in complete:
            needless.append(f"partial/{name}")
    for model in storage.names("models"):
        folder = f"models/{model}"
        needless += [f"{folder}/{n}" for n in storage.names(folder) if n.endswith(UNFINISHED)]
    for path in needless:
        storage.remove(path)
    return len(needless)


def pack_bits(bits: list[bool]) -> bytes:
    """Return one bit a chunk, the first chunk in the lowest bit of the first byte."""
    return bytes(
        sum(1 << bit for bit, present in enumerate(bits[at : at + 8]) if present)
        for at in range(0, len(bits), 8)
    )


def unpack_bits(data: bytes, count: int) -> list[bool]:
    """Return ``count`` bits; what the file does not hold is not there."""
    return [
        index // 8 < len(data) and bool(data[index // 8] >> index % 8 & 1) for index in range(count)
    ]


def is_reasonable(ref: BlobRef, free_bytes: int) -> bool:
    """Tell whether a blob can be held at all: within the protocol's bound and the disk."""
    return ref.size_bytes <= min(MAX_BLOB_BYTES, free_bytes)
