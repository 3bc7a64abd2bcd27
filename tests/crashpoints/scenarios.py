"""What a device is in the middle of when something is done to its system calls."""

from __future__ import annotations

import random
from dataclasses import dataclass

from device_agent.core.states import State
from device_agent.protocol.codec import encode
from device_agent.protocol.enrolment import Enrolment
from device_agent.protocol.envelope import PAYLOAD_DESIRED, pre_authentication, seal
from device_agent.protocol.ids import DeviceId, Digest, ModelName
from device_agent.protocol.orders import Desired, DesiredModel
from device_agent.protocol.probation import ProbationRules
from edgeops.simulation.packages import (
    PROFILE,
    Behaviour,
    SimulatedPackage,
    make_keys,
    make_package,
    seeded_key,
)

DEVICE = DeviceId("dev-1")
MODEL = ModelName("kws")
BAD = 9
"""A version that passes its self-test and gives NaN on real rows."""
VERSIONS = {
    1: Behaviour.GOOD,
    2: Behaviour.GOOD,
    3: Behaviour.GOOD,
    BAD: Behaviour.NONFINITE,
}
RULES = ProbationRules(min_inferences=20)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One install.

    Attributes:
        name: of it.
        before: versions that were committed before, one after the other.
        wanted: the version that is ordered.
        ends: how that order ends when nothing goes wrong.
        left_in: None to begin with the order; else an agent was killed while the order was in
            this state, and the scenario is what the next agent does.
    """

    name: str
    before: tuple[int, ...]
    wanted: int
    ends: State = State.COMMITTED
    left_in: State | None = None

    @property
    def old(self) -> int | None:
        """The version that serves when it begins."""
        return self.before[-1] if self.before else None

    @property
    def serves_at_end(self) -> int | None:
        """The version that serves when it has ended as it should."""
        return self.wanted if self.ends is State.COMMITTED else self.old


SCENARIOS = {
    each.name: each
    for each in (
        Scenario(name="first-install", before=(), wanted=1),
        Scenario(name="update", before=(1,), wanted=2),
        Scenario(name="rollback", before=(1,), wanted=BAD, ends=State.ROLLED_BACK),
        Scenario(name="garbage", before=(1, 2), wanted=3),
        Scenario(name="resume-download", before=(1,), wanted=2, left_in=State.FETCH),
        Scenario(name="resume-probation", before=(1,), wanted=2, left_in=State.PROBATION),
    )
}


class Shop:
    """The keys, the packages and the orders: the same ones in every process."""

    def __init__(self) -> None:
        self.packages: dict[int, SimulatedPackage] = {}
        self.blobs: dict[Digest, bytes] = {}
        chance = random.Random(1)
        self._keys = make_keys(lambda: seeded_key(chance))
        for number, behaviour in VERSIONS.items():
            package = make_package(self._keys, chance, MODEL, number, behaviour)
            self.packages[number] = package
            self.blobs |= {**package.blobs, package.digest: package.data}

    def enrolment(self) -> Enrolment:
        return Enrolment(
            device=DEVICE,
            profile=PROFILE,
            broker="mqtt://127.0.0.1:1",
            username=DEVICE,
            password="x",
            root=self._keys.envelope,
        )

    def order(self, number: int, rollout: str) -> DesiredModel:
        package = self.packages[number]
        return DesiredModel(
            version=number,
            manifest=package.ref,
            signature=package.signature,
            rollout=rollout,
            probation=RULES,
        )

    def desired(self, generation: int, number: int) -> bytes:
        """Return the signed order of a version; each generation is another rollout."""
        order = self.order(number, f"r{generation}")
        wanted = Desired(device=DEVICE, generation=generation, models={MODEL: order})
        payload = encode(wanted.to_document())
        signature = self._keys.director.sign(pre_authentication(PAYLOAD_DESIRED, payload))
        return seal(PAYLOAD_DESIRED, payload, [signature])
