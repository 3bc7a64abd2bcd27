"""Confidence intervals: of a share, of a paired drop in accuracy, of any paired statistic.

Sources: Wilson (1927) for one share; Tango (Statistics in Medicine 17, 1998) for the difference
of two paired shares; Efron (1979) for the percentile bootstrap.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

_BISECTIONS = 60
"""Halvings of an interval of length 2: to the last digit of a float."""
_MAX_ROWS = 2**40
"""Where the search for a number of rows gives up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """An estimate between its lower and its upper end, at a stated two-sided confidence."""

    estimate: float
    low: float
    high: float
    confidence: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedDrop:
    """How much less often the second is right than the first, on the same rows.

    Attributes:
        drop: share of rows right by the first minus share right by the second, in [-1, 1].
        low: lower end of the interval.
        high: upper end: what a gate holds against the largest drop that it allows.
        n: rows.
        only_first: rows that only the first gets right (b).
        only_second: rows that only the second gets right (c).
        confidence: of the two-sided interval.
    """

    drop: float
    low: float
    high: float
    n: int
    only_first: int
    only_second: int
    confidence: float

    @property
    def discordance(self) -> float:
        """Share of the rows on which exactly one of the two is right."""
        return (self.only_first + self.only_second) / self.n


def normal_quantile(confidence: float) -> float:
    """Return how many standard deviations a two-sided normal interval reaches to each side.

    Raises:
        ValueError: the confidence is not between 0 and 1.
    """
    if not 0.0 < confidence < 1.0:
        raise ValueError(f"confidence {confidence} is not between 0 and 1")
    return NormalDist().inv_cdf(0.5 + confidence / 2)


def wilson(successes: float, n: float, *, confidence: float = 0.95) -> Interval:
    """Return the score interval of a share (Wilson 1927).

    Its coverage is near the nominal one on average over shares and may lie below it for single
    ones (not guaranteed); it is never empty, never outside [0, 1], and with 0 of n successes its
    upper end is z^2 / (n + z^2).

    Raises:
        ValueError: no rows, or more successes than rows.
    """
    if n <= 0 or not 0 <= successes <= n:
        raise ValueError(f"{successes} successes of {n} rows are no share")
    z2 = normal_quantile(confidence) ** 2
    share = successes / n
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = math.sqrt(z2 * (share * (1 - share) / n + z2 / (4 * n * n))) / (1 + z2 / n)
    low = 0.0 if successes == 0 else max(0.0, centre - half)
    high = 1.0 if successes == n else min(1.0, centre + half)
    return Interval(estimate=share, low=low, high=high, confidence=confidence)


def paired_drop(
    first_correct: ArrayLike, second_correct: ArrayLike, *, confidence: float = 0.95
) -> PairedDrop:
    """Return the drop from the first to the second on the same rows, with its interval.

    Args:
        first_correct: (n,) booleans, whether the first is right on each row.
        second_correct: (n,) booleans, the second on the same rows in the same order.
        confidence: of the two-sided interval.

    Raises:
        ValueError: no rows, other shapes than (n,) and (n,), or other types than booleans.
    """
    first, second = np.asarray(first_correct), np.asarray(second_correct)
    if first.ndim != 1 or first.shape != second.shape:
        raise ValueError(f"paired rows are of shapes {first.shape} and {second.shape}, not (n,)")
    if first.dtype != np.bool_ or second.dtype != np.bool_:
        raise ValueError(f"paired rows are {first.dtype} and {second.dtype}, not booleans")
    only_first = int(np.count_nonzero(first & ~second))
    only_second = int(np.count_nonzero(second & ~first))
    return drop_of_table(only_first, only_second, first.size, confidence=confidence)


def drop_of_table(
    only_first: int, only_second: int, n: int, *, confidence: float = 0.95
) -> PairedDrop:
    """Return the paired drop from the discordant counts b, c and the number of rows.

    The interval is Tango's (1998): all drops that the score test of the paired table does not
    reject. It contains 0 exactly when McNemar's test without correction does not reject, and it
    depends on b, c and n alone, so that evidence can be checked from three numbers.

    The coverage is asymptotic. Calculated by enumeration of all tables at n = 50, 100, 200, 500,
    discordance 0.005 to 0.3 and drops 0 to 0.05, at 95 %: 0.933 to 1.0, below 0.943 in one of 72
    cells; the true drop lies above the upper end in at most 2.7 % of the tables.

    Raises:
        ValueError: no rows, or counts that do not fit into them.
    """
    if n <= 0 or only_first < 0 or only_second < 0 or only_first + only_second > n:
        raise ValueError(f"{only_first} and {only_second} discordant rows of {n} are no table")
    low, high = _tango(float(only_first), float(only_second), float(n), normal_quantile(confidence))
    return PairedDrop(
        drop=(only_first - only_second) / n,
        low=low,
        high=high,
        n=n,
        only_first=only_first,
        only_second=only_second,
        confidence=confidence,
    )


def rows_needed(
    max_drop: float,
    discordance: float,
    *,
    confidence: float = 0.95,
    true_drop: float = 0.0,
    power: float = 0.8,
) -> int:
    """Return how many paired rows it takes so that the upper end can be under ``max_drop``.

    Solves for the smallest n at which Tango's upper end is under ``max_drop`` for the drop that
    is not exceeded with probability ``power``, by the normal approximation of the paired
    difference (variance (discordance - true_drop^2) / n). The power is approximate: the tables
    are discrete.

    Args:
        max_drop: what the upper end must stay under, in (0, 1).
        discordance: expected share of rows on which exactly one of the two is right.
        confidence: of the two-sided interval.
        true_drop: the drop that is assumed to be true.
        power: chance that it works with so many rows; 0.5 is "just possible".

    Raises:
        ValueError: shares outside their ranges, or a true drop that is not under ``max_drop``:
            then no number of rows is enough.
    """
    if not 0.0 < max_drop < 1.0 or not 0.0 <= discordance <= 1.0 or not 0.0 < power < 1.0:
        raise ValueError("max_drop and power lie between 0 and 1, the discordance in [0, 1]")
    if true_drop >= max_drop:
        raise ValueError(f"a true drop of {true_drop} cannot be shown to be under {max_drop}")
    z = normal_quantile(confidence)
    spread = max(discordance, abs(true_drop))
    luck = NormalDist().inv_cdf(power)

    def enough(n: int) -> bool:
        drop = true_drop + luck * math.sqrt((spread - true_drop**2) / n)
        discordant = min(1.0, max(spread, abs(drop)))
        drop = min(discordant, max(-discordant, drop))
        b, c = n * (discordant + drop) / 2, n * (discordant - drop) / 2
        return _tango(b, c, float(n), z)[1] < max_drop

    return _smallest(enough)


def bootstrap_interval(
    statistic: Callable[..., float],
    columns: Sequence[ArrayLike],
    *,
    rng: np.random.Generator,
    confidence: float = 0.95,
    resamples: int = 2000,
) -> Interval:
    """Return the percentile bootstrap interval (Efron 1979) of a statistic of paired columns.

    Rows are drawn with replacement, the same rows from every column, so that what is paired
    stays paired: ``statistic(targets, first, second)`` may be a difference of two errors (RMSE).

    The interval is asymptotic and somewhat narrow on few rows (under about 50) and on statistics
    that single rows dominate. Equal generators give equal intervals.

    Args:
        statistic: takes as many (n, ...) arrays as there are columns, returns a number.
        columns: arrays with n rows each.
        rng: where chance comes from.
        confidence: of the two-sided interval.
        resamples: how often the rows are drawn.

    Raises:
        ValueError: no columns, no rows, columns of different length, too few resamples.
    """
    arrays = [np.asarray(column) for column in columns]
    n = len(arrays[0]) if arrays else 0
    if n == 0 or any(len(array) != n for array in arrays):
        raise ValueError("the columns must have the same number of rows, at least one")
    tail = (1.0 - confidence) / 2
    normal_quantile(confidence)  # refuses a confidence that is none
    if resamples * tail < 1:
        raise ValueError(f"{resamples} resamples are too few for a confidence of {confidence}")
    drawn = np.empty(resamples)
    for i in range(resamples):
        rows = rng.integers(0, n, n)
        drawn[i] = statistic(*(array[rows] for array in arrays))
    low, high = np.quantile(drawn, [tail, 1 - tail])
    return Interval(
        estimate=float(statistic(*arrays)),
        low=float(low),
        high=float(high),
        confidence=confidence,
    )


def rmse(targets: NDArray[np.float64], outputs: NDArray[np.float64]) -> float:
    """Return the root of the mean squared error of (n, ...) outputs, in the targets' unit."""
    return float(np.sqrt(np.mean((np.asarray(outputs) - np.asarray(targets)) ** 2)))


def _tango(b: float, c: float, n: float, z: float) -> tuple[float, float]:
    """Return both ends: the drops at which the score of b, c in n is z and -z."""
    estimate = (b - c) / n
    low = _crossing(lambda drop: _score(drop, b, c, n) > z, -1.0, estimate)
    high = _crossing(lambda drop: _score(drop, b, c, n) > -z, estimate, 1.0)
    return low, high


def _score(drop: float, b: float, c: float, n: float) -> float:
    """Return the score statistic of a drop; the nuisance by maximum likelihood (Tango 1998)."""
    linear = -b - c + (2 * n - b + c) * drop
    constant = -c * drop * (1 - drop)
    root = math.sqrt(max(0.0, linear * linear - 8 * n * constant))
    second = max(0.0, (root - linear) / (4 * n))
    variance = n * (2 * second + drop * (1 - drop))
    surplus = b - c - n * drop
    if variance <= 0.0:
        return math.copysign(math.inf, surplus) if surplus else 0.0
    return surplus / math.sqrt(variance)


def _crossing(before: Callable[[float], bool], low: float, high: float) -> float:
    """Return where a condition that holds at the low end stops to hold, by bisection."""
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        if before(middle):
            low = middle
        else:
            high = middle
    return (low + high) / 2


def _smallest(enough: Callable[[int], bool]) -> int:
    """Return the smallest number for which a condition holds that, once true, stays true."""
    high = 1
    while not enough(high):
        high *= 2
        if high > _MAX_ROWS:
            raise ValueError("no number of rows is enough")
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        if enough(middle):
            high = middle
        else:
            low = middle
    return high
