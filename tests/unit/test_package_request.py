"""What cannot become a package is refused before a file is read; kept rows are spread."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from device_agent.protocol.manifest import Budget, TensorSpec, Waiver
from edgeops.domain.errors import InvalidInput
from edgeops.packaging.evaluate import choose_scores
from edgeops.packaging.request import PackageRequest, check_request
from edgeops.packaging.rows.golden_rows import (
    MAX_KEPT_BYTES,
    MAX_KEPT_ROWS,
    kept_numbers,
    spread,
)

GOOD = PackageRequest(
    models=(Path("model.onnx"),), name="kws", version=1, profiles=("x86-64-generic",)
)


def test_a_good_request_passes() -> None:
    check_request(replace(GOOD, waivers=(Waiver(gate="golden", reason="a demonstration"),)))


@pytest.mark.parametrize(
    "changes",
    [
        {"models": ()},
        {"profiles": ()},
        {"name": "Key Words"},
        {"version": 0},
        {"version": 2_000_000_000},
        {"min_accuracy": 1.1},
        {"min_accuracy": float("nan")},
        {"chunk_bytes": 1},
        {"chunk_bytes": 1 << 20},
        {"tolerance": -1.0},
        {"tolerance": float("inf")},
        {"waivers": (Waiver(gate="latency", reason="hurry"),)},
        {"waivers": (Waiver(gate="golden", reason=" "),)},
        {"lineage": {"packager": "mine"}},
        {"lineage": {"source.onnx": "sha256:0"}},
        {"lineage": {"arena.tflm": "0 bytes"}},
        {"min_agent": "1"},
        {"budget": Budget(memory_mib=-1.0)},
        {"budget": Budget(latency_ms_p95=0.0)},
        {"budget": Budget(memory_mib=float("nan"))},
        {"budget": Budget(memory_mib=float("inf"))},
        {"labels": ("", "", "")},
        {"labels": ("yes", " ")},
        {"labels": ("yes", "no", "yes")},
    ],
    ids=str,
)
def test_a_request_that_cannot_be_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput) as caught:
        check_request(replace(GOOD, **changes))
    assert caught.value.next_step


@pytest.mark.parametrize(("count", "most"), [(1, 1), (5, 9), (9, 5), (1797, 256), (256, 256)])
def test_spread_rows_are_distinct_ascending_and_as_many_as_may_be(count: int, most: int) -> None:
    numbers = spread(count, most).tolist()
    assert len(numbers) == min(count, most)
    assert numbers == sorted(set(numbers))
    assert numbers[0] == 0 and count - numbers[-1] <= -(-count // min(count, most))


def test_kept_rows_are_bounded_in_number_and_in_bytes_but_there_is_always_one() -> None:
    assert len(kept_numbers(1000, 4)) == MAX_KEPT_ROWS
    assert len(kept_numbers(1000, MAX_KEPT_BYTES // 10)) == 10
    assert len(kept_numbers(1000, MAX_KEPT_BYTES * 2)) == 1


def test_scores_are_the_first_row_of_several_numbers() -> None:
    label = TensorSpec(name="label", dtype="int64", shape=(-1,))
    scores = TensorSpec(name="scores", dtype="float32", shape=(-1, 3))
    assert choose_scores([label, scores], None) == scores
    assert choose_scores([label, scores], "label") == label
    assert choose_scores([label], None) == label
    with pytest.raises(InvalidInput, match="nothing") as error:
        choose_scores([label, scores], "nothing")
    assert "label, scores" in error.value.next_step
