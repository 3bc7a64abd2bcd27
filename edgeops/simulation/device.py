"""A simulated device: the real agent on a simulated disk, network and clock, and its application.

The device dies where it stands (a power cut between any two effects, a model that kills the
process) and starts again on what its disk kept.
"""

from __future__ import annotations

import json
import random
import sqlite3
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from device_agent.protocol.enrolment import Enrolment
from device_agent.protocol.errors import AgentError, InferenceFailed, NoModel, StorageFailed
from device_agent.protocol.ids import Digest
from device_agent.protocol.reasons import Reason
from device_agent.shell.doors import Clock, Doors
from device_agent.shell.live import LiveModels
from device_agent.shell.loop import AgentLoop
from device_agent.shell.options import AgentOptions
from device_agent.shell.storage import DiskStorage
from edgeops.simulation.clock import VirtualTime
from edgeops.simulation.disk import Kept, PowerCut, SimulatedDisk
from edgeops.simulation.link import SimulatedLink
from edgeops.simulation.network import SimulatedBroker
from edgeops.simulation.runtime import ProcessKilled, SimulatedRuntime
from edgeops.simulation.scenario import Fault

ROOT = Path("/state")
WORLD_BEGAN_S = 1_780_000_000.0
"""Wall-clock time at which the simulated world begins."""
TURN_S = 2.0
MOST_SILENT_S = 20.0
"""How late a device notices that it is cut off."""
ROWS_A_TURN = 6
OPTIONS = AgentOptions(
    heartbeat_s=30.0,
    telemetry_interval_s=20.0,
    reserve_bytes=20_000,
    time_zone="UTC",
)


def _look_away(device: SimulatedDevice) -> None:
    """Nobody is told."""


@dataclass(slots=True)
class Lived:
    """What a device has done over all its lives."""

    starts: int = 0
    inferences: int = 0
    counters: Counter[str] = field(default_factory=Counter)
    accepted: int = 0
    """Inferences in windows that the outbox took."""
    answered: Counter[Digest] = field(default_factory=Counter)
    """Rows that each package was asked."""


class SimulatedDevice:
    """One device and all its lives."""

    def __init__(
        self,
        name: str,
        enrolment: Enrolment,
        *,
        time: VirtualTime,
        broker: SimulatedBroker,
        chance: random.Random,
        agent: Callable[..., AgentLoop] = AgentLoop,
        on_step: Callable[[SimulatedDevice], None] = _look_away,
    ) -> None:
        """Prepare it; ``start`` switches it on.

        Args:
            name: its id.
            enrolment: whom it trusts.
            time: the world's.
            broker: the world's.
            chance: its own.
            agent: makes the agent's loop.
            on_step: told when a deployment has moved.
        """
        self.name = name
        self.chance = chance
        self.disk = SimulatedDisk()
        self.lived = Lived()
        self.loop: AgentLoop | None = None
        self.live = LiveModels()
        self.is_cut_off = False
        self.is_ready = False
        self.wall_skew_s = 0.0
        self.cut_in: int | None = None
        """How many effects from now the power goes."""
        self._enrolment = enrolment
        self._time = time
        self._broker = broker
        self._agent = agent
        self._on_step = on_step
        self._link = SimulatedLink(self, broker)
        self._loaded: set[str] = set()
        self._life = 0
        self._booted_s = 0.0
        self._worked_ns = 0
        self._memory = f"file:{name}-{id(self)}?mode=memory&cache=shared"
        self._keeper = sqlite3.connect(self._memory, uri=True)

    # ---- life

    def start(self) -> None:
        """Switch it on: the agent starts on what the disk holds."""
        self._booted_s = self._time.now_s - self.chance.uniform(5.0, 30.0)
        self._start_again()

    def _start_again(self) -> None:
        self._life += 1
        self.lived.starts += 1
        self._link = SimulatedLink(self, self._broker)
        self.disk.before, self.disk.when_full = self._before, self._when_full
        self._guard(self._begin)

    def die(self, why: str, kept: Kept = Kept.SOMETHING) -> None:
        """End where it stands; it comes back after a while. Only power makes a new boot."""
        self._time.note(self.name, f"dies: {why}")
        killed = kept is Kept.EVERYTHING
        self._time.faults["process_killed" if killed else Fault.POWER_CUT] += 1
        self._life += 1
        self.cut_in = None
        if self.loop is not None:
            self.lived.counters += self.loop.counters
            self.loop._outbox.close()  # noqa: SLF001 - SQLite rolls back what was not committed
        self.loop = None
        self.is_ready = False
        self.live = LiveModels()
        self._broker.disconnect(self.name, gracefully=False)
        if killed:
            self._time.after(2.0, self._start_again)
            return
        self.disk = self.disk.after_power_cut(self.chance, kept)
        self._time.after(self.chance.uniform(1.0, 10.0), self.start)

    def switch_off(self) -> None:
        """End for good, when the world ends."""
        self._life += 1
        self._keeper.close()

    @property
    def running(self) -> AgentLoop:
        """The agent's loop, of a device that runs."""
        if self.loop is None:
            raise RuntimeError(f"{self.name} is off")
        return self.loop

    @property
    def commands_obeyed(self) -> int:
        """Commands that were carried out, over all lives."""
        now = self.loop.counters if self.loop is not None else Counter[str]()
        heard = self.lived.counters["received.cmd"] + now["received.cmd"]
        refused = self.lived.counters["command.not_executed"] + now["command.not_executed"]
        return heard - refused

    def count_fault(self, name: str) -> None:
        """Count a fault that had its effect here."""
        self._time.faults[name] += 1

    def effect(self) -> None:
        """Count an effect: before it the power may go."""
        if self.cut_in is not None:
            self.cut_in -= 1
            if self.cut_in <= 0:
                raise PowerCut

    # ---- what happens to it

    def cut_off(self, for_s: float) -> None:
        """Take the network away for a while; that it is gone is noticed late."""
        self.is_cut_off = True
        self._time.faults[Fault.PARTITION] += self._link.connected
        self._link.fall_silent(self.chance.uniform(0.0, min(for_s, MOST_SILENT_S)))

        def restore() -> None:
            self.is_cut_off = False

        self._time.after(for_s, restore)

    def lose_connection(self) -> None:
        """Lose the connection once."""
        if self.loop is not None:
            self._time.faults[Fault.RESET] += self._link.connected
            self._guard(lambda: self._link.lose("reset"))

    def put(self, item: object) -> None:
        """Put into the agent's inbox what its network gives, and let it turn soon."""
        if self.loop is not None:
            self.loop.inbox.put(item)
            self.later(0.01, self._work)

    def later(self, delay_s: float, act: Callable[[], None]) -> None:
        """Plan an act of this life; it is void if the device dies before."""
        life = self._life

        def do() -> None:
            if life == self._life and self.loop is not None:
                self._guard(act)

        self._time.after(delay_s, do)

    # ---- within

    def _begin(self) -> None:
        live = LiveModels(timer_ns=self._timer_ns)
        runtime = SimulatedRuntime(
            self._read,
            ROOT,
            monotonic_s=self._monotonic_s,
            work=self._spend_ns,
            loaded=self._loaded,
        )
        doors = Doors(
            clock=Clock(
                monotonic_s=self._monotonic_s, wall_s=self._wall_s, boot=str(self._booted_s)
            ),
            machine=runtime.machine,
            storage=DiskStorage(self.disk, ROOT),
            link=self._link,
            outbox=self._connect_outbox,
            new_id=lambda: self.chance.randbytes(16).hex(),
        )
        self.live = live
        self.loop = self._agent(
            ROOT, self._enrolment, live, options=OPTIONS, chance=self.chance, doors=doors
        )
        self._observe_outbox(self.loop)
        self._time.note(self.name, f"starts, serves {self.serving}")
        self.loop.begin()
        self.is_ready = True
        self.later(TURN_S, self._turn)

    def _observe_outbox(self, loop: AgentLoop) -> None:
        outbox = loop._outbox  # noqa: SLF001 - what it accepts is what must arrive
        put = outbox.put

        def counted(kind: str, body: bytes) -> None:
            if kind == "event":
                self._note_step(json.loads(body))
            self.effect()
            self._refuse_if_full(len(body))
            put(kind, body)
            if kind == "telemetry":
                self.lived.accepted += json.loads(body)["inferences"]
            self.effect()

        outbox.put = counted  # type: ignore[method-assign]

    def _refuse_if_full(self, size_bytes: int) -> None:
        """The outbox's database is on the same disk, though it is simulated in memory."""
        if self.disk.free_bytes() < size_bytes:
            self.count_fault("outbox_refused")
            raise StorageFailed(Reason.DISK_FULL, "outbox: the simulated disk is full")

    def _note_step(self, event: dict[str, Any]) -> None:
        why = f", {event['reason']}" if event["reason"] else ""
        said = f"version {event['version']} for {event['rollout']}: {event['state']}{why}"
        self._time.note(self.name, said)
        self._on_step(self)

    def _turn(self) -> None:
        self._infer()
        self._work()
        self.later(TURN_S, self._turn)

    def _work(self) -> None:
        self.running.turn(0)

    def _infer(self) -> None:
        for name, model in list(self.live.items()):
            for _ in range(ROWS_A_TURN):
                self.lived.answered[model.digest] += 1
                row = np.array([self.chance.random() for _ in range(4)], np.float32)
                try:
                    self.live.infer(name, row)
                except InferenceFailed:
                    continue
                except NoModel:
                    return
                self.lived.inferences += 1

    @property
    def serving(self) -> dict[str, int]:
        """The version that answers, by model."""
        return {str(name): live.manifest.version for name, live in self.live.items()}

    def _guard(self, act: Callable[[], None]) -> None:
        try:
            act()
        except PowerCut:
            self.die("power cut")
        except AgentError as error:
            self.die(f"the agent cannot start: {error}", Kept.EVERYTHING)
        except ProcessKilled:
            self.die("the model killed the process", Kept.EVERYTHING)

    def _read(self, path: str) -> bytes:
        return self.disk.read(path)

    def _before(self, call: str, path: str) -> None:
        self.effect()

    def _when_full(self, path: str) -> None:
        self._time.faults[Fault.DISK_FULL] += 1

    def _monotonic_s(self) -> float:
        return self._time.now_s - self._booted_s

    def _wall_s(self) -> float:
        return WORLD_BEGAN_S + self._time.now_s + self.wall_skew_s

    def _timer_ns(self) -> int:
        return self._worked_ns

    def _spend_ns(self, nanoseconds: int) -> None:
        self._worked_ns += nanoseconds

    def _connect_outbox(self) -> sqlite3.Connection:
        return sqlite3.connect(
            self._memory, uri=True, isolation_level=None, check_same_thread=False
        )
