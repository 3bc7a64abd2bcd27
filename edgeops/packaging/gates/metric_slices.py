"""The gate on parts for other metrics than accuracy: no slice may be ruined in the mean.

A slice fails if it lost ``SLICE_FACTOR`` times what all rows may lose, ``MAX_GROUP_DROP`` at least,
and the paired bootstrap interval of that, narrowed for the number of slices (Bonferroni), excludes
none. Growth of an error is a share of the float model's error: on the slice, or on all rows where
that is larger, so that noise of the usual size fails no slice on which the float model happens to
be nearly perfect. A bootstrap of few rows is blind to what it did not draw: slices of fewer than
``MIN_SLICE_ROWS`` fail only if an error at least doubled, those of fewer than ``MIN_RUINED_ROWS``
not at all.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from device_agent.protocol.evidence import MetricEvidence, MetricSlice
from edgeops.domain.errors import GateFailed, InvalidInput
from edgeops.packaging.gates.evidence import CONFIDENCE, QUALITY_GATE, slice_members
from edgeops.packaging.gates.groups import MAX_GROUP_DROP, MAX_WARNINGS, MIN_RUINED_ROWS
from edgeops.packaging.gates.metrics import RESAMPLES, Metric, Scores, Targets, digits
from edgeops.statistics.intervals import bootstrap_interval

SLICE_FACTOR = 5.0
"""How much more than all rows a slice may lose: 10 % by default, as for accuracy."""
MIN_SLICE_ROWS = 10
DOUBLED = 1.0
_SEED = 0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MeasuredSlice:
    """A metric on one slice.

    Attributes:
        found: the values, as the evidence keeps them.
        drop: what is lost, in the scale of ``Metric.drop``; None if the metric says nothing of
            these rows alone.
        scores: ``[n, C]`` of the float model.
        others: ``[n, C]`` of the artifact.
        y: ``[n, ...]``.
    """

    found: MetricSlice
    drop: float | None
    scores: Scores
    others: Scores
    y: Targets


def measure_slices(
    metric: Metric,
    float_scores: NDArray[np.generic],
    scores: NDArray[np.generic],
    y: NDArray[np.generic],
    slices: Mapping[str, NDArray[np.str_]],
) -> tuple[MeasuredSlice, ...]:
    """Return a metric on every slice, in the order of their names.

    Args:
        metric: what to measure.
        float_scores: ``[n, ...]`` of the float model.
        scores: ``[n, ...]`` of the artifact.
        y: ``[n, ...]`` classes or targets.
        slices: by kind, the name of the part that each row belongs to, ``[n]``.

    Raises:
        InvalidInput: the metric fails on all rows.
    """
    before, after = (each.reshape(len(y), -1).astype(np.float64) for each in (float_scores, scores))
    truth = y.astype(np.float64)
    usual = abs(metric(before, truth)) if metric.is_error else 0.0
    return tuple(
        _measured(metric, name, (before[member], after[member], truth[member]), usual)
        for name, member in slice_members(slices)
    )


def _measured(
    metric: Metric, name: str, rows: tuple[Scores, Scores, Targets], usual: float
) -> MeasuredSlice:
    before, after, y = rows
    try:
        first, second = metric(before, y), metric(after, y)
    except InvalidInput:  # the area under a curve of one class, say
        found = MetricSlice(name=name, rows=len(y), float_value=None, value=None)
        return MeasuredSlice(found=found, drop=None, scores=before, others=after, y=y)
    found = MetricSlice(name=name, rows=len(y), float_value=digits(first), value=digits(second))
    drop = metric.drop(first, second, usual)
    return MeasuredSlice(found=found, drop=drop, scores=before, others=after, y=y)


def check_slices(
    metric: Metric,
    slices: tuple[MeasuredSlice, ...],
    whole: MetricEvidence,
    name: str,
) -> None:
    """Refuse an artifact that lost a slice.

    Args:
        metric: what was measured.
        slices: from ``measure_slices``.
        whole: the same of all rows.
        name: of the artifact, for the message.

    Raises:
        GateFailed: the slice that lost most of those that fail, and how much.
    """
    bar = _bar(whole)
    for drop, each in _worst(slices):
        asked = bar if len(each.y) >= MIN_SLICE_ROWS else max(bar, DOUBLED)
        if drop < asked or (len(each.y) < MIN_SLICE_ROWS and not metric.is_error):
            continue
        low = _low(metric, each, abs(whole.float_value), len(slices))
        if len(each.y) >= MIN_RUINED_ROWS and low > 0:
            raise GateFailed(
                f"gate {QUALITY_GATE!r}: {name}: {metric.name} on slice {each.found.name} is "
                f"{each.found.value:.4g}, float {each.found.float_value:.4g} ({len(each.y)} rows, "
                f"{_what(metric)} {drop:.3f}, at least {low:.3f}), less than {asked:g} is asked",
                next_step="use another recipe, or calibration rows that have enough of it",
            )


def striking_slices(
    metric: Metric, slices: tuple[MeasuredSlice, ...], whole: MetricEvidence
) -> tuple[str, ...]:
    """Return a line about each slice that lost much, and each of which the metric says nothing."""
    found = [
        f"{metric.name} on slice {each.found.name} is {each.found.value:.4g}, float "
        f"{each.found.float_value:.4g}, on {len(each.y)} rows: look at it"
        for drop, each in _worst(slices)
        if drop >= _bar(whole) or _is_ruined(metric, each)
    ]
    more = len(found) - MAX_WARNINGS
    lines = found[:MAX_WARNINGS] + ([f"{more} more slices lose much"] if more > 0 else [])
    unmeasured = [each.found.name for each in slices if each.drop is None]
    if unmeasured:
        names = ", ".join(unmeasured[:MAX_WARNINGS])
        rest = len(unmeasured) - MAX_WARNINGS
        more_names = f" and {rest} more" if rest > 0 else ""
        lines.append(f"{metric.name} alone says nothing of slice {names}{more_names}")
    return tuple(lines)


def _worst(slices: tuple[MeasuredSlice, ...]) -> list[tuple[float, MeasuredSlice]]:
    known = [(each.drop, each) for each in slices if each.drop is not None]
    return sorted(known, key=lambda found: -found[0])


def _bar(whole: MetricEvidence) -> float:
    return max(MAX_GROUP_DROP, SLICE_FACTOR * whole.max_drop)


def _is_ruined(metric: Metric, each: MeasuredSlice) -> bool:
    """Whether an error at least doubled, beside what it was on the slice alone."""
    first, second = each.found.float_value, each.found.value
    if not metric.is_error or first is None or second is None:
        return False
    return metric.drop(first, second) >= DOUBLED


def _low(metric: Metric, each: MeasuredSlice, usual: float, count: int) -> float:
    """Return the lower end of the drop's interval; a resample without a value loses none."""
    confidence = 1.0 - (1.0 - CONFIDENCE) / count

    lost = metric.lost(usual)

    def drop(first: Scores, second: Scores, y: Targets) -> float:
        try:
            return lost(first, second, y)
        except InvalidInput:  # the area under a curve of one class: nothing is lost of it
            return 0.0

    interval = bootstrap_interval(
        drop,
        (each.scores, each.others, each.y),
        rng=np.random.default_rng(_SEED),
        confidence=confidence,
        resamples=max(RESAMPLES, math.ceil(4 / (1.0 - confidence))),
    )
    return interval.low


def _what(metric: Metric) -> str:
    return "the error grows by a share of" if metric.is_error else "drop"
