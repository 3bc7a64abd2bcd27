"""The self-test's judgement: what a child process measured, against what was signed."""

from __future__ import annotations

from device_agent.core.deployment import Happened
from device_agent.core.states import EventType
from device_agent.protocol.manifest import Budget
from device_agent.protocol.reasons import Reason
from device_agent.protocol.values import dataclass

PARENT_ACCURACY_DROP = 0.10
"""Labelled golden rows of the parent: the new version may be this much worse than the parent
was on the same rows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SelfTestFacts:
    """What the child measured: numbers only, None where there was nothing to measure."""

    nonfinite: int
    max_abs_difference: float | None
    label_mismatches: int
    accuracy: float | None
    parent_accuracy: float | None
    latency_ms_p95: float
    memory_mib: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SelfTestBar:
    """What the signed manifests ask for.

    ``waived`` tells that the golden gate was waived at packaging: then neither the own labelled
    rows nor the parent's are held against the version, and probation decides.
    ``parent_accuracy`` is what the parent reached on its own golden rows.
    """

    tolerance: float
    waived: bool
    min_accuracy: float | None
    parent_accuracy: float | None
    budget: Budget


def judge(facts: SelfTestFacts, bar: SelfTestBar) -> Happened:
    """Return ``done`` or ``refused`` with the reason and the numbers."""
    evidence = _evidence(facts)
    reason, detail = _first_failure(facts, bar)
    if reason is None:
        return Happened(type=EventType.DONE, evidence=evidence)
    return Happened(type=EventType.REFUSED, reason=reason, detail=detail, evidence=evidence)


def _first_failure(facts: SelfTestFacts, bar: SelfTestBar) -> tuple[Reason | None, str]:
    if facts.nonfinite:
        return Reason.NONFINITE_OUTPUT, f"{facts.nonfinite} golden rows gave NaN or infinity"
    difference = facts.max_abs_difference
    if difference is not None and difference > bar.tolerance:
        return (
            Reason.GOLDEN_MISMATCH,
            f"outputs differ from the signed ones by {difference:.3g} ({bar.tolerance:g} allowed)",
        )
    if facts.label_mismatches:
        return Reason.GOLDEN_MISMATCH, f"{facts.label_mismatches} golden rows gave another label"
    return _accuracy_failure(facts, bar)


def _accuracy_failure(facts: SelfTestFacts, bar: SelfTestBar) -> tuple[Reason | None, str]:
    if bar.waived:
        return _budget_failure(facts, bar.budget)
    own, parent = facts.accuracy, facts.parent_accuracy
    if own is not None and bar.min_accuracy is not None and own < bar.min_accuracy:
        return (
            Reason.GOLDEN_ACCURACY,
            f"{own:.3f} on the golden rows, {bar.min_accuracy:g} signed",
        )
    before = bar.parent_accuracy
    if parent is not None and before is not None and parent < before - PARENT_ACCURACY_DROP:
        return (
            Reason.PARENT_GOLDEN_ACCURACY,
            f"{parent:.3f} on the parent's golden rows, the parent had {before:.3f}",
        )
    return _budget_failure(facts, bar.budget)


def _budget_failure(facts: SelfTestFacts, budget: Budget) -> tuple[Reason | None, str]:
    latency, memory = budget.latency_ms_p95, budget.memory_mib
    if latency is not None and facts.latency_ms_p95 > latency:
        return (
            Reason.LATENCY_BUDGET,
            f"p95 latency {facts.latency_ms_p95:.2f} ms, {latency:g} ms allowed",
        )
    if memory is not None and facts.memory_mib > memory:
        return Reason.MEMORY_BUDGET, f"{facts.memory_mib:.1f} MiB, {memory:g} MiB allowed"
    return None, ""


def _evidence(facts: SelfTestFacts) -> dict[str, float]:
    numbers = {
        "max_abs_difference": facts.max_abs_difference,
        "accuracy": facts.accuracy,
        "parent_accuracy": facts.parent_accuracy,
        "latency_ms_p95": facts.latency_ms_p95,
        "memory_mib": facts.memory_mib,
    }
    return {name: float(value) for name, value in numbers.items() if value is not None}
