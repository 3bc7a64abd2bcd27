"""A package in memory: the signed manifest and the blobs that it names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from device_agent.protocol.chunks import BlobRef, chunk_hashes
from device_agent.protocol.envelope import Signature
from device_agent.protocol.ids import Digest, digest_of
from device_agent.protocol.manifest import ChunkedBlob, Manifest


class Signer(Protocol):
    """A targets key, wherever it is kept."""

    def sign(self, message: bytes) -> Signature:
        """Return a raw Ed25519 signature over ``message``."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """A signed package.

    Attributes:
        manifest: the edge manifest.
        manifest_bytes: exactly the bytes that were signed.
        signature: a targets key's, over ``manifest_bytes``.
        blobs: artifacts and golden documents by their digest: all that variants name.
        provenance: by name, what tells how it was made: the build record, which the lineage
            names by its digest, and the float models, which the record names. Devices never
            fetch it.
        measured: what the machine that made it measured, as JSON; None if it is not here. It is
            not signed, and stays on that machine.
    """

    manifest: Manifest
    manifest_bytes: bytes
    signature: Signature
    blobs: Mapping[Digest, bytes]
    provenance: Mapping[str, bytes] = field(default_factory=dict)
    measured: bytes | None = None

    @property
    def digest(self) -> Digest:
        """The package's name: the digest of its manifest."""
        return digest_of(self.manifest_bytes)

    @property
    def reference(self) -> str:
        """How people name it: ``kws:1``."""
        return f"{self.manifest.model}:{self.manifest.version}"


def chunked(data: bytes, chunk_bytes: int) -> ChunkedBlob:
    """Return the reference to a blob with the hash of each of its chunks."""
    ref = BlobRef(digest=digest_of(data), size_bytes=len(data), chunk_bytes=chunk_bytes)
    return ChunkedBlob(ref=ref, hashes=chunk_hashes(data, chunk_bytes))
