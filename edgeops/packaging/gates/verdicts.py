"""Gates: thresholds on what was measured. What misses one is refused, or waived with a reason.

Each verdict is kept for the build record, so that one can read later what was shown.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from device_agent.processing.golden import GOLDEN_GATE
from device_agent.protocol.fields import Fields
from device_agent.protocol.manifest import Waiver
from edgeops.domain.errors import GateFailed
from edgeops.packaging.gates.effect import EFFECT_GATE
from edgeops.packaging.gates.evidence import FIDELITY_GATE, QUALITY_GATE

RUNTIME_GATE = "runtime"
FIT_GATE = "fit"
GATES = (GOLDEN_GATE, QUALITY_GATE, FIDELITY_GATE, EFFECT_GATE, RUNTIME_GATE, FIT_GATE)
TOLD = (EFFECT_GATE, RUNTIME_GATE, FIT_GATE)
"""What their checks find is told as it comes; of the others it is told with the measuring."""
MAX_SAID = 2000

Check = Callable[[], str | None]
"""Measures one thing: says what it found, or raises ``GateFailed``."""


class CannotRun(GateFailed):
    """What no reason changes: a board without the memory for a model does not run it."""


class ArtifactRefused(GateFailed):
    """A gate refused one artifact: ``gate`` did, ``form`` is the artifact's format.

    ``can_be_waived`` is False for what no reason changes.
    """

    def __init__(self, error: GateFailed, gate: str, form: str) -> None:
        """Take over the cause and the next step."""
        super().__init__(str(error), next_step=error.next_step)
        self.gate, self.form = gate, form
        self.can_be_waived = not isinstance(error, CannotRun)


def of_artifact(gate: str, form: str, check: Check) -> Check:
    """Return a check whose failure says which artifact was refused by which gate."""

    def checked() -> str | None:
        try:
            return check()
        except GateFailed as error:
            raise ArtifactRefused(error, gate, form) from error

    return checked


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """One check of a gate: what was found, and whether that was good enough."""

    gate: str
    holds: bool
    found: str

    def to_document(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {"gate": self.gate, "holds": self.holds, "found": self.found}

    @classmethod
    def from_fields(cls, fields: Fields) -> Verdict:
        """Read the JSON form."""
        return cls(
            gate=fields.text("gate"),
            holds=fields.boolean("holds"),
            found=fields.text("found", max_length=MAX_SAID),
        )


class Gates:
    """The gates of one package: ``waivers`` were needed, ``verdicts`` were given so far."""

    def __init__(self, waivers: Sequence[Waiver], progress: Callable[[str], None]) -> None:
        """Take the waivers that a person gave."""
        self._given, self._progress = tuple(waivers), progress
        self.waivers: tuple[Waiver, ...] = ()
        self.verdicts: list[Verdict] = []

    def hold(self, gate: str, checks: Iterable[Check]) -> None:
        """Make every check of a gate.

        Raises:
            GateFailed: of the first check that was missed, if nobody waived the gate or nobody can.
        """
        waivers = tuple(each for each in self._given if each.gate == gate)
        is_missed = False
        for check in checks:
            try:
                found = check()
            except GateFailed as error:
                if not waivers or not getattr(error, "can_be_waived", True):
                    raise
                is_missed = True
                self._keep(gate, str(error), holds=False)
                self._progress(f"warning: waived: {error}")
            else:
                if found:
                    self._keep(gate, found, holds=True)
        if is_missed:
            self.waivers += tuple(each for each in waivers[:1] if each not in self.waivers)

    def close(self) -> None:
        """Tell which waivers were not needed; recorded, they would say that something was wrong."""
        for each in self._given:
            if each not in self.waivers:
                self._progress(
                    f"the gate {each.gate!r} holds: its waiver is not needed, nor recorded"
                )

    def _keep(self, gate: str, found: str, *, holds: bool) -> None:
        self.verdicts.append(Verdict(gate=gate, holds=holds, found=found[:MAX_SAID]))
        if holds and gate in TOLD:
            self._progress(f"gate {gate!r} holds: {found}")
