"""Admission: what a desired state means for a device, and which orders it refuses outright."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from device_agent.core.deployment import Deployment
from device_agent.core.records import ModelRecord
from device_agent.core.states import PREEMPTIBLE, State
from device_agent.protocol.errors import ModelRefused, NotTrusted
from device_agent.protocol.ids import DeviceId, Digest, ModelName
from device_agent.protocol.manifest import Manifest, Variant, agent_version_key
from device_agent.protocol.orders import Desired, DesiredModel
from device_agent.protocol.reasons import Reason
from device_agent.protocol.values import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """Begin this deployment."""

    deployment: Deployment


@dataclass(frozen=True, slots=True, kw_only=True)
class Supersede:
    """End the running deployment of this model; the new order is looked at again after."""

    model: ModelName


@dataclass(frozen=True, slots=True, kw_only=True)
class Rename:
    """The running deployment is also what the new generation wants: keep it, by its new order."""

    deployment: Deployment


@dataclass(frozen=True, slots=True, kw_only=True)
class Withdraw:
    """Take back what serves on probation: nobody wants it any more."""

    model: ModelName


Step = Start | Supersede | Rename | Withdraw


def check_addressee(desired: Desired, device: DeviceId) -> None:
    """Refuse a desired state that was signed for another device.

    Raises:
        NotTrusted: ``wrong_device``.
    """
    if desired.device != device:
        raise NotTrusted(
            Reason.WRONG_DEVICE,
            f"desired state is for {desired.device}, this is {device}",
            next_step="somebody relays another device's orders: look at the broker's accounts",
        )


def plan(
    desired: Desired,
    records: Mapping[ModelName, ModelRecord],
    active: Mapping[ModelName, Digest],
) -> tuple[Step, ...]:
    """Return what has to happen so that the device becomes what is desired.

    Level-triggered: called with the newest desired state whenever it or a record changed. A
    model that the desired state does not name is left as it is, but for a deployment of it that is
    under way: that is called back. An order that already ended
    here (same rollout, same package) is not tried again, unless what it committed is lost.
    """
    steps: list[Step] = list(_withdrawn(desired, records))
    for name, order in desired.models.items():
        record = records.get(name) or ModelRecord(name=name)
        running = record.deployment
        wanted = Deployment(
            model=name,
            generation=desired.generation,
            order=order,
            transitions=_transitions_of(running, desired.generation),
        )
        if running is not None and not running.is_final:
            if running.digest != wanted.digest:
                if running.state in PREEMPTIBLE:
                    steps.append(Supersede(model=name))
            elif running.order != order:
                renamed = replace(running, order=order, generation=desired.generation)
                steps.append(Rename(deployment=renamed))
            continue
        concluded = (
            running is not None
            and running.key == wanted.key
            and running.state is not State.COMMITTED
        )
        if active.get(name) != wanted.digest and not concluded:
            steps.append(Start(deployment=wanted))
    return tuple(steps)


def _transitions_of(before: Deployment | None, generation: int) -> int:
    """Return how often this generation has moved the model: the cap holds for all of it."""
    return before.transitions if before is not None and before.generation == generation else 0


def _withdrawn(
    desired: Desired, records: Mapping[ModelName, ModelRecord]
) -> Iterator[Supersede | Withdraw]:
    for name, record in records.items():
        running = record.deployment
        if name in desired.models or running is None or running.is_final:
            continue
        if running.state in PREEMPTIBLE:
            yield Supersede(model=name)
        elif running.state is State.PROBATION:
            yield Withdraw(model=name)


def check_order(order: DesiredModel, record: ModelRecord) -> None:
    """Refuse an order by what the device already knows, before a byte is fetched.

    Raises:
        ModelRefused: ``quarantined`` or ``older_than_floor``.
    """
    digest = order.manifest.digest
    held = record.quarantine.get(digest)
    if held is not None:
        raise ModelRefused(
            Reason.QUARANTINED,
            f"version {order.version} was quarantined here: {held.value}",
            next_step="package a corrected version under a new number",
        )
    if order.version < record.floor and not record.is_known_good(digest):
        raise ModelRefused(
            Reason.OLDER_THAN_FLOOR,
            f"version {order.version} is older than {record.floor}, which this device committed",
            next_step="package the old model again under a new, higher number",
        )


def check_manifest(
    manifest: Manifest,
    *,
    model: ModelName,
    version: int,
    profile: str,
    runtimes: frozenset[str],
    agent_version: str,
) -> Variant:
    """Return the variant that this device will run.

    Raises:
        ModelRefused: the manifest is for another model or version than ordered, wants a newer
            agent, or has no variant for this profile and its installed runtimes.
    """
    if (manifest.model, manifest.version) != (model, version):
        raise ModelRefused(
            Reason.MALFORMED_MANIFEST,
            f"manifest is of {manifest.model}:{manifest.version}, ordered was {model}:{version}",
        )
    if agent_version_key(manifest.min_agent) > agent_version_key(agent_version):
        raise ModelRefused(
            Reason.AGENT_TOO_OLD,
            f"needs agent {manifest.min_agent}, this is {agent_version}",
            next_step="update edgeops-device-agent on this device",
        )
    variant = manifest.variant_for(profile, runtimes)
    if variant is None:
        offered = ", ".join(
            f"{'/'.join(each.profiles)} by {each.runtime}" for each in manifest.variants
        )
        raise ModelRefused(
            Reason.NO_VARIANT,
            f"no variant for {profile} with {', '.join(sorted(runtimes)) or 'no runtime'}; "
            f"the package has {offered}",
            next_step="package a variant for this profile, or install its runtime",
        )
    return variant
