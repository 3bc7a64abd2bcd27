"""Errors of scores, row by row: where they lie is counted, and what cannot be compared is not."""

from __future__ import annotations

import dataclasses
import json
import math

import numpy as np
import pytest

from device_agent.protocol.errors import ProtocolError
from device_agent.protocol.fields import Fields
from edgeops.packaging.gates.evidence import measure
from edgeops.packaging.gates.score_errors import BINS, MAX_ERROR, ScoreErrors, score_errors
from edgeops.packaging.record.build_record import BuildRecord
from edgeops.packaging.rows.predictions import Predictions, read_predictions


def scored(scores: np.ndarray) -> Predictions:
    return read_predictions(scores)


def found(expected: np.ndarray, given: np.ndarray) -> ScoreErrors:
    errors = score_errors("litert", scored(expected), scored(given))
    assert errors is not None
    return errors


ONES = np.ones((100, 4), dtype=np.float32)


def test_each_row_is_counted_once_in_the_bin_of_its_error() -> None:
    given = ONES.copy()
    given[:10] += 0.02  # 10^-1.7: the 18th bin begins at 10^-1.75
    given[10:12] -= 30.0  # 10^1.48: the 30th bin begins at 10^1.25
    errors = found(ONES, given)
    assert (errors.rows, errors.same) == (100, 88)
    assert {at: n for at, n in enumerate(errors.counts) if n} == {17: 10, 29: 2}
    assert (errors.median, errors.p95, errors.worst) == (0.0, 0.02, 30.0)


def test_errors_beyond_the_ends_are_in_the_end_bins() -> None:
    expected = np.ones((3, 2), dtype=np.float64)
    given = expected.copy()
    given[0] += 1e-9
    given[1] += 1e200
    errors = found(expected, given)
    assert (errors.counts[0], errors.counts[-1], errors.same) == (1, 1, 1)
    assert errors.worst == MAX_ERROR


def test_the_mean_of_the_squares_is_the_sqnr() -> None:
    chance = np.random.default_rng(1)
    expected = chance.random((400, 3)).astype(np.float32)
    given = expected + chance.normal(0, 0.01, expected.shape).astype(np.float32)
    errors = found(expected, given)
    evidence = measure(
        recipe="r", truth=np.arange(400) % 3, float_predicted=scored(expected),
        predicted=scored(given), sizes=(2, 1), max_drop=0.1,
    )  # fmt: skip
    edges = np.logspace(-6, 2, BINS + 1)
    low = sum(n * edge**2 for n, edge in zip(errors.counts, edges[:-1], strict=True)) / 400
    high = sum(n * edge**2 for n, edge in zip(errors.counts, edges[1:], strict=True)) / 400
    assert evidence.sqnr_db is not None
    assert 10 * math.log10(1 / high) <= evidence.sqnr_db <= 10 * math.log10(1 / low)


@pytest.mark.parametrize(
    ("expected", "given"),
    [
        (ONES, ONES[:, :3]),
        (ONES, ONES.astype(np.int8)),
        (ONES * 0, ONES),
        (ONES, ONES * np.inf),
        (ONES * np.nan, ONES),
    ],
)
def test_what_cannot_be_compared_has_no_errors(expected: np.ndarray, given: np.ndarray) -> None:
    no_answers = Predictions(classes=np.zeros(100, np.int64), confidence=np.zeros(100))
    first, second = (dataclasses.replace(no_answers, scores=each) for each in (expected, given))
    assert score_errors("litert", first, second) is None
    assert score_errors("litert", no_answers, second) is None


def test_a_record_is_read_as_it_was_written_and_an_older_one_has_no_errors() -> None:
    record = BuildRecord(artifacts=(), verdicts=(), errors=(found(ONES, ONES + 0.02),))
    assert BuildRecord.from_bytes(record.to_bytes()) == record
    older = json.loads(record.to_bytes())
    del older["errors"]
    assert BuildRecord.from_bytes(json.dumps(older).encode()).errors == ()


def test_a_histogram_of_another_length_is_refused() -> None:
    document = {**found(ONES, ONES).to_document(), "counts": [1] * (BINS - 1)}
    with pytest.raises(ProtocolError, match=r"errors\.counts has 31 counts, not 32"):
        ScoreErrors.from_fields(Fields(document, "errors"))
