"""The reference profile: what "normal" looks like, from held-out rows.

Edges are quantiles of the reference, so that each bin holds about the same share and a shift
anywhere moves counts. Values that hold much of the reference by themselves (zeros, saturation)
get a bin of their own: quantiles cannot part them, and losing one is a change worth seeing.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from device_agent.processing.features import SUMMARY, bins_of, features_of
from device_agent.protocol.plan import MAX_ELEMENTS, FeaturePlan, SketchPlan
from device_agent.protocol.reference import ReferenceProfile
from device_agent.protocol.sketch import CONFIDENCE_BINS, confidence_bin
from edgeops.packaging.rows.predictions import NO_CLASS, Predictions

QUANTILE_BINS = 16
ATOM_SHARE = 0.05
"""A single value with at least this share of the reference is an atom."""
MAX_ATOMS = 4
ROWS_WANTED = 1000
"""Fewer reference rows than this make the comparison coarser: its tolerance grows as 1/√n."""


def make_plan(rows: NDArray[np.float32]) -> SketchPlan:
    """Return the plan of what devices count of inputs like these.

    Args:
        rows: ``[n, ...]`` reference rows.
    """
    elements = int(np.prod(rows.shape[1:]))
    source = "elements" if elements <= MAX_ELEMENTS else "summary"
    values = _features(source, rows)
    names = SUMMARY if source == "summary" else [f"x{index}" for index in range(elements)]
    features = [_feature(name, values[:, index]) for index, name in enumerate(names)]
    return SketchPlan(source=source, features=tuple(features))


def make_reference(
    plan: SketchPlan,
    rows: NDArray[np.float32],
    predicted: Predictions,
    truth: NDArray[np.int64] | None,
) -> ReferenceProfile:
    """Return the profile of reference rows and of an artifact's answers to them.

    Args:
        plan: from ``make_plan`` of the same rows.
        rows: ``[n, ...]``.
        predicted: classes and confidences of the artifact, ``[n]`` each.
        truth: ``[n]`` true classes, None for a model that tells none.
    """
    values = _features(plan.source, rows)
    inputs: list[int] = []
    for index, feature in enumerate(plan.features):
        counts = np.bincount(bins_of(feature, values[:, index]), minlength=feature.bins)
        inputs += [int(count) for count in counts]
    bins = np.array([confidence_bin(float(each)) for each in predicted.confidence], dtype=np.intp)
    right = np.zeros(len(rows), bool) if truth is None else predicted.classes == truth
    highest = -1 if truth is None else int(truth.max())
    # As devices count: a prediction below its threshold has a confidence, and no class.
    told = predicted.classes[predicted.classes != NO_CLASS]
    return ReferenceProfile(
        plan=plan,
        rows=len(rows),
        inputs=tuple(inputs),
        classes=_counts(told, int(max(told.max(initial=0), highest)) + 1),
        confidence=_counts(bins, CONFIDENCE_BINS),
        correct=_counts(bins[right], CONFIDENCE_BINS),
    )


def _features(source: str, rows: NDArray[np.float32]) -> NDArray[np.float64]:
    return np.stack([features_of(source, row) for row in rows])


def _feature(name: str, values: NDArray[np.float64]) -> FeaturePlan:
    known = values[~np.isnan(values)]
    unique, counts = np.unique(known, return_counts=True)
    heavy = np.flatnonzero(counts >= ATOM_SHARE * max(1, known.size))
    atoms = sorted(float(unique[i]) for i in heavy[np.argsort(-counts[heavy])][:MAX_ATOMS])
    rest = known[~np.isin(known, atoms)]
    if rest.size < 2:
        return FeaturePlan(name=name, edges=(), atoms=tuple(atoms))
    edges = np.unique(np.quantile(rest, np.linspace(0, 1, QUANTILE_BINS + 1)))
    kept = edges if edges.size > 1 else ()
    return FeaturePlan(name=name, edges=tuple(float(e) for e in kept), atoms=tuple(atoms))


def _counts(values: NDArray[np.intp] | NDArray[np.int64], width: int) -> tuple[int, ...]:
    return tuple(int(count) for count in np.bincount(values, minlength=width))
