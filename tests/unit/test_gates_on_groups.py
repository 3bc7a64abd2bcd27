"""Gates that the mean cannot fool: classes, slices, and likeness to the float model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from device_agent.protocol.evidence import Evidence
from device_agent.protocol.fields import Fields
from edgeops.domain.errors import GateFailed, InvalidGolden
from edgeops.packaging.gates.evidence import check_fidelity, check_labels, measure
from edgeops.packaging.gates.groups import check_groups, find_groups, striking
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
    check_groups(find_groups(TRUTH, said(TRUTH), said(answers), slices), "kws.tflite")


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


RARE = np.concatenate([np.arange(295) % 9, np.full(5, 9)])
"""Nine classes of about 33 rows, and one of five."""


def lost_of_rare(rows: np.ndarray, truth: np.ndarray = RARE) -> np.ndarray:
    return np.where(rows, (truth + 1) % 9, truth)


@pytest.mark.parametrize("lost", [3, 4, 5])
def test_a_class_of_five_rows_that_lost_most_of_them_is_named(lost: int) -> None:
    after = lost_of_rare(np.arange(300) >= 300 - lost)
    with pytest.raises(GateFailed, match=rf"ruins class 9: of the 5 rows .* {lost} are wrong"):
        check_groups(find_groups(RARE, said(RARE), said(after), {}), "kws.tflite")


def test_a_slice_of_few_rows_that_is_ruined_is_named() -> None:
    tunnel = np.isin(np.arange(300), [4, 100, 201, 290])
    groups = find_groups(
        RARE, said(RARE), said(lost_of_rare(tunnel)), {"site": np.where(tunnel, "tunnel", "road")}
    )
    with pytest.raises(GateFailed, match="ruins slice site=tunnel"):
        check_groups(groups, "kws.tflite")


def test_a_class_that_lost_as_often_as_the_rest_fails_by_no_bad_luck() -> None:
    # Six of ten classes of four rows lose one each; that one of ten loses three is likely then.
    truth = np.repeat(np.arange(10), 4)
    lost = np.isin(np.arange(40), [0, 1, 2, 4, 8, 12, 16, 20, 24, 28, 32])
    groups = find_groups(truth, said(truth), said(lost_of_rare(lost, truth)), {})
    check_groups(groups, "kws.tflite")
    assert striking(groups)[0].startswith("class 0 loses 3 of the 4 rows")


def test_rows_that_are_won_count_against_those_that_are_lost() -> None:
    before = np.where(np.isin(np.arange(300), [298, 299]), 0, RARE)
    after = np.where(np.isin(np.arange(300), [295, 296, 297]), 0, RARE)
    check_groups(find_groups(RARE, said(before), said(after), {}), "kws.tflite")


def test_what_strikes_but_proves_nothing_is_named_and_its_length_is_bounded() -> None:
    two = lost_of_rare(np.arange(300) >= 298)
    groups = find_groups(RARE, said(RARE), said(two), {})
    check_groups(groups, "kws.tflite")
    (line,) = striking(groups)
    assert line.startswith("class 9 loses 2 of the 5 rows that the float model has right, too few")
    assert striking(find_groups(RARE, said(RARE), said(RARE), {})) == ()
    truth = np.arange(300)
    *_, last = striking(find_groups(truth, said(truth), said(np.where(truth < 9, 99, truth)), {}))
    assert last == "4 more classes or slices lose much"


@pytest.mark.parametrize("seed", range(20))
def test_many_classes_of_few_rows_fail_none_by_chance(seed: int) -> None:
    truth = np.repeat(np.arange(400), 5)
    lost = np.random.default_rng(seed).random(2000) < 0.02
    after = np.where(lost, (truth + 1) % 400, truth)
    check_groups(find_groups(truth, said(truth), said(after), {}), "kws.tflite")


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


def test_labels_in_random_order_are_refused_but_for_one_in_a_hundred() -> None:
    truth = np.arange(300) % 10
    refused = 0
    for seed in range(100):
        other = np.random.default_rng(seed).permutation(truth)
        try:
            check_labels(other, said(truth), "kws.tflite")
        except GateFailed as error:
            assert "is not shown" in str(error)
            refused += 1
    assert refused >= 96


def test_a_model_that_is_right_on_few_rows_knows_its_labels() -> None:
    truth = np.array([0] * 18 + [1] * 2)
    check_labels(truth, said(truth), "rare.onnx")
    with pytest.raises(GateFailed) as caught:
        check_labels(np.array([0, 0, 1]), said(np.array([0, 0, 1])), "rare.onnx")
    assert caught.value.next_step.endswith("evaluate on more than 3 rows")


def test_every_class_that_the_model_knows_and_no_row_is_of_is_in_the_evidence() -> None:
    truth = np.arange(40) % 4
    scores = np.eye(10, dtype=np.float32)[truth]
    evidence = measure(
        recipe="tflite-int8",
        truth=truth,
        float_predicted=said(truth, scores),
        predicted=said(truth, scores),
        sizes=(1, 1),
        max_drop=0.1,
    )
    assert [at for at, each in enumerate(evidence.classes) if not each.rows] == [*range(4, 10)]
    assert len(evidence.confusion) == 100
