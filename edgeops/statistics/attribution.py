"""Which features an alarm is about.

The evidence of an alarm is a mean over features, so its parts say who raised it. Features that
carry the same information share the blame: the list names where the change shows, not its cause.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from edgeops.statistics.effect import EffectSizes, effect_sizes
from edgeops.statistics.shiryaev_roberts import Evidence


@dataclass(frozen=True, slots=True, kw_only=True)
class Attribution:
    """One feature's part in the evidence.

    Attributes:
        feature: its name.
        evidence: its own R.
        part: its part of the sum of all R, in [0, 1].
        direction: the direction that leads in it, e.g. ``location+``.
        since: index of the first window of the change that this direction argues for.
        explains: whether the feature is named as a reason of the alarm.
        effect: effect sizes against the reference, for show; None without current rows.
    """

    feature: str
    evidence: float
    part: float
    direction: str
    since: int
    explains: bool
    effect: EffectSizes | None


def attribute(
    names: Sequence[str],
    evidence: Evidence,
    threshold: float,
    *,
    reference: Sequence[ArrayLike],
    current: Sequence[ArrayLike],
) -> tuple[Attribution, ...]:
    """Return all features, the one with most evidence first.

    If the evidence has reached the threshold, the leading feature explains the alarm, and so does
    every other whose own R is at least threshold / D: enough to have carried its equal part.
    Without an alarm none explains anything. How often a feature without change is named is
    measured, not guaranteed (tests/unit/test_attribution.py).

    Args:
        names: of the D features.
        evidence: of a detector over these features.
        threshold: the alarm threshold of that detector.
        reference: for each feature the reference's counts.
        current: for each feature the counts to show effect sizes of, e.g. all windows since the
            estimated change.

    Raises:
        ValueError: different numbers of features, or counts with different bins.
    """
    count = len(names)
    if not count == len(evidence.directions) == len(reference) == len(current):
        raise ValueError("names, evidence, reference and current are of different features")
    own = evidence.per_feature
    total = float(own.sum())
    alarm = evidence.alarms(threshold)
    return tuple(
        Attribution(
            feature=names[d],
            evidence=float(own[d]),
            part=float(own[d]) / total if total > 0 else 0.0,
            direction=evidence.directions[d],
            since=int(evidence.since_per_feature[d]),
            explains=alarm and (d == evidence.leading_feature or own[d] >= threshold / count),
            effect=_effect(reference[d], current[d]),
        )
        for d in (int(d) for d in np.argsort(-own, kind="stable"))
    )


def explaining(attributions: Sequence[Attribution]) -> tuple[str, ...]:
    """Return the names of the features that explain the alarm, most evidence first."""
    return tuple(each.feature for each in attributions if each.explains)


def _effect(reference: ArrayLike, current: ArrayLike) -> EffectSizes | None:
    return effect_sizes(reference, current) if np.sum(current) > 0 else None
