"""Gates that the mean cannot fool: classes, slices, and likeness to the float model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from device_agent.protocol.evidence import Evidence
from device_agent.protocol.fields import Fields
from edgeops.domain.errors import GateFailed, InvalidGolden
from edgeops.packaging.gates.evidence import check_fidelity, check_groups, check_labels, measure
from edgeops.packaging.rows.golden_rows import read_golden_rows
from edgeops.packaging.rows.predictions import Predictions

TRUTH = np.arange(4000) % 50
NIGHT = np.where(np.arange(4000) % 40 == 0, "night", "day")
"""A hundred rows of night: 2.5 %, so that losing half of them is 1.25 points in the mean."""


def said(classes: np.ndarray, scores: np.ndarray | None = None) -> Predictions:
    return Predictions(classes=classes, confidence=np.full(len(classes), 0.9), scores=scores)


def wrong(where: np.ndarray) -> np.ndarray:
    return np.where(where, (TRUTH + 1) % 50, TRUTH)


def checked(answers: np.ndarray, **slices: np.ndarray) -> None:
    check_groups(TRUTH, said(TRUTH), said(answers), slices, "kws.tflite")


def measured(first: Predictions, second: Predictions, **slices: np.ndarray) -> Evidence:
    return measure(
        recipe="tflite-int8",
        truth=TRUTH,
        float_predicted=first,
        predicted=second,
        sizes=(400, 100),
        max_drop=0.02,
        slices=slices,
    )


def test_one_ruined_class_of_fifty_is_named() -> None:
    with pytest.raises(
        GateFailed, match=r"kws.tflite loses 1\.000 of accuracy on class 7 \(80 rows"
    ):
        checked(wrong(TRUTH == 7))


def test_a_slice_that_lost_half_is_named() -> None:
    ruined = (NIGHT == "night") & (np.arange(4000) % 80 == 0)
    checked(wrong(ruined))  # no class lost that much
    with pytest.raises(GateFailed, match=r"loses 0\.500 of accuracy on slice light=night \(100"):
        checked(wrong(ruined), light=NIGHT)


@pytest.mark.parametrize("seed", range(20))
def test_scattered_losses_fail_no_group_by_chance(seed: int) -> None:
    chance = np.random.default_rng(seed)
    lost = chance.random(4000) < 0.01
    checked(wrong(lost), light=NIGHT, site=chance.integers(0, 30, 4000).astype(str))


def test_slices_are_in_the_evidence_and_come_back() -> None:
    evidence = measured(said(TRUTH), said(wrong(NIGHT == "night")), light=NIGHT)
    day, night = evidence.slices
    assert (day.name, day.rows, day.float_correct, day.correct) == ("light=day", 3900, 3900, 3900)
    assert (night.name, night.rows, night.correct) == ("light=night", 100, 0)
    assert Evidence.from_fields(Fields(evidence.to_document(), "evidence")) == evidence


def test_too_many_slices_are_refused() -> None:
    with pytest.raises(InvalidGolden, match="4000 slices"):
        measured(said(TRUTH), said(TRUTH), row=np.arange(4000).astype(str))


def scores_of(noise: float) -> np.ndarray:
    chance = np.random.default_rng(0)
    return (np.eye(50)[TRUTH] + chance.normal(0, noise, (4000, 50))).astype(np.float32)


def test_likeness_is_measured_in_decibels() -> None:
    clean = said(TRUTH, scores_of(0.0))
    # Power of one-hot rows of 50 is 1/50; noise of 0.01 has a power of 1e-4: 23 dB between them.
    assert measured(clean, said(TRUTH, scores_of(0.01))).sqnr_db == pytest.approx(23.0, abs=0.1)
    assert measured(clean, clean).sqnr_db == 200.0
    assert measured(clean, said(TRUTH, np.zeros((4000, 50), np.int8))).sqnr_db is None
    assert measured(said(TRUTH), said(TRUTH)).sqnr_db is None


@pytest.mark.parametrize(
    ("answers", "noise", "fails"),
    [(TRUTH, 0.01, None), (TRUTH, 0.1, "3.0 dB"), (wrong(TRUTH < 10), 0.01, "0.800 of 4000 rows")],
)
def test_answers_unlike_the_float_models_are_refused(
    answers: np.ndarray, noise: float, fails: str | None
) -> None:
    evidence = measured(said(TRUTH, scores_of(0.0)), said(answers, scores_of(noise)))
    if fails is None:
        check_fidelity(evidence, "kws.tflite", min_sqnr_db=8.0, min_agreement=0.85)
        return
    with pytest.raises(GateFailed, match=fails):
        check_fidelity(evidence, "kws.tflite", min_sqnr_db=8.0, min_agreement=0.85)


def saved(path: Path, **arrays: Any) -> Path:
    np.savez(path, x=np.ones((4, 2), np.float32), y=np.zeros(4, np.int64), **arrays)
    return path


def test_rows_bring_their_slices(tmp_path: Path) -> None:
    path = saved(tmp_path / "e.npz", **{"slice.site": np.array([1, 1, 2, 2])})
    rows = read_golden_rows(path).at(np.array([0, 3]))
    assert rows.slices["site"].tolist() == ["1", "2"]


@pytest.mark.parametrize(
    "names", [np.zeros(3, int), np.zeros((4, 1), int), np.zeros(4), np.array([b"a"] * 4)], ids=str
)
def test_slices_that_name_no_part_are_refused(names: Any, tmp_path: Path) -> None:
    with pytest.raises(InvalidGolden, match=r"slice\.site .* not a name a row"):
        read_golden_rows(saved(tmp_path / "e.npz", **{"slice.site": names}))


def test_a_model_that_finds_rare_things_beats_chance_though_not_the_commonest_class() -> None:
    truth = (np.arange(4000) % 20 == 0).astype(np.int64)  # one in twenty
    alarms = np.where(np.arange(4000) % 10 == 0, 1, 0)  # all of them, and as many false ones
    check_labels(truth, said(alarms), "rare.onnx")
    for useless in (np.zeros(4000, np.int64), 1 - alarms, np.full(4000, -1)):
        with pytest.raises(GateFailed, match="by chance it would be"):
            check_labels(truth, said(useless), "rare.onnx")
