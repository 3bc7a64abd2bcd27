"""Probation: the verdict on real inferences, against absolute rules and against the parent."""

from __future__ import annotations

import random

import pytest

from device_agent.core.counts import Counts
from device_agent.core.probation import UNDECIDED, distance_and_chance, judge, timed_out
from device_agent.protocol.errors import ProtocolError
from device_agent.protocol.fields import Fields
from device_agent.protocol.probation import ProbationRules
from device_agent.protocol.reasons import Reason
from tests.agent_values import counts, rules

PARENT = counts((500, 500))


def reason(trial: Counts, parent: Counts | None = PARENT, elapsed_s: float = 1.0, **overrides):
    return judge(rules(**overrides), trial, parent, elapsed_s).reason


# ---- when there is a verdict


def test_too_few_inferences_decide_nothing() -> None:
    assert judge(rules(), counts((99, 0)), None, 10.0) == UNDECIDED


def test_enough_good_inferences_pass_with_their_number_as_evidence() -> None:
    verdict = judge(rules(), counts((50, 50)), PARENT, 0.0)
    assert (verdict.passed, verdict.reason) == (True, None)
    assert verdict.evidence["inferences"] == 100


def test_a_least_duration_holds_back_the_pass_but_not_the_failure() -> None:
    assert judge(rules(min_duration_s=60.0), counts((50, 50)), PARENT, 59.9) == UNDECIDED
    assert judge(rules(min_duration_s=60.0), counts((50, 50)), PARENT, 60.0).passed
    shifted = counts((0, 1000))
    assert reason(shifted, min_duration_s=60.0) is Reason.PROBATION_CLASS_SHIFT


def test_a_probation_without_a_decision_in_time_says_what_was_missing() -> None:
    verdict = timed_out(rules(timeout_s=30.0), counts((7,)))
    assert (verdict.passed, verdict.reason) == (False, Reason.PROBATION_TIMEOUT)
    assert verdict.detail == "7 of 100 inferences in 30 s"


# ---- absolute rules


def test_one_failure_more_than_allowed_fails_at_once_without_waiting_for_inferences() -> None:
    assert reason(counts((1,), failures=4), None) is Reason.PROBATION_FAILURES
    assert reason(counts((1,), failures=3), None) is None


def test_one_output_that_is_not_finite_fails_at_once() -> None:
    assert reason(counts((1,), nonfinite=1), None) is Reason.PROBATION_NONFINITE
    assert reason(counts((1,), nonfinite=1), None, max_nonfinite=1) is None


def test_a_first_model_is_judged_by_the_absolute_rules_alone() -> None:
    assert judge(rules(), counts((0, 100), latency_us=1e6), None, 1.0).passed


def test_a_parent_that_was_hardly_used_is_no_measure() -> None:
    assert judge(rules(), counts((0, 1000)), counts((99, 0)), 1.0).passed


# ---- against the parent


def test_predictions_that_collapse_into_one_class_fail() -> None:
    verdict = judge(rules(), counts((1000, 0)), PARENT, 1.0)
    assert verdict.reason is Reason.PROBATION_CLASS_SHIFT
    assert verdict.evidence["class_shift"] == pytest.approx(0.5)
    assert 0 < verdict.evidence["chance"] < 0.35


def test_a_shift_within_the_limit_passes() -> None:
    assert judge(rules(), counts((800, 200)), PARENT, 1.0).passed


def test_a_shift_that_chance_explains_at_few_inferences_passes() -> None:
    few = rules(min_inferences=4, max_class_shift=0.0)
    assert judge(few, counts((4, 0)), counts((2, 2)), 1.0).passed


def test_samples_of_one_distribution_hardly_ever_differ_by_more_than_chance() -> None:
    chance = random.Random(7)
    beyond = 0
    for _ in range(300):
        left, right = [0] * 10, [0] * 10
        for _ in range(100):
            left[min(9, int(chance.expovariate(0.5)))] += 1
            right[min(9, int(chance.expovariate(0.5)))] += 1
        distance, explained = distance_and_chance(left, right)
        beyond += distance > explained
    assert beyond == 0


def test_confidence_that_falls_fails_and_confidence_that_rises_does_not() -> None:
    low, high = counts((500, 500), confidence=0.3), counts((500, 500), confidence=0.99)
    assert reason(low) is Reason.PROBATION_CONFIDENCE_SHIFT
    assert judge(rules(), high, low, 1.0).passed


def test_a_median_latency_beyond_the_allowed_ratio_fails() -> None:
    slow = counts((500, 500), latency_us=400.0)
    assert judge(rules(), slow, PARENT, 1.0).passed, "less than a millisecond more"
    verdict = judge(rules(min_latency_rise_ms=0.1), slow, PARENT, 1.0)
    assert verdict.reason is Reason.PROBATION_LATENCY
    assert verdict.evidence["latency_us_p50"] > 3 * verdict.evidence["parent_latency_us_p50"]
    assert judge(rules(max_latency_ratio=5.0, min_latency_rise_ms=0.1), slow, PARENT, 1.0).passed


def test_accuracy_on_labels_that_drops_fails_only_when_both_have_enough_labels() -> None:
    parent = counts((500, 500), labelled=100, labelled_correct=95)
    worse = counts((500, 500), labelled=30, labelled_correct=20)
    verdict = judge(rules(), worse, parent, 1.0)
    assert verdict.reason is Reason.PROBATION_LABELS
    assert verdict.evidence["labelled"] == 30
    fewer = counts((500, 500), labelled=29, labelled_correct=0)
    assert judge(rules(), fewer, parent, 1.0).passed
    assert judge(rules(), worse, counts((500, 500)), 1.0).passed


def test_versions_with_another_number_of_classes_can_be_compared() -> None:
    assert judge(rules(), counts((500, 490, 10)), PARENT, 1.0).passed
    assert reason(counts((0, 0, 1000))) is Reason.PROBATION_CLASS_SHIFT


@pytest.mark.parametrize("empty", [(), (0, 0)])
def test_a_model_without_classes_is_not_judged_by_them(empty: tuple[int, ...]) -> None:
    assert distance_and_chance(empty, (5, 5)) == (0.0, 1.0)
    without = Counts(inferences=1000, classes=empty)
    assert judge(rules(), without, PARENT, 1.0).passed


# ---- the rules as a document


def test_a_rule_that_is_absent_keeps_its_default() -> None:
    read = ProbationRules.from_fields(Fields({"min_inferences": 5}, "probation"))
    assert read == rules(min_inferences=5)


def test_rules_typed_by_a_person_are_checked_by_name_and_kind() -> None:
    typed = ProbationRules.from_texts({"min_inferences": "40", "timeout_s": "1.5"})
    assert typed == rules(min_inferences=40, timeout_s=1.5)
    for name, text in [("min_inferences", "4.5"), ("timeout_s", "soon"), ("timeout_s", "nan")]:
        with pytest.raises(ProtocolError, match=name):
            ProbationRules.from_texts({name: text})
    with pytest.raises(ProtocolError) as raised:
        ProbationRules.from_texts({"luck": "1"})
    assert "min_inferences" in raised.value.next_step
    with pytest.raises(ProtocolError, match="max_trials=0 would let no device load") as raised:
        ProbationRules.from_texts({"max_trials": "0"})
    assert raised.value.next_step == "give 1 or more"
