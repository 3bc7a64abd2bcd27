"""Is this package what a targets key signed?"""

from __future__ import annotations

from collections.abc import Mapping

from device_agent.protocol.chunks import chunk_hashes
from device_agent.protocol.envelope import Verify
from device_agent.protocol.ids import digest_of
from edgeops.domain.errors import NotTrusted
from edgeops.packaging.package import Package
from edgeops.packaging.record.build_record import BUILD_KEY, BUILD_RECORD, BuildRecord


def verify_package(package: Package, targets_keys: Mapping[str, bytes], verify: Verify) -> None:
    """Refuse a package of which a single byte is not what a trusted key signed.

    Args:
        package: as read from a layout.
        targets_keys: key id → raw public key: ``Root.keys_of("targets")``.
        verify: the Ed25519 primitive (``edgeops.trust.keys.verify_signature``).

    Raises:
        NotTrusted: signed by no key of these, other bytes than were signed, or a blob is
            missing or altered; the message names it.
    """
    key = targets_keys.get(package.signature.keyid)
    if key is None:
        raise NotTrusted(
            f"{package.reference} is not signed by a key that is trusted here "
            f"(it names key {package.signature.keyid[:12]}…)",
            next_step="sign it with the targets key of this root of trust",
        )
    if not verify(key, package.signature.value, package.manifest_bytes):
        raise NotTrusted(
            f"the signature of {package.reference} does not fit its manifest: it was altered",
            next_step="package it again from the original files",
        )
    check_blobs(package)


def check_blobs(package: Package) -> None:
    """Refuse a package whose blobs are not those of its manifest, or its provenance another's.

    Raises:
        NotTrusted: a blob is missing or altered, or its chunk hashes are not those of its
            bytes; the message names it.
    """
    check_provenance(package)
    for variant in package.manifest.variants:
        for blob in variant.blobs:
            data = package.blobs.get(blob.ref.digest)
            if data is None:
                raise NotTrusted(
                    f"{package.reference} lacks the blob {blob.ref.digest}",
                    next_step="pull it again, or package it again",
                )
            if (
                digest_of(data) != blob.ref.digest
                or len(data) != blob.ref.size_bytes
                or chunk_hashes(data, blob.ref.chunk_bytes) != blob.hashes
            ):
                raise NotTrusted(
                    f"blob {blob.ref.digest} of {package.reference} was altered",
                    next_step="package it again from the original files",
                )


def check_provenance(package: Package) -> None:
    """Refuse provenance that is not what the signed lineage and the build record name.

    A package may have none: its owner may keep the float model for himself.

    Raises:
        NotTrusted: a file is another one; the message names it.
        InvalidPackage: the build record is damaged.
    """
    data = package.provenance.get(BUILD_RECORD)
    known: set[str | None] = set()
    if data is not None:
        known = {each.float_model for each in BuildRecord.from_bytes(data).artifacts}
        known.add(package.manifest.lineage.get(BUILD_KEY))
    for name, each in package.provenance.items():
        if digest_of(each) not in known:
            raise NotTrusted(
                f"{name} of {package.reference} is not the one that was signed",
                next_step="package it again from the original files",
            )
