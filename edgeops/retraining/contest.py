"""Champion against challenger, on rows that neither was trained on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edgeops.domain.retraining import Contest
from edgeops.statistics.intervals import paired_drop

CONFIDENCE = 0.95
EVALUATION, DRIFTED = "evaluation", "drifted"


def contest(
    name: str,
    runtime: str,
    truth: NDArray[np.int64],
    champion: NDArray[np.int64],
    challenger: NDArray[np.int64],
) -> Contest:
    """Compare two models' answers to the same rows.

    Args:
        name: which rows.
        runtime: that both ran on.
        truth: ``[n]`` true classes.
        champion: ``[n]`` classes that the serving version answers.
        challenger: ``[n]`` classes that the retrained one answers.

    Returns:
        Accuracies and the interval of the paired gain (Tango's score interval, 95 %).
    """
    drop = paired_drop(champion == truth, challenger == truth, confidence=CONFIDENCE)
    return Contest(
        name=name,
        runtime=runtime,
        rows=len(truth),
        champion=float((champion == truth).mean()),
        challenger=float((challenger == truth).mean()),
        gain_low=round(-drop.high, 6),
        gain_high=round(-drop.low, 6),
    )


def why_not(contests: Sequence[Contest], max_drop: float) -> str:
    """Return why the challenger does not win; empty if it does.

    It wins if it is shown to be better on drifted rows (the interval of its gain is above
    zero), and shown to have lost less than ``max_drop`` on the parent's evaluation rows.
    """
    for each in contests:
        said = (
            f"{each.champion:.3f} → {each.challenger:.3f} on {each.rows} {each.name} rows by "
            f"{each.runtime}, gain between {each.gain_low:+.3f} and {each.gain_high:+.3f}"
        )
        if each.name == DRIFTED and each.gain_low <= 0:
            return f"not shown to be better: {said}"
        if each.name == EVALUATION and -each.gain_low >= max_drop:
            return f"may have lost {max_drop:g} or more of what its parent could: {said}"
    if not any(each.name == DRIFTED for each in contests):
        return "there are no drifted rows to compare on"
    return ""
