"""Ten thousand disks that power cuts leave, no two alike: the device serves, and goes on.

Each scenario is run once. Before every call that changes the disk, states are drawn from those
that a power cut would leave there: any part of what was not synced (``edgeops.simulation.disk``).
That is little, since the agent syncs at once: some 1,700 different disks in all. So the power is
cut again, at each call of the recovery from each of them. On each disk that was not seen before
in its scenario an agent is started anew.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain

import pytest

from device_agent.core.states import FINAL, State
from device_agent.shell.blobs import blob_path
from edgeops.simulation.disk import Kept, SimulatedDisk
from edgeops.simulation.packages import Behaviour
from tests.one_device import GOOD, MODEL, OneDevice, bad, committed

DISKS_A_SCENARIO = 2_600
"""Different ones, by every name and byte."""
FIRST_DRAWS = 60
SECOND_DRAWS = 12


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


@dataclass(frozen=True)
class Found:
    """A disk that a power cut leaves: where it was, what is on it, and what the hub wants."""

    where: str
    disk: SimulatedDisk
    hub: OneDevice


def first_cuts(scenario: Scenario, seed: str, draws: int) -> Iterator[Found]:
    """Run a scenario, and draw what a cut before each of its calls, and after all, leaves."""
    device = scenario.begin()
    found = _watch(device, seed, draws)
    scenario.act(device)
    device.settle()
    device.disk.before("end", "")
    yield from (Found(where, disk, device) for where, disk in found)
    device.close()


def second_cuts(scenario: Scenario, first: Found, draws: int) -> Iterator[Found]:
    """Let an agent recover from a cut, and draw what another cut at each of its calls leaves."""
    device = _agent_on(first, boot=1)
    found = _watch(device, first.where, draws)
    device.start()
    device.settle()
    yield from (Found(f"{first.where}, then {where}", disk, device) for where, disk in found)
    device.close()


def _watch(device: OneDevice, seed: str, draws: int) -> list[tuple[str, SimulatedDisk]]:
    """Draw states of a device's disk before each call: both extremes, and what chance says."""
    found: list[tuple[str, SimulatedDisk]] = []
    calls = [0]

    def before(call: str, path: str) -> None:
        calls[0] += 1
        where = f"{calls[0]}: {call} {path}"
        chance = random.Random(f"{seed} {where}")
        for number in range(draws):
            kept = {0: Kept.NOTHING, 1: Kept.EVERYTHING}.get(number, Kept.SOMETHING)
            found.append((where, device.disk.after_power_cut(chance, kept)))

    device.disk.before = before
    return found


def _agent_on(found: Found, boot: int) -> OneDevice:
    device = OneDevice(disk=found.disk.after_power_cut(random.Random(0)), boot=boot)
    device.generation, device.desired = found.hub.generation, found.hub.desired
    device.blobs = found.hub.blobs
    return device


def check(name: str, found: Found, boot: int) -> None:
    """Start an agent on a disk: it serves at once, comes to the ordered end, keeps no more."""
    scenario, where = SCENARIOS[name], f"{name}, {found.where}"
    device = _agent_on(found, boot)
    has_ended = _has_ended(device)
    device.start()
    allowed = {scenario.ends_with} if has_ended else scenario.serves
    assert device.serving() in allowed, f"{where}: serves {device.serving()}"
    device.settle()
    assert device.serving() == scenario.ends_with, f"{where}: {device.reason()}"
    _check_disk(device, where)
    device.close()


def _has_ended(device: OneDevice) -> bool:
    """Tell whether the journal on the disk says that the newest deployment has ended."""
    path = f"models/{MODEL}/record.json"
    running = json.loads(device.disk.read(path))["deployment"] if device.disk.has(path) else None
    ended = running is not None and State(running["state"]) in FINAL
    return ended and running["generation"] == device.generation


@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", SCENARIOS)
def test_after_a_power_cut_at_any_call_the_device_serves_and_converges(name: str) -> None:
    scenario, seen = SCENARIOS[name], set[str]()
    firsts: list[Found] = []
    for found in first_cuts(scenario, name, FIRST_DRAWS):
        if found.disk.digest not in seen:
            seen.add(found.disk.digest)
            firsts.append(found)
            check(name, found, boot=1)
    random.Random(name).shuffle(firsts)
    for found in chain.from_iterable(second_cuts(scenario, f, SECOND_DRAWS) for f in firsts):
        if len(seen) == DISKS_A_SCENARIO:
            break
        if found.disk.digest not in seen:
            seen.add(found.disk.digest)
            check(name, found, boot=2)
    assert len(seen) >= DISKS_A_SCENARIO, f"{len(firsts)} disks of first cuts, {len(seen)} in all"


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
