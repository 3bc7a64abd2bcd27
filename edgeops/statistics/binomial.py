"""Exact tails of the binomial distribution: for counts too small for any approximation."""

from __future__ import annotations

import math


def at_least(successes: int, trials: int, share: float) -> float:
    """Return the chance of so many successes or more, each trial succeeding with that share.

    The sum of the exact probabilities, by logarithms of the gamma function: right to about ten
    digits, also where single terms are below what a float holds.

    Args:
        successes: from 0; none or fewer are certain.
        trials: independent ones.
        share: chance of one, in [0, 1].

    Raises:
        ValueError: no share, or a negative number of trials.
    """
    if trials < 0 or not 0.0 <= share <= 1.0:
        raise ValueError(f"{trials} trials of {share} are no binomial")
    if successes <= 0:
        return 1.0
    if successes > trials or share == 0.0:
        return 0.0
    if share == 1.0:
        return 1.0
    won, lost = math.log(share), math.log1p(-share)
    whole = math.lgamma(trials + 1)
    terms = (
        math.exp(
            whole
            - math.lgamma(each + 1)
            - math.lgamma(trials - each + 1)
            + each * won
            + (trials - each) * lost
        )
        for each in range(successes, trials + 1)
    )
    return min(1.0, math.fsum(terms))
