"""Rollouts: creating and steering them, what devices make known, and the passing of time."""

from __future__ import annotations

from dataclasses import dataclass, replace

from device_agent.protocol.ids import DeviceId, ModelName
from device_agent.protocol.items import Event
from device_agent.protocol.reports import Reported
from edgeops.access import audit
from edgeops.domain.errors import Conflict, InvalidInput, NotFound
from edgeops.domain.fleet import DesiredVersion, Device
from edgeops.domain.registry import parse_reference
from edgeops.domain.rollout import Member, MemberState, Policy, Rollout, RolloutState
from edgeops.fleet import desired, selector
from edgeops.rollout import machine
from edgeops.rollout.machine import Ask, Gone, Heard, Note, Order, Tick, Trigger
from edgeops.rollout.plan import check_policy, plan_waves
from edgeops.service import packages
from edgeops.service.context import HUB_ACTOR, Context
from edgeops.store.database import Work

ACTIVE = (RolloutState.RUNNING, RolloutState.PAUSED, RolloutState.ROLLING_BACK)
BACK = ".back"
"""Suffix of the rollout id under which a device is asked to go back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewRollout:
    """What a person asks for."""

    reference: str
    selector: str
    policy: Policy


def create(context: Context, actor: str, wanted: NewRollout) -> Rollout:
    """Plan a rollout and begin it; its canary is asked at the next tick.

    Raises:
        NotFound: no such version, or the selector gives no device.
        InvalidInput: a policy that makes no plan, or devices that the package cannot run on.
        Conflict: another rollout of this model is under way on one of the devices.
    """
    check_policy(wanted.policy)
    meant = parse_reference(wanted.reference)
    if meant.number is None and meant.alias is None:
        raise InvalidInput(
            f"{wanted.reference} names no version",
            next_step=f"say which: {meant.model}:NUMBER or {meant.model}@ALIAS",
        )
    version = packages.find(context, wanted.reference)
    manifest = packages.manifest_of(context, version)
    with context.database.begin() as work:
        now_s = context.clock()
        everybody = [device.as_of(now_s) for device in work.fleet.all()]
        cohort = selector.select(wanted.selector, everybody)
        if not cohort:
            raise NotFound(
                f"no device matches {wanted.selector!r}", next_step="edgeops devices list"
            )
        _check_profiles(cohort, {p for v in manifest.variants for p in v.profiles}, version.model)
        _check_overlap(work, cohort, version.model)
        rollout_id = work.rollouts.next_id()
        waves = plan_waves(cohort, wanted.policy, rollout_id)
        members = tuple(
            Member(device=name, wave=wave, previous=_previous(work, name, version.model))
            for name, wave in waves.items()
        )
        rollout = Rollout(
            id=rollout_id,
            model=version.model,
            number=version.number,
            selector=wanted.selector,
            policy=wanted.policy,
            members=members,
            created_s=context.clock(),
            created_by=actor,
        )
        work.rollouts.add(rollout)
        audit.record(
            work.audit,
            context.clock(),
            actor,
            "rollout.create",
            rollout_id,
            version=version.reference,
            selector=wanted.selector,
            devices=len(members),
        )
    return rollout


def show(context: Context, rollout: str) -> Rollout:
    """Return a rollout.

    Raises:
        NotFound: no such rollout.
    """
    with context.database.read() as work:
        return _get(work, rollout)


def all_rollouts(context: Context) -> tuple[Rollout, ...]:
    """Return every rollout, oldest first."""
    with context.database.read() as work:
        return work.rollouts.in_states()


def ask(context: Context, actor: str, rollout: str, trigger: Trigger, why: str = "") -> Rollout:
    """Pause, resume, let staged versions be activated, abort or roll back.

    Raises:
        NotFound: no such rollout.
        Conflict: its state does not allow it, or a newer rollout has come after it.
    """
    acts: dict[Trigger, audit.Act] = {
        Trigger.PAUSE: "rollout.pause",
        Trigger.RESUME: "rollout.resume",
        Trigger.ACTIVATE: "rollout.activate",
        Trigger.ABORT: "rollout.abort",
        Trigger.ROLL_BACK: "rollout.rollback",
    }
    if trigger not in acts:
        raise InvalidInput(f"a person cannot ask for {trigger}")
    with context.database.begin() as work:
        before = _get(work, rollout)
        if trigger is Trigger.ROLL_BACK:
            _check_newest(work, before)
        if trigger is Trigger.ACTIVATE and not before.policy.activation.hold:
            raise Conflict(
                f"rollout {rollout} holds nothing back",
                next_step="edgeops rollout create --hold stages versions without activating them",
            )
        after = _step(context, work, before, Ask(trigger=trigger, why=why))
        audit.record(work.audit, context.clock(), actor, acts[trigger], rollout, why=why)
    return after


def tick(context: Context) -> int:
    """Let time pass for every active rollout; return how many are active."""
    with context.database.read() as work:
        active = [rollout.id for rollout in work.rollouts.in_states(*ACTIVE)]
    for rollout_id in active:
        with context.database.begin() as work:
            rollout = _get(work, rollout_id)
            _step(context, work, rollout, Tick(unhealthy=_unhealthy(context, work, rollout)))
    return len(active)


def device_reported(context: Context, work: Work, name: DeviceId, report: Reported) -> None:
    """Tell the rollouts what a device's reported state says about its part."""
    generation = work.fleet.desired_of(name).generation
    for rollout in work.rollouts.in_states(*ACTIVE):
        model = report.models.get(rollout.model)
        deployment = model.deployment if model else None
        ours = (
            deployment is not None
            and deployment.rollout == rollout.id
            and deployment.version == rollout.number
        )
        heard = Heard(
            device=name,
            device_state=deployment.state if deployment is not None and ours else "",
            reason=deployment.reason if deployment is not None and ours else None,
            detail=deployment.detail if deployment is not None and ours else "",
            active=model.active.version if model and model.active else None,
            settled=report.generation >= generation,
        )
        _step(context, work, rollout, heard)


def device_event(context: Context, work: Work, name: DeviceId, event: Event) -> None:
    """Tell a rollout what an event of its own says; it carries the measured numbers."""
    rollout = work.rollouts.get(event.rollout)
    if rollout is None or (rollout.model, rollout.number) != (event.model, event.version):
        return
    heard = Heard(
        device=name,
        device_state=event.state,
        reason=event.reason,
        detail=event.detail,
        evidence=event.evidence,
    )
    _step(context, work, rollout, heard)


def _step(context: Context, work: Work, rollout: Rollout, event: machine.Event) -> Rollout:
    after, effects = machine.step(rollout, event, context.clock())
    if after != rollout:
        after = work.rollouts.put(rollout, after)
    for effect in effects:
        _carry_out(context, work, after, effect)
    return after


def _carry_out(context: Context, work: Work, rollout: Rollout, effect: machine.Effect) -> None:
    if isinstance(effect, Note):
        audit.record(
            work.audit,
            context.clock(),
            HUB_ACTOR,
            effect.act,  # type: ignore[arg-type]  # the closed list is checked when recording
            rollout.id,
            **effect.detail,
        )
        return
    state = work.fleet.desired_of(effect.device)
    policy = rollout.policy
    if isinstance(effect, Order):
        wish = _wish(rollout.model, rollout.number, rollout.id, policy)
        changed = desired.want(state, replace(wish, activation=policy.activation))
    else:
        current = state.models.get(rollout.model)
        ours = current is not None and (
            current.rollout == rollout.id or _came_back(current, rollout)
        )
        if not ours:
            return
        changed = (
            desired.forget(state, rollout.model)
            if effect.previous is None
            else desired.want(
                state, _wish(rollout.model, effect.previous, rollout.id + BACK, policy)
            )
        )
    if changed != state:
        work.fleet.put_desired(changed)


def _wish(model: ModelName, number: int, rollout: str, policy: Policy) -> DesiredVersion:
    return DesiredVersion(
        model=model,
        number=number,
        rollout=rollout,
        probation=policy.probation,
        download_timeout_s=policy.download_timeout_s,
    )


def _unhealthy(context: Context, work: Work, rollout: Rollout) -> dict[DeviceId, str]:
    unhealthy: dict[DeviceId, str] = {}
    for member in rollout.members:
        if member.state is not MemberState.COMMITTED:
            continue
        device = work.fleet.get(member.device)
        if device is None:
            continue
        model = device.reported.models.get(rollout.model) if device.reported else None
        active = model.active.version if model and model.active else None
        if not device.as_of(context.clock()).presence.online:
            unhealthy[member.device] = "is offline"
        elif active != rollout.number:
            unhealthy[member.device] = f"serves version {active}"
    return unhealthy


def _previous(work: Work, name: DeviceId, model: ModelName) -> int | None:
    device = work.fleet.get(name)
    reported = device.reported.models.get(model) if device and device.reported else None
    if reported and reported.active:
        # Only what the registry has can be asked for again; a device may report anything.
        known = {(each.number, each.digest) for each in work.registry.versions(model)}
        active = reported.active
        return active.version if (active.version, active.digest) in known else None
    wish = work.fleet.desired_of(name).models.get(model)
    return wish.number if wish else None


def _check_profiles(cohort: tuple[Device, ...], profiles: set[str], model: ModelName) -> None:
    without = [device for device in cohort if device.profile not in profiles]
    if without:
        missing = ", ".join(sorted({device.profile for device in without}))
        raise InvalidInput(
            f"{len(without)} of {len(cohort)} devices have profiles without a variant of {model}: "
            f"{missing}",
            next_step="package a variant for them, or narrow the selector",
        )


def _check_overlap(work: Work, cohort: tuple[Device, ...], model: ModelName) -> None:
    names = {device.id for device in cohort}
    for other in work.rollouts.in_states(*ACTIVE):
        shared = names & {member.device for member in other.members}
        if other.model == model and shared:
            raise Conflict(
                f"rollout {other.id} of {other.reference} is {other.state} on "
                f"{len(shared)} of these devices",
                next_step=f"wait for it, or: edgeops rollout abort {other.id}",
            )


def _check_newest(work: Work, rollout: Rollout) -> None:
    """Refuse to take back what a newer rollout has replaced already."""
    ours = (rollout.id, rollout.id + BACK)
    wishes = [
        work.fleet.desired_of(member.device).models.get(rollout.model)
        for member in rollout.members
        if member.ordered_s is not None
    ]
    newer = sorted(
        {
            wish.rollout
            for wish in wishes
            if wish is not None and wish.rollout not in ours and not _came_back(wish, rollout)
        }
    )
    if newer:
        raise Conflict(
            f"rollout {rollout.id} was followed by {', '.join(newer)} on its devices",
            next_step=f"roll that back: edgeops rollout rollback {newer[-1].removesuffix(BACK)}",
        )


def _came_back(wish: DesiredVersion, rollout: Rollout) -> bool:
    """Whether a later rollout was taken back to just what this one had brought."""
    return wish.rollout.endswith(BACK) and wish.number == rollout.number


def device_gone(context: Context, work: Work, name: DeviceId) -> None:
    """Tell the rollouts that a device was removed from the fleet."""
    for rollout in work.rollouts.in_states(*ACTIVE):
        _step(context, work, rollout, Gone(device=name))


def _get(work: Work, rollout: str) -> Rollout:
    found = work.rollouts.get(rollout)
    if found is None:
        raise NotFound(f"there is no rollout {rollout}", next_step="edgeops rollout list")
    return found
