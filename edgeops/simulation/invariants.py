"""What must hold after every event of a simulated world; ``rest`` has what holds in the end.

1. A device that committed a version, as the world saw it, has a model that answers whenever its
   agent runs (but for safe mode, and for a version that ended the process again and again), and
   everything that its slots keep is on its disk.
2. What answers was signed, passed its self-test, was committed here or is on trial, and is no
   older than what was committed, but for a version committed here. Neither that floor nor a
   refusal for good is ever forgotten.
3. No telemetry that was accepted is lost and none is counted twice, by the hub's own tables; no
   version is judged by another's counts; no command is obeyed twice.
4. A device's generation never goes back, and no task of its loop meets a defect; when the faults
   are over, every deployment ends.
5. When the faults are over, the hub sees every device as it is.
6. No more devices are at a rollout than its plan allows by who has committed: canary first.
7. A device's disk holds what three versions need, and little more; at rest, what its slots need.
"""

from __future__ import annotations

from collections.abc import Callable

from device_agent.core.records import ModelRecord
from device_agent.core.states import State
from device_agent.protocol.ids import Digest
from device_agent.protocol.reasons import Reason
from device_agent.shell.blobs import blob_path
from device_agent.shell.live import LiveModel
from edgeops.domain.rollout import Policy
from edgeops.simulation.device import SimulatedDevice
from edgeops.simulation.packages import Behaviour
from edgeops.simulation.witness import BACK, Past
from edgeops.simulation.world import MODEL, World

COUNT_AGAIN_S = 5.0
"""Seconds between two looks into the hub's tables."""
ON_TRIAL = frozenset(
    {State.ACTIVATE, State.PROBATION, State.COMMIT, State.COMMITTED, State.ROLL_BACK}
)
ENDS_PROCESS = frozenset({Behaviour.KILLS, Behaviour.KILLS_AGAIN})
FAILS_SELF_TEST = frozenset(
    {
        Behaviour.LOAD_FAILED,
        Behaviour.GOLDEN_MISMATCH,
        Behaviour.SELF_TEST_HANGS,
        Behaviour.SELF_TEST_CRASHES,
    }
)


class Violation(Exception):
    """An invariant does not hold; the message says which, for whom and how."""


class Watch:
    """What was seen of the devices before."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self.generations: dict[str, int] = {}
        self.rollouts: dict[str, str] = {}
        self.live: dict[str, LiveModel] = {}
        self.count_again_s = 0.0


def check_event(world: World, watch: Watch) -> None:
    """Check every invariant that holds at any moment.

    Raises:
        Violation: the first that does not.
    """
    for device in world.devices:
        if device.loop is None or not device.is_ready:
            continue
        world.witness.look(device)
        for number, check in _AT_ANY_MOMENT:
            found = check(world, device, watch)
            if found:
                raise Violation(f"invariant {number}: {device.name} {found}")
    if world.time.now_s >= watch.count_again_s:
        watch.count_again_s = world.time.now_s + COUNT_AGAIN_S
        check_counts(world)


def check_counts(world: World, *, everything: bool = False) -> None:
    """Check invariant 3 by the windows in the hub's database.

    Args:
        world: the world.
        everything: nothing is under way, so that all that was accepted is there.

    Raises:
        Violation: telemetry was lost or counted twice.
    """
    stored = world.hub.stored_inferences()
    for device in world.devices:
        has, accepted = stored.get(device.name, 0), device.lived.accepted
        if has > accepted or (everything and has < accepted):
            raise Violation(
                f"invariant 3: {device.name} accepted {accepted} inferences for the hub, "
                f"whose windows have {has}"
            )
    windows = world.hub.stored_windows()
    for (name, number), seen in world.hub.watched_windows().items():
        if seen > windows.get((name, number), 0):
            raise Violation(
                f"invariant 3: the watch of version {number} on {name} has counted {seen} windows, "
                f"there are {windows.get((name, number), 0)}"
            )


def _serves(world: World, device: SimulatedDevice, watch: Watch) -> str:
    record, past = _record(device), world.witness.of(device)
    safe = device.running.is_in_safe_mode
    if device.live.get(MODEL) is None and not safe and _must_serve(world, record, past):
        return f"committed version {past.committed[past.newest or Digest('')]}, and none answers"
    for slot in record.slots.values() if record is not None else ():
        package = world.packages_by_digest[slot.manifest.digest]
        for digest in (package.digest, *package.blobs) if slot.committed else ():
            if not device.disk.has(blob_path(digest)):
                return f"has lost a blob of version {slot.version}, which it keeps"
    return ""


def _must_serve(world: World, record: ModelRecord | None, past: Past) -> bool:
    """Tell whether a model has to answer; not if all that was committed ends the process."""
    if past.newest is None or record is None:
        return past.newest is not None
    ends_process = world.packages_by_digest[past.newest].behaviour in ENDS_PROCESS
    if ends_process and record.quarantine.get(past.newest) is Reason.KILLED_AGENT:
        return any(slot.committed for slot in record.slots.values())
    return True


def _may_answer(world: World, device: SimulatedDevice, watch: Watch) -> str:
    live, record = device.live.get(MODEL), _record(device)
    if live is None or record is None:
        return ""
    package = world.packages_by_digest.get(live.digest)
    if package is None:
        return "answers with a package that nobody signed"
    number, past = live.manifest.version, world.witness.of(device)
    if package.behaviour in FAILS_SELF_TEST:
        return f"answers with version {number}, which fails its self-test"
    running = record.deployment
    tried = running is not None and running.state in ON_TRIAL and running.digest == live.digest
    was_committed = live.digest in past.committed or live.digest in past.tentative
    if not was_committed and not tried:
        return f"answers with version {number}, neither committed nor on trial"
    if not was_committed and number < past.floor:
        return f"answers with version {number}, it committed {past.floor}"
    return ""


def _remembers(world: World, device: SimulatedDevice, watch: Watch) -> str:
    record, past = _record(device), world.witness.of(device)
    floor, quarantine = (record.floor, record.quarantine) if record is not None else (0, {})
    if floor < past.floor:
        return f"committed version {past.floor}, and its floor is {floor}"
    for digest, reason in past.refused.items():
        if digest not in quarantine:
            number = world.packages_by_digest[digest].manifest.version
            return f"has forgotten that it refused version {number}: {reason.value}"
    return ""


def _counts_its_own(world: World, device: SimulatedDevice, watch: Watch) -> str:
    live = device.live.get(MODEL)
    if live is None or watch.live.get(device.name) is live:
        return ""
    watch.live[device.name] = live
    counted, answered = live.counts().inferences, device.lived.answered[live.digest]
    version = live.manifest.version
    if counted > answered:
        return f"has counted {counted} inferences of version {version}, which answered {answered}"
    return ""


def _obeys_once(world: World, device: SimulatedDevice, watch: Watch) -> str:
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
    rollout = record.deployment.order.rollout if record and record.deployment else ""
    if watch.rollouts.get(device.name) == rollout or not rollout or rollout.endswith(BACK):
        return ""
    watch.rollouts[device.name] = rollout
    begun, done = world.witness.begun[rollout], world.witness.done.get(rollout, set())
    most = most_at_it(world.policy, len(world.devices), len(done))
    if len(begun) > most:
        return f"is one of {len(begun)} at {rollout}; {len(done)} committed, so {most} may be"
    return ""


def most_at_it(policy: Policy, devices: int, committed: int) -> int:
    """Return how many devices may have begun with a rollout when so many have committed it.

    A wave opens when everybody of those before has committed, so this is the end of the first
    wave that has not.
    """
    steps = (max(policy.canary, -(-devices * percent // 100)) for percent in policy.steps)
    return next((end for end in (policy.canary, *steps) if committed < end), devices)


def _is_bounded(world: World, device: SimulatedDevice, watch: Watch) -> str:
    used = device.disk.used_bytes
    return f"uses {used} bytes of its disk" if used > world.room_bytes else ""


_AT_ANY_MOMENT: tuple[tuple[int, Callable[[World, SimulatedDevice, Watch], str]], ...] = (
    (1, _serves),
    (2, _may_answer),
    (2, _remembers),
    (3, _counts_its_own),
    (3, _obeys_once),
    (4, _goes_on),
    (4, _has_no_defect),
    (6, _waits_its_turn),
    (7, _is_bounded),
)


def _record(device: SimulatedDevice) -> ModelRecord | None:
    return device.running.records.get(MODEL)
