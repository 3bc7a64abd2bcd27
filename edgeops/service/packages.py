"""Publishing packages, finding versions, moving aliases."""

from __future__ import annotations

from dataclasses import dataclass

from device_agent.protocol.chunks import MAX_BLOB_BYTES
from device_agent.protocol.envelope import Signature
from device_agent.protocol.errors import ProtocolError
from device_agent.protocol.ids import Digest
from device_agent.protocol.manifest import MAX_MANIFEST_BYTES, Manifest
from edgeops.access import audit
from edgeops.domain.errors import InvalidInput, NotTrusted
from edgeops.domain.registry import Alias, ModelSummary, Version
from edgeops.registry import versions
from edgeops.service.context import Context
from edgeops.trust.keys import verify_signature


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelDetail:
    """A model with its versions and aliases."""

    versions: tuple[Version, ...]
    aliases: tuple[Alias, ...]


def put_blob(context: Context, digest: Digest, data: bytes) -> None:
    """Keep a blob of a package that will be published.

    Raises:
        InvalidInput: the bytes do not have that digest, or are too many.
        StoreFailed: the disk said no.
    """
    if len(data) > MAX_BLOB_BYTES:
        raise InvalidInput(f"a blob of {len(data)} bytes, more than {MAX_BLOB_BYTES}")
    context.blobs.put(digest, data)


def publish(context: Context, actor: str, manifest_digest: Digest, signature: Signature) -> Version:
    """Register a package whose blobs are here: verify, check, enter, record.

    Raises:
        NotFound: the manifest or one of its blobs was not uploaded.
        NotTrusted: not signed by a targets key of this hub's root, or altered.
        InvalidInput: not a manifest.
        Conflict: the number is taken by another package.
    """
    data = read_blob(context, manifest_digest, MAX_MANIFEST_BYTES)
    check_signature(context, data, signature)
    manifest = _parse(data)
    for variant in manifest.variants:
        for blob in variant.blobs:
            if context.blobs.size(blob.ref.digest) != blob.ref.size_bytes:
                raise InvalidInput(f"blob {blob.ref.digest} has another size than signed")
    version = Version(
        model=manifest.model,
        number=manifest.version,
        digest=manifest_digest,
        size_bytes=len(data),
        signature=signature,
        created_s=context.clock(),
        created_by=actor,
        lineage=manifest.lineage,
        waivers=manifest.waivers,
    )
    with context.database.begin() as work:
        known = {each.digest for each in work.registry.versions(version.model)}
        entered = versions.publish(work.registry, version)
        if manifest_digest not in known:
            now_s = context.clock()
            subject = version.reference
            audit.record(
                work.audit, now_s, actor, "package.publish", subject, digest=manifest_digest
            )
            for waiver in manifest.waivers:
                audit.record(
                    work.audit,
                    now_s,
                    actor,
                    "model.waiver",
                    subject,
                    gate=waiver.gate,
                    reason=waiver.reason,
                )
    return entered


def check_signature(context: Context, manifest: bytes, signature: Signature) -> None:
    """Refuse a manifest that no targets key of this hub's root signed.

    Raises:
        NotTrusted: a foreign key, or other bytes than were signed.
    """
    key = context.root.keys_of("targets").get(signature.keyid)
    if key is None:
        raise NotTrusted(
            "the package is not signed by a key that this hub's root of trust names",
            next_step="sign it with the keys that the hub was set up with (--keys)",
        )
    if not verify_signature(key, signature.value, manifest):
        raise NotTrusted(
            "the package's signature does not fit its manifest: it was altered",
            next_step="package it again from the original files",
        )


def read_blob(context: Context, digest: Digest, most_bytes: int) -> bytes:
    """Return a whole blob.

    Raises:
        NotFound: it is not here.
        InvalidInput: it is larger than ``most_bytes``.
    """
    size = context.blobs.size(digest)
    if size > most_bytes:
        raise InvalidInput(f"blob {digest} has {size} bytes, more than {most_bytes}")
    return context.blobs.read(digest, 0, size)


def manifest_of(context: Context, version: Version) -> Manifest:
    """Return the manifest of a version."""
    return _parse(read_blob(context, version.digest, MAX_MANIFEST_BYTES))


def find(context: Context, reference: str) -> Version:
    """Return the version that ``kws:2``, ``kws@production`` or ``kws`` means."""
    with context.database.read() as work:
        return versions.resolve(work.registry, reference)


def models(context: Context) -> tuple[ModelSummary, ...]:
    """Return every model."""
    with context.database.read() as work:
        return versions.list_models(work.registry)


def model(context: Context, name: str) -> ModelDetail:
    """Return a model's versions and aliases."""
    with context.database.read() as work:
        known = versions.list_versions(work.registry, name)
        return ModelDetail(versions=known, aliases=work.registry.aliases(known[0].model))


def next_number(context: Context, name: str) -> int:
    """Return the number that the next version of a model takes."""
    with context.database.read() as work:
        return versions.next_number(work.registry, name)


def move_alias(
    context: Context,
    actor: str,
    model_name: str,
    name: str,
    number: int,
    expected_revision: int | None,
) -> Alias:
    """Point an alias at a version.

    Raises:
        NotFound: no such version.
        Conflict: somebody moved the alias meanwhile.
    """
    with context.database.begin() as work:
        alias = versions.set_alias(work.registry, model_name, name, number, expected_revision)
        audit.record(
            work.audit,
            context.clock(),
            actor,
            "alias.set",
            f"{model_name}@{name}",
            number=number,
            revision=alias.revision,
        )
        return alias


def _parse(data: bytes) -> Manifest:
    try:
        return Manifest.from_bytes(data)
    except ProtocolError as error:
        raise InvalidInput(
            f"not an edge manifest: {error}", next_step="make it with: edgeops package"
        ) from error
