"""1. What happened, for a reader who knows none of the words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from edgeops.domain.drift import AlarmKind
from edgeops.domain.rollout import MemberState, RolloutState
from edgeops.reports.chapters.desk import Desk
from edgeops.reports.document import Block, Figures, Paragraph, Section, Story
from edgeops.reports.facts import (
    AccuracySeries,
    AlarmFacts,
    ReportFacts,
    RetrainFacts,
    RolloutFacts,
    VersionFacts,
)
from edgeops.reports.moments import duration, ended_s
from edgeops.reports.wording import counted, listed, percent, worded

_MAX_EVENTS = 60
_MIN_LABELLED = 20
"""Fewer labelled inferences than this are no accuracy to put into a sentence."""
_TAKEN_BACK = frozenset({RolloutState.ROLLED_BACK, RolloutState.ROLLING_BACK})


def summary(desk: Desk) -> Section:
    """Return the numbers that say most, the outcome, and the story in order."""
    facts = desk.facts
    events = sorted(_events(desk), key=lambda event: event[0])
    blocks: list[Block] = []
    if events:
        blocks = [
            Figures(items=_figures(facts)),
            Paragraph(text=" ".join(_outcome(facts)), tone="outcome"),
            Story(
                events=tuple(
                    (desk.when(at_s), sentence, tone)
                    for at_s, sentence, tone in events[-_MAX_EVENTS:]
                )
            ),
        ]
        if len(events) > _MAX_EVENTS:
            blocks.append(Paragraph(text=f"{len(events) - _MAX_EVENTS} earlier events left out."))
    return Section(
        anchor="summary",
        title="Summary",
        lead=(
            f"What happened to the model {facts.model}, in order; times are minutes:seconds since "
            "the first event."
        ),
        blocks=tuple(blocks),
    )


def _figures(facts: ReportFacts) -> tuple[tuple[str, str, str], ...]:
    devices = {member.device for rollout in facts.rollouts for member in rollout.members}
    taken_back = sum(rollout.state in _TAKEN_BACK for rollout in facts.rollouts)
    still_open = sum(alarm.closed_s is None for alarm in facts.alarms)
    remark = f"{still_open} still open" if still_open else "none open"
    made = sum(retraining.child is not None for retraining in facts.retrainings)
    items = [
        (str(len(facts.versions)), "versions", f"{made} by retraining" if made else ""),
        (str(len(devices)), "devices", "asked in rollouts" if devices else ""),
        (str(len(facts.rollouts)), "rollouts", f"{taken_back} taken back" if taken_back else ""),
        (str(len(facts.alarms)), "alarms", remark),
    ]
    newest = _newest(facts.accuracy)
    if newest is not None:
        correct, labelled = newest
        items.append((percent(correct / labelled, 0), "right lately", f"of {labelled} labelled"))
    return tuple(items)


def _outcome(facts: ReportFacts) -> Iterator[str]:
    """Say where it stands: the newest rollout, accuracy, and what is open."""
    if facts.rollouts:
        yield f"Outcome: {_ended(facts.rollouts[-1])}."
    else:
        yield "Outcome: no version has gone out yet."
    lowest, newest = _lowest(facts.accuracy), _newest(facts.accuracy)
    if lowest is not None and newest is not None:
        yield (
            f"At the lowest, {percent(lowest, 0)} of the labelled answers in a cohort were right; "
            f"lately {percent(newest[0] / newest[1], 0)} over all are."
        )
    still_open = [alarm.id for alarm in facts.alarms if alarm.closed_s is None]
    if still_open:
        yield f"Still open: {counted(len(still_open), 'alarm')} ({listed(still_open)})."
    elif facts.alarms:
        yield "No alarm is open."


def _events(desk: Desk) -> Iterator[tuple[float, str, str]]:
    facts = desk.facts
    yield from ((each.created_s, _published(each), "") for each in facts.versions)
    for rollout in facts.rollouts:
        tone = {RolloutState.COMPLETED.value: "good"}.get(rollout.state, "")
        yield rollout.created_s, _rolled_out(rollout), "bad" if _failed(rollout) else tone
    yield from ((each.opened_s, _raised(desk, each), "bad") for each in facts.alarms)
    yield from ((each.started_s, _retrained(each), "") for each in facts.retrainings)


def _published(version: VersionFacts) -> str:
    waived = f", with {counted(len(version.waivers), 'gate')} waived" if version.waivers else ""
    return f"Version {version.number} was published by {version.created_by}{waived}."


def _rolled_out(rollout: RolloutFacts) -> str:
    asked = f"Rollout {rollout.id} of version {rollout.number} to "
    asked += counted(len(rollout.members), "device")
    end_s = ended_s(rollout)
    final = rollout.state in (RolloutState.COMPLETED, RolloutState.ROLLED_BACK)
    took = f" in {duration(end_s - rollout.created_s)}" if final and end_s is not None else ""
    return f"{asked}: {worded(rollout.state)}{took}; {_devices_of(rollout)}."


def _devices_of(rollout: RolloutFacts) -> str:
    """Say how the devices fared, in the words of a person."""
    committed = sum(each.state == MemberState.COMMITTED for each in rollout.members)
    total = counted(len(rollout.members), "device")
    said = [f"{committed or 'none'} of {total} kept it"]
    failed = [each for each in rollout.members if each.has_failed]
    if failed:
        reasons = sorted({each.reason for each in failed if each.reason})
        why = f" ({listed([worded(reason) for reason in reasons], 3)})" if reasons else ""
        said.append(f"{listed([each.device for each in failed], 3)} refused it{why}")
    untouched = sum(each.state == MemberState.UNTOUCHED for each in rollout.members)
    if untouched:
        said.append(f"{untouched} never saw it")
    return "; ".join(said)


def _ended(rollout: RolloutFacts) -> str:
    if rollout.state == RolloutState.COMPLETED:
        committed = sum(each.state == MemberState.COMMITTED for each in rollout.members)
        total = counted(len(rollout.members), "device")
        return f"version {rollout.number} is in service on {committed} of {total}"
    if rollout.state in _TAKEN_BACK:
        return f"version {rollout.number} was taken back (rollout {rollout.id})"
    return f"rollout {rollout.id} of version {rollout.number} is {worded(rollout.state)}"


def _failed(rollout: RolloutFacts) -> bool:
    return rollout.state in _TAKEN_BACK or rollout.state == RolloutState.ABORTED


def _raised(desk: Desk, alarm: AlarmFacts) -> str:
    where = counted(len(alarm.devices), "device")
    if alarm.cohort:
        where += f" with {alarm.cohort}"
    if alarm.kind == AlarmKind.HARM:
        found = f"version {alarm.number} is wrong more often than was measured before, on {where}"
    else:
        found = f"what {where} see is no longer like what version {alarm.number} was measured on"
    closed = f" Closed at {desk.when(alarm.closed_s)}." if alarm.closed_s is not None else ""
    return (
        f"Alarm {alarm.id} ({alarm.kind}): {found}; it began about {desk.when(alarm.since_s)}."
        f"{closed}"
    )


def _retrained(retraining: RetrainFacts) -> str:
    asked = f" because of alarm {retraining.alarm}" if retraining.alarm else ""
    begun = f"Retraining {retraining.id} from version {retraining.parent}{asked}"
    if retraining.child is not None:
        return f"{begun}: it made version {retraining.child}."
    return f"{begun}: {worded(retraining.state)}."


def _lowest(accuracy: Sequence[AccuracySeries]) -> float | None:
    return min(
        (
            correct / labelled
            for each in accuracy
            for _, correct, labelled in each.points
            if labelled >= _MIN_LABELLED
        ),
        default=None,
    )


def _newest(accuracy: Sequence[AccuracySeries]) -> tuple[int, int] | None:
    """Return correct and labelled of the newest point of each cohort together."""
    newest = [max(each.points) for each in accuracy if each.points]
    labelled = sum(point[2] for point in newest)
    return (sum(point[1] for point in newest), labelled) if labelled else None
