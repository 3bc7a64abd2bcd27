"""Seven days without a hub, by a clock of our own: then everything arrives, in order, in peace."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from device_agent.protocol import topics
from device_agent.protocol.codec import MAX_DOCUMENT_BYTES, decode, encode
from device_agent.protocol.ids import DeviceId, ModelName
from device_agent.protocol.items import Window
from device_agent.protocol.orders import Ack
from device_agent.shell.outbox import Outbox, OutboxOptions
from device_agent.shell.outbox_room import Bound
from device_agent.shell.reporter import Reporter
from edgeops.service import inbox
from tests.agent_values import window
from tests.device_harness import DEVICE, OPTIONS, Device, Hub
from tests.hub_harness import START_S, HubHarness

CAM = DeviceId("cam-1")
WEEK_S = 7 * 86400.0
MODELS = (ModelName("kws"), ModelName("digits"))
DRAIN = OutboxOptions(
    telemetry=Bound(items=800, size_bytes=8 * 2**20),
    drain_bytes_per_s=32 * 1024.0,
    burst_bytes=16 * 1024.0,
)
TICK_S = 0.2


class Offline:
    """A device that only counts, restarts now and then, and knows what it has counted."""

    def __init__(self, database: Path | Callable[[], sqlite3.Connection]) -> None:
        self.database = database
        self.now_s = 0.0
        self.counted: Counter[str] = Counter()
        self.windows = 0
        self.start()

    def start(self) -> None:
        self.outbox = Outbox(self.database, options=DRAIN, clock=lambda: self.now_s, boot="b")
        self.reporter = Reporter(CAM, self.outbox, lambda: START_S + self.now_s)

    def restart(self) -> None:
        self.outbox.close()
        self.start()

    def close_windows(self, every_s: float) -> None:
        self.now_s += every_s
        for model in MODELS:
            self.windows += 1
            each = window_of(model, self.windows, START_S + self.now_s, every_s)
            self.counted.update(totals(each))
            self.reporter._keep_window(each)


def window_of(model: ModelName, number: int, ended_s: float, length_s: float) -> Window:
    """Return a window whose numbers no other one has."""
    return replace(
        window(),
        model=model,
        started_s=ended_s - length_s,
        ended_s=ended_s,
        inferences=10 + number % 7,
        failures=number % 3,
        classes=(number % 5, number % 11),
        plan="f" * 16,
        input_rows=number % 13,
        inputs=(number % 2, 0, number % 17),
    )


def totals(each: Window) -> Counter[str]:
    """Return every count of a window, by model."""
    flat = {
        "inferences": each.inferences,
        "failures": each.failures,
        "nonfinite": each.nonfinite,
        "labelled": each.labelled,
        "labelled_correct": each.labelled_correct,
        "input_rows": each.input_rows,
    }
    for name in ("classes", "confidence", "latency", "inputs"):
        flat |= {f"{name} {at}": count for at, count in enumerate(getattr(each, name))}
    return Counter({f"{each.model} {name}": count for name, count in flat.items()})


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[HubHarness]:
    with HubHarness(tmp_path / "hub.sqlite") as harness:
        harness.enroll("cam-1")
        yield harness


@pytest.fixture
def memory() -> Iterator[Callable[[], sqlite3.Connection]]:
    """A database that lives as long as the machine, not as the process."""
    uri = "file:a-week?mode=memory&cache=shared"
    kept = sqlite3.connect(uri, uri=True)
    yield lambda: sqlite3.connect(uri, uri=True)
    kept.close()


def drain(device: Offline, hub: HubHarness) -> list[tuple[float, int]]:
    """Let the hub take everything; return when how many bytes were said."""
    said: list[tuple[float, int]] = []
    device.outbox.resend_all()
    while device.outbox.depth():
        device.now_s += TICK_S
        hub.clock.now_s = START_S + device.now_s
        for topic, payload in device.reporter.due(device.now_s):
            said.append((device.now_s, len(payload)))
            answer = hub.take((topic, payload))
            assert answer is not None
            ack = Ack.from_document(decode(answer))
            assert ack.sequence == decode(payload)["sequence"]
            device.outbox.acknowledge(ack.stream, ack.sequence)
    return said


def assert_everything_arrived(device: Offline, hub: HubHarness) -> list[Window]:
    arrived = [
        each
        for model in MODELS
        for _, each in reversed(inbox.windows(hub.context, model, CAM, limit=10_000))
    ]
    assert sum((totals(each) for each in arrived), Counter()) == device.counted
    for model in MODELS:
        of_one = [each for each in arrived if each.model == model]
        assert of_one[0].started_s == START_S
        assert of_one[-1].ended_s == START_S + WEEK_S
        assert all(one.ended_s == two.started_s for one, two in pairwise(of_one))
    return arrived


def assert_pace(said: list[tuple[float, int]]) -> None:
    """No stretch of time has more than its bound: a bucket that leaks at the pace never runs over."""
    level, before_s = 0.0, 0.0
    for now_s, size in said:
        level = max(0.0, level - (now_s - before_s) * DRAIN.drain_bytes_per_s) + size
        before_s = now_s
        assert level <= DRAIN.burst_bytes + 1e-6


def test_a_week_of_hourly_windows_arrives_window_by_window(tmp_path: Path, hub: HubHarness) -> None:
    device = Offline(tmp_path / "outbox.sqlite")
    for hour in range(7 * 24):
        device.close_windows(3600.0)
        if hour % 10 == 9:
            device.restart()
    said = drain(device, hub)
    assert len(said) == device.windows == len(assert_everything_arrived(device, hub))
    assert_pace(said)
    assert said[-1][0] - said[0][0] > sum(size for _, size in said) / DRAIN.drain_bytes_per_s * 0.9


def test_a_week_of_minutes_is_more_than_fits_and_still_every_count_arrives_once(
    memory: Callable[[], sqlite3.Connection], hub: HubHarness
) -> None:
    device = Offline(memory)
    for minute in range(7 * 24 * 60):
        device.close_windows(60.0)
        if minute % 700 == 699:
            device.restart()
    assert device.windows == 20_160
    assert device.outbox.depth() <= DRAIN.telemetry.items
    said = drain(device, hub)
    arrived = assert_everything_arrived(device, hub)
    assert len(arrived) == len(said) == device.windows - device.outbox.given_way()["merged"]
    lengths = [each.ended_s - each.started_s for each in arrived]
    assert max(lengths) <= 2 * 2 * WEEK_S * len(MODELS) / DRAIN.telemetry.items
    assert_pace(said)


def test_the_reported_state_does_not_wait_behind_a_backlog(tmp_path: Path) -> None:
    slow = OutboxOptions(drain_bytes_per_s=1.0, burst_bytes=5_000.0)
    device = Device(tmp_path / "state", Hub(), options=replace(OPTIONS, outbox=slow))
    for number in range(100):
        body = encode(window_of(MODELS[0], number, START_S, 60.0).to_document())
        device.loop._outbox.put("telemetry", body)
    device.turn()
    kinds = [topic.rsplit("/", 1)[1] for topic, _ in device.link.published]
    assert kinds[0] == "state"
    assert 0 < kinds.count("telemetry") < 10
    device.send(topics.command(DEVICE), device.hub.command("say-it"))
    before = len(kinds)
    device.turn()
    later = device.link.published[before:]
    assert [topic for topic, _ in later][:1] == [topics.up(DEVICE, "state")]
    assert json.loads(later[0][1])["outbox"] > 80
    device.crash()


def test_what_gave_way_is_in_the_reported_state(tmp_path: Path) -> None:
    small = OutboxOptions(telemetry=Bound(items=32, size_bytes=10**6))
    device = Device(tmp_path / "state", Hub(), options=replace(OPTIONS, outbox=small))
    for number in range(100):
        body = encode(window_of(MODELS[0], number, START_S + 60.0 * number, 60.0).to_document())
        device.loop._outbox.put("telemetry", body)
    device.turn()
    state = json.loads(device.link.published[0][1])
    gave_way = state["gave_way"]
    assert gave_way == {"merged": 100 - state["outbox"], "windows": 0, "events": 0, "samples": 0}
    assert len(device.link.published[0][1]) < MAX_DOCUMENT_BYTES
    device.crash()


def test_windows_that_the_disk_refuses_are_held_and_added_up_until_it_takes_them(
    tmp_path: Path,
) -> None:
    outbox = Outbox(tmp_path / "outbox.sqlite")
    reporter = Reporter(CAM, outbox)
    outbox.put("event", b"{}")
    (pages,) = outbox._database.execute("PRAGMA page_count").fetchone()
    outbox._database.execute(f"PRAGMA max_page_count={pages}")
    made = [window_of(model, at, 60.0 * at, 60.0) for at in range(60) for model in MODELS]
    for each in made:
        reporter._keep_window(each)
    assert outbox.depth() < len(made)
    outbox._database.execute("PRAGMA max_page_count=100000")
    reporter._keep_window(made[0])
    bodies = [decode(item.body) for item in outbox.due(0.0) if item.kind == "telemetry"]
    kept = sum(each["inferences"] for each in bodies)
    assert kept == sum(each.inferences for each in made) + made[0].inferences
    assert reporter.lost == {}
    outbox.close()
