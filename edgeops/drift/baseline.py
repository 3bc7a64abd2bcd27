"""The baseline of one version: what its reference profile and its evidence say is normal.

Input features and predictions are watched together: the predicted class and the confidence are
two more features beside those of the input, since the prediction is where a shift that matters
shows first.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from device_agent.protocol.errors import ProtocolError
from device_agent.protocol.evidence import Evidence
from device_agent.protocol.items import Window
from device_agent.protocol.plan import FeaturePlan, SketchPlan
from device_agent.protocol.reference import ReferenceProfile

CLASSES = "predicted class"
CONFIDENCE = "confidence"
COARSE_CONFIDENCE_BINS = 8
CACHED_PLANS = 64
CACHED_FEATURES = CACHED_PLANS * 256
"""What every window of a plan needs again and again, and is the same."""

Counts = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Baseline:
    """What is normal for one artifact.

    Attributes:
        plan: by which devices count.
        names: of the watched features, the predictions last.
        counts: for each of them the counts of the reference rows.
        ordered: whether the bins of each have an order.
        error_rate: share of wrong answers in the evidence, None without evidence.
        evidence_rows: how many rows that share is from.
    """

    plan: SketchPlan
    names: tuple[str, ...]
    counts: tuple[Counts, ...]
    ordered: tuple[bool, ...]
    error_rate: float | None
    evidence_rows: int


def baseline_of(reference: ReferenceProfile, evidence: Evidence | None) -> Baseline:
    """Return the baseline of an artifact from what its package carries."""
    plan = reference.plan
    inputs = plan.parted(reference.inputs)
    return Baseline(
        plan=plan,
        names=(*(feature.name for feature in plan.features), CLASSES, CONFIDENCE),
        counts=(
            *(_in_order(f, part) for f, part in zip(plan.features, inputs, strict=True)),
            _array((*reference.classes, _unsure(reference))),
            _coarse(reference.confidence),
        ),
        ordered=(*(True for _ in inputs), False, True),
        error_rate=None if evidence is None else 1.0 - evidence.accuracy,
        evidence_rows=0 if evidence is None else evidence.rows,
    )


def counts_of(baseline: Baseline, window: Window) -> tuple[Counts, ...]:
    """Return a window's counts, feature by feature as the baseline has them.

    A class that the reference does not know falls into the last bin of the predicted class, and
    so do predictions below their threshold, which have a confidence and no class.

    Raises:
        ProtocolError: the window was counted by another plan.
    """
    schema = _schema(baseline.plan)
    if window.plan != schema:
        raise ProtocolError(f"counted by plan {window.plan or 'none'}, the package has {schema}")
    inputs = baseline.plan.parted(window.inputs)
    features = baseline.plan.features
    known = len(baseline.counts[-2]) - 1
    classes = [*window.classes[:known], *(0,) * (known - len(window.classes))]
    return (
        *(_in_order(f, part) for f, part in zip(features, inputs, strict=True)),
        _array((*classes, sum(window.classes[known:]) + _unsure(window))),
        _coarse(window.confidence),
    )


def merged(windows: tuple[tuple[Counts, ...], ...]) -> tuple[Counts, ...]:
    """Return the counts of several windows, of one device or of many, added up exactly."""
    return tuple(np.sum(parts, axis=0) for parts in zip(*windows, strict=True))


def _in_order(feature: FeaturePlan, counts: tuple[int, ...]) -> Counts:
    """Return the counts in the order of their values: that is what a shift moves along.

    Below the edges, steps with the atoms among them, above, and missing at the end.
    """
    return _array(tuple(counts[index] for index in _order(feature)))


@lru_cache(maxsize=CACHED_FEATURES)
def _order(feature: FeaturePlan) -> tuple[int, ...]:
    atoms, steps = len(feature.atoms), max(0, len(feature.edges) - 1)
    middles = [(a + b) / 2 for a, b in zip(feature.edges, feature.edges[1:], strict=False)]
    values = [*feature.atoms, *middles]
    inner = sorted(range(atoms + steps), key=lambda index: values[index])
    below, above, missing = range(atoms + steps, atoms + steps + 3)
    return (below, *inner, above, missing)


@lru_cache(maxsize=CACHED_PLANS)
def _schema(plan: SketchPlan) -> str:
    return plan.schema


def _unsure(counts: ReferenceProfile | Window) -> int:
    """Return how many predictions were below the threshold of their class."""
    return max(0, sum(counts.confidence) - sum(counts.classes))


def _array(counts: tuple[int, ...]) -> Counts:
    return np.asarray(counts, dtype=np.float64)


def _coarse(confidence: tuple[int, ...]) -> Counts:
    fine = np.zeros(32)
    fine[: len(confidence)] = confidence
    coarse: Counts = fine.reshape(COARSE_CONFIDENCE_BINS, -1).sum(axis=1)
    return coarse
