"""Agents whose wall clock is wrong by decades or jumps: they install, serve, report, and the hub
puts the times of what they count right. Deadlines do not notice."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from device_agent.core.states import State
from device_agent.protocol.ids import ModelName
from device_agent.protocol.items import Window
from device_agent.protocol.reasons import Reason
from device_agent.shell.doors import Clock
from edgeops.packaging.package import Package
from edgeops.service import fleet, inbox
from tests.device_harness import OPTIONS, Device, Hub, Workshop
from tests.hub_harness import HubHarness

DIGITS = ModelName("digits")
YEAR_S = 365 * 86400.0
IN_1970_S = 42.0
LATE_S = 300.0
"""How much a time may be off that the hub does not correct."""


@dataclass
class Clocks:
    """A wall clock that can be set, and a monotonic one that can be passed on."""

    wall_offset_s: float
    passed_s: float = 0.0

    def monotonic_s(self) -> float:
        return time.monotonic() + self.passed_s

    def wall_s(self) -> float:
        return self.monotonic_s() + self.wall_offset_s

    def set(self, wall_s: float) -> None:
        """Set the wall clock, as a person or NTP does."""
        self.wall_offset_s = wall_s - self.monotonic_s()

    @property
    def doors(self) -> Clock:
        return Clock(monotonic_s=self.monotonic_s, wall_s=self.wall_s)


def set_to(wall_s: float) -> Clocks:
    clocks = Clocks(0.0)
    clocks.set(wall_s)
    return clocks


@pytest.fixture(scope="module")
def first(workshop: Workshop) -> Package:
    return workshop.linear(1)


@pytest.fixture(scope="module")
def second(workshop: Workshop) -> Package:
    return workshop.linear(2)


@pytest.fixture
def control() -> Iterator[HubHarness]:
    """A hub that has enrolled the device and whose clock is right."""
    with HubHarness() as harness:
        harness.clock.now_s = time.time()
        harness.enroll("cam-1")
        harness.clock.pass_s(3600.0)
        yield harness


@pytest.fixture
def start(tmp_path: Path, hub: Hub) -> Iterator[Callable[[Clocks], Device]]:
    started: list[Device] = []

    def device_with(clocks: Clocks) -> Device:
        options = replace(OPTIONS, heartbeat_s=60.0, telemetry_interval_s=60.0)
        device = Device(tmp_path / "state", hub, options=options, clock=clocks.doors)
        started.append(device)
        return device

    yield device_with
    for device in started:
        device.crash()


def taken(control: HubHarness, device: Device) -> list[Window]:
    """Let the hub take what the device has said; return the windows that it keeps, oldest first."""
    for topic, payload in device.link.published:
        if topic.endswith(("state", "event", "telemetry")):
            control.handlers.handle(topic, payload)
    device.link.published.clear()
    device._seen = 0
    kept = inbox.windows(control.context, DIGITS, None, limit=100)
    return [window for _, window in reversed(kept)]


def count(device: Device, clocks: Clocks, rows: int = 10) -> None:
    """Answer some rows, a minute long."""
    for _ in range(rows):
        device.infer()
    clocks.passed_s += 60.0
    device.turn()


def test_a_board_that_boots_in_1970_installs_serves_and_reports(
    start: Callable[[Clocks], Device], control: HubHarness, first: Package, second: Package
) -> None:
    clocks = set_to(IN_1970_S)
    device = start(clocks)
    device.order(first)
    device.settle()
    device.order(second, rollout="r2")
    device.settle()
    assert (device.serving(), device.state()) == (2, State.COMMITTED)
    count(device, clocks)
    taken(control, device)
    shown = fleet.device(control.context, "cam-1").device
    assert shown.presence.online
    assert shown.presence.clock_offset_s == pytest.approx(
        IN_1970_S - control.clock.now_s, abs=LATE_S
    )


def test_windows_that_were_counted_in_1970_have_usable_times_at_the_hub(
    start: Callable[[Clocks], Device], control: HubHarness, first: Package
) -> None:
    clocks = set_to(IN_1970_S)
    device = start(clocks)
    device.order(first)
    device.settle()
    count(device, clocks)
    taken(control, device)
    device.link.connected = False
    began_s = control.clock.now_s
    for _ in range(5):
        count(device, clocks)
        control.clock.pass_s(60.0)
    clocks.set(control.clock.now_s)  # NTP is there before the hub is
    count(device, clocks)
    control.clock.pass_s(60.0)
    control.clock.pass_s(7 * 86400.0)
    clocks.passed_s += 7 * 86400.0
    device.link.connected = True
    device.loop._outbox.resend_all()
    for _ in range(3):
        device.turn()
    windows = [each for each in taken(control, device) if each.ended_s > began_s + 30.0]
    assert len(windows) == 6
    for each in windows:
        assert began_s - LATE_S <= each.started_s <= each.ended_s <= began_s + 600 + LATE_S
        assert each.ended_s - each.started_s == pytest.approx(60.0, abs=5.0)
    assert control.handlers.counters["telemetry.retimed"] >= 5
    assert inbox.forget_old_windows(control.context, days=90.0) == 0


def test_a_clock_that_jumps_ten_years_ahead_and_back_ends_nothing_and_lengthens_no_window(
    start: Callable[[Clocks], Device], control: HubHarness, first: Package, second: Package
) -> None:
    clocks = set_to(time.time())
    device = start(clocks)
    device.order(first)
    device.settle()
    device.serves_chunks = False
    device.order(second, rollout="r2")
    device.reach(State.MANIFEST)
    clocks.wall_offset_s += 10 * YEAR_S
    for _ in range(5):
        device.turn()
    assert device.state() is State.MANIFEST, "a deadline that the wall clock passed is none"
    device.serves_chunks = True
    clocks.passed_s += 1.0
    device.reach(State.PROBATION)
    clocks.wall_offset_s -= 20 * YEAR_S
    count(device, clocks, rows=1)
    device.settle()
    assert (device.serving(), device.state()) == (2, State.COMMITTED)
    clocks.wall_offset_s += 10 * YEAR_S
    count(device, clocks)
    windows = taken(control, device)
    assert windows
    for each in windows:
        assert each.ended_s - each.started_s < 300.0
        assert abs(each.ended_s - control.clock.now_s) < 3600.0 + LATE_S


def test_a_deadline_passes_by_the_monotonic_clock_while_the_wall_clock_stands_in_1970(
    start: Callable[[Clocks], Device], first: Package
) -> None:
    clocks = set_to(IN_1970_S)
    device = start(clocks)
    device.serves_chunks = False
    device.order(first, download_timeout_s=600.0)
    device.turn()
    device.turn()
    clocks.passed_s += 601.0
    clocks.set(IN_1970_S)
    device.settle()
    assert device.outcome() == (State.FAILED, Reason.DOWNLOAD_TIMEOUT)


def test_heartbeats_and_windows_come_by_the_monotonic_clock_alone(
    start: Callable[[Clocks], Device], first: Package
) -> None:
    clocks = set_to(time.time())
    device = start(clocks)
    device.order(first)
    device.settle()
    for _ in range(5):
        device.turn()
    said = len(device.link.published)
    for years in (10, -30, 25):
        clocks.wall_offset_s += years * YEAR_S
        device.infer()
        device.turn()
    kinds = [topic.rsplit("/", 1)[1] for topic, _ in device.link.published[said:]]
    assert kinds == []
    clocks.passed_s += 61.0
    device.turn()
    kinds = [topic.rsplit("/", 1)[1] for topic, _ in device.link.published[said:]]
    assert sorted(kinds) == ["state", "telemetry"]
    (window,) = json.loads(device.link.published[-1][1])["windows"]
    assert window["inferences"] >= 3
