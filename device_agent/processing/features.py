"""Features: the numbers of an input row that a sketch counts, and the bins they fall into."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from device_agent.protocol.plan import FeaturePlan

SUMMARY = ("mean", "std", "min", "max", "roughness", "share_of_min", "share_of_max")
"""Features of a row with many elements. ``roughness`` is the mean absolute difference between
neighbours in C order; the shares are those of elements at the row's own extremes."""


def features_of(source: str, row: NDArray[Any]) -> NDArray[np.float64]:
    """Return the features of one row.

    Args:
        source: ``elements`` or ``summary``, see ``protocol.plan``.
        row: an input row of any shape and numeric dtype.

    Returns:
        ``[F]`` float64, F the number of elements, or of ``SUMMARY``.
    """
    features: NDArray[np.float64] = features_of_rows(source, np.asarray(row).reshape(1, -1))[0]
    return features


def features_of_rows(source: str, rows: NDArray[Any]) -> NDArray[np.float64]:
    """Return the features of many rows, of each the same as by itself, to the last bit.

    Args:
        source: as ``features_of``.
        rows: ``[n, elements]`` of any numeric dtype.

    Returns:
        ``[n, F]`` float64.
    """
    flat = rows.astype(np.float64)
    if source == "elements":
        return flat
    size = flat.shape[1]
    # The dtype of the rows is enough for what only compares, and several times faster in 8 bits.
    low, high = rows.min(axis=1), rows.max(axis=1)
    steps = np.abs(np.diff(flat, axis=1)).mean(axis=1) if size > 1 else np.zeros(len(flat))
    return np.column_stack(
        [
            flat.mean(axis=1),
            flat.std(axis=1),
            low,
            high,
            steps,
            np.count_nonzero(rows == low[:, np.newaxis], axis=1) / size,
            np.count_nonzero(rows == high[:, np.newaxis], axis=1) / size,
        ]
    ).astype(np.float64, copy=False)


def bins_of(feature: FeaturePlan, values: NDArray[np.float64]) -> NDArray[np.intp]:
    """Return the bin of each value, as ``protocol.plan`` orders them.

    Args:
        feature: edges and atoms.
        values: ``[n]``; NaN is missing.

    Returns:
        ``[n]`` bin numbers below ``feature.bins``.
    """
    atoms, edges = len(feature.atoms), np.asarray(feature.edges)
    below = feature.bins - 3
    if edges.size > 1:
        bins = np.searchsorted(edges, values, side="right") - 1
        bins[values == edges[-1]] = edges.size - 2
        bins = np.where(bins < 0, below, np.where(bins >= edges.size - 1, below + 1, bins + atoms))
    else:
        middle = feature.atoms[0] if feature.atoms else 0.0
        bins = np.where(values < middle, below, below + 1)
    for number, atom in enumerate(feature.atoms):
        bins[values == atom] = number
    bins[np.isnan(values)] = below + 2
    return bins.astype(np.intp)
