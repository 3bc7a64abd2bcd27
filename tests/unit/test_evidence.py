"""Evidence and its gate: the upper end decides, and too few rows are said to be too few."""

from __future__ import annotations

import numpy as np
import pytest

from device_agent.protocol.errors import ProtocolError
from device_agent.protocol.evidence import MAX_CONFUSION_CLASSES, Evidence
from device_agent.protocol.fields import Fields
from device_agent.protocol.ids import Digest
from edgeops.domain.errors import GateFailed, InvalidGolden
from edgeops.packaging.gates.evidence import check_quality, check_rows, drop_of, measure
from edgeops.packaging.rows.golden_rows import LabelledRows
from edgeops.packaging.rows.predictions import NO_CLASS, Predictions, read_predictions

DIGEST = Digest("sha256:" + "0" * 64)


def said(classes: np.ndarray) -> Predictions:
    return Predictions(classes=classes, confidence=np.full(len(classes), 0.9))


def judged(truth: np.ndarray, first: np.ndarray, second: np.ndarray, max_drop: float = 0.02):
    evidence = measure(
        recipe="tflite-int8",
        truth=truth,
        float_predicted=said(first),
        predicted=said(second),
        sizes=(400, 100),
        max_drop=max_drop,
    )
    return evidence, drop_of(truth, said(first), said(second))


def wrong_on(truth: np.ndarray, rows: slice) -> np.ndarray:
    answers = truth.copy()
    answers[rows] = (answers[rows] + 1) % 3
    return answers


def labelled(x: np.ndarray, y: np.ndarray | None) -> LabelledRows:
    return LabelledRows(x=x, y=y, digest=DIGEST)


TRUTH = np.arange(1000) % 3


def test_the_numbers_are_those_of_the_rows() -> None:
    evidence, _ = judged(TRUTH, wrong_on(TRUTH, slice(0, 30)), wrong_on(TRUTH, slice(0, 60)))
    assert (evidence.float_accuracy, evidence.accuracy) == (0.97, 0.94)
    assert evidence.agreement == 0.97
    assert evidence.drop_low < 0.03 < evidence.drop_high
    assert sum(each.rows for each in evidence.classes) == 1000
    assert sum(each.correct for each in evidence.classes) == 940


def test_nothing_lost_on_enough_rows_passes() -> None:
    evidence, drop = judged(TRUTH, TRUTH, wrong_on(TRUTH, slice(0, 3)))
    check_quality(evidence, drop, "m.tflite")


def test_a_real_drop_is_refused_with_a_way_out() -> None:
    evidence, drop = judged(TRUTH, TRUTH, wrong_on(TRUTH, slice(0, 200)))
    with pytest.raises(GateFailed, match="loses 0.2000") as caught:
        check_quality(evidence, drop, "m.tflite")
    assert "another recipe" in caught.value.next_step


def test_too_few_rows_are_refused_and_the_number_that_it_takes_is_enough() -> None:
    few = TRUTH[:60]
    evidence, drop = judged(few, few, wrong_on(few, slice(0, 1)))
    with pytest.raises(GateFailed) as caught:
        check_quality(evidence, drop, "m.tflite")
    needed = int(caught.value.next_step.split("about ")[1].split()[0])
    assert needed > 60
    many = np.arange(needed) % 3
    lost = wrong_on(many, slice(0, needed // 120))
    gained = wrong_on(many, slice(needed // 120, needed // 60))
    evidence, drop = judged(many, gained, lost)
    check_quality(evidence, drop, "m.tflite")


def test_a_ruined_class_shows_in_the_evidence_though_the_mean_hides_it() -> None:
    truth = np.where(np.arange(1000) < 10, 1, 0)
    evidence, _ = judged(truth, truth, np.zeros(1000, np.int64))
    assert evidence.accuracy == 0.99
    assert (evidence.classes[1].float_correct, evidence.classes[1].correct) == (10, 0)


def read(document: dict[str, object]) -> Evidence:
    return Evidence.from_fields(Fields(document, "evidence"))


def test_the_confusions_say_what_was_answered_for_each_true_class() -> None:
    truth = np.array([0, 0, 0, 1, 1, 2])
    evidence, _ = judged(truth, truth, np.array([0, 1, 1, 1, 1, 0]))
    assert evidence.float_confusion == (3, 0, 0, 0, 2, 0, 0, 0, 1)
    assert evidence.confusion == (1, 2, 0, 0, 2, 0, 1, 0, 0)
    assert read(evidence.to_document()) == evidence


def test_a_class_that_is_only_answered_has_no_rows_but_a_column() -> None:
    truth = np.array([0, 0, 1, 1])
    evidence, _ = judged(truth, truth, np.array([0, 3, 1, 1]))
    assert [each.rows for each in evidence.classes] == [2, 2, 0, 0]
    assert np.reshape(evidence.confusion, (4, 4))[0].tolist() == [1, 0, 0, 1]
    assert read(evidence.to_document()) == evidence


def test_an_answer_without_a_class_is_in_no_cell() -> None:
    truth = np.array([0, 0, 1, 1])
    evidence, _ = judged(truth, truth, np.array([0, NO_CLASS, 1, NO_CLASS]))
    assert evidence.confusion == (1, 0, 0, 1)


@pytest.mark.parametrize(("classes", "counts"), [(32, 32 * 32), (33, 0)])
def test_beyond_thirty_two_classes_there_is_no_confusion(classes: int, counts: int) -> None:
    truth = np.arange(400) % 30
    evidence, _ = judged(truth, truth, np.where(np.arange(400) == 7, classes - 1, truth))
    assert MAX_CONFUSION_CLASSES == 32
    assert (len(evidence.float_confusion), len(evidence.confusion)) == (counts, counts)
    assert len(evidence.classes) == (32 if counts else 30)
    assert read(evidence.to_document()) == evidence


def test_evidence_without_confusions_is_written_as_before_there_were_any() -> None:
    evidence, _ = judged(np.arange(99) % 33, np.arange(99) % 33, np.arange(99) % 33)
    document = evidence.to_document()
    assert list(document)[-1] == "classes"
    assert read(document) == evidence


@pytest.mark.parametrize("key", ["confusion", "float_confusion"])
@pytest.mark.parametrize("counts", [[], [1] * 8, [1] * 10])
def test_a_confusion_of_another_size_than_the_classes_is_refused(key: str, counts: list) -> None:
    document = {**judged(TRUTH, TRUTH, TRUTH)[0].to_document(), key: counts}
    with pytest.raises(ProtocolError, match=rf"evidence\.{key} has {len(counts)} counts, not 9"):
        read(document)


def test_evaluation_rows_must_be_able_to_tell() -> None:
    x = np.random.default_rng(1).normal(size=(100, 4))
    y = np.arange(100) % 2
    check_rows(labelled(x, y), labelled(x + 1, None))
    with pytest.raises(InvalidGolden, match="no labels"):
        check_rows(labelled(x, None), None)
    with pytest.raises(InvalidGolden, match="all evaluation rows are of class 0"):
        check_rows(labelled(x, y * 0), None)
    with pytest.raises(InvalidGolden, match="100 of 100 evaluation rows are calibration rows"):
        check_rows(labelled(x, y), labelled(x.reshape(100, 2, 2).astype(np.float32), None))


def test_rows_without_a_class_are_wrong_and_not_an_error() -> None:
    scores = np.array([[0.1, 0.9], [np.nan, 0.5]])
    predicted = read_predictions(scores)
    assert predicted.classes.tolist() == [1, NO_CLASS]
