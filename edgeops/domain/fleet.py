"""Values of the fleet: devices, what is desired of them, what they report."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from device_agent.protocol.activation import AT_ONCE, Activation
from device_agent.protocol.ids import DeviceId, ModelName
from device_agent.protocol.probation import ProbationRules
from device_agent.protocol.reports import DEFAULT_HEARTBEAT_S, Reported
from edgeops.domain.errors import InvalidInput

_LABEL_KEY = re.compile(r"[a-z0-9][a-z0-9._/-]{0,62}", re.ASCII)
_LABEL_VALUE = re.compile(r"[A-Za-z0-9._-]{1,63}", re.ASCII)

BUILT_IN_LABELS = ("device", "profile")
"""Keys that every device has by itself; they cannot be set."""


MISSED_HEARTBEATS = 3
"""A device that has missed this many is taken for gone."""
HUB_ACCOUNT = "edgeops-hub"
"""The hub's own account on the broker: no device may have this name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Presence:
    """What the hub knows of a device's connection.

    ``session`` and ``instance`` are those of the newest birth, the ``previous`` ones those of the
    process before it; ``duplicate`` holds since a
    second agent with the same identity was seen, until the device is enrolled again.
    ``late_instance`` was held for late, and since then nobody else was heard.
    """

    online: bool = False
    session: int = 0
    instance: str = ""
    last_seen_s: float | None = None
    clock_offset_s: float = 0.0
    duplicate: bool = False
    previous_instance: str = ""
    previous_session: int = 0
    late_instance: str = ""
    late_since_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """An enrolled device; ``password_hash`` is its broker account's."""

    id: DeviceId
    profile: str
    enrolled_s: float
    password_hash: str
    labels: Mapping[str, str] = field(default_factory=dict)
    presence: Presence = field(default_factory=Presence)
    reported: Reported | None = None

    def as_of(self, now_s: float) -> Device:
        """Return the device as it stands at a moment: one that fell silent is not online.

        A will can be lost with the broker that held it; heartbeats cannot.
        """
        heartbeat_s = self.reported.heartbeat_s if self.reported else DEFAULT_HEARTBEAT_S
        last_s = self.presence.last_seen_s
        silent = last_s is None or now_s - last_s > MISSED_HEARTBEATS * heartbeat_s
        if not self.presence.online or not silent:
            return self
        return replace(self, presence=replace(self.presence, online=False))

    @property
    def all_labels(self) -> Mapping[str, str]:
        """The labels that selectors see: the device's own and the built-in ones."""
        return {**self.labels, "device": self.id, "profile": self.profile}


@dataclass(frozen=True, slots=True, kw_only=True)
class DesiredVersion:
    """What one model of one device should be, and on whose behalf."""

    model: ModelName
    number: int
    rollout: str
    probation: ProbationRules = field(default_factory=ProbationRules)
    download_timeout_s: float = 3600.0
    activation: Activation = AT_ONCE


@dataclass(frozen=True, slots=True, kw_only=True)
class DesiredState:
    """Everything that is desired of a device, and the generation of that wish."""

    device: DeviceId
    generation: int = 0
    models: Mapping[ModelName, DesiredVersion] = field(default_factory=dict)


def parse_labels(texts: tuple[str, ...]) -> dict[str, str]:
    """Read labels as typed: ``site=oslo``; an empty value (``site=``) means: remove it.

    Raises:
        InvalidInput: another form, alphabet or a built-in key.
    """
    labels: dict[str, str] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        good = equals and _LABEL_KEY.fullmatch(key) and (not value or _LABEL_VALUE.fullmatch(value))
        if not good or key in BUILT_IN_LABELS:
            raise InvalidInput(
                f"{text[:80]!r} is no label",
                next_step="write key=value with letters, digits, '.', '_', '-'; "
                f"{' and '.join(BUILT_IN_LABELS)} are built in",
            )
        labels[key] = value
    return labels
