"""What is kept of a watched device: small, exact, and what older hubs kept is still read."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from device_agent.protocol.ids import digest_of
from device_agent.protocol.items import Window
from device_agent.protocol.sketch import CONFIDENCE_BINS
from edgeops.drift.accuracy import RECENT_WINDOWS, RecentAnswers, estimated_accuracy
from edgeops.drift.baseline import Baseline
from edgeops.drift.packing import pack, unpack
from edgeops.drift.watch import DriftWatcher, Watch
from edgeops.statistics.label_free import CalibrationTable
from tests.hub_harness import window

FEATURES, BINS = 64, 16


def lived(windows: int) -> Watch:
    """A watch of 64 features of 16 bins that has seen so many windows of 60 rows."""
    rng = np.random.default_rng(5)
    shares = np.full(BINS, 1 / BINS)
    baseline = Baseline(
        plan=None,  # type: ignore[arg-type]  # not needed to step
        names=tuple(f"x{n}" for n in range(FEATURES)),
        counts=tuple(rng.multinomial(2000, shares).astype(float) for _ in range(FEATURES)),
        ordered=(True,) * FEATURES,
        error_rate=None,
        evidence_rows=0,
    )
    watcher = DriftWatcher(baseline)
    watch = watcher.start()
    for n in range(windows):
        counts = tuple(rng.multinomial(60, shares).astype(float) for _ in range(FEATURES))
        watch, _ = watcher.step(watch, 1.795e9 + 3600.0 * n + rng.random(), counts)
    return watch


def as_lists(watch: Watch) -> dict[str, Any]:
    """The document as it was before arrays were packed."""
    return {
        "state": watch.state.to_document(),
        "started_s": list(watch.started_s),
        "recent": [part.tolist() for part in watch.recent],
    }


def test_a_watch_is_the_same_after_it_was_stored_and_takes_a_third_of_the_space() -> None:
    watch = lived(40)
    text = json.dumps(watch.to_document())
    back = Watch.from_document(json.loads(text))
    assert as_lists(back) == as_lists(watch)
    assert len(text) * 3 < len(json.dumps(as_lists(watch)))


def test_the_watch_of_an_older_hub_is_read() -> None:
    watch = lived(3)
    older = json.loads(json.dumps(as_lists(watch)))
    assert as_lists(Watch.from_document(older)) == as_lists(watch)


def test_a_watch_before_its_first_window_is_stored_too() -> None:
    start = lived(0)
    assert as_lists(Watch.from_document(start.to_document())) == as_lists(start)


@pytest.mark.parametrize(
    "values",
    [
        np.zeros(0),
        np.array([1.795e9, 0.1, -0.0, 1e-300]),
        np.arange(24, dtype=np.int32).reshape(2, 3, 4) - 7,
        np.array([2**31 - 1, -(2**31)], dtype=np.int64),
    ],
)
def test_an_array_comes_back_bit_for_bit(values: np.ndarray) -> None:
    back = unpack(json.loads(json.dumps(pack(values))))
    assert back.shape == values.shape
    assert back.tobytes() == values.astype(back.dtype).tobytes()


@pytest.mark.parametrize(
    "damage",
    [
        {"packed": "!"},
        {"packed": "AAAA"},
        {"packed": None},
        {"shape": [3]},
        {"shape": [-2, -2]},
        {"shape": [1 << 40]},
        {"shape": 4},
        {"of": "O"},
    ],
    ids=str,
)
def test_a_damaged_array_is_refused(damage: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="packed array"):
        unpack({**pack(np.zeros(4)), **damage})


@pytest.mark.parametrize("missing", ["state", "started_s", "recent", "widths"])
def test_a_watch_without_a_part_is_refused(missing: str) -> None:
    document = lived(2).to_document()
    del document[missing]
    with pytest.raises(ValueError):
        Watch.from_document(document)


def answered(confidence: int, labelled: int, correct: int) -> Window:
    bins = [0] * CONFIDENCE_BINS
    bins[confidence] = 10
    return replace(
        window(), digest=digest_of(b""), confidence=tuple(bins),
        labelled=labelled, labelled_correct=correct,
    )  # fmt: skip


def test_recent_answers_are_of_the_newest_windows_alone() -> None:
    answers = RecentAnswers.start()
    assert (answers.windows, answers.labelled_accuracy) == (0, None)
    for _ in range(RECENT_WINDOWS):
        answers = answers.after(answered(31, 4, 4))
    for _ in range(RECENT_WINDOWS // 2):
        answers = answers.after(answered(10, 4, 0))
        answers = RecentAnswers.from_document(json.loads(json.dumps(answers.to_document())))
    assert answers.windows == RECENT_WINDOWS
    assert answers.labelled_accuracy == 0.5
    assert answers.labelled == 4 * RECENT_WINDOWS
    assert (answers.confidence[10], answers.confidence[31]) == (120, 120)
    assert len(json.dumps(answers.to_document())) < 300


def test_an_estimate_needs_labels_in_the_reference_and_answers_now() -> None:
    table = CalibrationTable.of((1000,) * 32, (0,) * 16 + (1000,) * 16)
    half = (*(0,) * 15, 5, 5)
    estimate = estimated_accuracy(table, half)
    assert estimate == pytest.approx(0.5, abs=0.01)
    assert estimated_accuracy(None, half) is None
    assert estimated_accuracy(table, (0,) * 32) is None
