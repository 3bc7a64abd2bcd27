"""Facts: all that a report knows. Whoever has the data fills them; nothing else is looked up.

Moments are seconds since the epoch. Empty tuples mean that there is nothing of that kind yet.
"""

from __future__ import annotations

from dataclasses import dataclass

from device_agent.protocol.evidence import Evidence, MetricEvidence
from edgeops.domain.rollout import FAILURES


@dataclass(frozen=True, slots=True, kw_only=True)
class VariantFacts:
    """One artifact of a version.

    Attributes:
        runtime: what runs it.
        profiles: classes of board that it is for.
        size_bytes: of the artifact.
        golden_accuracy: on the golden rows, in 0..1; None if they have no labels.
        evidence: what was measured on evaluation rows, None if nothing was.
        metric: another measure than accuracy, None if none was asked for.
    """

    runtime: str
    profiles: tuple[str, ...]
    size_bytes: int
    golden_accuracy: float | None
    evidence: Evidence | None
    metric: MetricEvidence | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionFacts:
    """One version of the model.

    Attributes:
        number: of the version.
        digest: of its manifest.
        created_s: when it was published.
        created_by: who published it.
        aliases: names that point at it now.
        waivers: ``(gate, reason)``, gates that a person waived.
        lineage: ``(key, value)``, where it comes from.
        labels: names of the classes, in the order of the model's scores.
        variants: its artifacts.
    """

    number: int
    digest: str
    created_s: float
    created_by: str
    aliases: tuple[str, ...] = ()
    waivers: tuple[tuple[str, str], ...] = ()
    lineage: tuple[tuple[str, str], ...] = ()
    labels: tuple[str, ...] = ()
    variants: tuple[VariantFacts, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberFacts:
    """One device's part in a rollout.

    Attributes:
        device: its id.
        cohort: what it shares with others, empty if that is not known.
        wave: 0 is the canary.
        state: of the member, as in ``edgeops.domain.rollout.MemberState``.
        reason: why it failed, empty if it did not.
        steps: ``(device state, at_s)``, the states that the device reached.
        ordered_s: when its desired state named the version, None if that never happened.
        ended_s: when it concluded, None while it has not.
    """

    device: str
    cohort: str
    wave: int
    state: str
    reason: str = ""
    steps: tuple[tuple[str, float], ...] = ()
    ordered_s: float | None = None
    ended_s: float | None = None

    @property
    def has_failed(self) -> bool:
        """Whether it was this device that did not take the version."""
        return bool(self.reason) or self.state in FAILURES


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutFacts:
    """One rollout: ``state`` as in ``edgeops.domain.rollout.RolloutState``, ``why`` it ended so."""

    id: str
    number: int
    state: str
    why: str
    created_s: float
    members: tuple[MemberFacts, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class AlarmFacts:
    """One alarm.

    Attributes:
        id: of the alarm.
        kind: ``drift`` or ``harm``.
        number: of the version that it is about.
        since_s: estimated beginning of the change.
        opened_s: when it was raised.
        closed_s: when a person closed it, None while it is open.
        cohort: what its devices share and others do not, empty if there is nothing.
        devices: that show it.
        features: ``(name, psi, ks, direction)``, those that explain it, the most telling first.
    """

    id: str
    kind: str
    number: int
    since_s: float
    opened_s: float
    closed_s: float | None = None
    cohort: str = ""
    devices: tuple[str, ...] = ()
    features: tuple[tuple[str, float, float, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """Drift of one version on one device: ``points`` are ``(at_s, evidence / threshold)``."""

    device: str
    cohort: str
    number: int
    points: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class AccuracySeries:
    """Accuracy in one cohort: ``points`` are ``(at_s, correct, labelled)``.

    An estimate without labels is written as ``(at_s, accuracy in 1/10000, 10000)``.
    """

    cohort: str
    points: tuple[tuple[float, int, int], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ContestFacts:
    """Champion and challenger on the same rows.

    Attributes:
        rows_name: which rows these are.
        rows: how many.
        champion: accuracy of the version in service, in 0..1.
        challenger: accuracy of the retrained one.
        gain_low: lower end of the interval of the gain, challenger minus champion.
        gain_high: its upper end.
    """

    rows_name: str
    rows: int
    champion: float
    challenger: float
    gain_low: float
    gain_high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrainFacts:
    """One retraining.

    Attributes:
        id: of the retraining.
        state: where it stands.
        alarm: id of the alarm that asked for it, empty if a person did.
        parent: number of the version that it starts from.
        child: number of the version that it made, None if it made none.
        why: the verdict in words.
        started_s: when it began.
        ended_s: when it ended, None while it has not.
        metrics: ``(name, value)`` of the training.
        contests: new against old.
        data: what it was trained on.
    """

    id: str
    state: str
    alarm: str
    parent: int
    child: int | None
    why: str
    started_s: float
    ended_s: float | None = None
    metrics: tuple[tuple[str, float], ...] = ()
    contests: tuple[ContestFacts, ...] = ()
    data: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TrafficFacts:
    """What one thing cost to deliver: its size, to how many devices, the bytes that were sent."""

    what: str
    size_bytes: int
    devices: int
    sent_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportFacts:
    """One model's life in a fleet.

    Attributes:
        title: of the report.
        model: name of the model.
        generated_s: when the facts were gathered: the report ends there.
        hub: version of the hub.
        versions: of the model, oldest first.
        rollouts: oldest first.
        alarms: oldest first.
        drift: a series for each version on each device.
        accuracy: on labelled inferences.
        estimated: without labels, from confidence.
        retrainings: oldest first.
        traffic: bytes over the air.
        audit: ``(entries, unbroken)``.
    """

    title: str
    model: str
    generated_s: float
    hub: str
    versions: tuple[VersionFacts, ...] = ()
    rollouts: tuple[RolloutFacts, ...] = ()
    alarms: tuple[AlarmFacts, ...] = ()
    drift: tuple[Series, ...] = ()
    accuracy: tuple[AccuracySeries, ...] = ()
    estimated: tuple[AccuracySeries, ...] = ()
    retrainings: tuple[RetrainFacts, ...] = ()
    traffic: tuple[TrafficFacts, ...] = ()
    audit: tuple[int, bool] = (0, True)
