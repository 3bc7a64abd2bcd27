"""Pacing: a token bucket in bytes per second."""

from __future__ import annotations


class TokenBucket:
    """Says when the next message may be sent so that the rate holds on average.

    Args of the constructor: ``rate`` in bytes per second (None: no bound) and the moment it
    begins, in monotonic seconds. The burst is a quarter of a second, at least one chunk.
    """

    def __init__(self, rate: float | None, now_s: float) -> None:
        """Begin with a full bucket."""
        self.rate = rate
        self._burst = max(rate / 4, 1.0) if rate is not None else 0.0
        self._tokens = self._burst
        self._filled_s = now_s

    def wait_s(self, size_bytes: int, now_s: float) -> float:
        """Return how long to wait until ``size_bytes`` may be sent; 0 takes them now.

        A message larger than the burst is sent when the bucket is full, and paid for after.
        """
        if self.rate is None:
            return 0.0
        elapsed = max(0.0, now_s - self._filled_s)
        self._tokens = min(self._burst, self._tokens + elapsed * self.rate)
        self._filled_s = now_s
        needed = min(float(size_bytes), self._burst)
        # Less than a byte short is rounding: waiting for it could be too short for any clock.
        if needed - self._tokens < 1.0:
            self._tokens -= size_bytes
            return 0.0
        return (needed - self._tokens) / self.rate
