"""Devices: enrolling, naming, removing, and what they say of themselves."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, replace

from device_agent.protocol.enrolment import Enrolment
from device_agent.protocol.errors import ProtocolError
from device_agent.protocol.ids import DeviceId, parse_device_id
from device_agent.protocol.manifest import parse_profile_id
from device_agent.protocol.reports import Reported
from edgeops.access import audit
from edgeops.domain.errors import InvalidInput, NotFound
from edgeops.domain.fleet import HUB_ACCOUNT, DesiredState, Device, parse_labels
from edgeops.fleet import convergence, desired, presence, selector
from edgeops.service import rollouts
from edgeops.service.context import HUB_ACTOR, Context
from edgeops.store.database import Work
from edgeops.trust.passwords import hash_password
from edgeops.trust.seal import seal_desired

ACCOUNTS_REVISION = "accounts_revision"
"""Setting that grows whenever the broker's accounts must be written again."""
PASSWORD_BYTES = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceDetail:
    """A device, what is desired of it, and how each model stands."""

    device: Device
    desired: DesiredState
    standings: tuple[convergence.ModelStanding, ...]


def enroll(
    context: Context, actor: str, name: str, profile: str, labels: Mapping[str, str]
) -> Enrolment:
    """Enter a device and return what it needs to start; its password exists nowhere else.

    Raises:
        InvalidInput: a name, profile or label that cannot be.
        Conflict: the name is taken.
    """
    device = _device_id(name)
    if device == HUB_ACCOUNT:
        raise InvalidInput(f"{name} is the hub's own account", next_step="choose another name")
    password = base64.urlsafe_b64encode(context.chance(PASSWORD_BYTES)).decode().rstrip("=")
    entered = Device(
        id=device,
        profile=_profile(profile),
        enrolled_s=context.clock(),
        password_hash=hash_password(password),
        labels=_labels(labels),
    )
    with context.database.begin() as work:
        work.fleet.add(entered)
        _accounts_changed(work)
        audit.record(work.audit, context.clock(), actor, "device.enroll", device, profile=profile)
    return Enrolment(
        device=device,
        profile=profile,
        broker=context.broker,
        username=device,
        password=password,
        root=context.root_envelope,
    )


def remove(context: Context, actor: str, name: str) -> None:
    """Forget a device: its account ends, its desired state is withdrawn.

    Raises:
        NotFound: no such device.
    """
    with context.database.begin() as work:
        device = _get(work, name)
        work.fleet.remove(device.id)
        work.commands.forget(device.id)
        rollouts.device_gone(context, work, device.id)
        _accounts_changed(work)
        audit.record(work.audit, context.clock(), actor, "device.remove", device.id)


def label(context: Context, actor: str, name: str, changes: tuple[str, ...]) -> Device:
    """Set (``site=oslo``) and remove (``site=``) labels.

    Raises:
        NotFound: no such device.
        InvalidInput: no label.
    """
    changed = parse_labels(changes)
    with context.database.begin() as work:
        device = _get(work, name)
        merged = {**device.labels, **changed}
        device = replace(device, labels={key: text for key, text in merged.items() if text})
        work.fleet.put(device)
        audit.record(work.audit, context.clock(), actor, "device.label", device.id, **changed)
        return device


def devices(context: Context, query: str = selector.EVERYTHING) -> tuple[DeviceDetail, ...]:
    """Return the devices that a selector gives, with their standing."""
    with context.database.read() as work:
        chosen = selector.select(query, work.fleet.all())
        return tuple(_detail(work, device.as_of(context.clock())) for device in chosen)


def device(context: Context, name: str) -> DeviceDetail:
    """Return one device with its standing.

    Raises:
        NotFound: no such device.
    """
    with context.database.read() as work:
        return _detail(work, _get(work, name).as_of(context.clock()))


def reported(context: Context, name: DeviceId, report: Reported) -> str:
    """Take a device's reported state (birth, heartbeat or death).

    Returns:
        What became of it, as a word for the counters: ``taken``, ``stale`` or ``unknown``.
    """
    now_s = context.clock()
    with context.database.begin() as work:
        known = work.fleet.get(name)
        if known is None:
            return "unknown"
        seen = presence.saw(known.presence, report, now_s)
        if seen.is_duplicate:
            audit.record(
                work.audit,
                now_s,
                HUB_ACTOR,
                "device.duplicate_identity",
                name,
                session=report.session,
                known_session=known.presence.session,
            )
        if not seen.is_current:
            if seen.presence != known.presence:
                work.fleet.put(replace(known, presence=seen.presence))
            return "stale"
        newest = report if report.online else known.reported
        work.fleet.put(replace(known, presence=seen.presence, reported=newest))
        if report.online:
            _reconcile(work, name, report)
            rollouts.device_reported(context, work, name, report)
        return "taken"


def _reconcile(work: Work, name: DeviceId, report: Reported) -> None:
    """Level-triggered: a device with another generation than ours gets ours again."""
    state = work.fleet.desired_of(name)
    if report.generation > state.generation:
        work.fleet.put_desired(desired.overtake(state, report.generation))
    elif report.generation < state.generation:
        work.fleet.publish_again(name)


def desired_documents(context: Context, *, limit: int) -> list[tuple[DeviceId, int, bytes]]:
    """Return device, generation and signed document of the desired states to publish.

    The document of a device that was removed is empty: the broker forgets what it retained.
    """
    documents = []
    with context.database.read() as work:
        for name in work.fleet.unpublished(limit=limit):
            state = work.fleet.desired_of(name)
            if work.fleet.get(name) is None:
                documents.append((name, state.generation, b""))
                continue
            versions = {
                model: next(
                    each for each in work.registry.versions(model) if each.number == wish.number
                )
                for model, wish in state.models.items()
            }
            document = desired.document(name, state, versions)
            sealed = seal_desired(context.director, document)
            documents.append((name, state.generation, sealed))
    return documents


def desired_published(context: Context, name: DeviceId, generation: int) -> None:
    """Note that the broker has a generation."""
    with context.database.begin() as work:
        work.fleet.mark_published(name, generation)


def publish_all_again(context: Context, *, lost: bool) -> None:
    """Have every desired state published again.

    Args:
        context: the control plane.
        lost: the broker has lost its state; otherwise it is new to this hub.
    """
    with context.database.begin() as work:
        work.fleet.publish_again()
        if not lost:
            return
        audit.record(work.audit, context.clock(), HUB_ACTOR, "broker.state_lost", "broker")


def accounts(context: Context) -> tuple[str, dict[str, str]]:
    """Return the accounts' revision, and device id → password hash."""
    with context.database.read() as work:
        revision = work.settings.get(ACCOUNTS_REVISION) or "0"
        return revision, {device.id: device.password_hash for device in work.fleet.all()}


def accounts_revision(context: Context) -> str:
    """Return the accounts' revision alone."""
    with context.database.read() as work:
        return work.settings.get(ACCOUNTS_REVISION) or "0"


def _accounts_changed(work: Work) -> None:
    revision = int(work.settings.get(ACCOUNTS_REVISION) or "0")
    work.settings.put(ACCOUNTS_REVISION, str(revision + 1))


def _detail(work: Work, known: Device) -> DeviceDetail:
    state = work.fleet.desired_of(known.id)
    return DeviceDetail(device=known, desired=state, standings=convergence.standings(known, state))


def _get(work: Work, name: str) -> Device:
    known = work.fleet.get(_device_id(name))
    if known is None:
        raise NotFound(f"there is no device {name}", next_step="edgeops devices list")
    return known


def _labels(labels: Mapping[str, str]) -> dict[str, str]:
    parsed = parse_labels(tuple(f"{key}={value}" for key, value in labels.items()))
    return {key: value for key, value in parsed.items() if value}


def _device_id(text: str) -> DeviceId:
    try:
        return parse_device_id(text)
    except ProtocolError as error:
        raise InvalidInput(str(error), next_step=error.next_step) from error


def _profile(text: str) -> str:
    try:
        return parse_profile_id(text)
    except ProtocolError as error:
        raise InvalidInput(str(error), next_step="edgeops profiles list") from error
