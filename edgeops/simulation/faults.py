"""The faults of a simulated world that strike at a moment, one function each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from edgeops.simulation.device import WORLD_BEGAN_S, SimulatedDevice
from edgeops.simulation.scenario import Fault

if TYPE_CHECKING:
    from edgeops.simulation.world import World

TEN_YEARS_S = 10 * 365 * 86400.0
AGAIN_S = 1.0
SMALL_SHARE = 0.5
SMALL_FILES = (
    *("commands.json", "desired.json", "session", "starts.json", "trust/root.json"),
    *("models/kws/active", "models/kws/record.json"),
)
"""Without the second copy of the record: of a disk that spoils both nothing is promised."""
ROOM_BYTES = 2**30
"""Of a disk that is not full."""


def cut_power(world: World, device: SimulatedDevice) -> None:
    """Let the power go at one of the next effects."""
    device.cut_in = world.chance.randint(1, 60)


def partition(world: World, device: SimulatedDevice) -> None:
    """Take the network away for a while."""
    device.cut_off(world.chance.uniform(5.0, 60.0))


def reset(world: World, device: SimulatedDevice) -> None:
    """Lose the connection once."""
    device.lose_connection()


def fill_disk(world: World, device: SimulatedDevice) -> None:
    """Leave little or no room on the disk for a while."""
    device.disk.capacity_bytes = device.disk.used_bytes + world.chance.choice((0, 100, 5000))
    lasts_s = world.chance.uniform(5.0, 40.0)

    def empty() -> None:
        device.disk.capacity_bytes = ROOM_BYTES

    world.time.after(lasts_s, empty)


def flip_byte(world: World, device: SimulatedDevice) -> None:
    """Flip a byte of a small file, or of a download that is under way, or of the next one."""
    wanted = SMALL_FILES if world.chance.random() < SMALL_SHARE else ("partial/",)
    found = [p for p in device.disk.paths if p.startswith(wanted) and device.disk.read(p)]
    if found:
        path = world.chance.choice(found)
        world.time.faults[Fault.FLIPPED_BYTE] += 1
        device.disk.flip_byte(path, world.chance.randrange(len(device.disk.read(path))))
    elif not world.are_faults_over:
        world.time.after(AGAIN_S, lambda: flip_byte(world, device))


def jump_clock(world: World, device: SimulatedDevice) -> None:
    """Set the wall clock back to 1970, ten years on, right, or an hour back."""
    to_1970_s = -WORLD_BEGAN_S - world.time.now_s
    before_s = device.wall_skew_s
    device.wall_skew_s = world.chance.choice((to_1970_s, TEN_YEARS_S, 0.0, -3600.0))
    world.time.faults[Fault.CLOCK_JUMP] += device.wall_skew_s != before_s


def lose_broker(world: World, device: SimulatedDevice) -> None:
    """Let the broker forget everything; everybody connects anew."""
    world.time.faults[Fault.BROKER_LOSS] += 1
    world.broker.lose_state()
    for each in world.devices:
        each.lose_connection()
    world.hub.reconnect()


def crash_hub(world: World, device: SimulatedDevice) -> None:
    """Let the hub crash at one of its next transactions."""
    world.hub.crash_at(world.chance.randint(1, 12))


STRIKES: Mapping[Fault, Callable[[World, SimulatedDevice], None]] = {
    Fault.POWER_CUT: cut_power,
    Fault.PARTITION: partition,
    Fault.RESET: reset,
    Fault.DISK_FULL: fill_disk,
    Fault.FLIPPED_BYTE: flip_byte,
    Fault.CLOCK_JUMP: jump_clock,
    Fault.BROKER_LOSS: lose_broker,
    Fault.HUB_CRASH: crash_hub,
}
