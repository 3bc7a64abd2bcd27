"""Packages on the device: from a manifest among the blobs to a model that answers."""

from __future__ import annotations

from dataclasses import field
from datetime import timezone, tzinfo
from pathlib import Path
from typing import TYPE_CHECKING

from device_agent.core.counts import Counts
from device_agent.core.records import ModelRecord
from device_agent.protocol.codec import decode, encode
from device_agent.protocol.errors import ModelRefused, ProtocolError, StorageFailed
from device_agent.protocol.fields import Fields
from device_agent.protocol.ids import Digest, ModelName, digest_of
from device_agent.protocol.manifest import MAX_MANIFEST_BYTES, Manifest, Variant
from device_agent.protocol.reasons import Reason
from device_agent.protocol.values import dataclass
from device_agent.shell.blobs import blob_path, is_whole
from device_agent.shell.doors import Clock, Machine
from device_agent.shell.live import LiveModel, LiveModels
from device_agent.shell.storage import Storage

if TYPE_CHECKING:
    from device_agent.protocol.plan import SketchPlan


def read_manifest(storage: Storage, digest: Digest) -> Manifest | None:
    """Return a manifest that lies among the blobs, None if it does not (or is damaged)."""
    data = storage.read(blob_path(digest))
    if data is None or len(data) > MAX_MANIFEST_BYTES or digest_of(data) != digest:
        return None
    try:
        return Manifest.from_bytes(data)
    except ProtocolError:
        return None


def has_blob(storage: Storage, digest: Digest) -> bool:
    """Tell whether a blob lies on the disk and is what its name says."""
    return is_whole(storage, blob_path(digest), digest)


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """What must be known of this device to choose, test and load a package."""

    root: Path
    profile: str
    agent_version: str
    machine: Machine = field(default_factory=Machine)
    threads: int = 1
    clock: Clock = field(default_factory=Clock)
    zone: tzinfo = timezone.utc
    """The device's own, for maintenance windows."""
    reserve_bytes: int = 1024 * 1024
    """Kept free on the disk for the journal and the outbox."""
    disk_budget_bytes: int | None = None
    """What the blobs of all models together may take, None for what the disk has."""
    self_test_timeout_s: float = 60.0
    self_test_memory_mib: int = 1024


def load_into(
    storage: Storage, host: Host, live: LiveModels, record: ModelRecord, letter: str
) -> None:
    """Load the package of a slot and let it answer from now on.

    Raises:
        ModelRefused: manifest or artifact is missing or damaged, or the runtime refuses it;
            what answered before still does.
    """
    digest = record.slots[letter].manifest.digest
    manifest = read_manifest(storage, digest)
    variant = manifest.variant_for(host.profile, host.machine.runtimes) if manifest else None
    if manifest is None or variant is None:
        raise ModelRefused(Reason.LOAD_FAILED, f"manifest {digest} is missing or damaged")
    artifact = variant.artifact.ref.digest
    if not has_blob(storage, artifact):
        raise ModelRefused(Reason.LOAD_FAILED, f"artifact {artifact} is missing or damaged")
    path = host.root / blob_path(artifact)
    loaded = host.machine.load(variant.runtime, path, host.threads)
    before = load_counts(storage, record.name, letter)
    live.exchange(
        record.name,
        LiveModel(
            digest=digest,
            manifest=manifest,
            variant=variant,
            loaded=loaded,
            before=before,
            plan=_plan(storage, variant),
            timer_ns=live.timer_ns,
        ),
    )


def _plan(storage: Storage, variant: Variant) -> SketchPlan | None:
    """Return what to count of the inputs; a damaged reference only costs the counting."""
    if variant.reference is None:
        return None
    from device_agent.protocol.reference import ReferenceProfile

    try:
        data = storage.read(blob_path(variant.reference.ref.digest)) or b""
        return ReferenceProfile.from_bytes(data).plan
    except (ProtocolError, StorageFailed):
        return None


def sizes_of(storage: Storage, host: Host, record: ModelRecord) -> dict[Digest, int]:
    """Return digest and bytes of everything that a model's slots and running deployment need."""
    manifests = {slot.manifest.digest: slot.manifest for slot in record.slots.values()}
    running = record.deployment
    if running is not None and not running.is_final:
        manifests[running.digest] = running.order.manifest
    sizes: dict[Digest, int] = {}
    for digest, ref in manifests.items():
        sizes[digest] = ref.size_bytes
        manifest = read_manifest(storage, digest)
        variant = manifest.variant_for(host.profile, host.machine.runtimes) if manifest else None
        if variant is not None:
            sizes |= {blob.ref.digest: blob.ref.size_bytes for blob in variant.blobs}
    return sizes


def referenced(storage: Storage, host: Host, record: ModelRecord) -> frozenset[Digest]:
    """Return the digests that a model's slots and running deployment need."""
    return frozenset(sizes_of(storage, host, record))


def save_counts(storage: Storage, name: ModelName, slot: str, counts: Counts) -> None:
    """Keep the counts of a slot's version: the reference that its successor is compared with.

    A disk that refuses only costs the reference after a restart, so it is not an error here.
    """
    document = {
        "inferences": counts.inferences,
        "failures": counts.failures,
        "nonfinite": counts.nonfinite,
        "classes": list(counts.classes),
        "confidence": list(counts.confidence),
        "latency": list(counts.latency),
        "labelled": counts.labelled,
        "labelled_correct": counts.labelled_correct,
    }
    try:
        storage.replace(f"models/{name}/counts-{slot}.json", encode(document))
    except StorageFailed:
        return


def forget_counts(storage: Storage, name: ModelName, slot: str) -> None:
    """Begin a slot's counts anew."""
    storage.remove(f"models/{name}/counts-{slot}.json")


def load_counts(storage: Storage, name: ModelName, slot: str) -> Counts | None:
    """Return the kept counts of a slot's version."""
    try:
        data = storage.read(f"models/{name}/counts-{slot}.json")
        if data is None:
            return None
        fields = Fields(decode(data), "counts")
        return Counts(
            inferences=fields.integer("inferences"),
            failures=fields.integer("failures"),
            nonfinite=fields.integer("nonfinite"),
            classes=fields.integers("classes", max_items=4096),
            confidence=fields.integers("confidence", max_items=4096),
            latency=fields.integers("latency", max_items=4096),
            labelled=fields.integer("labelled"),
            labelled_correct=fields.integer("labelled_correct"),
        )
    except (ProtocolError, StorageFailed):
        return None
