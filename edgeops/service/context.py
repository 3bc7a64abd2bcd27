"""What every use case needs: the stores, the director's key, and the outside world's doors."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from device_agent.protocol.ids import Digest
from device_agent.protocol.root import Root
from edgeops.store.database import Database
from edgeops.trust.keys import SigningKey

HUB_ACTOR = "hub"
"""Who acts when nobody asked: the rollout's own steps, what devices make known."""


class BlobStore(Protocol):
    """Blobs by their digest: a folder, or memory in tests."""

    def put(self, digest: Digest, data: bytes) -> None:
        """Store a blob."""

    def read(self, digest: Digest, offset: int, length: int) -> bytes:
        """Return up to ``length`` bytes from ``offset``."""

    def size(self, digest: Digest) -> int:
        """Return the size in bytes."""

    def has(self, digest: Digest) -> bool:
        """Tell whether the blob is there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """The control plane's state and doors; made once by the hub (or by a test).

    ``broker`` is the address that enrolled devices are told; ``clock`` gives seconds since the
    epoch, ``chance`` random bytes.
    """

    database: Database
    blobs: BlobStore
    director: SigningKey
    root: Root
    root_envelope: bytes
    broker: str
    clock: Callable[[], float] = time.time
    chance: Callable[[int], bytes] = os.urandom
