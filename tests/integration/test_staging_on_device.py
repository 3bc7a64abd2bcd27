"""Staged versions on a device: what they wait for, who may take over, and whose room they take."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from device_agent.core.states import State
from device_agent.protocol.activation import AT_ONCE, Activation, MaintenanceWindow
from device_agent.protocol.reasons import Reason
from device_agent.shell.doors import Clock
from edgeops.packaging.package import Package
from tests.device_harness import OPTIONS, Device, Hub, Workshop

SATURDAY_NOON_S = 1_795_867_200.0
NIGHT = MaintenanceWindow.from_text("sun 02:00-04:00")
HELD = Activation(hold=True)


@pytest.fixture(scope="module")
def second(workshop: Workshop) -> Package:
    return workshop.linear(2)


@pytest.fixture
def wall() -> list[float]:
    return [SATURDAY_NOON_S]


@pytest.fixture
def serving(tmp_path: Path, hub: Hub, workshop: Workshop, wall: list[float]) -> Iterator[Device]:
    """A device in UTC on which version 1 is committed."""
    made = Device(
        tmp_path / "state",
        hub,
        options=replace(OPTIONS, time_zone="UTC"),
        clock=Clock(wall_s=lambda: wall[0]),
    )
    made.order(workshop.linear(1))
    made.settle()
    yield made
    made.crash()


def waits(device: Device) -> str:
    """Return what the device says that it waits for, after a few turns in which it must wait."""
    for _ in range(5):
        device.turn()
    assert (device.state(), device.serving()) == (State.STAGE, 1)
    return device.loop._deployer.acts.waits(device.record())


def test_a_version_on_hold_is_fetched_and_waits_until_it_is_let_go(
    serving: Device, second: Package
) -> None:
    serving.order(second, activation=HELD)
    serving.reach(State.STAGE)
    assert waits(serving) == "waits to be let go"
    serving.restart()
    serving.serves_chunks = False
    assert waits(serving) == "waits to be let go"
    serving.order(second, activation=AT_ONCE)
    serving.settle()
    assert (serving.state(), serving.serving()) == (State.COMMITTED, 2)


def test_a_version_is_activated_when_its_window_opens_and_not_before(
    serving: Device, second: Package, wall: list[float]
) -> None:
    serving.order(second, activation=Activation(window=NIGHT))
    serving.reach(State.STAGE)
    assert waits(serving) == "waits for its window, sun 02:00-04:00 local time"
    wall[0] += 13 * 3600 + 59 * 60
    assert waits(serving)
    wall[0] += 60
    serving.settle()
    assert (serving.state(), serving.serving()) == (State.COMMITTED, 2)


def test_a_board_whose_clock_was_never_set_waits_for_a_window_and_installs_without_one(
    serving: Device, second: Package, wall: list[float]
) -> None:
    wall[0] = 86_400.0 * 3
    always = MaintenanceWindow.from_text("00:00-00:00")
    serving.order(second, activation=Activation(window=always))
    serving.reach(State.STAGE)
    assert "the clock was never set" in waits(serving)
    serving.order(second, activation=AT_ONCE)
    serving.settle()
    assert serving.serving() == 2


def test_the_version_before_stays_ready_while_its_successor_is_staged(
    serving: Device, workshop: Workshop, second: Package
) -> None:
    serving.order(second)
    serving.settle()
    serving.order(workshop.linear(3), rollout="r2", activation=HELD)
    serving.reach(State.STAGE)
    assert sorted(slot.version for slot in serving.record().slots.values()) == [1, 2]


def test_a_newer_order_takes_over_from_a_staged_version(
    serving: Device, workshop: Workshop, second: Package
) -> None:
    serving.order(second, activation=HELD)
    serving.reach(State.STAGE)
    serving.order(workshop.linear(3), rollout="r2")
    serving.settle()
    assert serving.serving() == 3
    assert [event["version"] for event in serving.events if event["reason"] == "superseded"] == [2]


def test_a_newer_order_waits_for_the_outcome_of_what_is_past_staging(
    serving: Device, workshop: Workshop, second: Package
) -> None:
    serving.order(second)
    serving.reach(State.SELF_TEST)
    serving.order(workshop.linear(3), rollout="r2")
    serving.settle()
    assert serving.serving() == 3
    assert "superseded" not in [event["reason"] for event in serving.events]
    committed = [e["version"] for e in serving.events if e["state"] == "committed"]
    assert committed == [1, 2, 3]


def test_what_nobody_wants_any_more_past_staging_is_withdrawn_in_probation(
    serving: Device, second: Package
) -> None:
    serving.order(second)
    serving.reach(State.SELF_TEST)
    serving.orders.clear()
    serving.order()
    serving.until(lambda: serving.state() is State.ROLLED_BACK, "a rollback")
    assert (serving.serving(), serving.reason()) == (1, Reason.SUPERSEDED)


def test_room_that_is_promised_to_one_model_is_not_given_to_another(
    tmp_path: Path, hub: Hub, workshop: Workshop
) -> None:
    one, two = workshop.linear(1), workshop.linear(9, name="kws")
    size = sum(map(len, one.blobs.values())) + len(one.manifest_bytes)
    options = replace(OPTIONS, disk_budget_bytes=int(1.5 * size))
    device = Device(tmp_path / "small", hub, options=options)
    device.order(one, activation=HELD)
    device.reach(State.STAGE)
    device.order(two)
    device.settle("kws")
    assert device.outcome("kws") == (State.FAILED, Reason.DISK_FULL)
    assert f"the budget is {int(1.5 * size)}" in device.detail("kws")
    device.order(one, activation=AT_ONCE)
    device.settle()
    assert device.serving() == 1
    device.crash()


def test_what_a_model_keeps_to_fall_back_to_is_never_collected_for_another(
    serving: Device, workshop: Workshop, second: Package
) -> None:
    serving.order(second)
    serving.settle()
    serving.order(workshop.linear(5, name="kws"))
    serving.settle("kws")
    blobs = set(serving.loop._storage.names("blobs/sha256"))
    for slot in serving.record().slots.values():
        assert slot.manifest.digest.removeprefix("sha256:") in blobs
    serving.order(workshop.linear(3), rollout="r2")
    serving.settle()
    kept = set(serving.loop._storage.names("blobs/sha256"))
    assert workshop.linear(1).digest.removeprefix("sha256:") not in kept
    assert sorted(slot.version for slot in serving.record().slots.values()) == [2, 3]
