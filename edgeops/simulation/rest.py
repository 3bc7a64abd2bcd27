"""What must hold when a simulated world has come to rest, and in its end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from device_agent.protocol.ids import DeviceId
from device_agent.shell.blobs import blob_path
from edgeops.domain.fleet import Device
from edgeops.domain.rollout import MemberState, Rollout, RolloutState
from edgeops.simulation.device import SimulatedDevice
from edgeops.simulation.invariants import Violation, check_counts
from edgeops.simulation.packages import Behaviour
from edgeops.simulation.world import MODEL, World


def check_rest(world: World) -> str:
    """Return why a world has not come to rest, empty if it has: invariants 4, 5 and 7."""
    with world.hub.context.database.read() as work:
        open_rollouts = [r.id for r in work.rollouts.in_states() if r.state in world.open_states]
        if open_rollouts:
            return f"4: rollout {open_rollouts[0]} is under way"
        for device in world.devices:
            wanted = work.fleet.desired_of(DeviceId(device.name)).generation
            known = work.fleet.get(DeviceId(device.name))
            why = _unsettled(device, wanted) or _seen_otherwise(device, known)
            if why:
                return f"{why[0]}: {device.name} {why[1]}"
        rollouts = work.rollouts.in_states()
    return _not_taken_back(world, rollouts) if rollouts else ""


def serves_only_good(world: World) -> bool:
    """Tell whether no device serves a bad version, beside which a good one looks wrong."""
    lives = [device.live.get(MODEL) for device in world.devices]
    served = [world.packages_by_digest[live.digest] for live in lives if live is not None]
    return all(package.behaviour is Behaviour.GOOD for package in served)


def check_end(world: World, *, must_succeed: bool) -> None:
    """Check what holds in the end, when the last version was rolled out without any fault.

    Args:
        world: the world, at rest.
        must_succeed: nothing served before was bad, so that nothing may stop the last version.

    Raises:
        Violation: invariant 3, 4 or 7.
    """
    check_counts(world, everything=True)
    for device in world.devices:
        left = _left_over(world, device)
        if left:
            raise Violation(f"invariant 7: {device.name} keeps {left}, which no slot needs")
    last = world.packages[-1].manifest.version
    if must_succeed:
        for device in world.devices:
            live = device.live.get(MODEL)
            if live is None or live.manifest.version != last:
                raise Violation(f"invariant 4: {device.name} does not serve {last}, the last one")
        with world.hub.context.database.read() as work:
            newest = work.rollouts.in_states()[-1]
        if newest.state is not RolloutState.COMPLETED:
            raise Violation(f"invariant 4: rollout {newest.id} is {newest.state}: {newest.why}")
    installs, all_of_them = world.witness.installs, last * len(world.devices)
    if world.scenario.is_calm and installs != all_of_them:
        raise Violation(f"invariant 4: {installs} installs of {all_of_them} on a calm day")


def _not_taken_back(world: World, rollouts: Sequence[Rollout]) -> str:
    """Return which device has kept a version that was rolled back, though it had another."""
    for rollout in rollouts:
        for member in rollout.members if rollout.state is RolloutState.ROLLED_BACK else ():
            if member.state is MemberState.COMMITTED and member.previous is not None:
                return f"4: {rollout.id} was rolled back, and left {member.device} as it was"
    newest = rollouts[-1]
    had = {member.device: member.previous for member in newest.members}
    for device in world.devices if newest.state is RolloutState.ROLLED_BACK else ():
        live = device.live.get(MODEL)
        serves_it = live is not None and live.manifest.version == newest.number
        if serves_it and had.get(DeviceId(device.name)) is not None:
            return f"4: {device.name} serves {newest.reference}, which {newest.id} took back"
    return ""


def _left_over(world: World, device: SimulatedDevice) -> str:
    """Return a file of a package that no slot needs, empty if there is none."""
    needed: set[str] = set()
    for record in device.running.records.values():
        for slot in record.slots.values():
            package = world.packages_by_digest[slot.manifest.digest]
            needed |= {blob_path(digest) for digest in (package.digest, *package.blobs)}
    there = [path for path in device.disk.paths if path.startswith(("blobs/", "partial/"))]
    return next((path for path in there if path not in needed), "")


def _unsettled(device: SimulatedDevice, wanted: int) -> tuple[int, str] | None:
    if device.loop is None:
        return 4, "is off"
    if device.loop.is_in_safe_mode:
        return 4, "is in safe mode"
    if device.loop.generation != wanted:
        return 4, f"is at generation {device.loop.generation}, wanted is {wanted}"
    for record in device.loop.records.values():
        running = record.deployment
        if running is not None and not running.is_final:
            return 4, f"has a deployment in {running.state.value}"
    waiting = device.loop.outbox_depth
    return (4, f"has {waiting} items in its outbox") if waiting else None


def _seen_otherwise(device: SimulatedDevice, known: Device | None) -> tuple[int, str] | None:
    return next(_differences(device, known), None)


def _differences(device: SimulatedDevice, known: Device | None) -> Iterator[tuple[int, str]]:
    if known is None or known.reported is None:
        yield 5, "was never seen by the hub"
        return
    if not known.presence.online:
        yield 5, "lives, and the hub has it for dead"
    model = known.reported.models.get(MODEL)
    seen = model.active.version if model is not None and model.active is not None else None
    live = device.live.get(MODEL)
    serves = live.manifest.version if live is not None else None
    if seen != serves:
        yield 5, f"serves {serves}, the hub sees {seen}"
