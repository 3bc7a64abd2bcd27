"""The order in which a search goes on when gates refuse what it chose."""

from __future__ import annotations

from edgeops.packaging.candidates import Refusal, next_candidate
from edgeops.packaging.convert.job import Report
from edgeops.packaging.gates.evidence import confidence_after
from edgeops.packaging.recipes import RECIPES
from edgeops.packaging.recipes.trials import Search, Trial

ASKED = Search(objective="size", min_sqnr_db=8.0, min_agreement=0.85, max_drop=0.02)


def trial(name: str, size_bytes: int, sqnr_db: float, why_not: str = "") -> Trial:
    return Trial(
        recipe=RECIPES[name],
        size_bytes=size_bytes,
        sqnr_db=sqnr_db,
        agreement=1.0,
        latency_ms=0.1,
        why_not=why_not,
    )


MADE = Report(
    trials=(
        trial("onnx-int8", 1000, 30.0),
        trial("onnx-int8-mse", 1000, 29.0),
        trial("onnx-int8-channel", 1100, 35.0),
        trial("onnx-int16", 1200, 20.0),
        trial("onnx-int16-mse", 1150, 60.0, why_not="too far from the float model"),
    ),
    float_ms=0.1,
)


def after(*names: str) -> str | None:
    refused = tuple(Refusal(recipe=RECIPES[each], why="gate 'quality'") for each in names)
    found = next_candidate(MADE, refused, ASKED, 4000)
    return None if found is None else found.name


def test_a_nearer_candidate_comes_before_one_that_is_made_like_the_refused() -> None:
    assert after("onnx-int8") == "onnx-int8-channel"


def test_of_what_is_no_nearer_the_front_comes_first() -> None:
    assert after("onnx-int8-channel") == "onnx-int8"
    assert after("onnx-int8", "onnx-int8-channel") == "onnx-int8-mse"


def test_a_search_ends_when_all_that_can_be_taken_was_refused() -> None:
    assert after("onnx-int8", "onnx-int8-mse", "onnx-int8-channel", "onnx-int16") is None


def test_each_further_candidate_is_held_to_half_the_error() -> None:
    assert [confidence_after(each) for each in range(3)] == [0.95, 0.975, 0.9875]
    # What could pass by luck in all: 5 % + 2.5 % + ...
    assert sum(1 - confidence_after(each) for each in range(5)) < 0.1
