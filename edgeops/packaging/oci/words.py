"""The OCI and ModelPack words for a package: media types, descriptors, config."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from device_agent.protocol.chunks import MAX_BLOB_BYTES
from device_agent.protocol.codec import encode
from device_agent.protocol.fields import Fields
from device_agent.protocol.ids import Digest, digest_of
from device_agent.protocol.manifest import FORMAT_OF_RUNTIME, Variant
from edgeops.packaging.package import Package

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
ARTIFACT_TYPE = "application/vnd.cncf.model.manifest.v1+json"
CONFIG = "application/vnd.cncf.model.config.v1+json"
WEIGHT = "application/vnd.cncf.model.weight.v1.raw"
EDGE_MANIFEST = "application/vnd.cncf.model.weight.config.v1.raw"
DATASET = "application/vnd.cncf.model.dataset.v1.raw"
EDGE_SIGNATURE = "application/vnd.edgeops.signature.v1+json"
EDGE_PROVENANCE = "application/vnd.edgeops.provenance.v1.raw"

REF_NAME = "org.opencontainers.image.ref.name"
FILE_PATH = "org.cncf.model.filepath"
TITLE = "org.opencontainers.image.title"
"""The same name again: ``oras`` and others call what they pull by it."""
MAX_ANNOTATIONS = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Descriptor:
    """An OCI content descriptor."""

    media_type: str
    digest: Digest
    size_bytes: int
    artifact_type: str | None = None
    annotations: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        media_type: str,
        data: bytes,
        *,
        annotations: Mapping[str, str],
        artifact_type: str | None = None,
    ) -> Descriptor:
        """Describe ``data``."""
        return cls(
            media_type=media_type,
            digest=digest_of(data),
            size_bytes=len(data),
            artifact_type=artifact_type,
            annotations=annotations,
        )

    def to_document(self) -> dict[str, object]:
        """Return the JSON form."""
        document: dict[str, object] = {
            "mediaType": self.media_type,
            "digest": self.digest,
            "size": self.size_bytes,
        }
        if self.artifact_type is not None:
            document["artifactType"] = self.artifact_type
        if self.annotations:
            document["annotations"] = dict(self.annotations)
        return document

    @classmethod
    def from_fields(cls, fields: Fields) -> Descriptor:
        """Read the JSON form."""
        annotations: dict[str, str] = {}
        if fields.has("annotations"):
            inner = fields.fields("annotations")
            annotations = {key: inner.text(key) for key in inner.names()[:MAX_ANNOTATIONS]}
        return cls(
            media_type=fields.text("mediaType"),
            digest=fields.digest("digest"),
            size_bytes=fields.integer("size", maximum=MAX_BLOB_BYTES),
            artifact_type=fields.text("artifactType") if fields.has("artifactType") else None,
            annotations=annotations,
        )


def layers_of(package: Package) -> list[tuple[Descriptor, bytes]]:
    """Return the layers of a package, each blob once: descriptor and bytes."""
    layers: dict[Digest, tuple[Descriptor, bytes]] = {}

    def add(media_type: str, path: str, data: bytes) -> None:
        descriptor = Descriptor.of(media_type, data, annotations={FILE_PATH: path, TITLE: path})
        layers.setdefault(descriptor.digest, (descriptor, data))

    for variant in package.manifest.variants:
        artifact = package.blobs[variant.artifact.ref.digest]
        add(WEIGHT, f"model.{_format(variant)}", artifact)
    add(EDGE_MANIFEST, "edgeops.json", package.manifest_bytes)
    for variant in package.manifest.variants:
        for name, blob in (("golden", variant.golden), ("reference", variant.reference)):
            if blob is not None:
                add(DATASET, f"{name}.{variant.runtime}.json", package.blobs[blob.ref.digest])
    add(EDGE_SIGNATURE, "signature.json", encode(package.signature.to_document()))
    for name, data in sorted(package.provenance.items()):
        add(EDGE_PROVENANCE, name, data)
    return list(layers.values())


def config_of(package: Package, layers: Sequence[Descriptor]) -> tuple[Descriptor, bytes]:
    """Return ModelPack's config of a package; it holds no time, so equal packages are equal."""
    formats = {_format(variant) for variant in package.manifest.variants}
    data = encode(
        {
            "descriptor": {
                "name": package.manifest.model,
                "version": str(package.manifest.version),
            },
            "config": {"format": formats.pop()} if len(formats) == 1 else {},
            "modelfs": {"type": "layers", "diffIds": [each.digest for each in layers]},
        }
    )
    return Descriptor.of(CONFIG, data, annotations={}), data


def _format(variant: Variant) -> str:
    return FORMAT_OF_RUNTIME[variant.runtime]
