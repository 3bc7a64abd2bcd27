"""Probation: does the new version prove itself on real inferences?

The rules and their defaults are ``device_agent.protocol.probation.ProbationRules``; here is what
they mean. A comparison with the parent fails only when the difference breaks the written limit
*and* is more than chance explains at these counts.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import field

from device_agent.core.counts import Counts
from device_agent.protocol.probation import ProbationRules
from device_agent.protocol.reasons import Reason
from device_agent.protocol.sketch import CONFIDENCE_BINS
from device_agent.protocol.values import dataclass

CHANCE = 1e-4
"""Probability with which two samples of one distribution may differ by more than
``chance_distance`` allows."""
COARSE_CONFIDENCE_BINS = 8
HUNG_AFTER_S = 30.0
"""An inference that takes longer is taken for one that never ends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The state of probation: undecided, passed, or failed with a reason and its evidence."""

    passed: bool = False
    reason: Reason | None = None
    detail: str = ""
    evidence: Mapping[str, float] = field(default_factory=dict)


UNDECIDED = Verdict()


def judge(rules: ProbationRules, trial: Counts, parent: Counts | None, elapsed_s: float) -> Verdict:
    """Return the verdict on ``trial`` so far.

    Args:
        rules: limits of this deployment.
        trial: counts of the new version since it was activated.
        parent: counts of the version before it on this device, if there was one.
        elapsed_s: seconds since activation.
    """
    hard = _hard_limits(rules, trial)
    if hard is not None:
        return hard
    if trial.inferences < rules.min_inferences:
        return UNDECIDED
    if parent is not None and parent.inferences >= rules.min_inferences:
        for compare in _COMPARISONS:
            failed = compare(rules, trial, parent)
            if failed is not None:
                return failed
    if elapsed_s < rules.min_duration_s:
        return UNDECIDED
    return Verdict(
        passed=True,
        detail=f"{trial.inferences} inferences",
        evidence={"inferences": trial.inferences, "latency_us_p50": trial.latency_us_p50},
    )


def hung(running_s: float) -> Verdict | None:
    """Return the verdict on a version whose inference has run for so many seconds."""
    if running_s < HUNG_AFTER_S:
        return None
    return Verdict(
        reason=Reason.PROBATION_FAILURES,
        detail=f"an inference has not answered for {running_s:.0f} s",
        evidence={"running_s": running_s},
    )


def timed_out(rules: ProbationRules, trial: Counts) -> Verdict:
    """Return the verdict of a probation whose time is up without a decision."""
    return Verdict(
        reason=Reason.PROBATION_TIMEOUT,
        detail=f"{trial.inferences} of {rules.min_inferences} inferences in {rules.timeout_s:g} s",
        evidence={"inferences": trial.inferences},
    )


def _hard_limits(rules: ProbationRules, trial: Counts) -> Verdict | None:
    if trial.failures > rules.max_failures:
        return Verdict(
            reason=Reason.PROBATION_FAILURES,
            detail=f"{trial.failures} failed inferences, {rules.max_failures} allowed",
            evidence={"failures": trial.failures, "inferences": trial.inferences},
        )
    if trial.nonfinite > rules.max_nonfinite:
        return Verdict(
            reason=Reason.PROBATION_NONFINITE,
            detail=f"{trial.nonfinite} outputs with NaN or infinity, {rules.max_nonfinite} allowed",
            evidence={"nonfinite": trial.nonfinite, "inferences": trial.inferences},
        )
    return None


def _compare_latency(rules: ProbationRules, trial: Counts, parent: Counts) -> Verdict | None:
    before, now = parent.latency_us_p50, trial.latency_us_p50
    rise_ms = (now - before) / 1000
    if (
        before <= 0
        or now <= rules.max_latency_ratio * before
        or rise_ms < rules.min_latency_rise_ms
    ):
        return None
    return Verdict(
        reason=Reason.PROBATION_LATENCY,
        detail=f"median latency {now:.0f} µs, {now / before:.1f} times the parent's "
        f"({rules.max_latency_ratio:g} allowed)",
        evidence={"latency_us_p50": now, "parent_latency_us_p50": before},
    )


def _compare_classes(rules: ProbationRules, trial: Counts, parent: Counts) -> Verdict | None:
    distance, chance = distance_and_chance(trial.classes, parent.classes)
    if distance <= max(rules.max_class_shift, chance):
        return None
    return Verdict(
        reason=Reason.PROBATION_CLASS_SHIFT,
        detail=f"predicted classes differ from the parent's by {distance:.2f} "
        f"({rules.max_class_shift:g} allowed, {chance:.2f} by chance)",
        evidence={"class_shift": distance, "chance": chance, "inferences": trial.inferences},
    )


def _compare_confidence(rules: ProbationRules, trial: Counts, parent: Counts) -> Verdict | None:
    now, before = _coarse(trial.confidence), _coarse(parent.confidence)
    distance, chance = distance_and_chance(now, before)
    fell = _mean_bin(now) < _mean_bin(before)
    if not fell or distance <= max(rules.max_confidence_shift, chance):
        return None
    return Verdict(
        reason=Reason.PROBATION_CONFIDENCE_SHIFT,
        detail=f"confidence fell: histograms differ by {distance:.2f} "
        f"({rules.max_confidence_shift:g} allowed, {chance:.2f} by chance)",
        evidence={"confidence_shift": distance, "chance": chance},
    )


def _compare_labels(rules: ProbationRules, trial: Counts, parent: Counts) -> Verdict | None:
    now, before = trial.accuracy, parent.accuracy
    if now is None or before is None or min(trial.labelled, parent.labelled) < rules.min_labels:
        return None
    if before - now <= rules.max_label_drop:
        return None
    return Verdict(
        reason=Reason.PROBATION_LABELS,
        detail=f"accuracy on labelled inferences {now:.2f}, the parent had {before:.2f}",
        evidence={"accuracy": now, "parent_accuracy": before, "labelled": trial.labelled},
    )


_COMPARISONS: tuple[Callable[[ProbationRules, Counts, Counts], Verdict | None], ...] = (
    _compare_classes,
    _compare_confidence,
    _compare_latency,
    _compare_labels,
)


def distance_and_chance(left: Sequence[int], right: Sequence[int]) -> tuple[float, float]:
    """Return the total variation distance of two histograms and what chance explains.

    Chance is the expected distance of two samples of the pooled distribution (normal
    approximation per bin) plus McDiarmid's bound at probability ``CHANCE``: moving one
    observation changes the distance by at most 1/n.

    Returns:
        Both in 0 to 1; (0, 1) when a histogram is empty.
    """
    total_left, total_right = sum(left), sum(right)
    if not total_left or not total_right:
        return 0.0, 1.0
    width = max(len(left), len(right))
    spread = 1 / total_left + 1 / total_right
    distance = expected = 0.0
    for index in range(width):
        count_left = left[index] if index < len(left) else 0
        count_right = right[index] if index < len(right) else 0
        pooled = (count_left + count_right) / (total_left + total_right)
        distance += abs(count_left / total_left - count_right / total_right) / 2
        expected += math.sqrt(2 / math.pi * pooled * (1 - pooled) * spread) / 2
    return distance, min(1.0, expected + math.sqrt(-math.log(CHANCE) / 2 * spread))


def _coarse(confidence: Sequence[int]) -> list[int]:
    width = CONFIDENCE_BINS // COARSE_CONFIDENCE_BINS
    return [sum(confidence[at : at + width]) for at in range(0, CONFIDENCE_BINS, width)]


def _mean_bin(counts: Sequence[int]) -> float:
    return sum(i * count for i, count in enumerate(counts)) / max(1, sum(counts))
