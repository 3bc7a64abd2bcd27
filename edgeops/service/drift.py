"""Drift and harm: what windows say against the package's reference and evidence."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from device_agent.protocol.chunks import MAX_BLOB_BYTES
from device_agent.protocol.errors import ProtocolError
from device_agent.protocol.evidence import Evidence
from device_agent.protocol.ids import DeviceId, Digest
from device_agent.protocol.items import Window
from device_agent.protocol.manifest import Manifest, Variant
from device_agent.protocol.reference import ReferenceProfile
from edgeops.access import audit
from edgeops.domain.drift import Alarm, AlarmKind
from edgeops.domain.errors import Conflict, EdgeopsError, InvalidInput, NotFound
from edgeops.domain.fleet import Device
from edgeops.domain.registry import Version
from edgeops.drift.accuracy import RecentAnswers, calibration_of, estimated_accuracy
from edgeops.drift.alarms import cohort_of, join
from edgeops.drift.baseline import baseline_of, counts_of
from edgeops.drift.harm import HarmWatcher
from edgeops.drift.watch import DriftWatcher, Watch
from edgeops.fleet.inventory import serving
from edgeops.registry import versions
from edgeops.service import packages
from edgeops.service.context import HUB_ACTOR, Context
from edgeops.statistics.attribution import Attribution
from edgeops.statistics.label_free import CalibrationTable
from edgeops.statistics.shiryaev_roberts import DetectorState
from edgeops.store.database import Work

logger = logging.getLogger(__name__)

WATCHERS = 64
"""Baselines whose detectors are kept in memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How one device stands against the reference of the version that it runs.

    ``estimated_accuracy`` (from confidence, without labels, blind to concept drift) and
    ``labelled_accuracy`` (of ``labelled`` answers) are of its newest ``recent_windows``; None
    where nothing is known.
    """

    device: DeviceId
    model: str
    number: int
    windows: int
    evidence: float
    threshold: float
    harm_evidence: float
    alarmed: bool
    recent_windows: int
    estimated_accuracy: float | None
    labelled_accuracy: float | None
    labelled: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    kind: AlarmKind
    evidence: float
    threshold: float
    since_s: float
    features: tuple[Attribution, ...] = ()


def observe(context: Context, work: Work, name: DeviceId, window: Window) -> str:
    """Take a window into the watch of its device; open or join an alarm if it is time.

    Returns:
        What became of it, as a word for the counters: ``watched``, ``no_reference``,
        ``other_plan`` or ``unknown_version``.
    """
    version = _version(work, window)
    device = work.fleet.get(name)
    if version is None or device is None:
        return "unknown_version"
    variant = variant_on(packages.manifest_of(context, version), device)
    if variant is None or variant.reference is None:
        return "no_reference"
    try:
        watcher = watching_of(context, variant).watcher
        counts = counts_of(watcher.baseline, window)
    except ProtocolError:  # also a reference that cannot be read: the window is taken all the same
        return "other_plan"
    stored = work.drift.watch(name, window.model, window.version) or {}
    watch = Watch.from_document(stored["drift"]) if "drift" in stored else watcher.start()
    watch, verdict = watcher.step(watch, window.started_s, counts)
    document: dict[str, Any] = {
        "answers": _answers(stored).after(window).to_document(),
        "drift": watch.to_document(),
        "windows": verdict.windows,
        "evidence": verdict.evidence,
        "threshold": verdict.threshold,
    }
    if verdict.drifted and verdict.since_s is not None:
        found = _Found(
            kind=AlarmKind.DRIFT,
            evidence=verdict.evidence,
            threshold=verdict.threshold,
            since_s=verdict.since_s,
            features=verdict.features,
        )
        _alarm(context, work, device, version, found)
    harm = _watch_harm(context, work, device, version, variant.evidence, stored, window, watch)
    document |= harm
    work.drift.put_watch(name, window.model, window.version, document)
    return "watched"


def _watch_harm(
    context: Context,
    work: Work,
    device: Device,
    version: Version,
    evidence: Evidence | None,
    stored: Mapping[str, Any],
    window: Window,
    watch: Watch,
) -> dict[str, Any]:
    if evidence is None:
        return {}
    watcher = HarmWatcher(1.0 - evidence.accuracy, evidence.rows)
    state = DetectorState.from_document(stored["harm"]) if "harm" in stored else watcher.start()
    state, verdict = watcher.step(state, window)
    if verdict.harmed:
        # By the starts, not by a length: windows of a long outage were added together.
        starts = watch.started_s
        found = _Found(
            kind=AlarmKind.HARM,
            evidence=verdict.evidence,
            threshold=verdict.threshold,
            since_s=starts[-min(len(starts), max(1, verdict.windows_back))],
        )
        _alarm(context, work, device, version, found)
    return {"harm": state.to_document(), "harm_evidence": verdict.evidence}


def alarms(context: Context, *, only_open: bool = False) -> tuple[Alarm, ...]:
    """Return the alarms, oldest first."""
    with context.database.read() as work:
        return tuple(each for each in work.drift.alarms() if each.is_open or not only_open)


def alarm(context: Context, alarm_id: str) -> Alarm:
    """Return one alarm.

    Raises:
        NotFound: there is none.
    """
    with context.database.read() as work:
        return _get(work, alarm_id)


def close(context: Context, actor: str, alarm_id: str, why: str) -> Alarm:
    """Close an alarm: somebody has looked into it.

    Raises:
        NotFound: there is none.
        Conflict: it is closed already.
        InvalidInput: no reason.
    """
    if not why.strip():
        raise InvalidInput("an alarm is closed with a reason", next_step="say what you found")
    with context.database.begin() as work:
        found = _get(work, alarm_id)
        if not found.is_open:
            raise Conflict(f"alarm {alarm_id} is closed already", next_step="edgeops drift status")
        closed = replace(found, closed_s=context.clock())
        work.drift.put_alarm(closed)
        audit.record(work.audit, context.clock(), actor, "drift.close", alarm_id, why=why)
        return closed


def standings(context: Context, reference: str) -> tuple[Standing, ...]:
    """Return how every device that reported windows of a version stands.

    A name alone (``kws``) means the version that most devices serve, not the newest.
    """
    with context.database.read() as work:
        version = versions.resolve(work.registry, reference)
        if reference == version.model:
            number = serving(work.fleet.all(), version.model) or version.number
            version = versions.resolve(work.registry, f"{version.model}:{number}")
        opened = [a for a in work.drift.alarms() if a.is_open and a.number == version.number]
        alarmed = {name for a in opened if a.model == version.model for name in a.devices}
        watches = sorted(work.drift.watches_of(version.model, version.number).items())
        devices = {device.id: device for device in work.fleet.all()}
    manifest = packages.manifest_of(context, version)
    return tuple(
        _standing(
            name,
            version,
            document,
            _calibration(context, manifest, devices.get(name)),
            alarmed=name in alarmed,
        )
        for name, document in watches
    )


def _standing(
    name: DeviceId,
    version: Version,
    document: Mapping[str, Any],
    calibration: CalibrationTable | None,
    *,
    alarmed: bool,
) -> Standing:
    answers = _answers(document)
    return Standing(
        device=name,
        model=version.model,
        number=version.number,
        windows=document["windows"],
        evidence=document["evidence"],
        threshold=document["threshold"],
        harm_evidence=document.get("harm_evidence", 0.0),
        alarmed=alarmed,
        recent_windows=answers.windows,
        estimated_accuracy=estimated_accuracy(calibration, answers.confidence),
        labelled_accuracy=answers.labelled_accuracy,
        labelled=answers.labelled,
    )


def _answers(document: Mapping[str, Any]) -> RecentAnswers:
    known = document.get("answers")
    return RecentAnswers.from_document(known) if known else RecentAnswers.start()


def _calibration(
    context: Context, manifest: Manifest, device: Device | None
) -> CalibrationTable | None:
    variant = variant_on(manifest, device) if device else None
    if variant is None or variant.reference is None:
        return None
    return watching_of(context, variant).calibration


def _alarm(context: Context, work: Work, device: Device, version: Version, found: _Found) -> None:
    known = [
        each
        for each in work.drift.alarms()
        if each.is_open
        and (each.model, each.number, each.kind) == (version.model, version.number, found.kind)
    ]
    before = known[0] if known else None
    now_s = context.clock()
    opened = before or Alarm(
        id=work.drift.next_alarm_id(),
        model=version.model,
        number=version.number,
        kind=found.kind,
        opened_s=now_s,
        since_s=found.since_s,
        threshold=found.threshold,
    )
    joined = join(opened, device.id, found.evidence, found.since_s, found.features)
    runs = set(work.drift.watches_of(version.model, version.number)) | {device.id}
    joined = replace(
        joined,
        cohort=cohort_of(joined.devices, [d for d in work.fleet.all() if d.id in runs]),
    )
    work.drift.put_alarm(joined)
    if before is None or device.id not in before.devices:
        audit.record(
            work.audit,
            now_s,
            HUB_ACTOR,
            "drift.alarm",
            joined.id,
            version=version.reference,
            kind=str(found.kind),
            device=device.id,
        )


def _get(work: Work, alarm_id: str) -> Alarm:
    for each in work.drift.alarms():
        if each.id == alarm_id:
            return each
    raise NotFound(f"there is no alarm {alarm_id}", next_step="edgeops drift status")


def _version(work: Work, window: Window) -> Version | None:
    for version in work.registry.versions(window.model):
        if version.number == window.version and version.digest == window.digest:
            return version
    return None


def variant_on(manifest: Manifest, device: Device) -> Variant | None:
    """Return the variant that a device runs of a version, None if it can run none."""
    runtimes = frozenset(device.reported.runtimes) if device.reported else frozenset()
    return manifest.variant_for(device.profile, runtimes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Watching:
    """What the windows of one artifact are held against."""

    watcher: DriftWatcher
    calibration: CalibrationTable | None


def watching_of(context: Context, variant: Variant) -> Watching:
    """Return what windows of a variant are held against.

    Raises:
        EdgeopsError: the variant has no reference profile.
        NotFound: the profile's blob is gone.
    """
    if variant.reference is None:
        raise EdgeopsError("the variant has no reference profile")
    data = packages.read_blob(context, variant.reference.ref.digest, MAX_BLOB_BYTES)
    return _watching_of(variant.reference.ref.digest, data)


@lru_cache(maxsize=WATCHERS)
def _watching_of(_digest: Digest, data: bytes) -> Watching:
    reference = ReferenceProfile.from_bytes(data)
    return Watching(
        watcher=DriftWatcher(baseline_of(reference, None)),
        calibration=calibration_of(reference),
    )
