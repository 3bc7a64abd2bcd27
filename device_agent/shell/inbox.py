"""The inbox: what other threads put, the loop's one thread takes."""

from __future__ import annotations

import queue
from collections.abc import Iterator

AT_ONCE = 256
"""Items taken before the loop looks at its timers again."""


class Inbox(queue.Queue[object]):
    """A queue that is emptied in bounded turns."""

    def take(self, wait_s: float) -> Iterator[object]:
        """Give what waits, at most ``AT_ONCE``; wait for the first item no longer than this."""
        try:
            yield self.get(block=wait_s > 0, timeout=wait_s or None)
            for _ in range(AT_ONCE - 1):
                yield self.get_nowait()
        except queue.Empty:
            return
