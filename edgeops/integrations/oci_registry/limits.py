"""How much of an OCI registry is borne."""

from __future__ import annotations

from dataclasses import dataclass

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistryLimits:
    """Bounds of one push or pull.

    Attributes:
        timeout_s: wait for a connection, and for the next bytes.
        attempts: tries of what may work later (429, 5xx, a broken connection).
        backoff_s: pause after the first try; it doubles with each.
        max_pause_s: the longest pause, also if the registry asks for a longer one.
        max_redirects: hops to where a blob is kept.
        max_body_bytes: answers that are no blob: manifests, tokens, lists, complaints.
        max_package_bytes: all blobs of a package together.
        min_bytes_per_s: a body that comes more slowly than this, on the whole, is given up.
        max_pages: pages of a list of tags.
    """

    timeout_s: float = 30.0
    attempts: int = 4
    backoff_s: float = 0.5
    max_pause_s: float = 30.0
    max_redirects: int = 5
    max_body_bytes: int = MIB
    max_package_bytes: int = 8 * 1024 * MIB
    min_bytes_per_s: int = 16 * 1024
    max_pages: int = 64

    def pause_s(self, attempt: int, asked: str) -> float:
        """Return how long to wait after try ``attempt`` (from 1); ``asked``: Retry-After."""
        wanted = float(asked) if asked.isascii() and asked.isdigit() and len(asked) < 10 else 0.0
        doubled = self.backoff_s * float(2 ** (attempt - 1))
        return min(max(wanted, doubled), self.max_pause_s)

    def patience_s(self, size_bytes: int) -> float:
        """Return how long a body of ``size_bytes`` may take."""
        return self.timeout_s + size_bytes / self.min_bytes_per_s
