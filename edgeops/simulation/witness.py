"""What a simulated world saw of its devices itself, whatever they remember of it.

A device's own record says what it committed and refused; a bug that loses that from the record
would excuse itself. So the world looks at each step of a deployment and keeps what it meant.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field

from device_agent.core.deployment import Deployment
from device_agent.core.states import FINAL, QUARANTINING, State
from device_agent.protocol.ids import Digest, ModelName
from device_agent.protocol.reasons import Reason
from edgeops.simulation.device import SimulatedDevice

BACK = ".back"


@dataclass(slots=True)
class Past:
    """What was seen of one device.

    Attributes:
        committed: version by package of what it committed, durably; the newest last.
        tentative: the same of what its disk did not take yet, in the life that runs.
        refused: why, by package, of what it refuses from now on.
        installs: the generations whose deployments it committed.
    """

    committed: dict[Digest, int] = field(default_factory=dict)
    tentative: dict[Digest, int] = field(default_factory=dict)
    refused: dict[Digest, Reason] = field(default_factory=dict)
    installs: set[int] = field(default_factory=set)
    life: int = 0
    looked_at: tuple[int, State] | None = None

    @property
    def newest(self) -> Digest | None:
        """The package that was committed last."""
        return next(reversed(self.committed), None)

    @property
    def floor(self) -> int:
        """The highest version that was committed."""
        return max(self.committed.values(), default=0)


class Witness:
    """What was seen of all devices, and who takes part in which rollout.

    Attributes:
        begun: the devices that have begun with a rollout's version, by rollout.
        done: those of them that committed it.
    """

    def __init__(self, model: ModelName) -> None:
        """Begin with nothing."""
        self.begun: dict[str, set[str]] = {}
        self.done: dict[str, set[str]] = {}
        self._model = model
        self._pasts: dict[str, Past] = {}

    @property
    def installs(self) -> int:
        """How many deployments were committed, over all devices."""
        return sum(len(past.installs) for past in self._pasts.values())

    def of(self, device: SimulatedDevice) -> Past:
        """Return what was seen of a device."""
        return self._pasts.setdefault(device.name, Past())

    def look(self, device: SimulatedDevice) -> None:
        """Look at where a device's deployment stands now."""
        record = device.loop.records.get(self._model) if device.loop is not None else None
        running = record.deployment if record is not None else None
        past = self.of(device)
        if past.life != device.lived.starts:
            past.life, past.looked_at = device.lived.starts, None
            past.tentative.clear()
        if running is None or past.looked_at == (running.generation, running.state):
            return
        self._take_part(device, running)
        is_kept = running.state not in FINAL or _is_on_disk(device, running)
        if running.state is State.COMMITTED:
            past.installs.add(running.generation)
            kept = past.committed if is_kept else past.tentative
            kept.pop(running.digest, None)
            kept[running.digest] = running.order.version
        elif running.state in FINAL and running.reason in QUARANTINING and is_kept:
            past.refused[running.digest] = running.reason
        if is_kept:
            past.looked_at = (running.generation, running.state)

    def _take_part(self, device: SimulatedDevice, running: Deployment) -> None:
        rollout = running.order.rollout
        if rollout.endswith(BACK):
            return
        self.begun.setdefault(rollout, set()).add(device.name)
        if running.state is State.COMMITTED:
            self.done.setdefault(rollout, set()).add(device.name)


def _is_on_disk(device: SimulatedDevice, running: Deployment) -> bool:
    """Tell whether the journal on the disk says what the agent's memory says."""
    path = f"models/{running.model}/record.json"
    if not device.disk.has(path):
        return False
    try:
        kept = json.loads(device.disk.read(path))["deployment"]
    except ValueError:
        return False  # a byte was flipped
    said = (running.generation, running.state.value)
    return kept is not None and (kept["generation"], kept["state"]) == said
