"""Intervals: known values, oracles from scipy, and coverage by seeded simulation."""

import numpy as np
import pytest
from scipy import optimize, stats

from edgeops.statistics.intervals import (
    bootstrap_interval,
    drop_of_table,
    normal_quantile,
    paired_drop,
    rmse,
    rows_needed,
    wilson,
)


@pytest.mark.parametrize(("successes", "n"), [(0, 10), (1, 10), (7, 19), (95, 100), (100, 100)])
@pytest.mark.parametrize("confidence", [0.9, 0.95, 0.99])
def test_wilson_is_what_scipy_says(successes, n, confidence):
    ours = wilson(successes, n, confidence=confidence)
    theirs = stats.binomtest(successes, n).proportion_ci(confidence, method="wilson")
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=1e-12)
    assert ours.estimate == successes / n


def test_wilson_of_nothing_seen_has_the_closed_form():
    z2 = normal_quantile(0.95) ** 2
    assert wilson(0, 50).high == pytest.approx(z2 / (50 + z2))
    assert wilson(0, 50).low == 0.0
    assert wilson(50, 50).high == 1.0


def _score_by_likelihood(drop, b, c, n):
    """The score statistic, its nuisance found by maximising the trinomial likelihood."""

    def surprise(second):
        shares = np.array([second + drop, second, 1 - 2 * second - drop])
        return -float(np.array([b, c, n - b - c]) @ np.log(np.maximum(shares, 1e-300)))

    least, most = max(0.0, -drop), (1 - drop) / 2
    found = optimize.minimize_scalar(
        surprise, bounds=(least, most), method="bounded", options={"xatol": 1e-13}
    )
    return (b - c - n * drop) / np.sqrt(n * (2 * found.x + drop * (1 - drop)))


@pytest.mark.parametrize(("b", "c", "n"), [(9, 2, 60), (3, 3, 200), (12, 30, 500), (40, 10, 100)])
def test_the_ends_of_a_drop_are_where_the_score_test_stops_to_reject(b, c, n):
    drop = drop_of_table(b, c, n)
    z = normal_quantile(0.95)
    assert _score_by_likelihood(drop.low, b, c, n) == pytest.approx(z, abs=1e-3)
    assert _score_by_likelihood(drop.high, b, c, n) == pytest.approx(-z, abs=1e-3)


def test_a_drop_without_any_disagreement_has_the_closed_form():
    drop = drop_of_table(0, 0, 500)
    z2 = normal_quantile(0.95) ** 2
    assert drop.drop == 0.0
    assert drop.high == pytest.approx(z2 / (500 + z2))
    assert drop.low == pytest.approx(-drop.high)


@pytest.mark.parametrize(("b", "c"), [(10, 2), (8, 3), (5, 1), (20, 8), (20, 11), (6, 0)])
def test_the_interval_excludes_zero_exactly_when_mcnemar_rejects(b, c):
    rejects = stats.chi2.sf((b - c) ** 2 / (b + c), 1) < 0.05
    drop = drop_of_table(b, c, 400)
    assert (drop.low > 0) == rejects
    assert drop_of_table(c, b, 400).high == pytest.approx(-drop.low)


def test_a_paired_drop_counts_what_only_one_gets_right():
    first = np.array([True, True, True, False, False, True])
    second = np.array([True, False, False, True, False, True])
    drop = paired_drop(first, second)
    assert (drop.only_first, drop.only_second, drop.n) == (2, 1, 6)
    assert drop.drop == pytest.approx(first.mean() - second.mean())
    assert drop.low < drop.drop < drop.high
    assert drop.discordance == pytest.approx(0.5)


@pytest.mark.parametrize("only_first", [0, 7])
def test_the_ends_stay_within_what_can_be(only_first):
    drop = drop_of_table(only_first, 7 - only_first, 7)
    assert -1 <= drop.low <= drop.drop <= drop.high <= 1


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ([], []),
        ([True], [True, False]),
        ([1, 0], [1, 1]),
        ([[True]], [[True]]),
        ([0.5], [True]),
    ],
)
def test_rows_that_are_no_pairs_of_booleans_are_refused(first, second):
    with pytest.raises(ValueError):
        paired_drop(first, second)


@pytest.mark.parametrize("n", [100, 200, 500])
@pytest.mark.parametrize(("discordance", "true_drop"), [(0.05, 0.0), (0.1, 0.02), (0.02, 0.01)])
def test_the_paired_interval_covers_the_true_drop_over_all_tables(n, discordance, true_drop):
    shares = [(discordance + true_drop) / 2, (discordance - true_drop) / 2, 1 - discordance]
    most = int(stats.binom.ppf(1 - 1e-5, n, discordance))
    tables = [(b, c, n - b - c) for b in range(most + 1) for c in range(most + 1 - b)]
    chances = stats.multinomial.pmf(tables, n, shares)
    likely = [(table, chance) for table, chance in zip(tables, chances) if chance > 1e-7]
    drops = [(drop_of_table(b, c, n), chance) for (b, c, _), chance in likely]
    assert sum(chance for _, chance in drops) > 0.999
    assert sum(chance for drop, chance in drops if drop.low <= true_drop <= drop.high) >= 0.94
    assert sum(chance for drop, chance in drops if true_drop > drop.high) <= 0.028


def test_the_paired_interval_covers_the_true_drop_in_2000_draws_of_two_models():
    rng = np.random.default_rng(1)
    held = 0
    for _ in range(2000):
        first, changed = rng.random(300) < 0.9, rng.random(300) < 0.06
        held += (drop := paired_drop(first, first ^ changed)).low <= 0.06 * 0.8 <= drop.high
    assert held / 2000 >= 0.94


@pytest.mark.parametrize(("discordance", "true_drop"), [(0.02, 0.0), (0.06, 0.0), (0.05, 0.005)])
def test_with_the_rows_needed_the_gate_is_passed_about_as_often_as_asked(discordance, true_drop):
    n = rows_needed(0.02, discordance, true_drop=true_drop, power=0.8)
    rng = np.random.default_rng(7)
    b, c = (discordance + true_drop) / 2, (discordance - true_drop) / 2
    tables = rng.multinomial(n, [b, c, 1 - discordance], size=400)
    passed = [drop_of_table(int(b), int(c), n).high < 0.02 for b, c, _ in tables]
    assert 0.72 <= np.mean(passed) <= 0.93


def test_rows_needed_without_disagreement_follow_from_the_closed_form():
    z2 = normal_quantile(0.95) ** 2
    n = rows_needed(0.02, 0.0)
    assert n == int(z2 * (1 / 0.02 - 1)) + 1
    assert drop_of_table(0, 0, n).high < 0.02 <= drop_of_table(0, 0, n - 1).high


def test_more_rows_are_needed_for_smaller_bars_and_more_disagreement():
    assert rows_needed(0.03, 0.05) < rows_needed(0.02, 0.05) < rows_needed(0.02, 0.1)
    assert rows_needed(0.02, 0.05, power=0.5) < rows_needed(0.02, 0.05, power=0.9)
    assert rows_needed(0.02, 0.05) < rows_needed(0.02, 0.05, true_drop=0.01)


def test_no_number_of_rows_shows_what_is_not_true():
    with pytest.raises(ValueError, match="cannot be shown"):
        rows_needed(0.02, 0.05, true_drop=0.02)
    with pytest.raises(ValueError):
        rows_needed(0.0, 0.05)


def _rmse_difference(targets, first, second):
    return rmse(targets, second) - rmse(targets, first)


def test_a_bootstrap_interval_of_paired_rmse_covers_the_true_difference():
    rng = np.random.default_rng(11)
    truth = np.sqrt(1.0 + 0.5**2) - 1.0
    held = 0
    for _ in range(100):
        targets, noise = rng.normal(size=200), rng.normal(size=200)
        first, second = targets + noise, targets + noise + 0.5 * rng.normal(size=200)
        found = bootstrap_interval(
            _rmse_difference, [targets, first, second], rng=rng, resamples=200
        )
        held += found.low <= truth <= found.high
    assert held >= 89


def test_a_bootstrap_interval_of_a_mean_is_what_scipy_says():
    rng = np.random.default_rng(3)
    values = rng.exponential(size=300)
    ours = bootstrap_interval(np.mean, [values], rng=np.random.default_rng(1), resamples=4000)
    theirs = stats.bootstrap(
        (values,), np.mean, n_resamples=4000, method="percentile", rng=np.random.default_rng(2)
    ).confidence_interval
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.01)


def test_a_bootstrap_keeps_pairs_together_and_repeats_with_its_seed():
    values = np.arange(40.0)
    seeds = [
        bootstrap_interval(
            lambda a, b: float(np.abs(a - b).max()),
            [values, values],
            rng=np.random.default_rng(5),
            resamples=50,
            confidence=0.9,
        )
        for _ in range(2)
    ]
    assert seeds[0] == seeds[1]
    assert (seeds[0].low, seeds[0].high) == (0.0, 0.0)


@pytest.mark.parametrize("columns", [[], [[]], [[1.0, 2.0], [1.0]]])
def test_a_bootstrap_of_columns_that_do_not_fit_is_refused(columns):
    with pytest.raises(ValueError):
        bootstrap_interval(np.mean, columns, rng=np.random.default_rng(0))


@pytest.mark.parametrize("confidence", [0.0, 1.0, -1.0, 2.0])
def test_a_confidence_that_is_none_is_refused(confidence):
    with pytest.raises(ValueError):
        wilson(1, 2, confidence=confidence)
