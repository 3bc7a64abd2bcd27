"""Values of a rollout: its policy, its waves, its members and their states."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from device_agent.protocol.activation import AT_ONCE, Activation
from device_agent.protocol.ids import DeviceId, ModelName
from device_agent.protocol.probation import ProbationRules


class RolloutState(StrEnum):
    """Where a rollout stands. The last three are final."""

    RUNNING = "running"
    PAUSED = "paused"
    ROLLING_BACK = "rolling_back"
    COMPLETED = "completed"
    ROLLED_BACK = "rolled_back"
    ABORTED = "aborted"


class MemberState(StrEnum):
    """Where a device's part in a rollout stands."""

    WAITING = "waiting"
    """Its wave has not opened."""
    ORDERED = "ordered"
    """Its desired state names the version; the device has not spoken yet."""
    WORKING = "working"
    """The device is at it; its own word is in ``device_state``."""
    COMMITTED = "committed"
    FAILED = "failed"
    ROLLED_BACK = "rolled_back"
    TIMED_OUT = "timed_out"
    REVERTING = "reverting"
    """Its desired state names the version of before again."""
    REVERTED = "reverted"
    UNTOUCHED = "untouched"
    """The rollout ended before its wave opened: it never saw the version."""


WINDOW_WAIT_S = 8 * 86400.0
"""After this every maintenance window has opened once."""

FAILURES = frozenset({MemberState.FAILED, MemberState.ROLLED_BACK, MemberState.TIMED_OUT})
IN_PROGRESS = frozenset({MemberState.ORDERED, MemberState.WORKING})
CONCLUDED = FAILURES | {MemberState.COMMITTED}


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """How a rollout proceeds; every number has its default."""

    canary: int = 1
    """Devices in the first wave."""
    steps: tuple[int, ...] = (50, 100)
    """Per cent of the cohort that are asked when each further wave is open."""
    max_failures: int = 0
    """Failed, rolled back or silent devices that are tolerated in the whole rollout."""
    on_failure: str = "rollback"
    """``rollback`` takes back what was rolled out, ``pause`` asks a person."""
    device_timeout_s: float = 1800.0
    """A device that has not concluded after this time counts as failed."""
    bake_s: float = 0.0
    """Pause between the last commit of a wave and the opening of the next."""
    download_timeout_s: float = 1800.0
    probation: ProbationRules = field(default_factory=ProbationRules)
    activation: Activation = AT_ONCE
    """What staged versions wait for on the devices; going back waits for nothing."""

    @property
    def patience_s(self) -> float:
        """How long a device may take: with a window a week more, on hold without an end."""
        if self.activation.hold:
            return math.inf
        return self.device_timeout_s + (WINDOW_WAIT_S if self.activation.window else 0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One device's part in a rollout.

    ``previous`` is the version that the device had (or should have had) before: what a rollback
    goes back to, None if there was none.
    """

    device: DeviceId
    wave: int
    state: MemberState = MemberState.WAITING
    device_state: str = ""
    reason: str | None = None
    detail: str = ""
    evidence: Mapping[str, float] = field(default_factory=dict)
    previous: int | None = None
    ordered_s: float | None = None
    updated_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollout:
    """A plan to bring one version to one cohort, and how far it has come.

    ``wave`` is the number of the newest open wave; wave 0 is the canary. ``revision`` counts
    the changes that were stored.
    """

    id: str
    model: ModelName
    number: int
    selector: str
    policy: Policy
    members: tuple[Member, ...]
    created_s: float
    created_by: str
    state: RolloutState = RolloutState.RUNNING
    wave: int = -1
    why: str = ""
    revision: int = 0

    @property
    def reference(self) -> str:
        """The version, as people name it."""
        return f"{self.model}:{self.number}"

    @property
    def waves(self) -> int:
        """How many waves there are."""
        return 1 + max((member.wave for member in self.members), default=-1)

    @property
    def failures(self) -> tuple[Member, ...]:
        """The members that failed, rolled back or were not heard in time."""
        return tuple(member for member in self.members if member.state in FAILURES)

    def in_wave(self, wave: int) -> tuple[Member, ...]:
        """Return the members of one wave."""
        return tuple(member for member in self.members if member.wave == wave)
