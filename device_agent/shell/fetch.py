"""Fetching blobs: listen to the broadcast, ask for what is missing, until all is there.

First request, late joiner, resume after a power cut and repair of lost chunks are one code
path: publish what is missing, wait for silence, publish again.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from device_agent.protocol import topics
from device_agent.protocol.chunks import Chunk, missing_ranges
from device_agent.protocol.errors import StorageFailed
from device_agent.protocol.ids import DeviceId, Digest
from device_agent.protocol.reports import MAX_RANGES, Need
from device_agent.protocol.values import dataclass
from device_agent.shell.blobs import Download


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchLimits:
    """When to ask (again) for missing chunks."""

    first_need_s: float = 0.2
    """Needs of a wave are spread over this time, so that the hub can answer them at once."""
    silence_s: float = 2.0
    """Silence on a blob's topic after which the need is published again."""
    most_silence_s: float = 60.0
    """Bound of the wait, which doubles with every need that nobody answered."""


@dataclass(slots=True, kw_only=True)
class _Fetch:
    download: Download
    ask_at_s: float
    wait_s: float
    users: int = 1
    failed: StorageFailed | None = None


class Fetcher:
    """The downloads under way on this device. Used by the loop thread only."""

    def __init__(
        self,
        device: DeviceId,
        *,
        publish: Callable[[str, Need], bool],
        subscribe: Callable[[str], None],
        unsubscribe: Callable[[str], None],
        chance: random.Random,
        limits: FetchLimits | None = None,
    ) -> None:
        """Begin with no download."""
        self._device = device
        self._publish = publish
        self._subscribe = subscribe
        self._unsubscribe = unsubscribe
        self._chance = chance
        self._limits = limits or FetchLimits()
        self._fetches: dict[Digest, _Fetch] = {}

    def start(self, download: Download, now_s: float) -> Download:
        """Begin a download, or join the one that runs: two models may need the same blob.

        Returns:
            The download that runs.
        """
        digest = download.ref.digest
        running = self._fetches.get(digest)
        if running is not None:
            running.users += 1
            return running.download
        self._subscribe(topics.blob(digest))
        self._fetches[digest] = _Fetch(
            download=download,
            ask_at_s=now_s + self._chance.uniform(0, self._limits.first_need_s),
            wait_s=self._limits.silence_s,
        )
        return download

    def stop(self, digest: Digest) -> None:
        """Leave a download; it ends with its last user. What it fetched stays on the disk."""
        fetch = self._fetches.get(digest)
        if fetch is None:
            return
        fetch.users -= 1
        if not fetch.users:
            del self._fetches[digest]
            self._unsubscribe(topics.blob(digest))

    def reconnected(self, now_s: float) -> None:
        """Subscribe again, and ask at once."""
        for digest, fetch in self._fetches.items():
            self._subscribe(topics.blob(digest))
            fetch.ask_at_s = now_s + self._chance.uniform(0, self._limits.first_need_s)
            fetch.wait_s = self._limits.silence_s

    def accept(self, digest: Digest, chunk: Chunk, now_s: float) -> bool:
        """Give a chunk to its download; False if nobody here wants it.

        Raises:
            StorageFailed: the disk refuses it; ``failure_of`` tells it to the deployment too.
        """
        fetch = self._fetches.get(digest)
        if fetch is None:
            return False
        try:
            if not fetch.download.accept(chunk, now_s):
                return False
        except StorageFailed as error:
            fetch.failed = error
            raise
        fetch.wait_s = self._limits.silence_s
        fetch.ask_at_s = now_s + self._jittered(fetch.wait_s)
        return True

    def failure_of(self, digest: Digest) -> StorageFailed | None:
        """Return what the disk said when it refused a piece of a running download."""
        fetch = self._fetches.get(digest)
        return fetch.failed if fetch else None

    def ask(self, now_s: float) -> None:
        """Publish the needs that are due."""
        for fetch in self._fetches.values():
            if now_s < fetch.ask_at_s or all(fetch.download.have):
                continue
            try:
                fetch.download.flush(now_s)
            except StorageFailed as error:
                fetch.failed = error
                continue
            need = Need(
                device=self._device,
                blob=fetch.download.ref,
                ranges=missing_ranges(fetch.download.have, max_ranges=MAX_RANGES),
            )
            if self._publish(topics.up(self._device, "need"), need):
                fetch.ask_at_s = now_s + self._jittered(fetch.wait_s)
                fetch.wait_s = min(2 * fetch.wait_s, self._limits.most_silence_s)
            else:
                fetch.ask_at_s = now_s + self._limits.silence_s

    def flush(self, now_s: float) -> None:
        """Make every download durable (before stopping)."""
        for fetch in self._fetches.values():
            fetch.download.flush(now_s)

    def _jittered(self, wait_s: float) -> float:
        return self._chance.uniform(wait_s, 1.5 * wait_s)
