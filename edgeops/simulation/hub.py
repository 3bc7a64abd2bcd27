"""A simulated hub: the real use cases on a real database in memory, without processes.

It can crash before or after any transaction, and comes back with what was committed.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import sqlalchemy as sa

from device_agent.protocol import topics
from device_agent.protocol.chunks import encode_chunk
from device_agent.protocol.codec import decode, encode
from device_agent.protocol.errors import ProtocolError
from device_agent.protocol.orders import Epoch
from edgeops.delivery.demand import Demand
from edgeops.domain.errors import EdgeopsError
from edgeops.hub.handlers import Handlers
from edgeops.service import commands, fleet, rollouts
from edgeops.service.context import Context
from edgeops.simulation.clock import VirtualTime
from edgeops.simulation.network import HUB, SimulatedBroker
from edgeops.simulation.scenario import Fault
from edgeops.store.database import Database, Work
from edgeops.store.schema import watches, windows

TICK_S = 2.0
CHUNKS_A_TICK = 24
EPOCH = "e1"


class HubCrash(BaseException):
    """The hub's process has ended."""


class CrashingDatabase(Database):
    """A database whose program dies before or after a chosen transaction.

    Attributes:
        crash_in: how many ends or beginnings of writing transactions from now; None: never.
    """

    crash_in: int | None = None

    @contextmanager
    def begin(self) -> Iterator[Work]:
        """Open a unit of work; the program may die before it, or after its commit."""
        self._moment()
        with super().begin() as work:
            yield work
        self._moment()

    def _moment(self) -> None:
        if self.crash_in is not None:
            self.crash_in -= 1
            if self.crash_in <= 0:
                self.crash_in = None
                raise HubCrash


class SimulatedHub:
    """The hub's turn of ticks and messages, and its crashes."""

    def __init__(
        self,
        context: Context,
        database: CrashingDatabase,
        *,
        time: VirtualTime,
        broker: SimulatedBroker,
        chance: random.Random,
    ) -> None:
        """Prepare it; ``start`` begins."""
        self.context = replace(context, database=database)
        self.database = database
        self.is_up = False
        self._time = time
        self._broker = broker
        self._chance = chance
        self._demand = Demand()
        self._handlers = Handlers(self.context, self._demand)

    def start(self) -> None:
        """Connect, and begin to tick."""
        self.is_up = True
        self._demand = Demand()
        self._handlers = Handlers(self.context, self._demand)
        self._broker.connect(HUB, self._receive, None)
        self._broker.subscribe(HUB, topics.hub_filters(), 1)
        self._guard(self._greet)
        self._time.after(TICK_S, self._tick)

    def reconnect(self) -> None:
        """Connect again, after the broker lost its state."""
        if self.is_up:
            self._broker.connect(HUB, self._receive, None)
            self._broker.subscribe(HUB, topics.hub_filters(), 1)
            self._guard(self._greet)

    def crash_at(self, transactions: int) -> None:
        """Let it crash at a transaction from now."""
        self.database.crash_in = transactions

    def do(self, act: Callable[[Context], object]) -> bool:
        """Let a person do something; False if the hub is down, crashes at it, or refuses."""
        if not self.is_up:
            return False
        done: list[object] = []
        self._guard(lambda: done.append(act(self.context)))
        return bool(done)

    def send_command(self, name: str) -> bool:
        """Send a command to a device."""

        def send(context: Context) -> None:
            given, payload = commands.give(context, "operator", name, "announce")
            self._broker.publish(topics.command(given.command.device), payload)

        return self.do(send)

    def stored_inferences(self) -> dict[str, int]:
        """Return how many inferences of each device the windows in the database have."""
        inferences = sa.func.sum(windows.c.document["inferences"].as_integer())
        query = sa.select(windows.c.device, inferences).group_by(windows.c.device)
        with self.database.engine.connect() as connection:
            return {name: int(count) for name, count in connection.execute(query)}

    def stored_windows(self) -> dict[tuple[str, int], int]:
        """Return how many windows of each device and version are in the database."""
        keys = (windows.c.device, windows.c.version)
        query = sa.select(*keys, sa.func.count()).group_by(*keys)
        with self.database.engine.connect() as connection:
            return {(name, number): count for name, number, count in connection.execute(query)}

    def watched_windows(self) -> dict[tuple[str, int], int]:
        """Return how many windows of each device and version its drift watch has counted."""
        seen = watches.c.document["windows"].as_integer()
        query = sa.select(watches.c.device, watches.c.number, seen)
        with self.database.engine.connect() as connection:
            return {(name, number): count for name, number, count in connection.execute(query)}

    # ---- within

    def _guard(self, act: Callable[[], object]) -> None:
        try:
            act()
        except EdgeopsError as error:
            self._time.note(HUB, f"refuses: {error}")
        except HubCrash:
            self.is_up = False
            self._time.faults[Fault.HUB_CRASH] += 1
            self._time.note(HUB, "crashes")
            self._broker.disconnect(HUB, gracefully=True)
            self._time.after(self._chance.uniform(1.0, 20.0), self.start)

    def _greet(self) -> None:
        root = self.context.root
        envelope = self.context.root_envelope
        self._broker.publish(topics.root(root.version), envelope, retain=True)
        if self._knows_epoch():
            return
        fleet.publish_all_again(self.context, lost=self._time.now_s > 0)
        epoch = Epoch(epoch=EPOCH, hub="0")
        self._broker.publish(topics.epoch(), encode(epoch.to_document()), retain=True)

    def _knows_epoch(self) -> bool:
        try:
            retained = self._broker.retained.get(topics.epoch())
            return retained is not None and Epoch.from_document(decode(retained)).epoch == EPOCH
        except ProtocolError:
            return False

    def _receive(self, topic: str, payload: bytes) -> None:
        if not self.is_up or topic == topics.epoch():
            return

        def handle() -> None:
            answer = self._handlers.handle(topic, payload)
            if answer is not None and answer.topic.endswith("/ack"):
                self._broker.publish(answer.topic, answer.payload)

        self._guard(handle)

    def _tick(self) -> None:
        if self.is_up:
            self._guard(self._work)
        if self.is_up:
            self._time.after(TICK_S, self._tick)

    def _work(self) -> None:
        rollouts.tick(self.context)
        for device, generation, payload in fleet.desired_documents(self.context, limit=100):
            self._broker.publish(topics.desired(device), payload, retain=True)
            fleet.desired_published(self.context, device, generation)
        for _ in range(CHUNKS_A_TICK):
            sending = self._demand.next()
            if sending is None:
                break
            data = self.context.blobs.read(sending.blob.digest, sending.offset, sending.length)
            payload = encode_chunk(sending.blob, sending.index, data)
            self._broker.publish(sending.topic, payload, qos=0)
            self._demand.published(sending, len(payload))
