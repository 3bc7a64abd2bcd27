"""Effect sizes: against scipy, and at the ends of their ranges."""

import numpy as np
import pytest
from scipy import stats
from scipy.spatial.distance import jensenshannon

from edgeops.statistics.effect import (
    effect_sizes,
    js_divergence,
    ks_distance,
    psi,
    psi_without_change,
)

REFERENCE = [120, 80, 300, 0, 500]
CURRENT = [10, 40, 20, 5, 25]


def test_js_is_the_square_of_scipys_distance_in_bits():
    p, q = np.array(REFERENCE) / 1000, np.array(CURRENT) / 100
    assert js_divergence(REFERENCE, CURRENT) == pytest.approx(jensenshannon(p, q, base=2) ** 2)


def test_ks_is_scipys_two_sample_statistic_of_binned_values():
    values = [np.repeat(np.arange(5), counts) for counts in (REFERENCE, CURRENT)]
    theirs = stats.ks_2samp(*values, method="asymp").statistic
    assert ks_distance(REFERENCE, CURRENT) == pytest.approx(theirs)


def test_psi_is_the_sum_of_both_relative_entropies_of_the_smoothed_shares():
    p, q = (np.array(counts) + 0.5 for counts in (REFERENCE, CURRENT))
    theirs = stats.entropy(p, q) + stats.entropy(q, p)
    assert psi(REFERENCE, CURRENT) == pytest.approx(theirs)


def test_equal_shares_have_no_effect_and_disjoint_ones_the_largest():
    same = effect_sizes([10, 20, 30], [100, 200, 300])
    assert (same.ks, same.js, same.rows) == pytest.approx((0, 0, 600))
    assert same.psi == pytest.approx(0, abs=2e-3)  # smoothing pulls the two a little apart
    apart = effect_sizes([50, 0], [0, 70])
    assert (apart.ks, apart.js) == pytest.approx((1, 1))
    assert np.isfinite(apart.psi)


def test_psi_without_change_is_about_as_large_as_said():
    rng = np.random.default_rng(4)
    shares = np.full(16, 1 / 16)
    drawn = [psi(rng.multinomial(5000, shares), rng.multinomial(200, shares)) for _ in range(400)]
    assert np.mean(drawn) == pytest.approx(psi_without_change(16, 5000, 200), rel=0.1)


@pytest.mark.parametrize(
    ("a", "b"), [([], []), ([1, 2], [1, 2, 3]), ([1, -1], [1, 1]), ([0, 0], [1, 1]), ([[1]], [[1]])]
)
@pytest.mark.parametrize("measure", [psi, ks_distance, js_divergence])
def test_counts_that_cannot_be_compared_are_refused(measure, a, b):
    with pytest.raises(ValueError):
        measure(a, b)
