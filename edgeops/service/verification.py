"""Verifying a package: whose it is, whether it is whole, and whether it can be made again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from device_agent.protocol.envelope import Signature
from device_agent.protocol.errors import ProtocolError
from device_agent.protocol.fields import Fields
from device_agent.protocol.ids import Digest, digest_of, parse_digest
from device_agent.protocol.manifest import Manifest
from edgeops.domain.errors import InvalidPackage, NotFound, NotTrusted
from edgeops.packaging.package import Package
from edgeops.packaging.record.build_record import BUILD_KEY, BUILD_RECORD, BuildRecord
from edgeops.packaging.record.provenance import float_name
from edgeops.packaging.record.rebuild import Finding, verify_answers, verify_rebuilds
from edgeops.packaging.verify import verify_package
from edgeops.trust.keys import KeyFolder, verify_signature


class PackageDoor(Protocol):
    """Where published packages are read; ``edgeops.client.Client`` does it."""

    def version(self, reference: str) -> dict[str, Any]: ...  # noqa: D102
    def get_blob(self, digest: str) -> bytes: ...  # noqa: D102


def fetch_package(door: PackageDoor, reference: str) -> Package:
    """Read a published package from a hub; nothing of it is believed yet.

    Raises:
        NotFound: no such version, or a blob is missing.
        InvalidPackage: the hub gives no manifest.
    """
    found = door.version(reference)
    data = door.get_blob(found["digest"])
    try:
        manifest = Manifest.from_bytes(data)
        signature = Signature.from_fields(Fields(found["signature"], "signature"))
    except ProtocolError as error:
        raise InvalidPackage(f"the hub's {reference} is no package: {error}") from error
    named = {blob.ref.digest for variant in manifest.variants for blob in variant.blobs}
    return Package(
        manifest=manifest,
        manifest_bytes=data,
        signature=signature,
        blobs={digest: door.get_blob(digest) for digest in sorted(named)},
        provenance=fetch_provenance(door, manifest),
    )


def fetch_provenance(door: PackageDoor, manifest: Manifest) -> dict[str, bytes]:
    """Read what a hub has of a package's provenance: its publisher may have kept it back.

    Raises:
        NotTrusted: the hub gives another build record than was signed.
        InvalidPackage: the build record is damaged.
    """
    data = fetch_record(door, manifest)
    if data is None:
        return {}
    kept = {BUILD_RECORD: data}
    for each in BuildRecord.from_bytes(data).artifacts:
        model = _blob(door, each.float_model) if each.float_model is not None else None
        if model is not None:
            kept[float_name(each.format)] = model
    return kept


def fetch_record(door: PackageDoor, manifest: Manifest) -> bytes | None:
    """Read the build record of a package, None if there is none.

    Raises:
        NotTrusted: the hub gives another one than was signed.
    """
    if BUILD_KEY not in manifest.lineage:
        return None
    digest = parse_digest(manifest.lineage[BUILD_KEY])
    data = _blob(door, digest)
    if data is not None and digest_of(data) != digest:
        raise NotTrusted(f"the hub gives another build record than {digest}")
    return data


def _blob(door: PackageDoor, digest: Digest) -> bytes | None:
    try:
        return door.get_blob(digest)
    except NotFound:
        return None


def verify(
    package: Package,
    keys: Path,
    cache: Path,
    progress: Callable[[str], None],
    *,
    rebuild: bool,
) -> list[Finding]:
    """Verify a package: signature, bytes, answers, and, if asked for, its making.

    Args:
        package: as it was read.
        keys: folder with ``root.json``, which says whom to trust.
        cache: folder of conversions and environments.
        progress: told one line about each long step.
        rebuild: make its artifacts again, too.

    Returns:
        What was found; a finding of state ``error`` means that it is not what it says.

    Raises:
        NotTrusted: not signed by a key of that root, or altered.
        NotFound: there is no root of trust here.
    """
    root = KeyFolder(keys).root()
    verify_package(package, root.keys_of("targets"), verify_signature)
    size = sum(map(len, package.blobs.values()))
    whose = f"by targets key {package.signature.keyid[:12]}… of root version {root.version}"
    record = package.provenance.get(BUILD_RECORD)
    findings = [
        Finding(subject="signature", state="ok", what=whose),
        Finding(subject="bytes", state="ok", what=f"{len(package.blobs)} blobs, {size} bytes"),
        Finding(
            subject="build record",
            state="ok" if record is not None else "skipped",
            what="as it was signed" if record is not None else "none is here",
        ),
    ]
    if any(each.golden is not None for each in package.manifest.variants):
        progress("running its golden rows")
    findings += verify_answers(package, cache, progress)
    if rebuild:
        progress("making its artifacts again")
        findings += verify_rebuilds(package, cache)
    return findings
