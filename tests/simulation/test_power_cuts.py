"""Ten thousand states that a disk may be in after a power cut: the device serves, and goes on.

Each scenario is run once. Before every call that changes the disk, states are drawn from those
that a power cut would leave there: any part of what was not synced (``edgeops.simulation.disk``).
On each of them an agent is started anew.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from device_agent.core.states import State
from device_agent.shell.blobs import blob_path
from edgeops.simulation.disk import Kept, SimulatedDisk
from edgeops.simulation.packages import Behaviour
from tests.one_device import GOOD, MODEL, OneDevice, bad, committed

STATES_A_SCENARIO = 2_600


@dataclass(frozen=True)
class Scenario:
    """What happens, from a device that is ready for it; and what may serve at any moment."""

    begin: Callable[[], OneDevice]
    act: Callable[[OneDevice], None]
    serves: frozenset[int | None]
    ends_with: int


def _fresh() -> OneDevice:
    device = OneDevice()
    device.start()
    return device


SCENARIOS = {
    "first install": Scenario(
        begin=_fresh,
        act=lambda device: device.order(GOOD[0]),
        serves=frozenset({None, 1}),
        ends_with=1,
    ),
    "update": Scenario(
        begin=lambda: committed(1),
        act=lambda device: device.order(GOOD[1], "r2"),
        serves=frozenset({1, 2}),
        ends_with=2,
    ),
    "rollback": Scenario(
        begin=lambda: committed(1),
        act=lambda device: device.order(bad(Behaviour.NONFINITE), "r2"),
        serves=frozenset({1, 2}),
        ends_with=1,
    ),
    "garbage collection": Scenario(
        begin=lambda: committed(1, 2),
        act=lambda device: device.order(GOOD[2], "r3"),
        serves=frozenset({2, 3}),
        ends_with=3,
    ),
}


def states_of(scenario: Scenario, seed: str) -> Iterator[tuple[str, SimulatedDisk, OneDevice]]:
    """Run a scenario; yield where the power went, what the disk kept, and the device."""
    calls = _count_calls(scenario)
    per_call = -(-STATES_A_SCENARIO // calls)
    device = scenario.begin()
    found: list[tuple[str, SimulatedDisk]] = []

    def before(call: str, path: str) -> None:
        where = f"{len(found) // per_call}: {call} {path}"
        chance = random.Random(f"{seed} {where}")
        for number in range(per_call):
            kept = {0: Kept.NOTHING, 1: Kept.EVERYTHING}.get(number, Kept.SOMETHING)
            found.append((where, device.disk.after_power_cut(chance, kept)))

    device.disk.before = before
    scenario.act(device)
    device.settle()
    for where, disk in found:
        yield where, disk, device
    device.close()


def _count_calls(scenario: Scenario) -> int:
    device = scenario.begin()
    before = device.disk.calls
    scenario.act(device)
    device.settle()
    device.close()
    return device.disk.calls - before


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", SCENARIOS)
def test_after_a_power_cut_at_any_call_the_device_serves_and_converges(name: str) -> None:
    scenario, seen = SCENARIOS[name], 0
    for where, disk, before in states_of(scenario, name):
        after = OneDevice(disk=disk, boot=1)
        after.generation, after.desired, after.blobs = (
            before.generation,
            before.desired,
            before.blobs,
        )
        after.start()
        assert after.serving() in scenario.serves, f"{name}, {where}: serves {after.serving()}"
        after.settle()
        assert after.serving() == scenario.ends_with, f"{name}, {where}: {after.reason()}"
        _check_disk(after, f"{name}, {where}")
        after.close()
        seen += 1
    assert seen >= STATES_A_SCENARIO


def _check_disk(device: OneDevice, where: str) -> None:
    """What the slots keep is there, and nothing else takes room."""
    assert device.loop is not None
    record = device.loop.records[MODEL]
    known = {package.digest: package for package in (*GOOD, bad(Behaviour.NONFINITE))}
    kept = set()
    for slot in record.slots.values():
        package = known[slot.manifest.digest]
        kept |= {blob_path(digest) for digest in (package.digest, *package.blobs)}
    there = {path for path in device.disk.paths if path.startswith(("blobs/", "partial/"))}
    assert there == kept, where
    assert device.state() in (State.COMMITTED, State.ROLLED_BACK, State.FAILED), where


def test_the_disk_that_forgets_finds_a_rename_before_its_data() -> None:
    disk = SimulatedDisk()
    disk.write("a.new", 0, b"new" * 400, fresh=True)
    disk.rename("a.new", "a")
    disk.sync_folder("")
    found = {disk.after_power_cut(random.Random(n)).read("a") for n in range(200)}
    assert b"new" * 400 in found
    assert b"" in found
    assert any(0 < len(each) and each != b"new" * 400 for each in found), "no torn state"


def test_what_was_synced_survives_every_power_cut() -> None:
    disk = SimulatedDisk()
    disk.make_folder("f")
    disk.sync_folder("")
    disk.write("f/a", 0, b"kept" * 300)
    disk.sync("f/a")
    disk.sync_folder("f")
    disk.write("f/a", 0, b"lost" * 300)
    for seed in range(200):
        data = disk.after_power_cut(random.Random(seed)).read("f/a")
        pieces = [data[at : at + 512] for at in range(0, len(data), 512)]
        whole = [(b"kept" * 300)[at : at + 512] for at in range(0, 1200, 512)]
        torn = [(b"lost" * 300)[at : at + 512] for at in range(0, 1200, 512)]
        assert all(piece in pair for piece, *pair in zip(pieces, whole, torn, strict=True))
