"""Exact binomial tails."""

from __future__ import annotations

import pytest

from edgeops.statistics.binomial import at_least


def test_a_tail_is_the_sum_of_its_probabilities() -> None:
    assert at_least(2, 3, 0.5) == pytest.approx(0.5)
    assert at_least(5, 5, 0.1) == pytest.approx(1e-5)
    assert at_least(60, 100, 0.5) == pytest.approx(0.02844396682, rel=1e-9)  # scipy.stats.binom


def test_the_ends_are_certain_or_impossible() -> None:
    assert [at_least(0, 4, 0.2), at_least(-1, 4, 0.2), at_least(1, 4, 1.0)] == [1.0, 1.0, 1.0]
    assert [at_least(5, 4, 0.9), at_least(1, 4, 0.0)] == [0.0, 0.0]


def test_thousands_of_rows_neither_overflow_nor_vanish() -> None:
    assert 0.0 < at_least(400, 2048, 0.1) < 1e-30
    assert at_least(1, 2048, 0.1) == pytest.approx(1.0)


@pytest.mark.parametrize(("trials", "share"), [(-1, 0.5), (4, -0.1), (4, 1.1)])
def test_what_is_no_binomial_is_refused(trials: int, share: float) -> None:
    with pytest.raises(ValueError, match="no binomial"):
        at_least(1, trials, share)
