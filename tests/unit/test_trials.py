"""Which of the tried recipes is taken."""

from __future__ import annotations

from dataclasses import replace

import pytest

from device_agent.protocol.fields import Fields
from edgeops.domain.errors import InvalidInput
from edgeops.packaging.recipes import RECIPES
from edgeops.packaging.recipes.trials import Search, Trial, is_slower, pareto_front, ranked

SMALL = Trial(
    recipe=RECIPES["tflite-int8"], size_bytes=100, sqnr_db=20.0, agreement=0.99, latency_ms=1.0
)
NEAR = replace(SMALL, recipe=RECIPES["tflite-float16"], size_bytes=200, sqnr_db=60.0, agreement=1.0)
FAST = replace(
    SMALL, recipe=RECIPES["tflite-weights8"], size_bytes=150, sqnr_db=18.0, latency_ms=0.4
)
SLOW = replace(SMALL, recipe=RECIPES["tflite-int16"], size_bytes=101, sqnr_db=40.0, latency_ms=9.0)
FAR = replace(SMALL, recipe=RECIPES["tflite-dynamic"], size_bytes=90, agreement=0.9, latency_ms=0.1)
ALL = (NEAR, SMALL, FAST, SLOW, FAR)


def best(objective: str, *trials: Trial) -> Trial:
    asked = Search(objective=objective, min_sqnr_db=8.0, min_agreement=0.85, max_drop=0.02)
    return ranked(trials or ALL, asked, float_bytes=400)[0]


def test_each_objective_takes_its_own() -> None:
    assert best("size") == SMALL
    assert best("latency") == FAST
    assert best("accuracy") == NEAR


def test_of_files_of_one_size_the_nearest_is_taken_unless_it_is_far_slower() -> None:
    alike = replace(SMALL, sqnr_db=25.0, latency_ms=1.9, size_bytes=102)
    assert best("size", SMALL, alike, SLOW) == alike


def test_a_small_file_that_takes_twice_as_long_as_the_float_model_comes_last() -> None:
    asked = Search(objective="size", min_sqnr_db=8.0, min_agreement=0.85, max_drop=0.02)
    smallest = replace(SLOW, size_bytes=80)
    assert ranked([smallest, NEAR], asked, 400)[0] == smallest  # nobody told how long floats take
    assert ranked([smallest, NEAR], asked, 400, float_ms=1.0) == [NEAR, smallest]
    assert ranked([smallest, FAR], asked, 400, float_ms=1.0) == [smallest, FAR]
    blink = replace(smallest, latency_ms=0.03)  # of such times the factor is chance
    assert ranked([blink, NEAR], asked, 400, float_ms=0.01) == [blink, NEAR]
    worse = replace(SLOW, agreement=0.95)
    assert ranked([FAR, worse], asked, 400, float_ms=1.0) == [worse, FAR]
    finest = replace(asked, objective="accuracy")
    assert ranked([smallest, SMALL], finest, 400, float_ms=1.0)[0] == smallest


def test_what_is_slower_than_the_float_model_is_no_choice_for_latency() -> None:
    asked = Search(objective="latency", min_sqnr_db=8.0, min_agreement=0.85, max_drop=0.02)
    assert ranked([SMALL, FAST], asked, 400, float_ms=0.5) == [FAST, SMALL]
    quick = replace(FAST, latency_ms=0.52, sqnr_db=10.0)  # as fast as the floats, but for chance
    assert ranked([SMALL, quick], asked, 400, float_ms=0.5) == [quick, SMALL]
    assert is_slower(SMALL, 0.5) and not is_slower(quick, 0.5)
    assert ranked([SMALL, SLOW], asked, 400, float_ms=0.5)[0] == SMALL  # nothing else is there


def test_accuracy_does_not_take_a_file_that_is_hardly_smaller() -> None:
    half = replace(NEAR, size_bytes=390)
    assert best("accuracy", half, SMALL) == SMALL
    assert best("accuracy", half) == half


def test_answers_that_may_lose_too_much_come_last_whatever_they_cost() -> None:
    asked = Search(objective="size", min_sqnr_db=8.0, min_agreement=0.85, max_drop=0.02)
    assert ranked(ALL, asked, float_bytes=400)[-1] == FAR
    assert best("size", FAR, replace(FAR, size_bytes=120, agreement=0.95)).agreement == 0.95


def test_what_cannot_be_taken_is_not_ranked_but_is_on_the_front() -> None:
    refused = replace(FAR, why_not="too far from the float model")
    assert refused not in ranked((refused, SMALL), Search.from_fields(asked_fields()), 400)
    assert pareto_front([*ALL, refused])[0].size_bytes == 90


def asked_fields() -> Fields:
    asked = Search(objective="size", min_sqnr_db=8.0, min_agreement=0.85, max_drop=0.02)
    return Fields(asked.to_document(), "search")


def test_the_front_holds_what_nothing_beats_in_size_and_fidelity() -> None:
    assert pareto_front(ALL) == [FAR, SLOW, NEAR]


def test_a_trial_reads_back_as_it_was() -> None:
    for each in ALL:
        assert Trial.from_fields(Fields(each.to_document(), "trial")) == each


def test_an_unknown_objective_is_refused() -> None:
    with pytest.raises(InvalidInput, match="objective 'beauty' is unknown"):
        Search(objective="beauty", min_sqnr_db=8.0, min_agreement=0.85, max_drop=0.02)
