"""Values of drift: what an alarm says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from device_agent.protocol.ids import DeviceId, ModelName


class AlarmKind(StrEnum):
    """What was found. Drift is not harm: drift alone opens an investigation."""

    DRIFT = "drift"
    """Inputs or predictions are not distributed as in the reference."""
    HARM = "harm"
    """Labelled inferences are wrong more often than the evidence of the package says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AlarmedFeature:
    """A feature that explains an alarm: on how many devices, and how far it moved there."""

    name: str
    devices: int
    psi: float
    ks: float
    direction: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Alarm:
    """One finding on one version, joined by every device that shows it.

    Attributes:
        id: ``a1``, ``a2``, …
        model: name of the model.
        number: of the version.
        kind: drift or harm.
        opened_s: when the first device alarmed, seconds since the epoch.
        since_s: earliest estimated beginning of the change.
        closed_s: when a person closed it, None while it is open.
        devices: device → its evidence when it joined.
        cohort: selector that these devices share and others do not, empty if there is none.
        features: those that explain it, shared by most devices first.
        threshold: what the evidence of a device must reach.
    """

    id: str
    model: ModelName
    number: int
    kind: AlarmKind
    opened_s: float
    since_s: float
    closed_s: float | None = None
    devices: Mapping[DeviceId, float] = field(default_factory=dict)
    cohort: str = ""
    features: tuple[AlarmedFeature, ...] = ()
    threshold: float = 0.0

    @property
    def is_open(self) -> bool:
        """Whether nobody has closed it yet."""
        return self.closed_s is None
