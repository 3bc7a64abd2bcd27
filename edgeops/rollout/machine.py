"""The rollout's table, and its step: ``step(rollout, event, now) -> (rollout, effects)``.

A wave opens when every device of the waves before has committed and is healthy; a failure (a
refusal, a rollback on the device, a silence past the timeout) beyond what the policy tolerates
stops the rollout and takes it back, or asks a person.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from device_agent.protocol.ids import DeviceId
from edgeops.domain.errors import Conflict
from edgeops.domain.rollout import (
    CONCLUDED,
    IN_PROGRESS,
    Member,
    MemberState,
    Rollout,
    RolloutState,
)


class Trigger(StrEnum):
    """What changes a rollout's state."""

    PAUSE = "pause"
    RESUME = "resume"
    ACTIVATE = "activate"
    """What was staged on hold may be activated."""
    ABORT = "abort"
    ROLL_BACK = "rollback"
    HARMED = "harmed"
    """More failures than the policy tolerates; it takes back."""
    HELD = "held"
    """More failures than the policy tolerates; it asks a person."""
    FINISHED = "finished"
    """Every device committed and is healthy."""
    REVERTED = "reverted"
    """Every device that had the version is back, or has been asked to."""


TRANSITIONS: Mapping[tuple[RolloutState, Trigger], RolloutState] = {
    (RolloutState.RUNNING, Trigger.PAUSE): RolloutState.PAUSED,
    (RolloutState.RUNNING, Trigger.ACTIVATE): RolloutState.RUNNING,
    (RolloutState.RUNNING, Trigger.ABORT): RolloutState.ABORTED,
    (RolloutState.RUNNING, Trigger.ROLL_BACK): RolloutState.ROLLING_BACK,
    (RolloutState.RUNNING, Trigger.HARMED): RolloutState.ROLLING_BACK,
    (RolloutState.RUNNING, Trigger.HELD): RolloutState.PAUSED,
    (RolloutState.RUNNING, Trigger.FINISHED): RolloutState.COMPLETED,
    (RolloutState.PAUSED, Trigger.RESUME): RolloutState.RUNNING,
    (RolloutState.PAUSED, Trigger.ABORT): RolloutState.ABORTED,
    (RolloutState.PAUSED, Trigger.ROLL_BACK): RolloutState.ROLLING_BACK,
    (RolloutState.ROLLING_BACK, Trigger.REVERTED): RolloutState.ROLLED_BACK,
    (RolloutState.ROLLING_BACK, Trigger.ABORT): RolloutState.ABORTED,
    (RolloutState.COMPLETED, Trigger.ROLL_BACK): RolloutState.ROLLING_BACK,
    (RolloutState.ABORTED, Trigger.ROLL_BACK): RolloutState.ROLLING_BACK,
}

ASKED_BY_PEOPLE = (
    Trigger.PAUSE,
    Trigger.RESUME,
    Trigger.ACTIVATE,
    Trigger.ABORT,
    Trigger.ROLL_BACK,
)
"""What a person may ask for; the other triggers are the machine's own."""

SILENT = frozenset({MemberState.ORDERED, MemberState.TIMED_OUT})

FINAL = frozenset({RolloutState.COMPLETED, RolloutState.ROLLED_BACK, RolloutState.ABORTED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """A person (or the API) wants a change."""

    trigger: Trigger
    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """A device spoke about its part: its deployment's state, and the version that serves.

    ``settled``: it has accepted its newest desired state, so ``active`` is meant to stay.
    """

    device: DeviceId
    device_state: str
    reason: str | None = None
    detail: str = ""
    evidence: Mapping[str, float] = field(default_factory=dict)
    active: int | None = None
    settled: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Gone:
    """A device was removed from the fleet: nothing is waited for from it any more."""

    device: DeviceId


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    """Time passed. ``unhealthy``: devices that may not be built upon, and why."""

    unhealthy: Mapping[DeviceId, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """Effect: the device's desired state names this version from now on."""

    device: DeviceId


@dataclass(frozen=True, slots=True, kw_only=True)
class Revert:
    """Effect: the device's desired state names ``previous`` again (None: nothing)."""

    device: DeviceId
    previous: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """Effect: an entry for the audit."""

    act: str
    detail: Mapping[str, str | int | float | None]


Event = Ask | Heard | Gone | Tick
Effect = Order | Revert | Note

_DEVICE_OUTCOMES: Mapping[str, MemberState] = {
    "committed": MemberState.COMMITTED,
    "failed": MemberState.FAILED,
    "rolled_back": MemberState.ROLLED_BACK,
}


def step(rollout: Rollout, event: Event, now_s: float) -> tuple[Rollout, tuple[Effect, ...]]:
    """Return the rollout after an event, and the effects to carry out with it.

    Deterministic; the caller stores the rollout and carries out the effects in one transaction.

    Args:
        rollout: as stored.
        event: what happened.
        now_s: seconds since the epoch.

    Raises:
        Conflict: a person asks for what this state does not allow.
    """
    if isinstance(event, Ask):
        return _asked(rollout, event, now_s)
    if isinstance(event, Heard):
        return _heard(rollout, event, now_s)
    if isinstance(event, Gone):
        return _without(rollout, event, now_s), ()
    if rollout.state is RolloutState.RUNNING:
        return _run(rollout, event, now_s)
    if rollout.state is RolloutState.ROLLING_BACK:
        return _roll_back_further(rollout, now_s)
    return rollout, ()


def _move(rollout: Rollout, trigger: Trigger, why: str) -> Rollout:
    following = TRANSITIONS.get((rollout.state, trigger))
    if following is None:
        allowed = [each for each in ASKED_BY_PEOPLE if (rollout.state, each) in TRANSITIONS]
        raise Conflict(
            f"rollout {rollout.id} is {rollout.state}: it cannot {trigger}",
            next_step=f"possible now: {', '.join(allowed)}" if allowed else "it has ended",
        )
    return replace(rollout, state=following, why=why)


def _asked(rollout: Rollout, ask: Ask, now_s: float) -> tuple[Rollout, tuple[Effect, ...]]:
    moved = _move(rollout, ask.trigger, ask.why)
    if ask.trigger is Trigger.ACTIVATE:
        return _let_go(moved, now_s)
    if moved.state is RolloutState.ROLLING_BACK:
        return _take_back(moved, now_s)
    if moved.state is RolloutState.ABORTED:
        return _withdraw(moved, now_s)
    return moved, ()


def _heard(rollout: Rollout, heard: Heard, now_s: float) -> tuple[Rollout, tuple[Effect, ...]]:
    member = next((each for each in rollout.members if each.device == heard.device), None)
    if member is None:
        return rollout, ()
    back = heard.settled and heard.active == member.previous
    if member.state is MemberState.REVERTING and back:
        return _with(rollout, replace(member, state=MemberState.REVERTED, updated_s=now_s)), ()
    lost_it = _lost_it(rollout, member, heard)
    if member.state not in IN_PROGRESS and not lost_it:
        return _with_evidence(rollout, member, heard), ()
    state = _DEVICE_OUTCOMES.get(heard.device_state, MemberState.WORKING)
    if not heard.device_state:
        if not heard.settled or heard.active != rollout.number:
            return rollout, ()
        state = MemberState.COMMITTED
    changed = replace(
        member,
        state=state,
        device_state=heard.device_state or "committed",
        reason=heard.reason,
        detail=heard.detail,
        evidence={**member.evidence, **heard.evidence},
        updated_s=now_s,
    )
    if state not in CONCLUDED:
        return _with(rollout, changed), ()
    note = Note(
        act=f"deployment.{state}",
        detail={
            "device": member.device,
            "version": rollout.reference,
            "reason": heard.reason,
            "why": heard.detail,
        },
    )
    return _with(rollout, changed), (note,)


def _lost_it(rollout: Rollout, member: Member, heard: Heard) -> bool:
    """Tell whether a device that had committed gave the version up, by its own settled word."""
    failed = _DEVICE_OUTCOMES.get(heard.device_state) in (
        MemberState.FAILED,
        MemberState.ROLLED_BACK,
    )
    committed = member.state is MemberState.COMMITTED
    return committed and failed and heard.settled and heard.active != rollout.number


def _without(rollout: Rollout, gone: Gone, now_s: float) -> Rollout:
    """A removed device is no failure of the version, and no proof of it."""
    for member in rollout.members:
        if member.device == gone.device and member.state not in CONCLUDED:
            left = replace(member, state=MemberState.UNTOUCHED, updated_s=now_s)
            return _with(rollout, replace(left, detail="removed from the fleet"))
    return rollout


def _with_evidence(rollout: Rollout, member: Member, heard: Heard) -> Rollout:
    """The reported state may come before the events that carry the numbers."""
    known = {**member.evidence, **heard.evidence}
    return _with(rollout, replace(member, evidence=known)) if heard.evidence else rollout


def _run(rollout: Rollout, tick: Tick, now_s: float) -> tuple[Rollout, tuple[Effect, ...]]:
    rollout, notes = _time_out(rollout, now_s)
    failed = rollout.failures
    if len(failed) > rollout.policy.max_failures:
        rollout, effects = _stop(rollout, failed, now_s)
        return rollout, notes + effects
    asked = [member for member in rollout.members if member.wave <= rollout.wave]
    if any(member.state in IN_PROGRESS for member in asked):
        return rollout, notes
    committed = [member for member in asked if member.state is MemberState.COMMITTED]
    waiting = _reason_to_wait(rollout, committed, tick, now_s)
    if waiting:
        return replace(rollout, why=waiting), notes
    if rollout.wave + 1 < rollout.waves:
        rollout, effects = _open_next(rollout, now_s)
        return rollout, notes + effects
    done = _move(rollout, Trigger.FINISHED, f"{len(committed)} devices committed")
    return done, (*notes, Note(act="rollout.completed", detail={"devices": len(committed)}))


def _reason_to_wait(rollout: Rollout, committed: list[Member], tick: Tick, now_s: float) -> str:
    for member in committed:
        why = tick.unhealthy.get(member.device)
        if why is not None:
            return f"waits: {member.device} {why}"
    last_s = max((member.updated_s or 0.0 for member in committed), default=0.0)
    baked_s = last_s + rollout.policy.bake_s
    return f"bakes for {baked_s - now_s:.0f} s more" if now_s < baked_s else ""


def _time_out(rollout: Rollout, now_s: float) -> tuple[Rollout, tuple[Effect, ...]]:
    notes: list[Effect] = []
    for member in rollout.members:
        asked_s = member.ordered_s if member.ordered_s is not None else now_s
        if member.state not in IN_PROGRESS or now_s - asked_s < rollout.policy.patience_s:
            continue
        detail = f"not concluded {rollout.policy.patience_s:g} s after it was asked"
        rollout = _with(
            rollout,
            replace(
                member,
                state=MemberState.TIMED_OUT,
                reason="device_timeout",
                detail=detail,
                updated_s=now_s,
            ),
        )
        notes.append(
            Note(act="deployment.timed_out", detail={"device": member.device, "why": detail})
        )
    return rollout, tuple(notes)


def _stop(
    rollout: Rollout, failed: tuple[Member, ...], now_s: float
) -> tuple[Rollout, tuple[Effect, ...]]:
    first = failed[0]
    why = (
        f"{len(failed)} of {len(rollout.members)} devices failed "
        f"({rollout.policy.max_failures} tolerated); {first.device}: {first.reason or first.state}"
    )
    if rollout.policy.on_failure == "pause":
        # Who resumes has seen these failures: only further ones hold the rollout again.
        tolerant = replace(rollout.policy, max_failures=len(failed))
        held = _move(replace(rollout, policy=tolerant), Trigger.HELD, why)
        return held, (Note(act="rollout.pause", detail={"why": why}),)
    stopped = _move(rollout, Trigger.HARMED, why)
    rolled, effects = _take_back(stopped, now_s)
    return rolled, (Note(act="rollout.rollback", detail={"why": why}), *effects)


def _open_next(rollout: Rollout, now_s: float) -> tuple[Rollout, tuple[Effect, ...]]:
    wave = rollout.wave + 1
    opened = replace(rollout, wave=wave, why="")
    effects: list[Effect] = []
    for member in rollout.in_wave(wave):
        if member.state is MemberState.WAITING:
            opened = _with(
                opened,
                replace(member, state=MemberState.ORDERED, ordered_s=now_s, updated_s=now_s),
            )
            effects.append(Order(device=member.device))
    note = Note(act="rollout.wave_opened", detail={"wave": wave, "devices": len(effects)})
    return opened, (note, *effects)


def _let_go(rollout: Rollout, now_s: float) -> tuple[Rollout, tuple[Effect, ...]]:
    """What was staged on hold goes on, and each device's time begins anew."""
    if not rollout.policy.activation.hold:
        return rollout, ()
    released = replace(rollout.policy.activation, hold=False)
    rollout = replace(rollout, policy=replace(rollout.policy, activation=released))
    asked = [member for member in rollout.members if member.state in IN_PROGRESS]
    for member in asked:
        rollout = _with(rollout, replace(member, ordered_s=now_s))
    return rollout, tuple(Order(device=member.device) for member in asked)


def _take_back(rollout: Rollout, now_s: float) -> tuple[Rollout, tuple[Effect, ...]]:
    effects: list[Effect] = []
    for member in rollout.members:
        if member.state is MemberState.WAITING:
            rollout = _with(rollout, replace(member, state=MemberState.UNTOUCHED))
        elif member.state is MemberState.COMMITTED and member.previous is None:
            kept = replace(member, detail="keeps it: there was no version before")
            rollout = _with(rollout, kept)
            effects.append(Revert(device=member.device, previous=None))
        elif member.state in SILENT and member.previous is None and not member.device_state:
            # It never spoke: when it does, its desired state does not name the model any more.
            rollout = _with(rollout, replace(member, state=MemberState.REVERTED, updated_s=now_s))
            effects.append(Revert(device=member.device, previous=None))
        elif member.state in IN_PROGRESS | CONCLUDED:
            rollout = _with(
                rollout,
                replace(member, state=MemberState.REVERTING, ordered_s=now_s, updated_s=now_s),
            )
            effects.append(Revert(device=member.device, previous=member.previous))
    return rollout, tuple(effects)


def _withdraw(rollout: Rollout, now_s: float) -> tuple[Rollout, tuple[Effect, ...]]:
    """Abort: nobody new is asked, who is under way is called back, who committed keeps it."""
    effects: list[Effect] = []
    for member in rollout.members:
        if member.state is MemberState.WAITING:
            rollout = _with(rollout, replace(member, state=MemberState.UNTOUCHED))
        elif member.state in IN_PROGRESS:
            called = replace(member, state=MemberState.REVERTED, updated_s=now_s)
            rollout = _with(rollout, called)
            effects.append(Revert(device=member.device, previous=member.previous))
    return rollout, tuple(effects)


def _roll_back_further(rollout: Rollout, now_s: float) -> tuple[Rollout, tuple[Effect, ...]]:
    for member in rollout.members:
        if member.state is not MemberState.REVERTING:
            continue
        asked_s = member.ordered_s if member.ordered_s is not None else now_s
        if now_s - asked_s < rollout.policy.device_timeout_s:
            return rollout, ()
        rollout = _with(rollout, replace(member, state=MemberState.REVERTED, updated_s=now_s))
    done = _move(rollout, Trigger.REVERTED, rollout.why)
    return done, (Note(act="rollout.rolled_back", detail={"why": rollout.why}),)


def _with(rollout: Rollout, changed: Member) -> Rollout:
    members = tuple(
        changed if member.device == changed.device else member for member in rollout.members
    )
    return replace(rollout, members=members)
