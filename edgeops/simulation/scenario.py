"""What happens in a simulated world: its size, its length, and which faults it knows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class Fault(StrEnum):
    """A fault that strikes at a moment."""

    POWER_CUT = "power_cut"
    """A device loses power at one of its next effects."""
    PARTITION = "partition"
    """A device has no network for a while."""
    RESET = "reset"
    """A device's connection is lost once."""
    DISK_FULL = "disk_full"
    """A device's disk has no free byte for a while."""
    FLIPPED_BYTE = "flipped_byte"
    """A byte of a small file or of a partial download is flipped."""
    CLOCK_JUMP = "clock_jump"
    """A device's wall clock jumps, back to 1970 or ten years on."""
    BROKER_LOSS = "broker_loss"
    """The broker loses its state."""
    HUB_CRASH = "hub_crash"
    """The hub crashes before or after one of its next transactions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One kind of world.

    Attributes:
        name: its name.
        what: one line for people.
        faults: which faults strike, by how likely each is among them.
        fault_every_s: mean time between two faults.
        faults_s: until when faults strike, in seconds of the world.
        bad_network: messages are lost, repeated, delayed and spoiled while faults strike.
        bad_models: share of the versions, after the first, that are bad.
        versions: how many versions are rolled out while faults strike. One more, which is good,
            comes when the world is at rest: every device must commit it.
    """

    name: str
    what: str
    faults: Mapping[Fault, float]
    fault_every_s: float = 8.0
    faults_s: float = 160.0
    bad_network: bool = True
    bad_models: float = 0.5
    versions: int = 3

    @property
    def is_calm(self) -> bool:
        """Whether nothing bad happens at all."""
        return not (self.faults or self.bad_network or self.bad_models)


EVERYTHING = dict.fromkeys(Fault, 1.0)

SCENARIOS: Mapping[str, Scenario] = {
    each.name: each
    for each in (
        Scenario(
            name="everything",
            what="every fault, a bad network and bad models",
            faults=EVERYTHING | {Fault.POWER_CUT: 4.0},
        ),
        Scenario(
            name="calm",
            what="no fault at all: what a good day looks like",
            faults={},
            bad_network=False,
            bad_models=0.0,
        ),
        Scenario(
            name="power",
            what="power cuts alone, often",
            faults={Fault.POWER_CUT: 1.0},
            fault_every_s=6.0,
            bad_network=False,
        ),
        Scenario(
            name="network",
            what="lost connections, partitions, a broker that forgets",
            faults={Fault.PARTITION: 2.0, Fault.RESET: 2.0, Fault.BROKER_LOSS: 1.0},
        ),
        Scenario(
            name="hub",
            what="a hub that crashes again and again",
            faults={Fault.HUB_CRASH: 1.0},
            fault_every_s=6.0,
        ),
        Scenario(
            name="models",
            what="one bad model after the other",
            faults={Fault.POWER_CUT: 1.0, Fault.RESET: 1.0},
            fault_every_s=30.0,
            bad_models=1.0,
            versions=4,
        ),
    )
}
