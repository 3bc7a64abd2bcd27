"""The self-test's judgement: measured facts against what the signed manifests ask for."""

from __future__ import annotations

from dataclasses import replace

import pytest

from device_agent.core.self_test import PARENT_ACCURACY_DROP, SelfTestBar, SelfTestFacts, judge
from device_agent.core.states import EventType
from device_agent.protocol.manifest import Budget
from device_agent.protocol.reasons import Reason

FACTS = SelfTestFacts(
    nonfinite=0,
    max_abs_difference=1e-6,
    label_mismatches=0,
    accuracy=0.95,
    parent_accuracy=0.9,
    latency_ms_p95=2.0,
    memory_mib=20.0,
)
BAR = SelfTestBar(
    tolerance=1e-4,
    waived=False,
    min_accuracy=0.8,
    parent_accuracy=0.9,
    budget=Budget(latency_ms_p95=5.0, memory_mib=64.0),
)


def reason(bar: SelfTestBar = BAR, **facts) -> Reason | None:
    return judge(replace(FACTS, **facts), bar).reason


def test_a_version_that_meets_every_bar_is_done_with_its_numbers_as_evidence() -> None:
    happened = judge(FACTS, BAR)
    assert (happened.type, happened.reason) == (EventType.DONE, None)
    assert happened.evidence == {
        "max_abs_difference": 1e-6,
        "accuracy": 0.95,
        "parent_accuracy": 0.9,
        "latency_ms_p95": 2.0,
        "memory_mib": 20.0,
    }


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ({"nonfinite": 1}, Reason.NONFINITE_OUTPUT),
        ({"max_abs_difference": 2e-4}, Reason.GOLDEN_MISMATCH),
        ({"label_mismatches": 1}, Reason.GOLDEN_MISMATCH),
        ({"accuracy": 0.79}, Reason.GOLDEN_ACCURACY),
        ({"parent_accuracy": 0.79}, Reason.PARENT_GOLDEN_ACCURACY),
        ({"latency_ms_p95": 5.1}, Reason.LATENCY_BUDGET),
        ({"memory_mib": 64.1}, Reason.MEMORY_BUDGET),
    ],
)
def test_each_bar_that_is_missed_has_a_reason_of_its_own(facts, expected: Reason) -> None:
    happened = judge(replace(FACTS, **facts), BAR)
    assert (happened.type, happened.reason) == (EventType.REFUSED, expected)
    assert happened.detail
    assert happened.evidence["latency_ms_p95"] == facts.get("latency_ms_p95", 2.0)


@pytest.mark.parametrize(
    "facts",
    [
        {"max_abs_difference": 1e-4},
        {"accuracy": 0.8},
        {"parent_accuracy": 0.9 - PARENT_ACCURACY_DROP},
        {"latency_ms_p95": 5.0},
        {"memory_mib": 64.0},
    ],
)
def test_a_value_exactly_at_its_bar_holds(facts) -> None:
    assert reason(**facts) is None


def test_the_worst_is_named_first() -> None:
    everything = {
        "nonfinite": 1,
        "max_abs_difference": 9.0,
        "accuracy": 0.0,
        "parent_accuracy": 0.0,
        "latency_ms_p95": 1e6,
    }
    assert reason(**everything) is Reason.NONFINITE_OUTPUT


def test_a_waiver_takes_away_the_labelled_bars_and_no_other() -> None:
    waived = replace(BAR, waived=True)
    assert reason(waived, accuracy=0.0, parent_accuracy=0.0) is None
    assert reason(waived, nonfinite=1) is Reason.NONFINITE_OUTPUT
    assert reason(waived, max_abs_difference=9.0) is Reason.GOLDEN_MISMATCH
    assert reason(waived, latency_ms_p95=6.0) is Reason.LATENCY_BUDGET


def test_what_could_not_be_measured_is_not_held_against_the_version() -> None:
    happened = judge(
        replace(FACTS, max_abs_difference=None, accuracy=None, parent_accuracy=None), BAR
    )
    assert happened.type is EventType.DONE
    assert set(happened.evidence) == {"latency_ms_p95", "memory_mib"}


def test_a_bar_that_was_not_signed_does_not_exist() -> None:
    bare = replace(BAR, min_accuracy=None, parent_accuracy=None, budget=Budget())
    assert reason(bare, accuracy=0.0, parent_accuracy=0.0, latency_ms_p95=1e9) is None
