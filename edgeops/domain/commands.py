"""Commands as the hub keeps them: who gave which to which device, and what became of it."""

from __future__ import annotations

from dataclasses import dataclass

from device_agent.protocol.ids import DeviceId
from device_agent.protocol.orders import Command
from device_agent.protocol.outcomes import CommandOutcome

WAITING = "waiting"
UNANSWERED = "unanswered"


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenCommand:
    """A command that was given; ``outcome`` is None until its device has told one."""

    command: Command
    given_by: str
    outcome: CommandOutcome | None = None
    answered_s: float | None = None

    @property
    def device(self) -> DeviceId:
        """Whom it was given to."""
        return self.command.device

    def state(self, now_s: float) -> str:
        """Return the outcome's word, ``waiting``, or ``unanswered`` after it has expired.

        A device that is heard later may still turn ``unanswered`` into an outcome.
        """
        if self.outcome is not None:
            return self.outcome.outcome
        return WAITING if now_s <= self.command.expires_s else UNANSWERED
