"""The OCI manifest of a package, as bytes: what travels to a registry and back.

A registry names a package by the digest of these bytes, so they are never written anew. All
that the manifest points to travels with it, also layers that this program has no use for.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from device_agent.protocol.codec import decode
from device_agent.protocol.errors import ProtocolError
from device_agent.protocol.fields import Fields
from device_agent.protocol.ids import Digest, digest_of
from edgeops.domain.errors import InvalidPackage, NotTrusted
from edgeops.packaging.oci.words import OCI_MANIFEST, REF_NAME, Descriptor

MAX_OCI_MANIFEST_BYTES = 1024 * 1024
MAX_LAYERS = 256
PIECE_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class OciManifest:
    """An OCI manifest and what it points to.

    Attributes:
        data: its bytes.
        artifact_type: as it says; None if it does not.
        config: descriptor of the config.
        layers: descriptors of the layers, in its order.
    """

    data: bytes
    artifact_type: str | None
    config: Descriptor
    layers: tuple[Descriptor, ...]

    @classmethod
    def from_bytes(cls, data: bytes) -> OciManifest:
        """Read a manifest.

        Raises:
            InvalidPackage: it is none, or one of something else, such as an image index.
        """
        try:
            document = decode(data, max_bytes=MAX_OCI_MANIFEST_BYTES)
            fields = Fields(document, "OCI manifest")
            media_type = fields.text("mediaType") if fields.has("mediaType") else OCI_MANIFEST
            if media_type != OCI_MANIFEST:
                raise InvalidPackage(
                    f"this is no package: it is of type {media_type[:120]!r}",
                    next_step="name what edgeops push made",
                )
            return cls(
                data=data,
                artifact_type=fields.text("artifactType") if fields.has("artifactType") else None,
                config=Descriptor.from_fields(fields.fields("config")),
                layers=fields.list_of("layers", Descriptor.from_fields, max_items=MAX_LAYERS),
            )
        except ProtocolError as error:
            raise InvalidPackage(
                f"this is no package: {error}", next_step="name what edgeops push made"
            ) from error

    @property
    def digest(self) -> Digest:
        """The name that registries give it."""
        return digest_of(self.data)

    @property
    def blobs(self) -> tuple[Descriptor, ...]:
        """Each blob that it points to, once: layers in their order, then the config."""
        return tuple({each.digest: each for each in (*self.layers, self.config)}.values())

    def entry(self, reference: str) -> Descriptor:
        """Return the line of an index that names it ``reference``."""
        return Descriptor.of(
            OCI_MANIFEST,
            self.data,
            artifact_type=self.artifact_type,
            annotations={REF_NAME: reference},
        )


def pieces(path: Path) -> Iterator[bytes]:
    """Yield the bytes of a file, a MiB at a time."""
    with path.open("rb") as file:
        while piece := file.read(PIECE_BYTES):
            yield piece


def check_file(path: Path, descriptor: Descriptor) -> None:
    """Refuse a file that does not hold the blob.

    Raises:
        NotTrusted: other bytes, or more or fewer of them.
        OSError: it cannot be read.
    """
    found, size_bytes = hashlib.sha256(), 0
    for piece in pieces(path):
        found.update(piece)
        size_bytes += len(piece)
        if size_bytes > descriptor.size_bytes:
            break
    if size_bytes != descriptor.size_bytes or f"sha256:{found.hexdigest()}" != descriptor.digest:
        raise NotTrusted(
            f"blob {descriptor.digest} in {path.parent.parent.parent} was altered or cut off",
            next_step="package it again from the original files",
        )
