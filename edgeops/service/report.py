"""Facts of one model's life, gathered from the hub's stores; whoever asks draws them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from device_agent.protocol.errors import ProtocolError
from device_agent.protocol.ids import DeviceId, Digest
from device_agent.protocol.items import Window
from device_agent.protocol.manifest import ChunkedBlob, Manifest, Variant
from edgeops import __version__
from edgeops.access import audit
from edgeops.domain.drift import Alarm
from edgeops.domain.fleet import Device
from edgeops.domain.registry import Alias, Version
from edgeops.domain.retraining import Retraining
from edgeops.domain.rollout import CONCLUDED, Member, MemberState, Rollout
from edgeops.drift.accuracy import estimated_accuracy
from edgeops.drift.baseline import counts_of
from edgeops.registry import versions
from edgeops.reports.facts import (
    AccuracySeries,
    AlarmFacts,
    ContestFacts,
    MemberFacts,
    ReportFacts,
    RetrainFacts,
    RolloutFacts,
    Series,
    TrafficFacts,
    VariantFacts,
    VersionFacts,
)
from edgeops.retraining.machine import FINAL
from edgeops.service import packages
from edgeops.service.context import Context
from edgeops.service.drift import Watching, variant_on, watching_of

MAX_WINDOWS = 4000
"""The newest windows of the model that a report reads; older ones are not drawn, and evidence is
counted from the oldest that is."""
BUCKETS = 60
"""Points of a line of accuracy, at most (more where devices' clocks are far apart)."""
ENDED = CONCLUDED | {MemberState.REVERTED}
ESTIMATE_ROWS = 10_000
"""An estimate of accuracy is written as so many answers, as the facts ask for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Gathered:
    """What the database holds of the model, read at one moment."""

    versions: tuple[Version, ...]
    aliases: tuple[Alias, ...]
    rollouts: tuple[Rollout, ...]
    alarms: tuple[Alarm, ...]
    retrainings: tuple[Retraining, ...]
    devices: Mapping[DeviceId, Device]
    windows: tuple[tuple[DeviceId, Window], ...]
    sent: Mapping[Digest, int]
    audit: tuple[int, bool]

    @property
    def cohort_key(self) -> str:
        """The label that tells the newest alarm's cohort, else the profile."""
        named = [alarm.cohort for alarm in self.alarms if alarm.cohort]
        return named[-1].partition("=")[0] if named else "profile"

    def cohort(self, name: DeviceId) -> str:
        """Return the cohort of a device as a selector term; empty for one that was removed."""
        device = self.devices.get(name)
        if device is None:
            return ""
        labels = device.all_labels
        key = self.cohort_key if self.cohort_key in labels else "profile"
        return f"{key}={labels[key]}"


def gather(context: Context, model: str) -> ReportFacts:
    """Return the facts of a model's life so far.

    Args:
        context: of the hub.
        model: its name.

    Raises:
        NotFound: no such model, or a blob of its packages is gone.
    """
    found = _gathered(context, model)
    manifests = {each.number: packages.manifest_of(context, each) for each in found.versions}
    drift, accuracy, estimated = _seen_in_windows(context, found, manifests)
    return ReportFacts(
        title=f"{found.versions[0].model} in its fleet",
        model=found.versions[0].model,
        generated_s=context.clock(),
        hub=__version__,
        versions=tuple(
            _version(each, manifests[each.number], found.aliases) for each in found.versions
        ),
        rollouts=tuple(_rollout(each, found) for each in found.rollouts),
        alarms=tuple(_alarm(each) for each in found.alarms),
        drift=drift,
        accuracy=accuracy,
        estimated=estimated,
        retrainings=tuple(_retraining(each) for each in found.retrainings),
        traffic=_traffic(found, manifests),
        audit=found.audit,
    )


def _gathered(context: Context, model: str) -> _Gathered:
    with context.database.read() as work:
        known = versions.list_versions(work.registry, model)
        name = known[0].model
        rollouts = [
            rollout for each in known for rollout in work.rollouts.of_version(name, each.number)
        ]
        report = audit.verify(work.audit)
        return _Gathered(
            versions=known,
            aliases=work.registry.aliases(name),
            rollouts=tuple(sorted(rollouts, key=lambda each: (each.created_s, each.id))),
            alarms=tuple(each for each in work.drift.alarms() if each.model == name),
            retrainings=tuple(each for each in work.retraining.all() if each.model == name),
            devices={device.id: device for device in work.fleet.all()},
            windows=tuple(reversed(work.inbox.windows_of(name, limit=MAX_WINDOWS))),
            sent=work.delivery.all(),
            audit=(report.count, report.ok),
        )


def _retraining(each: Retraining) -> RetrainFacts:
    return RetrainFacts(
        id=each.id,
        state=each.state,
        alarm=each.alarm,
        parent=each.parent,
        child=each.child,
        why=each.why,
        started_s=each.created_s,
        ended_s=each.updated_s if each.state in FINAL else None,
        metrics=tuple(sorted(each.metrics.items())),
        contests=tuple(
            ContestFacts(
                rows_name=f"{contest.name} by {contest.runtime}",
                rows=contest.rows,
                champion=contest.champion,
                challenger=contest.challenger,
                gain_low=contest.gain_low,
                gain_high=contest.gain_high,
            )
            for contest in each.contests
        ),
        data=each.train,
    )


def _version(version: Version, manifest: Manifest, aliases: Iterable[Alias]) -> VersionFacts:
    return VersionFacts(
        number=version.number,
        digest=version.digest,
        created_s=version.created_s,
        created_by=version.created_by,
        aliases=tuple(each.name for each in aliases if each.number == version.number),
        waivers=tuple((each.gate, each.reason) for each in version.waivers),
        lineage=tuple(sorted(version.lineage.items())),
        labels=manifest.labels,
        variants=tuple(
            VariantFacts(
                runtime=each.runtime,
                profiles=each.profiles,
                size_bytes=each.artifact.ref.size_bytes,
                golden_accuracy=each.golden_accuracy,
                evidence=each.evidence,
                metric=each.metric,
            )
            for each in manifest.variants
        ),
    )


def _rollout(rollout: Rollout, found: _Gathered) -> RolloutFacts:
    return RolloutFacts(
        id=rollout.id,
        number=rollout.number,
        state=str(rollout.state),
        why=rollout.why,
        created_s=rollout.created_s,
        members=tuple(_member(each, found.cohort(each.device)) for each in rollout.members),
    )


def _member(member: Member, cohort: str) -> MemberFacts:
    """Return a member; of its steps the hub keeps only the last, with its moment."""
    is_known = member.device_state and member.updated_s is not None
    return MemberFacts(
        device=member.device,
        cohort=cohort,
        wave=member.wave,
        state=str(member.state),
        reason=member.reason or "",
        steps=((member.device_state, member.updated_s or 0.0),) if is_known else (),
        ordered_s=member.ordered_s,
        ended_s=member.updated_s if member.state in ENDED else None,
    )


def _alarm(alarm: Alarm) -> AlarmFacts:
    return AlarmFacts(
        id=alarm.id,
        kind=str(alarm.kind),
        number=alarm.number,
        since_s=alarm.since_s,
        opened_s=alarm.opened_s,
        closed_s=alarm.closed_s,
        cohort=alarm.cohort,
        devices=tuple(sorted(alarm.devices)),
        features=tuple((each.name, each.psi, each.ks, each.direction) for each in alarm.features),
    )


@dataclass(slots=True)
class _Bucket:
    """Answers of one cohort in a stretch of time."""

    ended_s: float = 0.0
    correct: int = 0
    labelled: int = 0
    estimated: float = 0.0
    answers: int = 0
    answers_ended_s: float = 0.0


@dataclass(slots=True)
class _Lines:
    """Lines that grow window by window."""

    width_s: float
    points: dict[tuple[DeviceId, int], list[tuple[float, float]]] = field(default_factory=dict)
    states: dict[tuple[DeviceId, int], Any] = field(default_factory=dict)
    buckets: dict[tuple[str, int], _Bucket] = field(default_factory=dict)

    def add(self, device: DeviceId, cohort: str, window: Window, held: Watching | None) -> None:
        """Take a window: its labels, its confidence, its distance from the reference."""
        place = (cohort, int(window.ended_s // self.width_s))
        bucket = self.buckets.setdefault(place, _Bucket())
        if window.labelled:
            bucket.ended_s = max(bucket.ended_s, window.ended_s)
            bucket.correct += window.labelled_correct
            bucket.labelled += window.labelled
        if held is None:
            return
        estimate = estimated_accuracy(held.calibration, window.confidence)
        if estimate is not None:
            answers = sum(window.confidence)
            bucket.answers_ended_s = max(bucket.answers_ended_s, window.ended_s)
            bucket.estimated += estimate * answers
            bucket.answers += answers
        self._follow(device, window, held)

    def _follow(self, device: DeviceId, window: Window, held: Watching) -> None:
        key, watcher = (device, window.version), held.watcher
        try:
            counts = counts_of(watcher.baseline, window)
        except ProtocolError:
            return  # counted by another plan: not comparable, as when it arrived
        state = self.states.get(key) or watcher.start().state
        self.states[key], evidence = watcher.follow(state, counts)
        self.points.setdefault(key, []).append((window.ended_s, evidence))


def _seen_in_windows(
    context: Context, found: _Gathered, manifests: Mapping[int, Manifest]
) -> tuple[tuple[Series, ...], tuple[AccuracySeries, ...], tuple[AccuracySeries, ...]]:
    """Return drift by device and version, accuracy by cohort, estimated accuracy by cohort."""
    digests = {each.number: each.digest for each in found.versions}
    ends = [window.ended_s for _, window in found.windows]
    lines = _Lines(width_s=max(1.0, (max(ends) - min(ends)) / BUCKETS) if ends else 1.0)
    known: dict[tuple[DeviceId, int], Watching | None] = {}
    for name, window in found.windows:
        if digests.get(window.version) != window.digest:
            continue  # of a package that this hub does not know
        key = (name, window.version)
        if key not in known:
            known[key] = _held(context, manifests[window.version], found.devices.get(name))
        lines.add(name, found.cohort(name), window, known[key])
    drift = tuple(
        Series(device=name, cohort=found.cohort(name), number=number, points=tuple(points))
        for (name, number), points in sorted(lines.points.items())
    )
    return drift, _labelled(lines.buckets), _estimated(lines.buckets)


def _held(context: Context, manifest: Manifest, device: Device | None) -> Watching | None:
    """Return what a device's windows are held against, None if there is nothing."""
    variant = variant_on(manifest, device) if device else None
    if variant is None or variant.reference is None:
        return None
    return watching_of(context, variant)


def _labelled(buckets: Mapping[tuple[str, int], _Bucket]) -> tuple[AccuracySeries, ...]:
    points: dict[str, list[tuple[float, int, int]]] = {}
    for (cohort, _), each in sorted(buckets.items()):
        if each.labelled:
            point = (each.ended_s, each.correct, each.labelled)
            points.setdefault(cohort, []).append(point)
    return _series(points)


def _estimated(buckets: Mapping[tuple[str, int], _Bucket]) -> tuple[AccuracySeries, ...]:
    points: dict[str, list[tuple[float, int, int]]] = {}
    for (cohort, _), each in sorted(buckets.items()):
        if each.answers:
            share = round(each.estimated / each.answers * ESTIMATE_ROWS)
            points.setdefault(cohort, []).append((each.answers_ended_s, share, ESTIMATE_ROWS))
    return _series(points)


def _series(points: Mapping[str, list[tuple[float, int, int]]]) -> tuple[AccuracySeries, ...]:
    return tuple(AccuracySeries(cohort=cohort, points=tuple(p)) for cohort, p in points.items())


@dataclass(slots=True)
class _Blob:
    """What a blob is: parts of versions that share it, and who committed one of them."""

    size_bytes: int
    numbers: set[int] = field(default_factory=set)
    parts: set[str] = field(default_factory=set)
    devices: set[DeviceId] = field(default_factory=set)


def _traffic(found: _Gathered, manifests: Mapping[int, Manifest]) -> tuple[TrafficFacts, ...]:
    """Return what was sent of each blob of the model, in the order of versions."""
    blobs: dict[Digest, _Blob] = {}
    for version in found.versions:
        runs = _committed(found, version, manifests[version.number])
        everyone = {name for name, _ in runs}
        _add(blobs, version, version.digest, version.size_bytes, "manifest", everyone)
        for variant in manifests[version.number].variants:
            takers = {name for name, taken in runs if taken is variant}
            for part, blob in _parts(variant):
                what = f"{variant.runtime} {part}"
                _add(blobs, version, blob.ref.digest, blob.ref.size_bytes, what, takers)
    model = found.versions[0].model
    return tuple(
        TrafficFacts(
            what=f"{model}:{','.join(map(str, sorted(blob.numbers)))} "
            f"{' and '.join(sorted(blob.parts))}",
            size_bytes=blob.size_bytes,
            devices=len(blob.devices),
            sent_bytes=found.sent[digest],
        )
        for digest, blob in blobs.items()
        if digest in found.sent
    )


def _parts(variant: Variant) -> Iterator[tuple[str, ChunkedBlob]]:
    yield "artifact", variant.artifact
    if variant.golden is not None:
        yield "golden rows", variant.golden
    if variant.reference is not None:
        yield "reference profile", variant.reference


def _committed(
    found: _Gathered, version: Version, manifest: Manifest
) -> list[tuple[DeviceId, Variant | None]]:
    names = {
        member.device
        for rollout in found.rollouts
        if rollout.number == version.number
        for member in rollout.members
        if member.state is MemberState.COMMITTED
    }
    return [
        (device.id, variant_on(manifest, device))
        for device in found.devices.values()
        if device.id in names
    ]


def _add(
    blobs: dict[Digest, _Blob],
    version: Version,
    digest: Digest,
    size_bytes: int,
    part: str,
    takers: set[DeviceId],
) -> None:
    blob = blobs.setdefault(digest, _Blob(size_bytes=size_bytes))
    blob.numbers.add(version.number)
    blob.parts.add(part)
    blob.devices |= takers
