"""One simulated device on a table: the real loop, its disk in memory, time by hand, a patient hub.

Unlike a simulated world nothing happens by chance: a test says what comes next.
"""

from __future__ import annotations

import json
import random
import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from device_agent.core.states import State
from device_agent.protocol import topics
from device_agent.protocol.chunks import encode_chunk, expand_ranges
from device_agent.protocol.codec import encode
from device_agent.protocol.enrolment import Enrolment
from device_agent.protocol.envelope import PAYLOAD_DESIRED, pre_authentication, seal
from device_agent.protocol.errors import InferenceFailed, NoModel
from device_agent.protocol.ids import DeviceId, Digest, ModelName
from device_agent.protocol.orders import Ack, Desired, DesiredModel
from device_agent.protocol.probation import ProbationRules
from device_agent.protocol.reports import Need
from device_agent.shell.doors import Clock, Doors
from device_agent.shell.link import Connected, Message
from device_agent.shell.live import LiveModels
from device_agent.shell.loop import AgentLoop
from device_agent.shell.options import AgentOptions
from device_agent.shell.storage import DiskStorage
from edgeops.simulation.disk import Kept, SimulatedDisk
from edgeops.simulation.packages import (
    PROFILE,
    Behaviour,
    Keys,
    SimulatedPackage,
    make_keys,
    make_package,
    seeded_key,
)
from edgeops.simulation.runtime import SimulatedRuntime
from tests.device_harness import RecordingLink

MODEL = ModelName("kws")
DEVICE = DeviceId("cam-1")
ROOT = Path("/state")
WALL_S = 1_790_000_000.0
OPTIONS = AgentOptions(
    heartbeat_s=86_400.0, telemetry_interval_s=1e6, reserve_bytes=1000, time_zone="UTC"
)
RULES = ProbationRules(min_inferences=4, timeout_s=50.0)
_KEY_CHANCE = random.Random(1)
KEYS: Keys = make_keys(lambda: seeded_key(_KEY_CHANCE))
GOOD = tuple(
    make_package(KEYS, random.Random(number), MODEL, number, Behaviour.GOOD)
    for number in range(1, 5)
)


def bad(behaviour: Behaviour, number: int = 2) -> SimulatedPackage:
    """Return a package whose model behaves in this way."""
    return make_package(KEYS, random.Random(f"{number} {behaviour}"), MODEL, number, behaviour)


class WatchedStorage(DiskStorage):
    """Tells the device of each journal entry, before and after it is written."""

    def __init__(self, disk: SimulatedDisk, device: OneDevice) -> None:
        super().__init__(disk, ROOT)
        self._device = device

    def replace(self, path: str, data: bytes) -> None:
        state = _state_in(data) if path.endswith("/record.json") else None
        if state is not None:
            self._device.before_entry(state)
        super().replace(path, data)
        if state is not None:
            self._device.after_entry(state)


def _state_in(data: bytes) -> State | None:
    running = json.loads(data)["deployment"]
    return State(running["state"]) if running else None


def _nothing(_state: State) -> None:
    """Let an entry be written."""


def _no_more() -> None:
    """A model does no more than its work."""


@dataclass
class OneDevice:
    """A device and its hub. ``disk`` may be exchanged before a ``start``.

    The outbox is in memory, unless ``outbox_file`` says where.
    """

    disk: SimulatedDisk = field(default_factory=SimulatedDisk)
    now_s: float = 100.0
    boot: int = 0
    serves_chunks: bool = True
    infers: bool = True
    outbox_file: Path | None = None
    events: list[dict[str, Any]] = field(default_factory=list)
    before_entry: Callable[[State], None] = _nothing
    after_entry: Callable[[State], None] = _nothing
    on_work: Callable[[], None] = _no_more

    def __post_init__(self) -> None:
        self.generation = 0
        self.desired: bytes | None = None
        self.blobs: dict[Digest, bytes] = {}
        self.loaded: set[str] = set()
        self.worked_ns = 0
        self.loop: AgentLoop | None = None
        in_memory = f"file:one-{id(self)}?mode=memory&cache=shared"
        self._memory = in_memory if self.outbox_file is None else f"file:{self.outbox_file}"
        self._keeper = sqlite3.connect(self._memory, uri=True)

    # ---- life

    def start(self) -> None:
        """Start the agent on what the disk holds."""
        self.link = RecordingLink()
        self._seen = 0
        self.live = LiveModels(timer_ns=lambda: self.worked_ns)
        runtime = SimulatedRuntime(
            lambda path: self.disk.read(path),
            ROOT,
            monotonic_s=lambda: self.now_s,
            work=self._work,
            loaded=self.loaded,
        )
        doors = Doors(
            clock=Clock(
                monotonic_s=lambda: self.now_s,
                wall_s=lambda: WALL_S + self.now_s,
                boot=f"boot {self.boot}",
            ),
            machine=runtime.machine,
            storage=WatchedStorage(self.disk, self),
            link=self.link,
            outbox=lambda: sqlite3.connect(self._memory, uri=True, check_same_thread=False),
            new_id=lambda: "0123456789abcdef" * 2,
        )
        enrolment = Enrolment(
            device=DEVICE,
            profile=PROFILE,
            broker="mqtt://127.0.0.1:1",
            username=DEVICE,
            password="x",
            root=KEYS.envelope,
        )
        self.loop = None
        self.loop = AgentLoop(
            ROOT, enrolment, self.live, options=OPTIONS, chance=random.Random(1), doors=doors
        )
        self.loop.begin()
        self.loop.inbox.put(Connected(session=1))
        if self.desired is not None:  # what is retained comes with the subscription
            self.send(topics.desired(DEVICE), self.desired)

    def cut(self, kept: Kept = Kept.SOMETHING, chance: random.Random | None = None) -> None:
        """Take the power away; what the disk keeps of what was not synced is up to chance."""
        self.end()
        self.boot += 1
        self.disk = self.disk.after_power_cut(chance or random.Random(1), kept)

    def end(self) -> None:
        """End the process where it stands."""
        if self.loop is not None:
            self.loop._outbox.close()
        self.loop = None

    def close(self) -> None:
        self.end()
        self._keeper.close()

    # ---- the hub

    def send(self, topic: str, payload: bytes) -> None:
        assert self.loop is not None
        self.loop.inbox.put(Message(topic=topic, payload=payload))

    def order(self, package: SimulatedPackage, rollout: str = "r1", **fields: Any) -> None:
        """Order a version by a new generation."""
        self.blobs |= {package.digest: package.data, **package.blobs}
        self.generation += 1
        values: dict[str, Any] = {"probation": RULES, "download_timeout_s": 40.0, **fields}
        order = DesiredModel(
            version=package.manifest.version,
            manifest=package.ref,
            signature=package.signature,
            rollout=rollout,
            **values,
        )
        self._desire({MODEL: order})

    def forget(self) -> None:
        """Order nothing any more."""
        self.generation += 1
        self._desire({})

    def _desire(self, models: Mapping[ModelName, DesiredModel]) -> None:
        wanted = Desired(device=DEVICE, generation=self.generation, models=models)
        payload = encode(wanted.to_document())
        signature = KEYS.director.sign(pre_authentication(PAYLOAD_DESIRED, payload))
        self.desired = seal(PAYLOAD_DESIRED, payload, [signature])
        if self.loop is not None:
            self.send(topics.desired(DEVICE), self.desired)

    # ---- time

    def turn(self, seconds: float = 1.0) -> None:
        """Let a moment pass: the application infers, the agent turns, the hub answers."""
        assert self.loop is not None
        self.now_s += seconds
        if self.infers:
            self.infer_some()
        self.loop.turn(0)
        assert not self.loop.counters["defect"], "see agent.defect in the log"
        said, self._seen = self.link.published[self._seen :], len(self.link.published)
        for topic, payload in said:
            kind = topic.rsplit("/", 1)[1]
            if kind == "need" and self.serves_chunks:
                self._answer(Need.from_document(json.loads(payload)))
            elif kind in ("event", "telemetry", "outcome"):
                self._acknowledge(kind, json.loads(payload))

    def settle(self, most: int = 400) -> None:
        """Turn until the deployment that is wanted has ended."""
        for _ in range(most):
            self.turn()
            if self.is_settled():
                self.turn()
                self.turn()
                return
        raise AssertionError(f"it does not end: {self.state()}, {self.reason()}")

    def until(self, condition: Callable[[], object], most: int = 400) -> None:
        for _ in range(most):
            if condition():
                return
            self.turn()
        raise AssertionError(f"it does not come: {self.state()}, {self.reason()}")

    # ---- looking

    def outbox_pages(self) -> int:
        """Pages of the outbox's database."""
        (pages,) = self._keeper.execute("PRAGMA page_count").fetchone()
        return int(pages)

    def is_settled(self) -> bool:
        record = self.loop.records.get(MODEL) if self.loop else None
        running = record.deployment if record else None
        done = running is not None and running.is_final
        return done and self.loop is not None and self.loop.generation == self.generation

    def state(self) -> State | None:
        record = self.loop.records.get(MODEL) if self.loop else None
        return record.deployment.state if record and record.deployment else None

    def reason(self) -> str | None:
        record = self.loop.records.get(MODEL) if self.loop else None
        reason = record.deployment.reason if record and record.deployment else None
        return reason.value if reason else None

    def serving(self) -> int | None:
        live = self.live.get(MODEL)
        return live.manifest.version if live else None

    def reported(self) -> list[str]:
        """Return the states that the hub was told, in order."""
        return [event["state"] for event in self.events]

    # ---- within

    def infer_some(self) -> None:
        for at in range(4):
            row = np.array([at % 2, (at + 1) % 2, 0, 0], np.float32)
            try:
                self.live.infer(MODEL, row)
            except InferenceFailed:
                continue
            except NoModel:
                return

    def _answer(self, need: Need) -> None:
        data = self.blobs.get(need.blob.digest)
        if data is None:
            return
        size = need.blob.chunk_bytes
        for index in expand_ranges(need.ranges, need.blob.count):
            piece = data[index * size : (index + 1) * size]
            self.send(topics.blob(need.blob.digest), encode_chunk(need.blob, index, piece))

    def _acknowledge(self, kind: str, document: dict[str, Any]) -> None:
        number = (document["stream"], document["sequence"])
        if kind == "event" and number not in [each["number"] for each in self.events]:
            self.events.append({**document["event"], "number": number})
        ack = Ack(stream=document["stream"], sequence=document["sequence"])
        self.send(topics.ack(DEVICE), encode(ack.to_document()))

    def _work(self, nanoseconds: int) -> None:
        self.worked_ns += nanoseconds
        self.on_work()


def committed(*versions: int) -> OneDevice:
    """Return a device on which these good versions were committed, one after the other."""
    device = OneDevice()
    device.start()
    for version in versions:
        device.order(GOOD[version - 1], f"r{version}")
        device.settle()
        assert device.serving() == version
    return device


__all__ = ["GOOD", "MODEL", "OneDevice", "bad", "committed", "replace"]
