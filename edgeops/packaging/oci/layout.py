"""Packages on disk: an OCI image layout that follows CNCF ModelPack.

Any OCI tool can push such a folder to a registry. Its form:

* https://github.com/opencontainers/image-spec/blob/main/image-layout.md
* https://github.com/modelpack/model-spec/blob/main/docs/spec.md

====================  =====================================================
layer                 holds
====================  =====================================================
``…weight.v1.raw``    an artifact, as the device gets it
``…weight.config…``   the edge manifest, ``edgeops.json``
``…dataset.v1.raw``   a golden document or a reference profile
``…edgeops.signature`` the targets key's signature over the edge manifest
``…provenance.v1.raw`` the build record ``build.json``, a float model
====================  =====================================================

Beside the blobs lies, for each package that was made here, ``measured/DIGEST.json``: what this
machine measured. That is no part of the package, and no other tool takes it along.

Writing puts blobs first and ``index.json`` last, each by a rename: whoever reads sees the
package whole or not at all. A blob is trusted only for its digest.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from device_agent.protocol.codec import decode, encode
from device_agent.protocol.envelope import Signature
from device_agent.protocol.fields import Fields
from device_agent.protocol.manifest import MAX_MANIFEST_BYTES, Manifest
from edgeops.domain.errors import Conflict, InvalidPackage, NotFound, NotTrusted
from edgeops.packaging.oci.files import (
    MEASURED,
    PARTIAL,
    blob_path,
    disk,
    locked,
    make_folder,
    measured_path,
    read_blob,
    read_measured,
    replace_file,
    sync,
    well_formed,
    write_blob,
)
from edgeops.packaging.oci.manifest import OciManifest
from edgeops.packaging.oci.words import (
    ARTIFACT_TYPE,
    EDGE_MANIFEST,
    EDGE_PROVENANCE,
    EDGE_SIGNATURE,
    FILE_PATH,
    INDEX,
    OCI_MANIFEST,
    REF_NAME,
    Descriptor,
    config_of,
    layers_of,
)
from edgeops.packaging.package import Package
from edgeops.packaging.verify import check_blobs

MARKER_FILE, INDEX_FILE = "oci-layout", "index.json"
MARKER = encode({"imageLayoutVersion": "1.0.0"})
MAX_INDEX_BYTES = 1024 * 1024
MAX_PACKAGES = 1024
MAX_LAYERS = 256


def write_layout(package: Package, folder: Path) -> None:
    """Add a package to a layout, which is made if it is missing.

    A package that is there already changes nothing. Nothing is half-written on failure, and
    others may write into the same folder meanwhile.

    Raises:
        NotTrusted: the package's blobs are not those of its manifest.
        Conflict: another package has the same name and number there.
        InvalidPackage: the folder holds something else than a layout.
        StoreFailed: the disk said no.
    """
    check_blobs(package)
    layers = layers_of(package)
    config = config_of(package, [descriptor for descriptor, _ in layers])
    manifest = encode(
        {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "artifactType": ARTIFACT_TYPE,
            "config": config[0].to_document(),
            "layers": [descriptor.to_document() for descriptor, _ in layers],
        }
    )
    entry = Descriptor.of(
        OCI_MANIFEST,
        manifest,
        artifact_type=ARTIFACT_TYPE,
        annotations={REF_NAME: package.reference},
    )
    make_folder(folder)
    with disk(folder), locked(folder):
        index = _read_index(folder) if _is_layout(folder) else _empty_index()
        if not _must_add(index, entry, package.reference, folder):
            return
        for _, data in (*layers, config, (entry, manifest)):
            write_blob(folder, data)
        if package.measured is not None:
            path = measured_path(folder, package.digest)
            path.parent.mkdir(exist_ok=True)
            replace_file(path, package.measured)
        replace_file(folder / MARKER_FILE, MARKER)
        replace_file(folder / INDEX_FILE, encode(_added(index, entry)))


def read_layout(folder: Path, ref: str | None = None) -> Package:
    """Read a package, checking every digest and size on the way.

    Who signed it is for ``verify_package`` to say.

    Args:
        folder: the layout.
        ref: ``kws:1``; None takes the only package that is there.

    Raises:
        InvalidPackage: no layout, several packages and no ``ref``, or a part is missing.
        NotFound: no package of that name; the next step lists what is there.
        NotTrusted: a blob was altered or cut, or there is no signature; the message names it.
        StoreFailed: the disk said no.
    """
    with disk(folder), well_formed(folder):
        if not _is_layout(folder):
            raise InvalidPackage(f"{folder} is empty", next_step="make it with: edgeops package")
        entry = _entry(_read_index(folder), ref, folder)
        oci = Fields(decode(read_blob(folder, entry), max_bytes=MAX_INDEX_BYTES), "OCI manifest")
        config = Descriptor.from_fields(oci.fields("config"))
        read_blob(folder, config)
        layers = oci.list_of("layers", Descriptor.from_fields, max_items=MAX_LAYERS)
        edge = _layer(layers, EDGE_MANIFEST, folder)
        if edge.size_bytes > MAX_MANIFEST_BYTES:
            raise InvalidPackage(
                f"the edge manifest of {folder} is too large",
                next_step="package it again",
            )
        seal = _layer(layers, EDGE_SIGNATURE, folder)
        data = read_blob(folder, edge)
        manifest = Manifest.from_bytes(data)
        named = {blob.ref.digest for variant in manifest.variants for blob in variant.blobs}
        package = Package(
            manifest=manifest,
            manifest_bytes=data,
            signature=Signature.from_fields(Fields(decode(read_blob(folder, seal)), "signature")),
            blobs={
                layer.digest: read_blob(folder, layer) for layer in layers if layer.digest in named
            },
            provenance={
                layer.annotations.get(FILE_PATH, ""): read_blob(folder, layer)
                for layer in layers
                if layer.media_type == EDGE_PROVENANCE
            },
            measured=read_measured(measured_path(folder, edge.digest)),
        )
    check_blobs(package)
    return package


def references(folder: Path) -> tuple[str, ...]:
    """Return the names of the packages in a layout, sorted.

    Raises:
        InvalidPackage: no layout; StoreFailed: the disk said no.
    """
    with disk(folder), well_formed(folder):
        return tuple(sorted(_names(_read_index(folder)))) if _is_layout(folder) else ()


# ---- as a registry has it


def read_oci_manifest(folder: Path, ref: str) -> OciManifest:
    """Read the OCI manifest of a package; what it points to is not looked at.

    Raises:
        InvalidPackage: no layout, or no such manifest in it; NotFound: no package of that name.
        NotTrusted: the manifest was altered; StoreFailed: the disk said no.
    """
    with disk(folder), well_formed(folder):
        if not _is_layout(folder):
            raise InvalidPackage(f"{folder} is empty", next_step="make it with: edgeops package")
        return OciManifest.from_bytes(read_blob(folder, _entry(_read_index(folder), ref, folder)))


def add_files(manifest: OciManifest, reference: str, source: Path, folder: Path) -> bool:
    """Move the checked blobs of a package from ``source``, on the same disk, into a layout.

    The guarantees are those of ``write_layout``. Tells whether the package is new there.

    Raises:
        Conflict: another package has that name; InvalidPackage: the folder is no layout.
        StoreFailed: the disk said no.
    """
    entry = manifest.entry(reference)
    with disk(folder), locked(folder):
        index = _read_index(folder) if _is_layout(folder) else _empty_index()
        is_new = _must_add(index, entry, reference, folder)
        for each in (*manifest.blobs, entry):
            path = blob_path(folder, each.digest)
            path.parent.mkdir(parents=True, exist_ok=True)
            os.replace(blob_path(source, each.digest), path)
        sync(path.parent)
        if is_new:
            replace_file(folder / MARKER_FILE, MARKER)
            replace_file(folder / INDEX_FILE, encode(_added(index, entry)))
    return is_new


# ---- the index


def _is_layout(folder: Path) -> bool:
    """Tell whether there is a layout: False for an empty folder, an error for another one."""
    if (folder / MARKER_FILE).is_file() and (folder / INDEX_FILE).is_file():
        return True
    # What a writer that died left behind is no package: blobs without an index.
    found = {each.name for each in folder.iterdir() if not each.name.startswith(PARTIAL)}
    if found <= {"blobs", MEASURED, MARKER_FILE}:
        return False
    raise InvalidPackage(
        f"{folder} is no OCI layout (it has no {MARKER_FILE} and {INDEX_FILE})",
        next_step="name another folder; edgeops package makes it",
    )


def _empty_index() -> dict[str, Any]:
    return {"schemaVersion": 2, "mediaType": INDEX, "manifests": []}


def _read_index(folder: Path) -> dict[str, Any]:
    with (folder / INDEX_FILE).open("rb") as file, well_formed(folder):
        index = decode(file.read(MAX_INDEX_BYTES + 1), max_bytes=MAX_INDEX_BYTES)
        _entries(index)
    return index


def _entries(index: Mapping[str, Any]) -> tuple[Descriptor, ...]:
    fields = Fields(dict(index), "index")
    return fields.list_of("manifests", Descriptor.from_fields, max_items=MAX_PACKAGES)


def _names(index: Mapping[str, Any]) -> dict[str, Descriptor]:
    named = {each.annotations.get(REF_NAME, ""): each for each in _entries(index)}
    return {name: each for name, each in named.items() if name}


def _entry(index: Mapping[str, Any], ref: str | None, folder: Path) -> Descriptor:
    named = _names(index)
    listing = f"it holds: {', '.join(sorted(named)) or 'nothing'}"
    if ref is None and len(named) == 1:
        return next(iter(named.values()))
    if ref is None:
        raise InvalidPackage(f"{folder} holds {len(named)} packages, not one", next_step=listing)
    if ref not in named:
        raise NotFound(f"there is no {ref[:120]!r} in {folder}", next_step=listing)
    return named[ref]


def _must_add(index: Mapping[str, Any], entry: Descriptor, ref: str, folder: Path) -> bool:
    there = _names(index).get(ref)
    if there is not None and there.digest != entry.digest:
        raise Conflict(
            f"{folder} holds another package {ref}; a version never changes",
            next_step="give the new one the next number, or another folder",
        )
    return there is None


def _added(index: Mapping[str, Any], entry: Descriptor) -> dict[str, Any]:
    """Return the index with one more entry, in the order of names; the rest is kept as it is."""
    entries = [*index["manifests"], entry.to_document()]
    return {**index, "manifests": sorted(entries, key=_name_of)}


def _name_of(document: Mapping[str, Any]) -> str:
    return str((document.get("annotations") or {}).get(REF_NAME, ""))


def _layer(layers: tuple[Descriptor, ...], media_type: str, folder: Path) -> Descriptor:
    found = [each for each in layers if each.media_type == media_type]
    if len(found) == 1:
        return found[0]
    if media_type == EDGE_SIGNATURE and not found:
        raise NotTrusted(f"the package in {folder} is not signed", next_step="package it again")
    raise InvalidPackage(
        f"the package in {folder} has {len(found)} layers {media_type}, not one",
        next_step="package it again",
    )
