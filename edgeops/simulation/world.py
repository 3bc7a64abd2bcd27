"""One simulated world: devices, hub, operator and faults, all from one seed."""

from __future__ import annotations

import random
from collections.abc import Callable

from device_agent.protocol.ids import ModelName
from device_agent.protocol.plan import SketchPlan
from device_agent.protocol.probation import ProbationRules
from device_agent.protocol.reference import ReferenceProfile
from device_agent.shell.loop import AgentLoop
from edgeops.domain.rollout import Policy, RolloutState
from edgeops.service import fleet, packages, rollouts
from edgeops.service.context import Context
from edgeops.simulation.clock import VirtualTime
from edgeops.simulation.device import WORLD_BEGAN_S, SimulatedDevice
from edgeops.simulation.faults import ROOM_BYTES, STRIKES
from edgeops.simulation.hub import CrashingDatabase, SimulatedHub
from edgeops.simulation.network import NetworkFaults, SimulatedBroker
from edgeops.simulation.packages import (
    BAD,
    PROFILE,
    Behaviour,
    Keys,
    SimulatedPackage,
    make_keys,
    make_package,
    seeded_key,
)
from edgeops.simulation.scenario import Fault, Scenario
from edgeops.simulation.witness import Witness
from edgeops.store.blobs import MemoryBlobStore

MODEL = ModelName("kws")
REFERENCE = ReferenceProfile(
    plan=SketchPlan(source="elements", features=()),
    rows=100,
    inputs=(),
    classes=(50, 50),
    confidence=(*(0,) * 16, *(6,) * 14, 8, 8),
)
"""What the hub's watches compare windows with: so that they count every window once."""
BAD_NETWORK = NetworkFaults(
    drop=0.2,
    duplicate=0.2,
    spoil=0.05,
    most_delay_s=1.5,
    forget_session=0.3,
    lose_subscription=0.05,
)
POLICY = Policy(
    canary=1,
    steps=(100,),
    device_timeout_s=150.0,
    download_timeout_s=120.0,
    probation=ProbationRules(min_inferences=20, timeout_s=90.0),
)
OPERATOR_S = 8.0
COMMAND_SHARE = 0.3
DOCUMENTS_BYTES = 9_000
"""What a device keeps beside packages: identity, trust, journal, counts, starts, commands."""
OPEN = (RolloutState.RUNNING, RolloutState.PAUSED, RolloutState.ROLLING_BACK)


class World:
    """Everything there is. ``run`` in ``simulation.run`` lets it go and watches it."""

    def __init__(
        self,
        seed: int,
        scenario: Scenario,
        devices: int,
        *,
        agent: Callable[..., AgentLoop] = AgentLoop,
    ) -> None:
        """Make a world; nothing has happened yet.

        Args:
            seed: decides everything that chance decides.
            scenario: what kind of world it is.
            devices: how many there are.
            agent: makes the agents' loops.
        """
        self.scenario = scenario
        self.time = VirtualTime()
        self.witness = Witness(MODEL)
        self.commands: dict[str, int] = {}
        self.chance = random.Random(f"{seed} world")
        self.broker = SimulatedBroker(self.time, random.Random(f"{seed} network"))
        key_chance = random.Random(f"{seed} keys")
        self.keys: Keys = make_keys(lambda: seeded_key(key_chance))
        self.packages = self._make_packages()
        self.hub = self._make_hub(seed)
        self.devices = tuple(self._make_device(seed, n, agent) for n in range(devices))
        self._next_version = 1
        self.packages_by_digest = {package.digest: package for package in self.packages}
        sizes = (len(p.data) + sum(map(len, p.blobs.values())) for p in self.packages)
        self.room_bytes = 3 * max(sizes) + DOCUMENTS_BYTES
        """What the disk of a device may hold: two slots, and what is under way."""

    open_states = OPEN
    policy = POLICY

    @property
    def are_faults_over(self) -> bool:
        """Whether nothing bad happens any more."""
        return self.time.now_s >= self.scenario.faults_s

    @property
    def is_finished(self) -> bool:
        """Whether all was rolled out that is rolled out while faults strike."""
        return self._next_version > self.scenario.versions

    @property
    def is_proved(self) -> bool:
        """Whether the last version, which is good, was rolled out too, with no fault left."""
        return self._next_version > len(self.packages)

    def prove(self) -> None:
        """Roll out the last version; again later, if the hub does not do it."""
        self.hub.do(self._roll_out_next)

    def begin(self) -> None:
        """Plan the first events."""
        if self.scenario.bad_network:
            self.broker.faults = BAD_NETWORK
        self.hub.start()
        for device in self.devices:
            self.time.after(self.chance.uniform(0.0, 3.0), device.start)
        self.time.after(OPERATOR_S, self._operate)
        self.time.after(self._pause_s(), self._strike)
        self.time.after(self.scenario.faults_s, self._calm_down)

    def end(self) -> None:
        """Switch everything off."""
        for device in self.devices:
            device.switch_off()
        self.hub.database.close()

    # ---- who is there

    def _make_packages(self) -> tuple[SimulatedPackage, ...]:
        made, last = [], self.scenario.versions + 1
        for number in range(1, last + 1):
            may_be_bad = 1 < number < last
            is_bad = may_be_bad and self.chance.random() < self.scenario.bad_models
            behaviour = self.chance.choice(BAD) if is_bad else Behaviour.GOOD
            package = make_package(
                self.keys, self.chance, MODEL, number, behaviour, reference=REFERENCE.to_bytes()
            )
            made.append(package)
            self.time.note("world", f"version {number} is {behaviour}")
        return tuple(made)

    def _make_hub(self, seed: int) -> SimulatedHub:
        database = CrashingDatabase.open("sqlite://")
        chance = random.Random(f"{seed} hub")
        context = Context(
            database=database,
            blobs=MemoryBlobStore(),
            director=self.keys.director,
            root=self.keys.root,
            root_envelope=self.keys.envelope,
            broker="mqtt://simulated:1883",
            clock=lambda: WORLD_BEGAN_S + self.time.now_s,
            chance=chance.randbytes,
        )
        for package in self.packages:
            for digest, data in package.blobs.items():
                packages.put_blob(context, digest, data)
            packages.put_blob(context, package.digest, package.data)
            packages.publish(context, "operator", package.digest, package.signature)
        return SimulatedHub(
            context,
            database,  # type: ignore[arg-type]  # open makes the class it is called on
            time=self.time,
            broker=self.broker,
            chance=chance,
        )

    def _make_device(
        self, seed: int, number: int, agent: Callable[..., AgentLoop]
    ) -> SimulatedDevice:
        name = f"cam-{number + 1}"
        return SimulatedDevice(
            name,
            fleet.enroll(self.hub.context, "operator", name, PROFILE, {}),
            time=self.time,
            broker=self.broker,
            chance=random.Random(f"{seed} {name}"),
            agent=agent,
            on_step=self.witness.look,
        )

    # ---- the operator

    def _operate(self) -> None:
        """Roll out the next version when nothing is under way; send a command now and then."""
        if self.chance.random() < COMMAND_SHARE:
            name = self.chance.choice(self.devices).name
            if self.hub.send_command(name):
                self.commands[name] = self.commands.get(name, 0) + 1
        if not self.is_finished:
            self.hub.do(self._roll_out_next)
        self.time.after(OPERATOR_S, self._operate)

    def _roll_out_next(self, context: Context) -> None:
        with context.database.read() as work:
            if work.rollouts.in_states(*OPEN):
                return
        reference = f"{MODEL}:{self._next_version}"
        wanted = rollouts.NewRollout(reference=reference, selector="all", policy=POLICY)
        rollouts.create(context, "operator", wanted)
        is_bad = self.packages[self._next_version - 1].behaviour is not Behaviour.GOOD
        self.time.faults["bad_model"] += is_bad
        self._next_version += 1
        self.time.note("operator", f"rolls out {reference}")

    # ---- faults

    def _pause_s(self) -> float:
        return self.chance.expovariate(1.0 / self.scenario.fault_every_s)

    def _calm_down(self) -> None:
        self.broker.faults = NetworkFaults()
        for device in self.devices:
            device.cut_in = None
            device.disk.capacity_bytes = ROOM_BYTES
        self.hub.database.crash_in = None
        self.time.note("world", "faults are over")

    def _strike(self) -> None:
        if self.are_faults_over or not self.scenario.faults:
            return
        faults, weights = zip(*self.scenario.faults.items(), strict=True)
        fault: Fault = self.chance.choices(faults, weights)[0]
        device = self.chance.choice(self.devices)
        self.time.note("world", f"{fault} for {device.name}")
        STRIKES[fault](self, device)
        self.time.after(self._pause_s(), self._strike)
