"""The betting e-detector on shares: label errors, rows out of range, missing values."""

import json

import numpy as np
import pytest
from scipy import stats

from edgeops.statistics.bernoulli import ODDS, ShareDetector, bounded_share
from edgeops.statistics.shiryaev_roberts import DetectorState, alarm_threshold


def _until_alarm(detector, events, rows, threshold):
    state = detector.start()
    for number, counts in enumerate(events, start=1):
        state, evidence = detector.step(state, np.stack([counts, rows], axis=1))
        if evidence.alarms(threshold):
            return number, evidence
    return None, evidence


def test_an_e_value_is_the_likelihood_ratio_of_the_counts():
    detector = ShareDetector.of(["error"], [0.1])
    log_e = 4 * detector.per_event + 16 * detector.per_other
    odds = 0.1 / 0.9 * np.array(ODDS)
    theirs = stats.binom.logpmf(4, 20, odds / (1 + odds)) - stats.binom.logpmf(4, 20, 0.1)
    assert log_e[0] == pytest.approx(theirs)


@pytest.mark.parametrize("share", [0.0, 0.05, 0.1])
def test_the_mean_e_value_is_at_most_one_for_every_share_under_the_null(share):
    detector = ShareDetector.of(["error"], [0.1])
    k = np.arange(21)[:, None]
    e = np.exp(k * detector.per_event + (20 - k) * detector.per_other)
    assert np.all(stats.binom.pmf(k[:, 0], 20, share) @ e <= 1 + 1e-9)


def test_at_the_edge_of_the_null_the_budget_of_false_alarms_is_kept():
    rng = np.random.default_rng(0)
    streams, threshold = 300, 500.0
    detector = ShareDetector.of([f"s{d}" for d in range(streams)], np.full(streams, 0.1))
    state, hit = detector.start(), np.zeros(streams, dtype=bool)
    for _ in range(500):
        counts = np.stack([rng.binomial(20, 0.1, streams), np.full(streams, 20)], axis=1)
        state, evidence = detector.step(state, counts)
        hit |= evidence.per_feature >= threshold
    # A mean run of 500 or more: at most 1 - 1/e of geometric runs have ended by then.
    assert hit.mean() <= 0.63


def test_a_rise_of_the_error_from_a_tenth_to_a_fifth_is_seen_in_hundreds_of_labels():
    taken = []
    for seed in range(9):
        rng = np.random.default_rng(seed)
        detector = ShareDetector.of(["error"], [0.1], margin=0.01)
        events = rng.binomial(10, 0.2, size=(200, 1))
        taken.append(_until_alarm(detector, events, [10], 24_000)[0])
        healthy = rng.binomial(10, 0.1, size=(500, 1))
        assert _until_alarm(detector, healthy, [10], 24_000)[0] is None
    assert None not in taken
    assert np.median(taken) * 10 <= 400


def test_five_per_cent_out_of_range_in_one_of_64_features_are_seen_and_named():
    null = bounded_share(0, 5000)
    detector = ShareDetector.of([f"f{d}" for d in range(64)], np.full(64, null))
    for seed in range(10):
        rng = np.random.default_rng(seed)
        shares = np.full(64, 1e-4)
        shares[11] = 0.05
        events = rng.binomial(60, shares, size=(20, 64))
        taken, evidence = _until_alarm(detector, events, np.full(64, 60), alarm_threshold(24))
        assert taken is not None and taken <= 10
        assert (evidence.leading_feature, evidence.leading) == (11, "share+")


def test_the_null_of_a_share_never_seen_is_a_few_in_n():
    assert 5 / 5000 < bounded_share(0, 5000) < 7 / 5000
    assert bounded_share(500, 5000) > 0.1


def test_fewer_events_are_no_alarm_and_windows_without_rows_change_nothing():
    detector = ShareDetector.of(["a", "b"], [0.3, 0.3])
    state, evidence = detector.step(detector.start(), [[0, 50], [30, 50]])
    _, later = detector.step(state, [[0, 50], [0, 0]])
    assert later.per_feature[1] == evidence.per_feature[1]
    assert later.leading_feature == 1
    assert _until_alarm(detector, [np.array([0, 0])] * 100, [50, 50], 100)[0] is None


def test_a_state_goes_through_json_and_inflation_slows_evidence():
    plain = ShareDetector.of(["a"], [0.1])
    slow = ShareDetector.of(["a"], [0.1], inflation=4.0)
    state, fast = plain.step(plain.start(), [[30, 60]])
    assert (
        DetectorState.from_document(json.loads(json.dumps(state.to_document()))).to_document()
        == state.to_document()
    )
    assert slow.step(slow.start(), [[30, 60]])[1].value < fast.value


@pytest.mark.parametrize(
    ("names", "null", "options"),
    [
        ([], [], {}),
        (["a"], [0.1, 0.2], {}),
        (["a"], [1.0], {}),
        (["a"], [-0.1], {}),
        (["a"], [0.6], {"margin": 0.4}),
        (["a"], [0.1], {"margin": -0.1}),
        (["a"], [0.1], {"inflation": 0.5}),
        (["a"], [float("nan")], {}),
    ],
)
def test_shares_that_are_none_are_refused(names, null, options):
    with pytest.raises(ValueError):
        ShareDetector.of(names, null, **options)


@pytest.mark.parametrize(
    "counts", [[[3, 2]], [[-1, 2]], [[1, 2], [1, 2]], [1, 2], [[float("nan"), 2]]]
)
def test_counts_that_are_no_events_in_rows_are_refused(counts):
    detector = ShareDetector.of(["a"], [0.1])
    with pytest.raises(ValueError):
        detector.step(detector.start(), counts)
