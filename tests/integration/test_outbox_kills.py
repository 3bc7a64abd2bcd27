"""A device that is killed again and again while its outbox is full: nothing is lost or doubled."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from device_agent.core.states import FINAL
from device_agent.protocol.codec import decode
from device_agent.protocol.ids import DeviceId
from device_agent.protocol.orders import Ack
from device_agent.shell.outbox import Outbox
from device_agent.shell.reporter import Reporter
from edgeops.service import inbox
from tests.agent_values import MODEL
from tests.hub_harness import HubHarness
from tests.outbox_writer import OPTIONS

HERE = Path(__file__).resolve().parents[2]
KILLS = 25
OUTCOMES = {state.value for state in FINAL}


@dataclass
class Life:
    """What the device said that it had accepted, over all its lives, and what it may have had."""

    path: Path
    kept: list[int] = field(default_factory=list)
    unsaid: list[int] = field(default_factory=list)
    contents: dict[tuple[str, int], dict[str, object]] = field(default_factory=dict)
    taken: dict[tuple[str, int], dict[str, object]] = field(default_factory=dict)

    @property
    def next(self) -> int:
        return max([*self.kept, *self.unsaid], default=-1) + 1

    def receive(self, hub: HubHarness, topic: str, payload: bytes) -> bytes:
        """Let the real hub take a message; one number has one content, whenever it is sent."""
        document = decode(payload)
        key = (document["stream"], document["sequence"])
        content = {name: document.get(name) for name in ("event", "windows")}
        assert self.contents.setdefault(key, content) == content
        answer = hub.take((topic, payload))
        assert answer is not None
        ack = Ack.from_document(decode(answer))
        if ack.sequence == document["sequence"]:
            self.taken[key] = content
        return answer


@pytest.fixture
def hub() -> Iterator[HubHarness]:
    with HubHarness() as harness:
        harness.enroll("cam-1")
        yield harness


def one_life(life: Life, hub: HubHarness, chance: random.Random) -> None:
    """Start the device, and kill it after a while at no particular moment."""
    first = life.next
    command = [sys.executable, "-m", "tests.outbox_writer", str(life.path), str(first)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, cwd=HERE, **pipes) as child:
        try:
            listen(child, life, hub, chance)
        finally:
            child.kill()
    life.unsaid.append(life.next)  # it may have been accepted, with nobody left to say so


def listen(
    child: subprocess.Popen[bytes], life: Life, hub: HubHarness, chance: random.Random
) -> None:
    """Answer as a hub does, kill, and take half of what was still on its way."""
    assert child.stdin is not None
    assert child.stdout is not None
    answers: list[bytes] = []
    lines = chance.randrange(5, 120)
    for at, line in enumerate(child.stdout):
        if at == lines:
            time.sleep(chance.uniform(0, 0.004))
            child.kill()
        if not line.endswith(b"\n"):
            break  # it was killed over this one
        word, *rest = line.decode().split()
        if word == "kept":
            life.kept.append(int(rest[0]))
        elif word == "sent" and (at < lines or chance.random() < 0.5):
            answers.append(life.receive(hub, rest[0], bytes.fromhex(rest[1])))
        elif word == "over" and at < lines:
            child.stdin.write(" ".join(each.hex() for each in answers).encode() + b"\n")
            child.stdin.flush()
            answers.clear()


def drain(life: Life, hub: HubHarness) -> dict[str, int]:
    """Start the device a last time, without a kill; return what gave way."""
    outbox = Outbox(life.path, options=OPTIONS)
    reporter = Reporter(DeviceId("cam-1"), outbox)
    while outbox.depth():
        for topic, payload in reporter.due(0.0):
            ack = Ack.from_document(decode(life.receive(hub, topic, payload)))
            outbox.acknowledge(ack.stream, ack.sequence)
    given_way = dict(outbox.given_way())
    outbox.close()
    return given_way


@pytest.mark.parametrize("seed", range(2))
def test_whatever_moment_a_device_is_killed_its_accepted_counts_arrive_once(
    tmp_path: Path, hub: HubHarness, seed: int
) -> None:
    chance = random.Random(seed)
    life = Life(tmp_path / "outbox.sqlite")
    for _ in range(KILLS):
        one_life(life, hub, chance)
    given_way = drain(life, hub)
    assert given_way["merged"] > 0
    arrived: Counter[int] = Counter()
    for _, window in inbox.windows(hub.context, MODEL, None, limit=10_000):
        arrived.update(dict(enumerate(window.classes)))
    assert {number: arrived[number] for number in life.kept} == dict.fromkeys(life.kept, 1)
    assert {number for number, count in arrived.items() if count} <= {*life.kept, *life.unsaid}
    assert max(arrived.values()) == 1


def test_outcomes_arrive_once_and_steps_arrive_or_are_counted(
    tmp_path: Path, hub: HubHarness
) -> None:
    chance = random.Random(7)
    life = Life(tmp_path / "outbox.sqlite")
    for _ in range(KILLS):
        one_life(life, hub, chance)
    given_way = drain(life, hub)
    events: list[Any] = [each["event"] for each in life.taken.values() if each["event"]]
    arrived = Counter(each["generation"] for each in events)
    assert max(arrived.values()) == 1
    assert list(arrived) == sorted(arrived)
    kept = [number for number in life.kept if number % 4 == 0]
    assert set(kept) - set(arrived) <= {number for number in kept if number % 8}
    assert all(each["state"] in OUTCOMES for each in events if each["generation"] % 8 == 0)
    unsaid = [number for number in life.unsaid if number % 4 == 0]
    missing = len(set(kept) - set(arrived))
    assert missing <= given_way["events"] <= missing + len(unsaid)
