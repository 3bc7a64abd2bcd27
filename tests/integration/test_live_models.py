"""The models that answer: callers on many threads, while versions are exchanged beneath them."""

from __future__ import annotations

import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from device_agent.core.counts import Counts
from device_agent.monitor.thinning import FULL_ROWS
from device_agent.protocol.errors import BadInput, InferenceFailed, NoModel
from device_agent.protocol.ids import ModelName, digest_of
from device_agent.protocol.manifest import TensorSpec
from device_agent.protocol.plan import FeaturePlan, SketchPlan
from device_agent.runtimes.available import get_runtime
from device_agent.shell.live import LiveModel, LiveModels
from tests import agent_values as valid
from tests.models import linear_onnx

NAME = ModelName("digits")
FEATURES = 4
PLAN = SketchPlan(
    source="elements",
    features=tuple(FeaturePlan(name=f"x{at}", edges=(-1.0, 1.0)) for at in range(FEATURES)),
)


class ToyModel:
    """A loaded model that answers its version, slowly enough to be caught in the act."""

    def __init__(self, version: int, *, fails: bool = False) -> None:
        self.scores = np.zeros((1, 3), np.float32)
        self.scores[0, version % 3] = 1.0
        self.fails = fails
        self.inside = 0
        self.closed = False

    def run(self, inputs: list[np.ndarray]) -> list[np.ndarray]:
        assert not self.closed, "asked after it was closed"
        self.inside += 1
        assert self.inside == 1, "asked by two threads at once"
        try:
            time.sleep(0)
            if self.fails:
                raise InferenceFailed("the runtime failed on this row")
            return [self.scores]
        finally:
            self.inside -= 1

    def close(self) -> None:
        assert self.inside == 0, "closed in the middle of a call"
        self.closed = True


def live_model(
    version: int, loaded=None, before: Counts | None = None, plan: SketchPlan | None = None
) -> LiveModel:
    manifest = valid.manifest(version=version)
    return LiveModel(
        digest=digest_of(b"%d" % version),
        manifest=manifest,
        variant=manifest.variants[0],
        loaded=loaded or ToyModel(version),
        before=before,
        plan=plan,
    )


def row() -> np.ndarray:
    return np.zeros(FEATURES, np.float32)


def test_a_thousand_calls_by_eight_threads_are_each_answered_by_exactly_one_version() -> None:
    live = LiveModels()
    versions = [live_model(version) for version in range(1, 41)]
    live.exchange(NAME, versions[0])
    answered = threading.Semaphore(0)

    def call(_: int) -> tuple[int, str, int | None]:
        answer = live.infer(NAME, row())
        answered.release()
        return answer.version, answer.digest, answer.class_index

    with ThreadPoolExecutor(8) as pool:
        calls = [pool.submit(call, number) for number in range(1000)]
        for model in versions[1:]:
            for _ in range(20):
                answered.acquire()
            live.exchange(NAME, model)
        answers = [each.result() for each in calls]
    assert len(answers) == 1000
    for version, digest, class_index in answers:
        assert (digest, class_index) == (digest_of(b"%d" % version), version % 3)
    assert len({version for version, _, _ in answers}) > 5
    assert sum(model.counts().inferences for model in versions) == 1000
    by_version = Counter(version for version, _, _ in answers)
    assert {
        m.manifest.version: m.counts().inferences for m in versions if m.counts().inferences
    } == dict(by_version)
    assert [model._loaded.closed for model in versions] == [True] * 39 + [False]


def test_a_real_model_is_exchanged_under_load_too(tmp_path: Path) -> None:
    runtime = get_runtime("onnxruntime")

    def real(version: int) -> LiveModel:
        path = tmp_path / f"{version}.onnx"
        path.write_bytes(linear_onnx(np.roll(np.eye(3, dtype=np.float32) * 9, version, axis=1)))
        model = live_model(version, runtime.load(path, 1))
        spec = TensorSpec(name="x", dtype="float32", shape=(-1, 3))
        model.variant = replace(model.variant, inputs=(spec,))
        return model

    live = LiveModels()
    live.exchange(NAME, real(0))
    hot = np.array([1, 0, 0], np.float32)
    with ThreadPoolExecutor(4) as pool:
        calls = [pool.submit(live.infer, NAME, hot) for _ in range(200)]
        for version in (1, 2):
            live.exchange(NAME, real(version))
        answers = [each.result() for each in calls]
    assert all(answer.class_index == answer.version for answer in answers)
    live.close()


def test_day_zero_names_what_there_is() -> None:
    live = LiveModels()
    live.exchange(ModelName("kws"), live_model(1))
    with pytest.raises(NoModel, match=r"no working model 'digits' yet \(it has: kws\)"):
        live.infer(NAME, row())


def test_a_row_that_does_not_fit_is_the_callers_fault_and_not_counted() -> None:
    live = LiveModels()
    live.exchange(NAME, live_model(1))
    for wrong in (np.zeros(3), "text", None, [[]], np.zeros(4, "complex64")):
        with pytest.raises(BadInput):
            live.infer(NAME, wrong)
    assert live.get(NAME).counts() == Counts()


def test_a_failure_of_the_runtime_is_raised_and_counted_and_the_model_stays() -> None:
    live = LiveModels()
    broken = ToyModel(1, fails=True)
    live.exchange(NAME, live_model(1, broken))
    with pytest.raises(InferenceFailed):
        live.infer(NAME, row())
    broken.fails = False
    assert live.infer(NAME, row()).version == 1
    counts = live.get(NAME).counts()
    assert (counts.failures, counts.inferences) == (1, 1)


def test_outputs_that_are_not_finite_are_answered_and_counted() -> None:
    live, sick = LiveModels(), ToyModel(1)
    sick.scores = np.array([[np.nan, 0, 1]], np.float32)
    live.exchange(NAME, live_model(1, sick))
    answer = live.infer(NAME, row())
    assert (answer.class_index, answer.confidence) == (None, 0.0)
    counts = live.get(NAME).counts()
    assert (counts.inferences, counts.nonfinite, sum(counts.classes)) == (1, 1, 0)


def test_the_counts_of_an_earlier_run_are_gone_on_from() -> None:
    live = LiveModels()
    live.exchange(NAME, live_model(1, before=valid.counts((5, 5))))
    live.infer(NAME, row())
    assert live.get(NAME).counts().inferences == 11


def test_a_late_label_counts_for_the_version_that_predicted() -> None:
    live = LiveModels()
    one, two, three = (live_model(version) for version in (1, 2, 3))
    live.exchange(NAME, one)
    live.exchange(NAME, two)
    assert live.label(NAME, one.digest, correct=True)
    assert live.label(NAME, two.digest, correct=False)
    live.exchange(NAME, three)
    assert live.label(NAME, one.digest, correct=True) is False
    assert live.label(ModelName("other"), two.digest, correct=True) is False
    assert (one.counts().labelled_correct, two.counts().labelled) == (1, 1)


def test_a_closed_window_begins_a_new_one_and_keeps_the_total() -> None:
    model = live_model(1)
    live = LiveModels()
    live.exchange(NAME, model)
    for _ in range(3):
        live.infer(NAME, row())
    assert model.close_window()[0].inferences == 3
    live.infer(NAME, row())
    assert (model.tally.window.inferences, model.counts().inferences) == (1, 4)


def test_windows_that_close_while_many_infer_hold_each_answer_once() -> None:
    model, live, windows = live_model(1, plan=PLAN), LiveModels(), []
    live.exchange(NAME, model)
    with ThreadPoolExecutor(4) as pool:
        calls = [pool.submit(live.infer, NAME, row()) for _ in range(3000)]
        while not all(each.done() for each in calls):
            windows.append(model.close_window())
    windows.append(model.close_window())
    counts = [window for window, _, _ in windows]
    assert len(counts) > 2
    assert sum(each.inferences for each in counts) == model.counts().inferences == 3000
    assert sum(sum(each.latency) for each in counts) == sum(map(sum, (c.classes for c in counts)))
    for _, rows, bins in windows:
        assert [sum(part) for part in PLAN.parted(bins)] == [rows] * FEATURES
    assert 0 < sum(rows for _, rows, _ in windows) <= 3000


def test_of_a_model_that_answers_often_a_part_of_the_inputs_is_counted() -> None:
    model, live = live_model(1, plan=PLAN), LiveModels()
    live.exchange(NAME, model)
    counted = []
    for _ in range(3):
        for _ in range(8 * FULL_ROWS):
            live.infer(NAME, row())
        counts, rows, _ = model.close_window()
        assert counts.inferences == 8 * FULL_ROWS
        counted.append(rows)
    assert 0.9 * FULL_ROWS < min(counted[1:]) <= max(counted[1:]) < 2.2 * FULL_ROWS


def test_taking_a_model_away_leaves_day_zero_and_closes_it() -> None:
    live, model = LiveModels(), live_model(1)
    live.exchange(NAME, model)
    live.close()
    assert (live.items(), model.closed) == ([], True)
    with pytest.raises(NoModel):
        live.infer(NAME, row())
