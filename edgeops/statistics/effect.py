"""Effect sizes between two vectors of counts with the same bins: shown beside a verdict.

They are no alarm rules: none of them knows how many rows it comes from, and on small windows all
of them are large without any change (``psi_without_change`` says how large). Alarms come from the
e-detectors.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

PSEUDO_COUNT = 0.5
"""Rows that are added to every bin of both vectors before a PSI: a bin that one of them has
never seen then counts by how many rows have missed it, instead of infinitely."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EffectSizes:
    """How far counts are from the reference, in three measures.

    Attributes:
        psi: population stability index, in nats, from 0 up.
        ks: Kolmogorov-Smirnov distance of the binned distributions, in [0, 1].
        js: Jensen-Shannon divergence in bits, in [0, 1].
        rows: rows behind the current counts.
    """

    psi: float
    ks: float
    js: float
    rows: int


def effect_sizes(reference: ArrayLike, current: ArrayLike) -> EffectSizes:
    """Return all three effect sizes of one feature's counts, (k,) and (k,).

    Raises:
        ValueError: as ``psi``.
    """
    return EffectSizes(
        psi=psi(reference, current),
        ks=ks_distance(reference, current),
        js=js_divergence(reference, current),
        rows=int(np.sum(current)),
    )


def psi(reference: ArrayLike, current: ArrayLike) -> float:
    """Return the population stability index: sum of (q - p) log(q / p), in nats.

    It is the symmetrised divergence of Jeffreys (1946). Shares are smoothed:
    (count + 0.5) / (rows + 0.5 k), so that it is finite with empty bins; smoothing pulls it
    towards 0 on few rows.

    Args:
        reference: (k,) counts.
        current: (k,) counts of the same bins.

    Raises:
        ValueError: other shapes, no bins, negative counts, or a side without rows.
    """
    a, b = _pair(reference, current)
    p = (a + PSEUDO_COUNT) / (a.sum() + PSEUDO_COUNT * a.size)
    q = (b + PSEUDO_COUNT) / (b.sum() + PSEUDO_COUNT * b.size)
    return float(np.sum((q - p) * np.log(q / p)))


def psi_without_change(bins: int, reference_rows: int, rows: int) -> float:
    """Return about how large a PSI is when nothing has changed: (k - 1) (1/n + 1/m).

    Yurdakul (2018): under no change PSI is about (1/n + 1/m) times chi-squared with k - 1
    degrees of freedom; valid where no expected count is small.
    """
    return (bins - 1) * (1 / reference_rows + 1 / rows)


def ks_distance(reference: ArrayLike, current: ArrayLike) -> float:
    """Return the largest distance of the cumulated shares over bins in their order.

    Equal to the Kolmogorov-Smirnov distance of the data where it is attained at an edge, and
    never larger than that. No smoothing. Means nothing for classes, which have no order.

    Raises:
        ValueError: as ``psi``.
    """
    a, b = _pair(reference, current)
    return float(np.max(np.abs(np.cumsum(a) / a.sum() - np.cumsum(b) / b.sum())))


def js_divergence(reference: ArrayLike, current: ArrayLike) -> float:
    """Return the Jensen-Shannon divergence (Lin 1991) in bits: 0 equal, 1 without overlap.

    No smoothing: a bin that is empty on one side has a finite share in it. Some libraries show
    its square root, the Jensen-Shannon distance.

    Raises:
        ValueError: as ``psi``.
    """
    a, b = _pair(reference, current)
    p, q = a / a.sum(), b / b.sum()
    middle = (p + q) / 2
    bits = (_relative_entropy(p, middle) + _relative_entropy(q, middle)) / 2
    return float(min(1.0, max(0.0, bits)))


def _relative_entropy(p: NDArray[np.float64], q: NDArray[np.float64]) -> float:
    """Return the Kullback-Leibler divergence in bits; q must not be 0 where p is not."""
    seen = p > 0
    return float(np.sum(p[seen] * np.log2(p[seen] / q[seen])))


def _pair(
    reference: ArrayLike, current: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    a, b = np.asarray(reference, dtype=np.float64), np.asarray(current, dtype=np.float64)
    if a.ndim != 1 or a.shape != b.shape or a.size == 0:
        raise ValueError(f"counts of shapes {a.shape} and {b.shape} do not share their bins")
    if a.min() < 0 or b.min() < 0 or a.sum() <= 0 or b.sum() <= 0:
        raise ValueError("counts are not negative, and each side needs at least one row")
    return a, b
