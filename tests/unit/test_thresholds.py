"""Thresholds: below them there is no class, wherever scores are read, and how that is counted."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from device_agent.monitor.tally import Tally
from device_agent.processing.scores import read_scores
from device_agent.protocol.errors import ProtocolError
from device_agent.protocol.fields import Fields
from device_agent.protocol.items import Window
from device_agent.protocol.manifest import Manifest
from device_agent.protocol.preprocessing import MAX_CHANNELS, Preprocessing
from device_agent.protocol.sketch import CONFIDENCE_BINS, confidence_bin
from device_agent.protocol.tabular import Feature, TabularStep
from device_agent.protocol.thresholds import MAX_THRESHOLDS, read_thresholds
from device_agent.runtimes.probe_report import ProbeSpec
from edgeops.domain.errors import InvalidInput
from edgeops.drift.baseline import CLASSES, baseline_of, counts_of
from edgeops.packaging.rows.predictions import NO_CLASS, read_predictions
from edgeops.packaging.rows.reference import make_plan, make_reference
from edgeops.packaging.rows.thresholds import parse_thresholds
from tests import agent_values as valid

SURE = np.array([[0.05, 0.9, 0.05]], np.float32)
UNSURE = np.array([[0.3, 0.4, 0.3]], np.float32)


# ---- scores


@pytest.mark.parametrize(
    ("scores", "thresholds", "class_index"),
    [
        (SURE, (), 1),
        (SURE, (0.6,), 1),
        (UNSURE, (0.6,), None),
        (UNSURE, (0.9, 0.4, 0.9), 1),
        (UNSURE, (0.1, 0.41, 0.1), None),
        (SURE, (1.0,), None),
        (UNSURE, (0.0,), 1),
        (UNSURE, (0.9,), None),
        (np.array([[77, 102, 77]], np.uint8), (0.398,), 1),
        (np.array([[77, 102, 77]], np.uint8), (0.399,), None),
        (np.array([[0.0, 5.0]], np.float32), (0.99,), 1),
        (np.array([[0.0, 3.0]], np.float32), (0.99,), None),
        (np.array([3]), (0.9,), 3),
    ],
)
def test_below_the_threshold_of_its_class_there_is_none(
    scores: Any, thresholds: tuple[float, ...], class_index: int | None
) -> None:
    assert read_scores(scores, thresholds).class_index == class_index


def test_the_confidence_stays_and_scores_are_finite() -> None:
    scores = read_scores(UNSURE, (0.6,))
    assert (scores.confidence, scores.finite) == (pytest.approx(0.4), True)


def test_a_class_beyond_the_thresholds_needs_none() -> None:
    assert read_scores(UNSURE, (0.9,)).class_index is None
    assert read_scores(np.array([[0.1, 0.2, 0.7]], np.float32), (0.9, 0.9)).class_index == 2


def test_predictions_of_many_rows_say_how_many_are_below() -> None:
    predicted = read_predictions(np.stack([SURE, UNSURE, UNSURE, SURE]), (0.6,))
    assert predicted.classes.tolist() == [1, NO_CLASS, NO_CLASS, 1]
    assert predicted.unsure == 2
    assert read_predictions(np.stack([SURE, UNSURE])).unsure == 0


# ---- counts


def test_a_device_counts_no_class_but_how_sure_the_model_was() -> None:
    tally = Tally()
    tally.observe(latency_us=1.0, class_index=1, confidence=0.9, finite=True)
    tally.observe(latency_us=1.0, class_index=None, confidence=0.4, finite=True)
    tally.observe(latency_us=1.0, class_index=None, confidence=0.0, finite=True)
    window = tally.window
    assert (window.inferences, window.classes) == (3, (0, 1))
    assert sum(window.confidence) == 2
    assert window.confidence[confidence_bin(0.4)] == 1


def window_of(tally: Tally, schema: str, inputs: tuple[int, ...]) -> Window:
    counts = tally.close_window()
    return replace(
        valid.window(),
        plan=schema,
        inputs=inputs,
        inferences=counts.inferences,
        classes=counts.classes,
        confidence=counts.confidence,
    )


def test_reference_and_device_count_alike_and_drift_sees_the_unsure() -> None:
    rows = np.arange(40, dtype=np.float32).reshape(10, 4)
    truth = np.array([1] * 8 + [0, 2], dtype=np.int64)
    scores = np.stack([SURE] * 7 + [UNSURE] * 3)
    predicted = read_predictions(scores, (0.6,))
    reference = make_reference(make_plan(rows), rows, predicted, truth)
    assert (sum(reference.classes), sum(reference.confidence)) == (7, 10)
    assert sum(reference.correct) == 7
    assert reference.correct[confidence_bin(0.4)] == 0
    baseline = baseline_of(reference, None)
    at = baseline.names.index(CLASSES)
    assert baseline.counts[at].tolist() == [0, 7, 0, 3]
    tally = Tally()
    for row in scores:
        found = read_scores(row, (0.6,))
        tally.observe(
            latency_us=1.0,
            class_index=found.class_index,
            confidence=found.confidence,
            finite=found.finite,
        )
    window = window_of(tally, reference.plan.schema, reference.inputs)
    for counted, normal in zip(counts_of(baseline, window), baseline.counts, strict=True):
        np.testing.assert_array_equal(counted, normal)


def test_a_reference_of_which_nothing_is_sure_is_one() -> None:
    rows = np.arange(8, dtype=np.float32).reshape(2, 4)
    predicted = read_predictions(np.stack([UNSURE, UNSURE]), (0.6,))
    reference = make_reference(make_plan(rows), rows, predicted, np.array([0, 1]))
    assert (reference.classes, sum(reference.confidence)) == ((0, 0), 2)
    assert len(reference.confidence) == CONFIDENCE_BINS


# ---- documents


def test_a_manifest_without_thresholds_says_nothing_of_them() -> None:
    assert b"thresholds" not in valid.manifest().to_bytes()


@pytest.mark.parametrize("thresholds", [(0.5,), (0.0, 0.25, 1.0)])
def test_a_manifest_says_them_all(thresholds: tuple[float, ...]) -> None:
    told = valid.manifest(thresholds=thresholds, min_agent="0.2.0")
    assert Manifest.from_bytes(told.to_bytes()) == told


def test_a_manifest_with_thresholds_is_not_for_agents_that_would_ignore_them() -> None:
    silent = valid.manifest(thresholds=(0.5,), min_agent="0.1.9")
    with pytest.raises(ProtocolError, match=r"min_agent is 0\.1\.9, thresholds needs 0\.2\.0"):
        Manifest.from_bytes(silent.to_bytes())


@pytest.mark.parametrize(
    ("thresholds", "says"),
    [
        ((0.5, 0.5), "manifest.thresholds has 2 numbers, the model 3 classes"),
        ((1.1,), r"manifest.thresholds has 1\.1, not in 0\.\.1"),
        ((-0.1,), "manifest.thresholds has -0.1"),
        ((0.1,) * (MAX_THRESHOLDS + 1), "manifest.thresholds has more than 512"),
    ],
)
def test_thresholds_that_cannot_be_are_refused(thresholds: Any, says: str) -> None:
    data = valid.manifest(thresholds=thresholds, min_agent="0.2.0").to_bytes()
    with pytest.raises(ProtocolError, match=says):
        Manifest.from_bytes(data)


@pytest.mark.parametrize("bad", [0.5, "0.5", [True], [None], [float("nan")]])
def test_what_is_no_array_of_shares_is_refused(bad: Any) -> None:
    with pytest.raises(ProtocolError, match="m.thresholds"):
        read_thresholds(Fields({"thresholds": bad}, "m"), "thresholds")


def test_the_longest_of_all_fits_into_a_probes_spec() -> None:
    many = (-123456789012.34567,) * MAX_CHANNELS
    features = [
        Feature(name=f"{at:032}", fill=-123456789012.34567, clip=(-1.2345678901234567, 1e12))
        for at in range(80)
    ]
    longest = Preprocessing(mean=many, std=tuple(-each for each in many), shape=(MAX_CHANNELS,))
    tables = Preprocessing(tabular=TabularStep(features=tuple(features)))
    for preprocessing in (longest, tables):
        spec = ProbeSpec(
            runtime="litert",
            artifact="é" * 2048,
            golden="é" * 2048,
            parent_golden="é" * 2048,
            preprocessing=preprocessing,
            thresholds=(0.12345678901234567,) * MAX_THRESHOLDS,
        )
        assert ProbeSpec.from_bytes(spec.to_bytes()) == spec


# ---- what people write


def test_one_number_or_one_for_each_class_is_read() -> None:
    assert parse_thresholds("0.6") == (0.6,)
    assert parse_thresholds("0.5, 0.8,1") == (0.5, 0.8, 1.0)


@pytest.mark.parametrize("text", ["", "0.5,", "a", "1.1", "-0.1", "nan", "inf", "0.5;0.6", "60%"])
def test_anything_else_is_said_with_the_next_step(text: str) -> None:
    with pytest.raises(InvalidInput, match="is no number of 0 to 1") as raised:
        parse_thresholds(text)
    assert "--thresholds 0.6" in raised.value.next_step
