"""Colours that remain apart for colour-blind readers and in grey (Okabe and Ito, 2008).

Green and vermilion are good and bad, and are never a cohort's; a cohort has a marker too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from edgeops.domain.rollout import FAILURES, IN_PROGRESS, MemberState
from edgeops.reports.facts import ReportFacts

INK = "#1b1f24"
QUIET = "#57606a"
RULE = "#afb8c1"
FAINT = "#e7eaee"

SHARE = "#0072b2"
GOOD = "#009e73"
BAD = "#d55e00"
UNDER_WAY = "#0072b2"
UNTOUCHED = "#8c959f"

GOOD_INK = "#00704f"
BAD_INK = "#b34700"

_INKS: Mapping[str, str] = {
    GOOD: GOOD_INK,
    BAD: BAD_INK,
    UNDER_WAY: "#005a8c",
    UNTOUCHED: "#6e7781",
}
_COHORT_COLOURS = ("#0072b2", "#e69f00", "#a3447f", "#56b4e9", "#4d4d4d")
_MARKERS = ("o", "s", "D", "^", "v", "P", "X")
_TAKEN_BACK = FAILURES | {MemberState.REVERTING, MemberState.REVERTED}


@dataclass(frozen=True, slots=True, kw_only=True)
class Stroke:
    """How a cohort is drawn."""

    colour: str
    marker: str


def outcome_colour(state: str) -> str:
    """Return the colour of a member's state; one that this code does not know is grey."""
    if state == MemberState.COMMITTED:
        return GOOD
    if state in _TAKEN_BACK:
        return BAD
    return UNDER_WAY if state in IN_PROGRESS else UNTOUCHED


def outcome_ink(state: str) -> str:
    """Return the colour for words about a member's state: dark enough to be read."""
    return _INKS[outcome_colour(state)]


def cohort_strokes(facts: ReportFacts) -> Mapping[str, Stroke]:
    """Return how each cohort is drawn, the same in every figure of the report."""
    cohorts = {each.cohort for each in facts.drift}
    cohorts |= {each.cohort for each in facts.accuracy + facts.estimated}
    return {
        cohort: Stroke(
            colour=_COHORT_COLOURS[i % len(_COHORT_COLOURS)], marker=_MARKERS[i % len(_MARKERS)]
        )
        for i, cohort in enumerate(sorted(cohorts))
    }


def tint(colour: str, strength: float) -> str:
    """Return a colour mixed with white; strength 1 is the colour itself."""
    channels = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    mixed = (round(255 + (channel - 255) * strength) for channel in channels)
    return "#" + "".join(f"{channel:02x}" for channel in mixed)
