"""Accuracy from confidences: right when the mix has moved, blind when the concept has."""

import numpy as np
import pytest

from edgeops.statistics.label_free import CalibrationTable, estimate_accuracy

BINS = 32
RIGHT = 0.4 + 0.58 * (np.arange(BINS) + 0.5) / BINS
"""How often answers of each bin are right in the simulated world: not as they claim."""


def _mix(tilt):
    shares = np.exp(tilt * np.arange(BINS) / BINS)
    return shares / shares.sum()


def _table(rng, rows):
    counts = rng.multinomial(rows, _mix(4))
    return CalibrationTable.of(counts.tolist(), rng.binomial(counts, RIGHT).tolist())


@pytest.mark.parametrize("rows", [100, 2000])
def test_the_interval_covers_the_accuracy_of_the_rows_when_only_the_mix_moves(rows):
    rng = np.random.default_rng(rows)
    held, errors = 0, []
    for _ in range(500):
        table = _table(rng, 2000)
        counts = rng.multinomial(rows, _mix(1))
        truth = rng.binomial(counts, RIGHT).sum() / rows
        found = estimate_accuracy(counts, table)
        held += found.low <= truth <= found.high
        errors.append(found.estimate - truth)
    assert held / 500 >= 0.92  # measured in 2,000 draws: 0.938 to 0.945
    assert abs(np.mean(errors)) < 0.01


def test_an_estimated_drop_is_told_from_noise():
    rng = np.random.default_rng(1)
    table = _table(rng, 5000)
    worse = estimate_accuracy(rng.multinomial(2000, _mix(-2)), table)
    assert worse.drop > 0.1
    assert worse.least_drop > 0
    same = estimate_accuracy(rng.multinomial(2000, _mix(4)), table)
    assert same.least_drop < 0
    assert abs(same.drop) < 0.03


def test_it_is_blind_when_answers_of_the_same_confidence_become_wrong():
    rng = np.random.default_rng(2)
    table = _table(rng, 5000)
    counts = rng.multinomial(2000, _mix(4))
    truth = rng.binomial(counts, RIGHT / 2).sum() / 2000
    assert estimate_accuracy(counts, table).low > truth + 0.2


def test_the_estimate_is_the_mean_of_the_tables_shares():
    table = CalibrationTable.of([0] * 30 + [1000, 1000], [0] * 30 + [800, 990])
    found = estimate_accuracy([0] * 30 + [50, 50], table)
    assert found.estimate == pytest.approx((0.8 + 0.99) / 2, abs=1e-3)
    assert (found.reference, found.rows, found.unsupported) == (0.895, 100, 0.0)


def test_rows_where_the_reference_has_none_are_said_and_widen_the_interval():
    table = CalibrationTable.of([0] * 31 + [1000], [0] * 31 + [950])
    known = estimate_accuracy([0] * 31 + [100], table)
    unknown = estimate_accuracy([0] * 16 + [100] + [0] * 15, table)
    assert (known.unsupported, unknown.unsupported) == (0.0, 1.0)
    assert unknown.high - unknown.low > 5 * (known.high - known.low)
    assert unknown.estimate == pytest.approx(16.5 / 32, abs=0.02)


@pytest.mark.parametrize(
    ("rows", "correct"), [([], []), ([0, 0], [0, 0]), ([5], [6]), ([5], [-1]), ([5, 5], [5])]
)
def test_a_table_that_is_none_is_refused(rows, correct):
    with pytest.raises(ValueError):
        CalibrationTable.of(rows, correct)


@pytest.mark.parametrize("counts", [[1], [0, 0], [-1, 2], [[1, 2]]])
def test_counts_of_other_bins_are_refused(counts):
    with pytest.raises(ValueError):
        estimate_accuracy(counts, CalibrationTable.of([5, 5], [2, 5]))
