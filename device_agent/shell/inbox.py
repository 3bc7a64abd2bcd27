"""The inbox: what other threads put, the loop's one thread takes.

The standard library's queue bounds items, not bytes, and a signal handler that puts into it may
wait for ever on the lock of what it interrupted.
"""

from __future__ import annotations

import threading
from collections import deque

AT_ONCE = 256
"""Items taken before the loop looks at its timers again."""


class Inbox:
    """A queue that knows its bytes and is emptied in bounded turns.

    Attributes:
        size_bytes: of all that waits, as ``put`` was told.
    """

    def __init__(self) -> None:
        """Begin empty."""
        self.size_bytes = 0
        self._items: deque[tuple[object, int]] = deque()
        self._came = threading.Condition()  # its lock lets the thread that has it in again

    def __len__(self) -> int:
        """Return how many items wait."""
        return len(self._items)

    def put(self, item: object, size_bytes: int = 0) -> None:
        """Put an item, from any thread or a signal handler."""
        with self._came:
            self._items.append((item, size_bytes))
            self.size_bytes += size_bytes
            self._came.notify()

    def take(self, wait_s: float) -> list[object]:
        """Return what waits, at most ``AT_ONCE``; wait for the first item no longer than this."""
        with self._came:
            if not self._items and wait_s > 0:
                self._came.wait(wait_s)
            taken = [self._items.popleft() for _ in range(min(len(self._items), AT_ONCE))]
            self.size_bytes -= sum(size for _, size in taken)
        return [item for item, _ in taken]
