"""On the demo's data: brightness alone is drift without harm, the demo's shift is both."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.neural_network import MLPClassifier

from device_agent.monitor.inputs import InputSketch
from device_agent.protocol.ids import Digest, ModelName
from device_agent.protocol.items import Window
from device_agent.protocol.sketch import confidence_bin
from edgeops.demo.digits import BRIGHTER, PIXEL_MAX, SHIFT, Shift, split
from edgeops.domain.drift import Alarm, AlarmKind
from edgeops.domain.retraining import RetrainPolicy
from edgeops.drift.baseline import Baseline, baseline_of, counts_of
from edgeops.drift.harm import HarmWatcher
from edgeops.drift.watch import DriftWatcher
from edgeops.packaging.rows.predictions import Predictions
from edgeops.packaging.rows.reference import make_plan, make_reference
from edgeops.retraining.policy import asks

WINDOW_ROWS = 150
WINDOWS = 40
BEGIN = 10
POLICY = RetrainPolicy(model=ModelName("digits"), data=(), evaluation="held", auto=True)


def answers(model: MLPClassifier, rows: np.ndarray) -> Predictions:
    scores = model.predict_proba(rows / PIXEL_MAX)
    return Predictions(classes=scores.argmax(axis=1), confidence=scores.max(axis=1))


def window(base: Baseline, rows: np.ndarray, said: Predictions, truth: np.ndarray) -> Window:
    sketch = InputSketch(base.plan)
    for row in rows:
        sketch.observe(row)
    counted, inputs = sketch.take()
    bins = [confidence_bin(float(each)) for each in said.confidence]
    return Window(
        model=ModelName("digits"),
        version=1,
        digest=Digest("sha256:" + "0" * 64),
        started_s=0.0,
        ended_s=60.0,
        inferences=len(rows),
        failures=0,
        nonfinite=0,
        classes=tuple(np.bincount(said.classes, minlength=10).tolist()),
        confidence=tuple(np.bincount(bins, minlength=32).tolist()),
        latency=(),
        labelled=len(rows),
        labelled_correct=int((said.classes == truth).sum()),
        plan=base.plan.schema,
        input_rows=counted,
        inputs=inputs,
    )


def run(seed: int, shift: Shift) -> tuple[bool, bool]:
    """Return whether drift and whether harm was found after ``shift`` began."""
    parts = split(seed)
    model = MLPClassifier((96, 48), alpha=0.01, max_iter=100, tol=1e-3, random_state=seed)
    model.fit(parts.train_x / PIXEL_MAX, parts.train_y)
    held = answers(model, parts.evaluation_x)
    plan = make_plan(parts.evaluation_x)
    base = baseline_of(make_reference(plan, parts.evaluation_x, held, parts.evaluation_y), None)
    drift = DriftWatcher(base)
    harm = HarmWatcher(float((held.classes != parts.evaluation_y).mean()), len(held.classes))
    watch, state, chance = drift.start(), harm.start(), np.random.default_rng(seed)
    found = [False, False]
    for number in range(WINDOWS):
        at = chance.integers(0, len(parts.stream_x), WINDOW_ROWS)
        rows = parts.stream_x[at]
        rows = shift.apply(rows) if number >= BEGIN else rows
        seen = window(base, rows, answers(model, rows), parts.stream_y[at])
        watch, drifted = drift.step(watch, float(number), counts_of(base, seen))
        state, harmed = harm.step(state, seen)
        assert number >= BEGIN or not (drifted.drifted or harmed.harmed)
        found = [found[0] or drifted.drifted, found[1] or harmed.harmed]
    return found[0], found[1]


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("seed", range(3))
def test_brightness_alone_is_drift_without_harm_and_asks_for_no_retraining(seed: int) -> None:
    assert run(seed, BRIGHTER) == (True, False)
    seen = Alarm(
        id="a1", model=ModelName("digits"), number=1, kind=AlarmKind.DRIFT, opened_s=0, since_s=0
    )
    assert not asks(POLICY, seen, [])


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_the_shift_of_the_demo_is_drift_and_harm() -> None:
    assert run(0, SHIFT) == (True, True)
