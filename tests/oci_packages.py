"""Packages in layout folders, to be pushed and pulled."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeops.packaging.oci.layout import write_layout
from edgeops.packaging.package import Package
from tests.hub_harness import Keys, make_keys, tiny_package

UNKNOWN = "application/vnd.example.build-record.v7+json"


@dataclass(frozen=True, kw_only=True)
class Bench:
    """A layout folder with packages, the keys that signed them, and their root of trust."""

    layout: Path
    keys: Path
    signers: Keys

    def write(self, number: int = 1, *, folder: Path | None = None, **options: Any) -> None:
        """Add ``kws:NUMBER``, with a layer of a type that edgeops does not know."""
        made = tiny_package(options.pop("signers", self.signers), number, **options)
        package = Package(
            manifest=made.manifest,
            manifest_bytes=made.data,
            signature=made.signature,
            blobs=made.blobs,
        )
        target = folder or self.layout
        write_layout(package, target)
        add_layer(target, package.reference, UNKNOWN, f"record of {number}".encode() * 50)


def bench(folder: Path, *, signers: Keys | None = None) -> Bench:
    """Return an empty layout folder's bench below ``folder``."""
    signers = signers or make_keys()
    keys = folder / "keys"
    keys.mkdir(parents=True)
    (keys / "root.json").write_bytes(signers.envelope)
    return Bench(layout=folder / "layout", keys=keys, signers=signers)


def add_layer(layout: Path, reference: str, media_type: str, data: bytes) -> None:
    """Give a package one more layer, as a later edgeops or another tool might."""

    def change(manifest: dict[str, Any]) -> None:
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        manifest["layers"].append({"mediaType": media_type, "digest": digest, "size": len(data)})
        manifest["annotations"] = {"org.example.by": "another tool"}
        (layout / "blobs" / "sha256" / digest[7:]).write_bytes(data)

    rewrite(layout, reference, change)


def rewrite(layout: Path, reference: str, change: Any) -> None:
    """Change a package's OCI manifest, and its line in the index with it."""
    index = json.loads((layout / "index.json").read_bytes())
    entry = next(
        each
        for each in index["manifests"]
        if each["annotations"]["org.opencontainers.image.ref.name"] == reference
    )
    blobs = layout / "blobs" / "sha256"
    manifest = json.loads((blobs / entry["digest"][7:]).read_bytes())
    change(manifest)
    data = json.dumps(manifest, indent=1).encode()  # not as edgeops writes it
    (blobs / entry["digest"][7:]).unlink()
    digest = hashlib.sha256(data).hexdigest()
    (blobs / digest).write_bytes(data)
    entry.update(digest=f"sha256:{digest}", size=len(data))
    (layout / "index.json").write_text(json.dumps(index, sort_keys=True, separators=(",", ":")))


def files(folder: Path) -> dict[str, bytes]:
    """Return every file below a folder."""
    found = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}
