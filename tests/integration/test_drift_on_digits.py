"""Drift on real handwritten digits: what was injected is named, and nothing else alarms."""

from __future__ import annotations

import numpy as np
import pytest

from device_agent.monitor.inputs import InputSketch
from device_agent.protocol.errors import ProtocolError
from device_agent.protocol.ids import Digest, ModelName
from device_agent.protocol.items import Window
from device_agent.protocol.sketch import confidence_bin
from edgeops.drift.baseline import CLASSES, Baseline, baseline_of, counts_of, merged
from edgeops.drift.watch import DriftWatcher, Verdict
from edgeops.packaging.rows.predictions import Predictions
from edgeops.packaging.rows.reference import make_plan, make_reference

WINDOW_ROWS = 60
MINUTE_S = 60.0


def rows_of(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return reference rows, streamed rows, and the streamed rows' classes: drawn by the seed."""
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    order = np.random.default_rng(seed).permutation(len(x))
    reference, stream = order[:1100], order[1100:]
    return x[reference].astype(np.float32), x[stream].astype(np.float32), y[stream]


def baseline(reference: np.ndarray) -> Baseline:
    classes = np.arange(len(reference)) % 10
    predicted = Predictions(classes=classes, confidence=np.full(len(reference), 0.9))
    return baseline_of(make_reference(make_plan(reference), reference, predicted, classes), None)


def window(base: Baseline, rows: np.ndarray, classes: np.ndarray, number: int) -> Window:
    sketch = InputSketch(base.plan)
    for row in rows:
        sketch.observe(row)
    counted, inputs = sketch.take()
    confidence = [0] * 32
    confidence[confidence_bin(0.9)] = len(rows)
    return Window(
        model=ModelName("digits"),
        version=1,
        digest=Digest("sha256:" + "0" * 64),
        started_s=number * MINUTE_S,
        ended_s=(number + 1) * MINUTE_S,
        inferences=len(rows),
        failures=0,
        nonfinite=0,
        classes=tuple(np.bincount(classes, minlength=10).tolist()),
        confidence=tuple(confidence),
        latency=(),
        labelled=0,
        labelled_correct=0,
        plan=base.plan.schema,
        input_rows=counted,
        inputs=inputs,
    )


def run(seed: int, shift: dict[int, float], windows: int, begin: int) -> Verdict:
    """Stream windows of random rows; from window ``begin`` on add ``shift`` to some pixels."""
    reference, stream, _ = rows_of(seed)
    base = baseline(reference)
    watcher, rng = DriftWatcher(base), np.random.default_rng(1000 + seed)
    watch = watcher.start()
    for number in range(windows):
        rows = stream[rng.integers(0, len(stream), WINDOW_ROWS)].copy()
        if number >= begin:
            for pixel, by in shift.items():
                rows[:, pixel] = np.clip(rows[:, pixel] + by, 0, 16)
        seen = window(base, rows, rng.integers(0, 10, WINDOW_ROWS), number)
        watch, verdict = watcher.step(watch, seen.started_s, counts_of(base, seen))
        if verdict.drifted:
            break
    return verdict


@pytest.mark.parametrize("seed", range(10))
def test_without_a_shift_there_is_no_alarm(seed: int) -> None:
    assert not run(seed, {}, windows=40, begin=0).drifted


def test_the_features_named_are_among_the_injected_ones() -> None:
    injected = {20: 3.0, 37: -4.0, 42: 4.0}
    right = 0
    for seed in range(10):
        verdict = run(seed, injected, windows=60, begin=10)
        assert verdict.drifted, seed
        assert verdict.since_s is not None
        assert verdict.since_s >= 8 * MINUTE_S
        named = {each.feature for each in verdict.features if each.explains}
        right += named <= {f"x{pixel}" for pixel in injected}
    assert right >= 9


def test_a_dead_pixel_alarms_at_once_and_is_named_first() -> None:
    verdict = run(3, {28: 100.0}, windows=40, begin=20)
    assert verdict.drifted
    assert verdict.windows <= 23
    assert verdict.features[0].feature == "x28"
    assert verdict.features[0].effect is not None
    assert verdict.features[0].effect.psi > 1


def test_predictions_that_collapse_are_named_though_inputs_are_the_same() -> None:
    reference, stream, _ = rows_of(4)
    base = baseline(reference)
    watcher, rng = DriftWatcher(base), np.random.default_rng(4)
    watch = watcher.start()
    for number in range(20):
        rows = stream[rng.integers(0, len(stream), WINDOW_ROWS)]
        seen = window(base, rows, np.full(WINDOW_ROWS, 3), number)
        watch, verdict = watcher.step(watch, seen.started_s, counts_of(base, seen))
    assert verdict.drifted
    assert verdict.features[0].feature == CLASSES


def test_windows_of_many_devices_merge_to_the_same_evidence_as_one_that_saw_all() -> None:
    reference, stream, _ = rows_of(5)
    base = baseline(reference)
    rng = np.random.default_rng(5)
    rows = stream[rng.integers(0, len(stream), 300)]
    classes = rng.integers(0, 10, 300)
    parts = [window(base, rows[i : i + 60], classes[i : i + 60], 0) for i in range(0, 300, 60)]
    together = merged(tuple(counts_of(base, part) for part in parts))
    whole = counts_of(base, window(base, rows, classes, 0))
    assert all((a == b).all() for a, b in zip(together, whole, strict=True))


def test_a_window_counted_by_another_plan_is_refused() -> None:
    reference, stream, _ = rows_of(6)
    base, other = baseline(reference), baseline(reference[:, :10])
    seen = window(other, stream[:60, :10], np.zeros(60, np.int64), 0)
    with pytest.raises(ProtocolError, match="counted by plan"):
        counts_of(base, seen)
