"""What must hold after every event of a simulated world, and when it has come to rest.

1. A device on which a version was committed has a model that answers whenever its agent runs (but
   for safe mode), and everything that its slots keep is on its disk.
2. What answers was signed, and is no older than the floor, but for a version committed here.
3. No telemetry that was accepted is lost and none is counted twice; no command is obeyed twice.
4. A device's generation never goes back, and no task of its loop meets a defect; when the faults
   are over, every deployment ends.
5. When the faults are over, the hub sees every device as it is.
6. No device is at a rollout whose wave has not opened.
7. A device's disk holds what three versions need, and little more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from device_agent.core.records import ModelRecord
from device_agent.protocol.ids import DeviceId
from device_agent.protocol.reasons import Reason
from device_agent.shell.blobs import blob_path
from edgeops.domain.fleet import Device
from edgeops.simulation.device import SimulatedDevice
from edgeops.simulation.packages import ARTIFACT_BYTES
from edgeops.simulation.world import MODEL, World

DISK_BYTES = 4 * (ARTIFACT_BYTES + 2_000) + 40_000


class Violation(Exception):
    """An invariant does not hold; the message says which, for whom and how."""


def check_event(world: World, watch: Watch) -> None:
    """Check every invariant that holds at any moment.

    Raises:
        Violation: the first that does not.
    """
    for device in world.devices:
        if device.loop is None or not device.is_ready:
            continue
        for number, check in _AT_ANY_MOMENT:
            found = check(world, device, watch)
            if found:
                raise Violation(f"invariant {number}: {device.name} {found}")


def check_rest(world: World) -> str:
    """Return why a world has not come to rest, empty if it has: invariants 4 and 5."""
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
    return ""


def check_end(world: World) -> None:
    """Check what holds once a world has come to rest: invariant 3.

    Raises:
        Violation: telemetry was lost.
    """
    for device in world.devices:
        taken, accepted = world.hub.taken.get(device.name, 0), device.lived.accepted
        if taken < accepted:
            raise Violation(
                f"invariant 3: {device.name} accepted {accepted} inferences for the hub, "
                f"which has {taken}"
            )


class Watch:
    """What was seen of the devices before."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self.generations: dict[str, int] = {}
        self.rollouts: dict[str, str] = {}
        self.has_committed: set[str] = set()


def _serves(world: World, device: SimulatedDevice, watch: Watch) -> str:
    record = _record(device)
    if record is not None and any(slot.committed for slot in record.slots.values()):
        watch.has_committed.add(device.name)
    elif record is not None and Reason.KILLED_AGENT in record.quarantine.values():
        watch.has_committed.discard(device.name)  # all that was committed ends the process
    safe = device.running.is_in_safe_mode
    if device.name in watch.has_committed and not safe and device.live.get(MODEL) is None:
        return "had a committed version, and none answers"
    if record is None:
        return ""
    for slot in record.slots.values():
        package = world.packages_by_digest[slot.manifest.digest]
        for digest in (package.digest, *package.blobs) if slot.committed else ():
            if not device.disk.has(blob_path(digest)):
                return f"has lost a blob of version {slot.version}, which it keeps"
    return ""


def _is_signed(world: World, device: SimulatedDevice, watch: Watch) -> str:
    live, record = device.live.get(MODEL), _record(device)
    if live is None or record is None:
        return ""
    if live.digest not in world.packages_by_digest:
        return "answers with a package that nobody signed"
    if live.manifest.version < record.floor and not record.is_known_good(live.digest):
        return f"answers with version {live.manifest.version}, the floor is {record.floor}"
    return ""


def _counts_once(world: World, device: SimulatedDevice, watch: Watch) -> str:
    taken, made = world.hub.taken.get(device.name, 0), device.lived.inferences
    if taken > made:
        return f"made {made} inferences, the hub counted {taken}"
    sent, obeyed = world.commands.get(device.name, 0), device.commands_obeyed
    return f"obeyed {obeyed} commands, {sent} were sent" if obeyed > sent else ""


def _goes_on(world: World, device: SimulatedDevice, watch: Watch) -> str:
    now, before = device.running.generation, watch.generations.get(device.name, 0)
    watch.generations[device.name] = now
    return f"went from generation {before} back to {now}" if now < before else ""


def _has_no_defect(world: World, device: SimulatedDevice, watch: Watch) -> str:
    defects = device.running.counters["defect"]
    return f"has {defects} defects in its log" if defects else ""


def _waits_its_turn(world: World, device: SimulatedDevice, watch: Watch) -> str:
    record = _record(device)
    running = record.deployment if record is not None else None
    if running is None or watch.rollouts.get(device.name) == running.order.rollout:
        return ""
    watch.rollouts[device.name] = running.order.rollout
    with world.hub.context.database.read() as work:
        rollout = work.rollouts.get(running.order.rollout)
    for member in rollout.members if rollout is not None else ():
        if rollout is not None and member.device == device.name and member.wave > rollout.wave:
            return f"is at {rollout.id} in wave {member.wave}, open is {rollout.wave}"
    return ""


def _is_bounded(world: World, device: SimulatedDevice, watch: Watch) -> str:
    used = device.disk.used_bytes
    return f"uses {used} bytes of its disk" if used > DISK_BYTES else ""


_AT_ANY_MOMENT: tuple[tuple[int, Callable[[World, SimulatedDevice, Watch], str]], ...] = (
    (1, _serves),
    (2, _is_signed),
    (3, _counts_once),
    (4, _goes_on),
    (4, _has_no_defect),
    (6, _waits_its_turn),
    (7, _is_bounded),
)


def _record(device: SimulatedDevice) -> ModelRecord | None:
    return device.running.records.get(MODEL)


def _unsettled(device: SimulatedDevice, wanted: int) -> tuple[int, str] | None:
    if device.loop is None:
        return 4, "is off"
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
