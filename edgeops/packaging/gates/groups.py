"""The gate on parts: no class and no slice may be ruined while the mean looks well.

Two rules, since each is blind where the other sees. A group fails if

- its drop is ``MAX_GROUP_DROP`` or more, and the interval of the drop excludes none. That takes
  rows: five of five lost are not enough;
- it is *ruined*: at least ``MIN_RUINED_ROWS`` rows, net of those that were won, and at least
  ``RUINED_SHARE`` of what the float model had right, are wrong now; and not by bad luck: at the
  rate at which the rows outside of it were lost, some group would lose as many with a chance of
  less than 1 - ``CONFIDENCE``.

Both are corrected for the number of groups, so that many groups are no lottery. What loses as much
and fails neither rule is named in a warning.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgeops.domain.errors import GateFailed
from edgeops.packaging.gates.evidence import CONFIDENCE, QUALITY_GATE, slice_members
from edgeops.packaging.rows.predictions import Predictions
from edgeops.statistics.binomial import at_least
from edgeops.statistics.intervals import PairedDrop, paired_drop

MAX_GROUP_DROP = 0.1
"""Accuracy that a class or slice may lose: it must not hide in the mean."""
MIN_RUINED_ROWS = 3
RUINED_SHARE = 0.5
MIN_STRIKING_ROWS = 2
MAX_WARNINGS = 5

_HOW = "use another recipe, or calibration rows that have enough of it"


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """A class or slice: how many rows the float model had right, and what became of them.

    Attributes:
        name: ``class 3``, or ``slice light=night``.
        drop: of its accuracy, with the interval.
        float_correct: rows that the float model answers right.
        loss_outside: at which share the other rows were lost; never 0, however few they are.
    """

    name: str
    drop: PairedDrop
    float_correct: int
    loss_outside: float

    @property
    def net_lost(self) -> int:
        """Rows that are wrong now, less those that are right now."""
        return self.drop.only_first - self.drop.only_second

    @property
    def is_shown(self) -> bool:
        """Whether the interval shows that too much is lost."""
        return self.drop.drop >= MAX_GROUP_DROP and self.drop.low > 0

    def is_ruined(self, groups: int) -> bool:
        """Whether it lost half of what it had, and not by bad luck, as one of so many groups."""
        enough = max(MIN_RUINED_ROWS, RUINED_SHARE * self.float_correct)
        if self.net_lost < enough:
            return False
        by_luck = at_least(self.drop.only_first, self.float_correct, self.loss_outside)
        return groups * by_luck < 1.0 - CONFIDENCE

    @property
    def is_striking(self) -> bool:
        """Whether a person should look at it, though nothing is shown."""
        is_gone = self.net_lost == self.float_correct > 0
        return is_gone or (self.net_lost >= MIN_STRIKING_ROWS and self.drop.drop >= MAX_GROUP_DROP)


def find_groups(
    truth: NDArray[np.int64],
    float_predicted: Predictions,
    predicted: Predictions,
    slices: Mapping[str, NDArray[np.str_]],
) -> tuple[Group, ...]:
    """Return every class and slice of the rows, the one that lost most first."""
    members = {f"class {label}": truth == label for label in np.unique(truth)}
    members |= {f"slice {key}": member for key, member in slice_members(slices)}
    confidence = 1.0 - (1.0 - CONFIDENCE) / max(1, len(members))
    float_right, right = float_predicted.classes == truth, predicted.classes == truth
    lost = float_right & ~right
    groups = [
        Group(
            name=name,
            drop=paired_drop(float_right[member], right[member], confidence=confidence),
            float_correct=int(float_right[member].sum()),
            loss_outside=(int(lost[~member].sum()) + 1) / (int(float_right[~member].sum()) + 2),
        )
        for name, member in members.items()
    ]
    return tuple(sorted(groups, key=lambda each: -each.drop.drop))


def check_groups(groups: tuple[Group, ...], name: str) -> None:
    """Refuse an artifact that lost a class or a slice.

    Args:
        groups: from ``find_groups``.
        name: of the artifact, for the message.

    Raises:
        GateFailed: the group that lost most of those that fail, and how much.
    """
    for each in groups:
        drop = each.drop
        if each.is_shown:
            raise GateFailed(
                f"gate {QUALITY_GATE!r}: {name} loses {drop.drop:.3f} of accuracy on {each.name} "
                f"({drop.n} rows, at least {drop.low:.3f}), less than {MAX_GROUP_DROP:g} is asked",
                next_step=_HOW,
            )
        if each.is_ruined(len(groups)):
            raise GateFailed(
                f"gate {QUALITY_GATE!r}: {name} ruins {each.name}: of the {each.float_correct} "
                f"rows that the float model has right {drop.only_first} are wrong, and elsewhere "
                f"about {each.loss_outside:.3f} of them",
                next_step=_HOW,
            )


def striking(groups: tuple[Group, ...]) -> tuple[str, ...]:
    """Return a line about each group that lost much on too few rows to fail, the worst first."""
    found = [
        f"{each.name} loses {each.drop.only_first} of the {each.float_correct} rows that the float "
        f"model has right, too few to tell: evaluate on more rows of it"
        for each in groups
        if each.is_striking and not each.is_shown and not each.is_ruined(len(groups))
    ]
    more = len(found) - MAX_WARNINGS
    return (
        *found[:MAX_WARNINGS],
        *([f"{more} more classes or slices lose much"] if more > 0 else []),
    )
