"""Chunks: how a blob travels, and which pieces of it are missing.

A chunk on the wire is a 32-byte header and the raw bytes::

    offset  size  field
    0       4     magic, b"EOC1"
    4       16    first 16 bytes of the blob's SHA-256
    20      4     index of the chunk, big-endian
    24      4     number of chunks of the blob
    28      4     length of the bytes that follow

Every chunk is verified against the chunk hashes of the signed manifest *before* it is written,
so that a hostile or broken publisher cannot poison a file.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable, Sequence

from device_agent.protocol.errors import ProtocolError
from device_agent.protocol.fields import Fields
from device_agent.protocol.ids import Digest, digest_hex
from device_agent.protocol.values import dataclass

MAGIC = b"EOC1"
HEADER = struct.Struct(">4s16sIII")
DEFAULT_CHUNK_BYTES = 60 * 1024
MIN_CHUNK_BYTES = 256
MAX_CHUNK_BYTES = 60 * 1024
MAX_CHUNKS = 1 << 20
MAX_BLOB_BYTES = 2 * 1024**3 - 1
HASH_BYTES = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class BlobRef:
    """A blob as an order names it: digest, size in bytes, and the size of its chunks."""

    digest: Digest
    size_bytes: int
    chunk_bytes: int = DEFAULT_CHUNK_BYTES

    @property
    def count(self) -> int:
        """Number of chunks (at least 1, even for an empty blob)."""
        return max(1, -(-self.size_bytes // self.chunk_bytes))

    def length_of(self, index: int) -> int:
        """Return the number of bytes of chunk ``index``."""
        return min(self.chunk_bytes, self.size_bytes - index * self.chunk_bytes)

    def to_document(self) -> dict[str, object]:
        """Return the JSON form."""
        return {
            "digest": self.digest,
            "size_bytes": self.size_bytes,
            "chunk_bytes": self.chunk_bytes,
        }

    @classmethod
    def from_fields(cls, fields: Fields) -> BlobRef:
        """Read the JSON form; size and chunk size are bounded."""
        ref = cls(
            digest=fields.digest("digest"),
            size_bytes=fields.integer("size_bytes", maximum=MAX_BLOB_BYTES),
            chunk_bytes=fields.integer(
                "chunk_bytes", minimum=MIN_CHUNK_BYTES, maximum=MAX_CHUNK_BYTES
            ),
        )
        if ref.count > MAX_CHUNKS:
            raise ProtocolError(f"{fields.path} has more than {MAX_CHUNKS} chunks")
        return ref


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """One piece of a blob, taken off the wire but not yet verified."""

    blob_prefix: bytes
    index: int
    count: int
    data: bytes


def encode_chunk(ref: BlobRef, index: int, data: bytes) -> bytes:
    """Return the wire form of chunk ``index`` of the blob."""
    prefix = bytes.fromhex(digest_hex(ref.digest))[:16]
    return HEADER.pack(MAGIC, prefix, index, ref.count, len(data)) + data


def decode_chunk(payload: bytes) -> Chunk:
    """Take a chunk apart.

    Raises:
        ProtocolError: too short, too long, wrong magic, or lengths that disagree.
    """
    if not HEADER.size <= len(payload) <= HEADER.size + MAX_CHUNK_BYTES:
        raise ProtocolError(f"chunk of {len(payload)} bytes")
    magic, prefix, index, count, length = HEADER.unpack_from(payload)
    data = payload[HEADER.size :]
    if magic != MAGIC:
        raise ProtocolError("chunk without its magic")
    if length != len(data) or not index < count <= MAX_CHUNKS:
        raise ProtocolError("chunk header disagrees with its bytes")
    return Chunk(blob_prefix=prefix, index=index, count=count, data=data)


def belongs(chunk: Chunk, ref: BlobRef) -> bool:
    """Tell whether the chunk claims to be of this blob and has the right shape for it."""
    return (
        chunk.blob_prefix == bytes.fromhex(digest_hex(ref.digest))[:16]
        and chunk.count == ref.count
        and len(chunk.data) == ref.length_of(chunk.index)
    )


def chunk_hashes(data: bytes, chunk_bytes: int) -> bytes:
    """Return the SHA-256 of each chunk, concatenated (32 bytes each)."""
    starts = range(0, max(1, len(data)), chunk_bytes)
    return b"".join(hashlib.sha256(data[at : at + chunk_bytes]).digest() for at in starts)


def missing_ranges(have: Sequence[bool], *, max_ranges: int) -> tuple[tuple[int, int], ...]:
    """Return the half-open ranges of chunks that are not there yet, at most ``max_ranges``."""
    ranges: list[tuple[int, int]] = []
    start: int | None = None
    for index, present in enumerate([*have, True]):
        if not present and start is None:
            start = index
        elif present and start is not None:
            ranges.append((start, index))
            start = None
            if len(ranges) == max_ranges:
                break
    return tuple(ranges)


def expand_ranges(ranges: Iterable[tuple[int, int]], count: int) -> list[int]:
    """Return the chunk indices in ``ranges`` that exist in a blob of ``count`` chunks."""
    indices: list[int] = []
    after = 0
    for start, stop in sorted(ranges):  # each index once, however often the ranges overlap
        indices.extend(range(max(start, after), min(stop, count)))
        after = max(after, stop)
    return indices
