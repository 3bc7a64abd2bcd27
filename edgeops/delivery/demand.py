"""Demand: which chunks of which blobs are asked for, merged over all devices.

There is no per-device transfer state. Needs of all devices become one set of chunks a blob;
each chunk is published once and forgotten. What somebody still misses is asked for again.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field

from device_agent.protocol import topics
from device_agent.protocol.chunks import BlobRef, expand_ranges
from device_agent.protocol.ids import DeviceId, Digest
from device_agent.protocol.reports import Need

STRAGGLER_SHARE = 0.25
"""A lone device that misses at most this share of a blob gets it on its own topic."""
MAX_BLOBS = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Sending:
    """The next message to publish."""

    topic: str
    blob: BlobRef
    index: int
    offset: int
    length: int


@dataclass(slots=True)
class _Wanted:
    ref: BlobRef
    chunks: OrderedDict[int, None] = field(default_factory=OrderedDict)
    askers: set[DeviceId] = field(default_factory=set)


@dataclass(slots=True)
class Sent:
    """What was published of one blob since the hub started."""

    chunks: int = 0
    bytes: int = 0
    repaired: int = 0


class Demand:
    """The chunks that are asked for. A blob's turn ends with each chunk: blobs share the rate."""

    def __init__(self) -> None:
        """Begin with nothing asked for."""
        self._wanted: OrderedDict[tuple[Digest, int], _Wanted] = OrderedDict()
        self._sent: dict[Digest, Sent] = {}
        self._unrecorded: Counter[Digest] = Counter()

    def add(self, need: Need) -> bool:
        """Merge a device's need; False if it asks for nothing that can be, or too much is open."""
        chunks = expand_ranges(need.ranges, need.blob.count)
        key = (need.blob.digest, need.blob.chunk_bytes)
        if not chunks or (key not in self._wanted and len(self._wanted) >= MAX_BLOBS):
            return False
        wanted = self._wanted.setdefault(key, _Wanted(ref=need.blob))
        wanted.askers.add(need.device)
        for index in chunks:
            wanted.chunks.setdefault(index)
        return True

    def left(self, device: DeviceId) -> None:
        """Forget what a device asked for that nobody else did: it is gone, and will ask again."""
        for key, wanted in list(self._wanted.items()):
            wanted.askers.discard(device)
            if not wanted.askers:
                del self._wanted[key]

    def next(self) -> Sending | None:
        """Take the next chunk to publish; None when nothing is asked for."""
        if not self._wanted:
            return None
        key, wanted = self._wanted.popitem(last=False)
        index, _ = wanted.chunks.popitem(last=False)
        ref = wanted.ref
        lone = len(wanted.askers) == 1 and len(wanted.chunks) < STRAGGLER_SHARE * ref.count
        repair = lone and self._sent.get(ref.digest, Sent()).chunks >= ref.count
        if wanted.chunks:
            self._wanted[key] = wanted
        asker = next(iter(wanted.askers))
        return Sending(
            topic=topics.repair(asker, ref.digest) if repair else topics.blob(ref.digest),
            blob=ref,
            index=index,
            offset=index * ref.chunk_bytes,
            length=ref.length_of(index),
        )

    def published(self, sending: Sending, size_bytes: int) -> None:
        """Count a message that was published (its size with the header)."""
        sent = self._sent.setdefault(sending.blob.digest, Sent())
        sent.chunks += 1
        sent.bytes += size_bytes
        sent.repaired += sending.topic != topics.blob(sending.blob.digest)
        self._unrecorded[sending.blob.digest] += size_bytes

    def unrecorded(self) -> Mapping[Digest, int]:
        """Return the published bytes of each blob that nobody has written down yet."""
        return dict(self._unrecorded)

    def recorded(self, written: Mapping[Digest, int]) -> None:
        """Forget bytes that were written down; what was published since stays."""
        self._unrecorded -= Counter(written)

    @property
    def open_chunks(self) -> int:
        """How many chunks are asked for and not yet published."""
        # A copy: the hub's threads ask while the one that publishes changes it.
        return sum(len(wanted.chunks) for wanted in list(self._wanted.values()))

    def sent(self) -> Mapping[Digest, Sent]:
        """Return what was published, by blob."""
        return dict(self._sent)
