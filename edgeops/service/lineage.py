"""Where a version comes from and where it went: its lineage, its ancestors, its rollouts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from device_agent.protocol.manifest import Variant, Waiver
from edgeops.domain.errors import InvalidInput, NotFound
from edgeops.domain.registry import Version, parse_reference
from edgeops.domain.rollout import MemberState, Rollout
from edgeops.registry import versions
from edgeops.service import packages
from edgeops.service.context import Context
from edgeops.store.database import Work

PARENT, ALARM, RETRAINING = "parent", "alarm", "retraining"
"""Keys of a lineage that name something that this hub knows."""
MAX_ANCESTORS = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """One artifact of a version and what was measured of it; None where nothing was."""

    runtime: str
    profiles: tuple[str, ...]
    recipe: str | None = None
    accuracy: float | None = None
    drop_low: float | None = None
    drop_high: float | None = None
    confidence: float | None = None
    rows: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reached:
    """One rollout of a version: how it stands, and on how many of its devices it arrived."""

    id: str
    state: str
    why: str
    committed: int
    devices: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """The alarm that a version answers; only its id if this hub has none of that id."""

    id: str
    known: bool = False
    kind: str = ""
    reference: str = ""
    cohort: str = ""
    devices: int = 0
    since_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ancestor:
    """A version that the one before it in the chain was made from."""

    reference: str
    digest: str
    created_s: float
    created_by: str
    lineage: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Lineage:
    """All that is known of a version's origin and whereabouts.

    Attributes:
        reference: the version.
        digest: of its manifest.
        created_s: when it was published.
        created_by: who published it.
        lineage: as the manifest says it.
        ancestors: the parent, its parent, and so on.
        chain_end: why the chain ends where it does, empty if its last version names no parent.
        alarm: what it answers, None if it names none.
        retraining: what made it, empty if nothing did.
        variants: its artifacts.
        waivers: gates that were waived, and why.
        aliases: names that point at it now.
        rollouts: oldest first.
    """

    reference: str
    digest: str
    created_s: float
    created_by: str
    lineage: Mapping[str, str]
    ancestors: tuple[Ancestor, ...] = ()
    chain_end: str = ""
    alarm: Cause | None = None
    retraining: str = ""
    variants: tuple[Made, ...] = ()
    waivers: tuple[Waiver, ...] = ()
    aliases: tuple[str, ...] = ()
    rollouts: tuple[Reached, ...] = ()


def trace(context: Context, reference: str) -> Lineage:
    """Return the lineage of a version.

    Raises:
        NotFound: no such version.
        InvalidInput: no reference.
    """
    with context.database.read() as work:
        version = versions.resolve(work.registry, reference)
        ancestors, chain_end = _ancestors(work, version)
        aliases = work.registry.aliases(version.model)
        rollouts = work.rollouts.of_version(version.model, version.number)
        cause = _cause(work, version.lineage.get(ALARM, ""))
    manifest = packages.manifest_of(context, version)
    return Lineage(
        reference=version.reference,
        digest=version.digest,
        created_s=version.created_s,
        created_by=version.created_by,
        lineage=dict(sorted(version.lineage.items())),
        ancestors=ancestors,
        chain_end=chain_end,
        alarm=cause,
        retraining=version.lineage.get(RETRAINING, ""),
        variants=tuple(_made(each) for each in manifest.variants),
        waivers=version.waivers,
        aliases=tuple(each.name for each in aliases if each.number == version.number),
        rollouts=tuple(_reached(each) for each in rollouts),
    )


def _ancestors(work: Work, version: Version) -> tuple[tuple[Ancestor, ...], str]:
    """Follow the parents; return them, and why the chain ends if it does so before its root."""
    found: list[Ancestor] = []
    seen = {version.reference}
    while PARENT in version.lineage:
        named = version.lineage[PARENT]
        if len(found) == MAX_ANCESTORS:
            return tuple(found), f"not followed beyond {MAX_ANCESTORS} versions"
        try:
            if parse_reference(named).number is None:
                return tuple(found), f"{named!r} is no NAME:NUMBER"
            version = versions.resolve(work.registry, named)
        except InvalidInput:
            return tuple(found), f"{named!r} is no NAME:NUMBER"
        except NotFound:
            return tuple(found), f"{named} is not on this hub"
        if version.reference in seen:
            return tuple(found), f"{named} again: the chain is a circle"
        seen.add(version.reference)
        found.append(
            Ancestor(
                reference=version.reference,
                digest=version.digest,
                created_s=version.created_s,
                created_by=version.created_by,
                lineage=dict(sorted(version.lineage.items())),
            )
        )
    return tuple(found), ""


def _cause(work: Work, alarm_id: str) -> Cause | None:
    if not alarm_id:
        return None
    known = {each.id: each for each in work.drift.alarms()}
    alarm = known.get(alarm_id)
    if alarm is None:
        return Cause(id=alarm_id)
    return Cause(
        id=alarm.id,
        known=True,
        kind=str(alarm.kind),
        reference=f"{alarm.model}:{alarm.number}",
        cohort=alarm.cohort,
        devices=len(alarm.devices),
        since_s=alarm.since_s,
    )


def _made(variant: Variant) -> Made:
    plain = Made(runtime=variant.runtime, profiles=variant.profiles)
    evidence = variant.evidence
    if evidence is None:
        return plain
    return replace(
        plain,
        recipe=evidence.recipe,
        accuracy=evidence.accuracy,
        drop_low=evidence.drop_low,
        drop_high=evidence.drop_high,
        confidence=evidence.confidence,
        rows=evidence.rows,
    )


def _reached(rollout: Rollout) -> Reached:
    return Reached(
        id=rollout.id,
        state=str(rollout.state),
        why=rollout.why,
        committed=sum(each.state is MemberState.COMMITTED for each in rollout.members),
        devices=len(rollout.members),
    )
