"""The alternatives that an e-detector holds against the reference counts of one feature.

Two kinds, both linear in the counts of a window, so that one product gives all of them:

* *Tilts* along a few directions over the bins in their order (location, scale, each tail, two
  humps, both ends): every row in bin k multiplies the evidence by x_k = exp(theta phi_k), with
  phi standardised under the reference. Bounded scores (``SCORE_BOUND``) keep a nearly empty bin
  from ruling a direction; such bins have events of their own.
* *Events*: the share of a set of bins rises by a part of what is left: every bin by itself (a
  stuck sensor, a class that appears) and all rare bins together (out of range); for classes,
  which have no order, also the complement of every bin (a class that vanishes).

The null is wider than the reference's shares, since the reference is a sample and since not every
change matters. Each x is divided by the largest mean that it has under the null: by

    sup { E_q[x] : n_ref KL(p || q) <= z^2 / 2 }  +  tolerance x sd(x),

p the reference's shares. For smooth x that is the margin z / sqrt(n_ref) + tolerance, in standard
deviations of a row's score; it stays right where normal approximations do not, at bins that the
reference has hardly seen (measured: with the normal margin, features that are almost constant
raised alarms without any change).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

THETAS = (0.1, 0.2, 0.4, 0.8)
"""Sizes of the tilts, in standard deviations of a row's score."""
RISES = (0.02, 0.1, 0.4)
"""Parts of the other rows that go into the set of bins of an event."""
TAIL = 0.125
"""Ranks below it, and above 1 - it, are the tails: two of 16 equal bins."""
SCORE_BOUND = 4.0
PSEUDO_COUNT = 0.5
"""Added to every bin for the scores of directions; the null uses the counts as they are."""
MOST_NULL = 0.95
"""A set of bins that may hold more than this without a change has no event."""
LEAST_GAIN = 0.01
"""Nats per row. An alternative that gains less in its best bin says nothing in a lifetime (a
constant feature "becoming more constant") and is left out: its R would just count windows."""
TILTED_DIRECTIONS = 12
"""Six directions, both signs."""
_BISECTIONS = 42


@dataclass(frozen=True, slots=True, eq=False)
class Family:
    """The alternatives of one feature with k bins.

    Attributes:
        names: (A,) direction of each, signed: ``location+``, ``bin 3+``, ``bin 3-``.
        log_e: (k, A) log e-value of one row in each bin, margin paid.
    """

    names: tuple[str, ...]
    log_e: NDArray[np.float64]


def directions_of(bins: int, *, ordered: bool) -> int:
    """Return about how many directions of change a feature of so many bins is watched for."""
    return TILTED_DIRECTIONS + bins + 1 if ordered else 2 * bins + 1


def family_of(
    reference: NDArray[np.float64], *, ordered: bool, z: float, tolerance: float
) -> Family:
    """Return the alternatives against (k,) reference counts.

    Args:
        reference: counts of the reference rows.
        ordered: whether the order of the bins means something; classes have none.
        z: how many standard errors of the reference the null allows for.
        tolerance: further margin in standard deviations of a row's score: changes below it are
            not worth an alarm.

    Raises:
        ValueError: so few rows that the null allows for everything.
    """
    rows = float(reference.sum())
    radius = z * z / (2 * rows)
    p = reference / rows
    families = [_events(p, radius, ordered=ordered, tolerance=tolerance)]
    if ordered:
        smooth = (reference + PSEUDO_COUNT) / (rows + PSEUDO_COUNT * reference.size)
        families.insert(0, _tilts(p, smooth, radius, tolerance))
    names = tuple(name for family in families for name in family.names)
    log_e = np.concatenate([family.log_e for family in families], axis=1)
    telling = np.flatnonzero((log_e > LEAST_GAIN).any(axis=0))
    if not telling.size:
        raise ValueError(f"{rows:g} reference rows are too few to hold any change against them")
    return Family(tuple(names[a] for a in telling), log_e[:, telling])


def largest_means(
    p: NDArray[np.float64], x: NDArray[np.float64], radius: float
) -> NDArray[np.float64]:
    """Return sup { sum q_k x_k : KL(p || q) <= radius } for each column of x.

    The solution is q_k ~ p_k / (v - x_k), with v above the largest x such that the divergence is
    the radius; if it is still smaller at v = max x (where p is 0 there), the rest of the mass
    goes to that bin (Filippi, Cappé, Garivier 2010). v is found by bisection.

    Args:
        p: (k,) shares.
        x: (k, A) values.
        radius: in nats, not negative.
    """
    top = x.max(axis=0)
    gap = top - x
    span = np.where(gap.max(axis=0) > 0, gap.max(axis=0), 1.0)
    low, high = np.full(top.shape, -30.0), np.full(top.shape, 30.0)
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        far = _divergence(p, gap + span * np.exp(middle))[0] > radius
        low, high = np.where(far, middle, low), np.where(far, high, middle)
    distance = gap + span * np.exp(high)
    divergence, total = _divergence(p, distance)
    moved = -np.expm1(np.minimum(divergence - radius, 0.0))
    inner = (p[:, None] * x / distance).sum(axis=0) / total
    best: NDArray[np.float64] = (1 - moved) * inner + moved * top
    return np.where(radius > 0, np.maximum(best, p @ x), p @ x)


def _divergence(
    p: NDArray[np.float64], distance: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return KL(p || q) for q ~ p / distance, and the sum of p / distance."""
    seen = p > 0
    total = (p[seen, None] / distance[seen]).sum(axis=0)
    return p[seen] @ np.log(distance[seen]) + np.log(total), total


def _tilts(
    p: NDArray[np.float64], smooth: NDArray[np.float64], radius: float, tolerance: float
) -> Family:
    names, logs = [], []
    for name, direction in _directions(smooth).items():
        scores = _standardised(direction, smooth)
        if scores is None:
            continue
        for theta in THETAS:
            names += [name + "+", name + "-"]
            logs += [theta * scores, -theta * scores]
    if not names:
        return Family((), np.zeros((p.size, 0)))
    log_x = np.stack(logs, axis=1)
    x = np.exp(log_x)
    means = largest_means(p, x, radius) + tolerance * _deviations(smooth, x)
    return Family(tuple(names), log_x - np.log(means))


def _directions(p: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """Return the scores of the bins along each direction, not yet standardised.

    r is the middle rank of a bin: the share below it and half of its own.
    """
    r = np.cumsum(p) - p / 2
    return {
        "location": r - 0.5,
        "scale": (r - 0.5) ** 2,
        "low tail": (r < TAIL).astype(np.float64),
        "high tail": (r > 1 - TAIL).astype(np.float64),
        "two humps": np.cos(4 * np.pi * r),
        "both ends": np.abs(r - 0.5) ** 6,
    }


def _standardised(
    direction: NDArray[np.float64], p: NDArray[np.float64]
) -> NDArray[np.float64] | None:
    """Return scores with mean 0, variance at most 1 and bounded, None if they do not vary."""
    centred = direction - p @ direction
    spread = math.sqrt(p @ centred**2)
    if spread < 1e-9:
        return None
    scores = np.clip(centred / spread, -SCORE_BOUND, SCORE_BOUND)
    return scores - p @ scores


def _deviations(p: NDArray[np.float64], x: NDArray[np.float64]) -> NDArray[np.float64]:
    deviations: NDArray[np.float64] = np.sqrt(np.maximum(p @ x**2 - (p @ x) ** 2, 0.0))
    return deviations


def _events(p: NDArray[np.float64], radius: float, *, ordered: bool, tolerance: float) -> Family:
    """Return log likelihood ratios of "the set of bins holds more" against its largest null."""
    sets = _sets(p, ordered=ordered)
    inside = np.stack(list(sets.values()), axis=1)
    x = inside.astype(np.float64)
    nulls = largest_means(p, x, radius) + tolerance * _deviations(p, x)
    names, columns = [], []
    for name, members, null in zip(sets, inside.T, nulls.tolist(), strict=True):
        if not 0 < null <= MOST_NULL:
            continue
        for rise in RISES:
            risen = null + (1 - null) * rise
            names.append(name)
            columns.append(np.where(members, math.log(risen / null), math.log1p(-rise)))
    log_e = np.stack(columns, axis=1) if columns else np.zeros((p.size, 0))
    return Family(tuple(names), log_e)


def _sets(p: NDArray[np.float64], *, ordered: bool) -> dict[str, NDArray[np.bool_]]:
    each = np.eye(p.size, dtype=np.bool_)
    sets = {f"bin {k}+": each[k] for k in range(p.size)}
    if not ordered:
        sets |= {f"bin {k}-": ~each[k] for k in range(p.size)}
    rare = p < 1 / (2 * p.size)
    if rare.sum() > 1:
        sets["rare bins+"] = rare
    return sets
