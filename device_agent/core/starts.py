"""Starts of the agent that did not end well, and how careful the next one is.

A model in native code can end the whole process, at its load or later, also one that was
committed: by a worn-out card, a new runtime, another board. A start counts until the agent has
run for ``HEALTHY_AFTER_S`` or was stopped in good order. The more starts in a row did not get
there, the less is loaded; the agent itself always stays reachable.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field, replace
from enum import Enum
from typing import Any

from device_agent.protocol.fields import SCHEMA_VERSION, Fields
from device_agent.protocol.ids import Digest, parse_digest
from device_agent.protocol.values import dataclass

HEALTHY_AFTER_S = 60.0
USUAL_STARTS, CAREFUL_STARTS, FALLBACK_STARTS = 1, 4, 8
"""Starts within one boot of the machine up to which each care holds."""
BOOTS_FACTOR = 3
"""Power cuts are no sign of a bad model: that many boots count like one start."""
MAX_STRIKES = 2
"""Times that a load may end the process before its version is suspect."""
MAX_SUSPECTS = 64


class Care(str, Enum):
    """How careful a start is."""

    USUAL = "usual"
    """Every model's active version is loaded."""
    CAREFUL = "careful"
    """The same, but what is being loaded is written down first."""
    FALLBACK = "fallback"
    """Safe mode: each model's other version is loaded instead, by turns; an only one still is."""
    NOTHING = "nothing"
    """Safe mode: nothing is loaded until the agent has run for a while."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Starts:
    """What is kept of starts.

    Attributes:
        boot: names the boot of the machine in which the last start was.
        in_boot: starts of that boot that did not end well, with the running one.
        boots: boots in a row without a start that ended well.
        loading: digest of what was being loaded when this was written, empty for nothing.
        strikes: how often the load of a package ended the process.
        stopped: whether the agent was stopped in good order.
    """

    boot: str = ""
    in_boot: int = 0
    boots: int = 0
    loading: str = ""
    strikes: Mapping[Digest, int] = field(default_factory=dict)
    stopped: bool = False

    def begun(self, boot: str) -> Starts:
        """Return it with one more start, and with a strike for what ended the last one."""
        strikes = dict(self.strikes)
        if self.loading:
            digest = parse_digest(self.loading)
            strikes[digest] = strikes.pop(digest, 0) + 1
        same = boot == self.boot
        return Starts(
            boot=boot,
            in_boot=self.in_boot + 1 if same else 1,
            boots=self.boots if same else self.boots + 1,
            strikes=dict(list(strikes.items())[-MAX_SUSPECTS:]),
        )

    def ended_well(self) -> Starts:
        """Return it after a start that got healthy, or was stopped in good order."""
        return replace(self, in_boot=0, boots=0, loading="")

    def is_suspect(self, digest: Digest) -> bool:
        """Tell whether a package has ended the process too often."""
        return self.strikes.get(digest, 0) >= MAX_STRIKES

    @property
    def care(self) -> Care:
        """How careful this start is."""
        bad = max(self.in_boot, self.boots // BOOTS_FACTOR)
        bounds = (
            (USUAL_STARTS, Care.USUAL),
            (CAREFUL_STARTS, Care.CAREFUL),
            (FALLBACK_STARTS, Care.FALLBACK),
        )
        return next((care for bound, care in bounds if bad <= bound), Care.NOTHING)

    def to_document(self) -> dict[str, object]:
        """Return the JSON form."""
        return {
            "schema_version": SCHEMA_VERSION,
            "boot": self.boot,
            "in_boot": self.in_boot,
            "boots": self.boots,
            "loading": self.loading,
            "strikes": [[digest, count] for digest, count in self.strikes.items()],
            "stopped": self.stopped,
        }

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Starts:
        """Read the JSON form.

        Raises:
            ProtocolError: it is damaged.
        """
        fields = Fields(document, "starts")
        fields.check_schema()
        loading = fields.text("loading")
        return cls(
            boot=fields.text("boot"),
            in_boot=fields.integer("in_boot"),
            boots=fields.integer("boots"),
            loading=parse_digest(loading) if loading else "",
            strikes={
                parse_digest(digest): int(count) for digest, count in document.get("strikes", [])
            },
            stopped=document.get("stopped") is True,
        )
