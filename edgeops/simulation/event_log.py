"""The log of a run: what happened, in order, and a hash that two runs of one seed share."""

from __future__ import annotations

import hashlib
from collections import deque

LAST_LINES = 120


class EventLog:
    """Lines that are hashed as they come; the last ones are kept to be read."""

    def __init__(self) -> None:
        """Begin empty."""
        self._hash = hashlib.sha256()
        self.count = 0
        self.last: deque[str] = deque(maxlen=LAST_LINES)

    def add(self, now_s: float, who: str, what: str) -> None:
        """Note that something happened."""
        line = f"{now_s:10.3f} {who:<8} {what}"
        self._hash.update(line.encode() + b"\n")
        self.count += 1
        self.last.append(line)

    def mix(self, now_s: float, topic: str, payload: bytes) -> None:
        """Hash a message that was published; it is not kept to be read."""
        self._hash.update(f"{now_s:.6f} {topic} {len(payload)} ".encode() + payload)

    @property
    def digest(self) -> str:
        """Hash of every line and every published message so far, hexadecimal."""
        return self._hash.hexdigest()
