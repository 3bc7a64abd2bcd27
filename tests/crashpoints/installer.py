"""A device that installs: the real agent on a real state folder, with a hub that always answers.

Real are the loop, the storage, the outbox's file and the packages' signatures. There is no
network, no thread, no child process and no clock but a counter, so the same install makes the same
system calls. ``python -m tests.crashpoints.installer SCENARIO FOLDER`` does one alone.
"""

from __future__ import annotations

import json
import logging
import random
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from device_agent.core.states import State
from device_agent.protocol import topics
from device_agent.protocol.chunks import encode_chunk, expand_ranges
from device_agent.protocol.codec import encode
from device_agent.protocol.orders import Ack
from device_agent.protocol.reasons import Reason
from device_agent.protocol.reports import Need
from device_agent.shell.disk import FolderDisk
from device_agent.shell.doors import Clock, Doors
from device_agent.shell.identity import FolderLock, adopt_identity
from device_agent.shell.link import Connected, Message
from device_agent.shell.live import LiveModels
from device_agent.shell.loop import AgentLoop
from device_agent.shell.options import AgentOptions
from device_agent.shell.storage import FolderStorage, Storage
from edgeops.simulation.runtime import SimulatedRuntime
from tests.crashpoints.scenarios import DEVICE, MODEL, SCENARIOS, Scenario, Shop

TURN_S = 0.5
ROWS_A_TURN = 5
MOST_TURNS = 400
"""A healthy install takes some 30."""
LAST_TURNS = 12
BOOTED_S = 1_780_000_000.0
OPTIONS = AgentOptions(
    heartbeat_s=30.0, telemetry_interval_s=3.0, reserve_bytes=20_000, time_zone="UTC"
)
ROWS = ((0.9, 0.1, 0.0, 0.0), (0.2, 0.8, 0.0, 0.0), (0.7, 0.3, 0.0, 0.0))
BY_THE_DISK = frozenset({Reason.DISK_FULL, Reason.STORAGE_FAILED})


class Broken(Exception):
    """The device did what it must never do; the message says what."""


class StubHub:
    """Hub, broker and network in one, as a device sees them: always there, and at once."""

    def __init__(self, shop: Shop, tell: Callable[[dict[str, Any]], None], chunks: int) -> None:
        """Take the packages, whom to tell of items, and how many chunks to answer with."""
        self.shop = shop
        self.desired = b""
        self.generation = 0
        self.reported: dict[str, Any] = {}
        self.put: Callable[[object], None] = lambda item: None
        self.call: Callable[[], int] = lambda: 1
        self._tell = tell
        self._chunks = chunks

    def order(self, generation: int, number: int) -> None:
        """Order a version; the order is retained, as on a broker."""
        self.generation = generation
        self.desired = self.shop.desired(generation, number)
        self.send_order()

    def send_order(self) -> None:
        self.put(Message(topic=topics.desired(DEVICE), payload=self.desired))

    # ---- what the agent sees of it

    def start(self) -> None:
        self.put(Connected(session=self.call()))
        self.send_order()

    def stop(self, farewell: tuple[str, bytes] | None = None) -> None:
        if farewell is not None:
            self.publish(*farewell)

    def publish(self, topic: str, payload: bytes, *, qos: int = 1, retain: bool = False) -> bool:
        kind, document = topic.rsplit("/", 1)[1], json.loads(payload)
        if kind == "need":
            self._answer(Need.from_document(document))
        elif kind == "state":
            self.reported = document
            if document["generation"] < self.generation:  # as the real hub does
                self.send_order()
        else:
            self._tell(document)
            ack = Ack(stream=document["stream"], sequence=document["sequence"])
            self.put(Message(topic=topics.ack(DEVICE), payload=encode(ack.to_document())))
        return True

    def subscribe(self, filters: Iterable[str], *, qos: int = 1) -> None:
        """Everything comes anyway."""

    def unsubscribe(self, filters: Iterable[str]) -> None:
        """Nothing comes unasked."""

    def _answer(self, need: Need) -> None:
        data, size = self.shop.blobs[need.blob.digest], need.blob.chunk_bytes
        is_manifest = any(each.digest == need.blob.digest for each in self.shop.packages.values())
        for index in expand_ranges(need.ranges, need.blob.count):
            if not is_manifest:
                if not self._chunks:
                    return
                self._chunks -= 1
            piece = encode_chunk(need.blob, index, data[index * size : (index + 1) * size])
            self.put(Message(topic=topics.blob(need.blob.digest), payload=piece))


class Installer:
    """One life of a device, from the start of its agent to its end in good order."""

    def __init__(
        self,
        folder: Path,
        scenario: Scenario,
        shop: Shop,
        *,
        tell: Callable[[dict[str, Any]], None] = lambda item: None,
        chunks: int = sys.maxsize,
        storage: Callable[[Path], Storage] = FolderStorage,
    ) -> None:
        """Prepare; ``start`` starts the agent.

        Args:
            folder: the state folder.
            scenario: what it is about to do.
            shop: the packages and orders.
            tell: is given each item that the hub has got.
            chunks: how many chunks of artifacts the hub answers with.
            storage: opens the folder.
        """
        self.scenario = scenario
        self.hub = StubHub(shop, tell, chunks)
        self._folder = folder
        self._storage = storage
        self._now_s = 0.0
        self._worked_ns = 0
        self._turns = 0

    # ---- life

    def start(self, generation: int, number: int) -> None:
        """Start the agent; the hub has ordered a version."""
        logging.getLogger("device_agent").handlers = [logging.NullHandler()]
        logging.getLogger("device_agent").propagate = False
        self.hub.order(generation, number)
        self._lock = FolderLock(self._folder)
        storage = self._storage(self._folder)
        identity = adopt_identity(storage, self.hub.shop.enrolment())
        chance = random.Random(2)
        self.live = LiveModels(timer_ns=lambda: self._worked_ns)
        self.loop = AgentLoop(
            self._folder,
            identity,
            self.live,
            options=OPTIONS,
            chance=chance,
            doors=Doors(
                clock=Clock(
                    monotonic_s=lambda: self._now_s,
                    wall_s=lambda: BOOTED_S + self._now_s,
                    boot="this one",
                ),
                machine=self._runtime().machine,
                storage=storage,
                link=self.hub,
                new_id=lambda: chance.randbytes(16).hex(),
            ),
        )
        self.look()
        self.hub.put = self.loop.inbox.put
        self.hub.call = self._call
        self.loop.begin()

    def _runtime(self) -> SimulatedRuntime:
        def work(nanoseconds: int) -> None:
            self._worked_ns += nanoseconds

        return SimulatedRuntime(
            FolderDisk(self._folder).read,
            self._folder,
            monotonic_s=lambda: self._now_s,
            work=work,
            loaded=set(),
        )

    def _call(self) -> int:
        """Return the number of a new connection, as a link does before it connects."""
        session = self.loop.next_session()
        self.loop.will(session)
        return session

    def stop(self) -> None:
        """End in good order."""
        self.loop.close()
        self._lock.release()

    def crash(self) -> None:
        """Let go of everything, in this process: nothing more is kept."""
        self.loop._deployer.acts.stop()
        self.live.close()
        self.loop._outbox.close()
        self._lock.release()

    def turn(self) -> None:
        """Infer, and let the loop turn once."""
        self._now_s += TURN_S
        for _ in range(ROWS_A_TURN):
            self.look()
        self.loop.turn(0)
        assert not self.loop.counters["defect"], "see agent.defect in the log"

    def look(self) -> None:
        """Infer one row: a version that may serve answers, once there is one always.

        Raises:
            Broken: another one, or none.
        """
        live = self.live.get(MODEL)
        if live is None:
            if self.scenario.before or self.has_committed:
                raise Broken(f"no version serves; {self.describe()}")
            return
        self._turns += 1
        version = self.live.infer(MODEL, ROWS[self._turns % len(ROWS)]).version
        if version not in (self.scenario.old, self.scenario.wanted):
            raise Broken(f"version {version} serves; {self.describe()}")

    # ---- the order

    @property
    def has_committed(self) -> bool:
        """Whether a version lies here that passed its probation."""
        record = self.loop.records.get(MODEL)
        return record is not None and any(slot.committed for slot in record.slots.values())

    @property
    def is_settled(self) -> bool:
        """Whether the order that the hub gave has ended, well or not."""
        record = self.loop.records.get(MODEL)
        running = record.deployment if record is not None else None
        if running is None or not running.is_final or self.loop.inbox:
            return False
        return running.order.rollout == f"r{self.hub.generation}" or self.is_there

    @property
    def is_there(self) -> bool:
        """Whether it is as the scenario should end."""
        running = self.loop.records[MODEL].deployment
        live = self.live.get(MODEL)
        serves = live.manifest.version if live is not None else None
        return (
            running is not None
            and running.order.version == self.scenario.wanted
            and running.state is self.scenario.ends
            and serves == self.scenario.serves_at_end
        )

    def settle(self) -> None:
        """Turn until the order has ended.

        Raises:
            Broken: it does not end.
        """
        for _ in range(MOST_TURNS):
            if self.is_settled:
                return
            self.turn()
        raise Broken(f"the order does not end; {self.describe()}")

    def reach(self, state: State) -> None:
        """Turn until the deployment is in this state, and once more."""
        for _ in range(MOST_TURNS):
            self.turn()
            record = self.loop.records.get(MODEL)
            if record and record.deployment and record.deployment.state is state:
                break
        else:
            raise Broken(f"{state.value} is not reached; {self.describe()}")
        for _ in range(4):
            self.turn()

    def converge(self, *, by_the_disk: bool) -> None:
        """Let the order end; what failed for the disk's sake is ordered again, once.

        Args:
            by_the_disk: whether a failure may be reported that names the disk as its reason.

        Raises:
            Broken: it ends otherwise.
        """
        self.settle()
        if not self.is_there:
            running = self.loop.records[MODEL].deployment
            if not by_the_disk or running is None or running.reason not in BY_THE_DISK:
                raise Broken(f"the order ended otherwise; {self.describe()}")
            self.hub.order(self.hub.generation + 1, self.scenario.wanted)
            self.settle()
        if not self.is_there:
            raise Broken(f"it does not converge; {self.describe()}")
        self.drain()
        self._check_report()

    def drain(self) -> None:
        """Turn until the hub has everything.

        Raises:
            Broken: something stays in the outbox.
        """
        for _ in range(LAST_TURNS):
            self.turn()
        for _ in range(MOST_TURNS):
            if not self.loop.outbox_depth:
                return
            self.loop.turn(0)
            assert not self.loop.counters["defect"], "see agent.defect in the log"
            self._now_s += TURN_S
        raise Broken(f"{self.loop.outbox_depth} items stay in the outbox")

    def _check_report(self) -> None:
        """What the hub sees is what is."""
        model = self.hub.reported["models"][MODEL]
        seen = (model["active"] or {}).get("version"), model["deployment"]["state"]
        if seen != (self.scenario.serves_at_end, self.scenario.ends.value):
            raise Broken(f"the hub sees {seen}; {self.describe()}")

    def describe(self) -> str:
        record = self.loop.records.get(MODEL)
        running = record.deployment if record is not None else None
        told = (
            f"version {running.order.version} {running.state.value}, "
            f"{running.reason.value if running.reason else 'no reason'}: {running.detail}"
            if running is not None
            else "no deployment"
        )
        live = self.live.get(MODEL)
        return f"serves {live.manifest.version if live else None}; {told}"


def main(arguments: list[str]) -> None:
    """Do one scenario, as a person may want to trace it."""
    scenario, folder = SCENARIOS[arguments[0]], Path(arguments[1])
    installer = Installer(folder, scenario, Shop())
    installer.start(len(scenario.before) + 1, scenario.wanted)
    installer.converge(by_the_disk=False)
    installer.stop()


if __name__ == "__main__":
    main(sys.argv[1:])
