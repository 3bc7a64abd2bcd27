"""From an output to a class and a confidence."""

from __future__ import annotations

import numpy as np
import pytest

from device_agent.processing.scores import (
    MANY_CLASSES,
    Scores,
    _read_many,
    read_scores,
    reader_of,
)
from device_agent.protocol.manifest import TensorSpec


def test_probabilities_give_the_likeliest_class_and_its_probability() -> None:
    scores = read_scores(np.array([[0.1, 0.7, 0.2]], np.float32))
    assert (scores.class_index, scores.confidence, scores.finite) == (1, pytest.approx(0.7), True)


def test_logits_give_the_softmax_as_confidence() -> None:
    scores = read_scores(np.array([[1.0, 3.0, 2.0]], np.float32))
    assert scores.class_index == 1
    assert scores.confidence == pytest.approx(np.exp(3) / np.exp([1, 3, 2]).sum())


def test_huge_logits_do_not_overflow() -> None:
    assert read_scores(np.array([[1e30, -1e30]], np.float32)).confidence == 1.0


def test_logits_that_happen_to_sum_to_one_are_still_logits() -> None:
    assert read_scores(np.array([[3.0, -2.0]], np.float32)).confidence == pytest.approx(
        1 / (1 + np.exp(-5))
    )


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
def test_8_bit_scores_are_probabilities_in_256ths(dtype: str) -> None:
    shift = 128 if dtype == "int8" else 0
    scores = read_scores((np.array([[64, 180, 12]]) - shift).astype(dtype))
    assert (scores.class_index, scores.confidence) == (1, pytest.approx(180 / 256))


@pytest.mark.parametrize("label", [np.array([3]), np.array([[3]], np.int32), np.array(3)])
def test_a_label_is_its_own_class(label: np.ndarray) -> None:
    scores = read_scores(label)
    assert (scores.class_index, scores.confidence, scores.finite) == (3, 1.0, True)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_has_no_class_and_is_flagged(bad: float) -> None:
    scores = read_scores(np.array([[0.5, bad]], np.float32))
    assert (scores.class_index, scores.confidence, scores.finite) == (None, 0.0, False)


@pytest.mark.parametrize("shape", [(1, 1), (), (1, 4, 4), (2, 3)])
def test_an_output_that_is_no_row_of_scores_has_no_class(shape: tuple[int, ...]) -> None:
    scores = read_scores(np.ones(shape, np.float32))
    assert (scores.class_index, scores.confidence, scores.finite) == (None, 0.0, True)


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "int8", "uint8", "int32"])
@pytest.mark.parametrize("kind", ["probabilities", "logits"])
def test_many_classes_are_read_as_few_are(dtype: str, kind: str) -> None:
    chance = np.random.default_rng(0)
    bits = 8 if dtype in ("int8", "uint8") else 1
    row = chance.uniform(0, 100, MANY_CLASSES) if kind == "logits" else np.zeros(MANY_CLASSES)
    if kind == "probabilities":
        row[[3, 9, 60]] = np.array([16, 208, 32]) / (256 if np.dtype(dtype).kind == "f" else 1)
    row = (row - (128 if dtype == "int8" else 0)).astype(dtype)
    few = read_scores(row[np.newaxis])
    many = _read_many(row, 1 / 256 if bits == 8 else 1.0, {"int8": 128}.get(dtype, 0))
    assert many == (few.class_index, pytest.approx(few.confidence, rel=1e-12), True)
    one_more = read_scores(np.concatenate([row[:1], row])[np.newaxis])
    assert one_more.class_index == (few.class_index or 0) + 1


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "int8", "uint8", "int32"])
@pytest.mark.parametrize("shape", [(1, 10), (1, 65), (1, 1), (), (2, 3), (10,), (1, 4, 4), (1, 2)])
@pytest.mark.parametrize("thresholds", [(), (0.4,)])
def test_a_reader_of_one_output_reads_as_if_it_had_never_seen_it(
    dtype: str, shape: tuple[int, ...], thresholds: tuple[float, ...]
) -> None:
    chance = np.random.default_rng(0)
    free = tuple(-1 if at == 0 else size for at, size in enumerate(shape))
    readers = [
        reader_of(TensorSpec(name="y", dtype=dtype, shape=told), thresholds)
        for told in (shape, free)
    ]
    for scale in (1, 100):
        for _ in range(20):
            output = np.asarray(chance.uniform(0, scale, shape)).astype(dtype)
            for read in readers:
                assert Scores(*read(output)) == read_scores(output, thresholds)


@pytest.mark.parametrize("dtype", ["float32", "int8", "uint8", "int32"])
@pytest.mark.parametrize(
    "real", [(1, 0), (4, 4), (1, 1), (4,), (4, 1), (2, 2), (1, 5), (), (1, 70)]
)
def test_an_output_of_another_shape_than_the_file_declares_is_read_as_what_it_is(
    dtype: str, real: tuple[int, ...]
) -> None:
    read = reader_of(TensorSpec(name="y", dtype=dtype, shape=(1, 4)), ())
    output = np.asarray(np.random.default_rng(1).uniform(0, 100, real)).astype(dtype)
    assert Scores(*read(output)) == read_scores(output)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_flagged_among_many_classes_too(bad: float) -> None:
    row = np.full((1, MANY_CLASSES + 1), 0.5, np.float32)
    row[0, 7] = bad
    scores = read_scores(row)
    assert (scores.class_index, scores.confidence, scores.finite) == (None, 0.0, False)
