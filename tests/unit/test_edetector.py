"""The drift e-detector: silent without change, soon with it, and right about what changed.

Conditions where nothing else is said: 64 independent normal features in 16 quantile bins of
5,000 reference rows, windows of 60 rows, 24 windows a day, one false alarm in 1,000 device-days.
"""

import json

import numpy as np
import pytest
from scipy import optimize

from edgeops.statistics.alternatives import family_of, largest_means
from edgeops.statistics.edetector import DriftDetector
from edgeops.statistics.shiryaev_roberts import DetectorState, alarm_threshold
from tests.drift_streams import NormalStream

THRESHOLD = alarm_threshold(24)


def _until_alarm(detector, windows, state=None):
    """Return how many windows it took, None if they were not enough, and the last evidence."""
    state = state or detector.start()
    for number, counts in enumerate(windows, start=1):
        state, evidence = detector.step(state, counts)
        if evidence.alarms(THRESHOLD):
            return number, evidence
    return None, evidence


def test_the_threshold_is_windows_a_day_times_a_thousand_over_the_budget():
    assert alarm_threshold(24) == 24_000
    assert alarm_threshold(24, 2.0) == 12_000
    assert alarm_threshold(24, share=0.5) == 48_000
    with pytest.raises(ValueError):
        alarm_threshold(0)


@pytest.mark.parametrize("seed", range(5))
def test_without_change_there_is_no_alarm_in_3000_windows(seed):
    stream = NormalStream(seed)
    taken, evidence = _until_alarm(stream.detector(), stream.windows(3000, 60))
    assert taken is None
    assert evidence.value < 1000


@pytest.mark.parametrize("rows", [60, 6000])
def test_features_that_are_almost_constant_raise_no_alarm_on_few_reference_rows(rows):
    rng = np.random.default_rng(rows)
    shares = np.zeros((24, 18))
    for feature, atom in enumerate(np.tile([0.0, 0.3, 0.8, 0.97, 0.999, 1.0], 4)):
        shares[feature, 1] = atom
        shares[feature, 2:] = (1 - atom) * rng.dirichlet(np.full(16, 0.7))
    reference = rng.multinomial(1000, shares)
    detector = DriftDetector.of([f"p{d}" for d in range(24)], list(reference))
    taken, evidence = _until_alarm(detector, rng.multinomial(rows, shares, size=(500, 24)))
    assert taken is None
    assert evidence.value < 500


def test_half_a_standard_deviation_in_one_of_64_features_is_seen_within_20_windows():
    named = 0
    for seed in range(10):
        stream = NormalStream(100 + seed)
        changed = int(stream.rng.integers(64))
        taken, evidence = _until_alarm(stream.detector(), stream.windows(20, 60, {changed: 0.5}))
        assert taken is not None
        named += evidence.leading_feature == changed and evidence.leading == "location+"
    assert named >= 9


@pytest.mark.parametrize(("shift", "most"), [(0.5, 1), (0.25, 4)])
def test_the_beginning_of_a_change_is_found_within_a_few_windows(shift, most):
    errors = []
    for seed in range(5):
        stream = NormalStream(200 + seed, features=16)
        before, after = stream.windows(80, 60), stream.windows(80, 60, {3: shift})
        _, evidence = _until_alarm(stream.detector(), [*before, *after])
        assert evidence.leading_feature == 3
        errors.append(abs(evidence.since - 80))
    assert np.median(errors) <= most


def test_a_stuck_feature_and_rows_out_of_range_are_seen_and_said_to_be_that():
    stream = NormalStream(5, features=8)
    ends = ((0, 0), (1, 1))  # below and above all edges: nothing in the reference
    detector = DriftDetector.of(stream.names, list(np.pad(stream.reference, ends)))
    stuck = np.pad(stream.windows(3, 60), ((0, 0), *ends))
    stuck[:, 2] = np.eye(18, dtype=int)[9] * 60
    taken, evidence = _until_alarm(detector, stuck)
    assert taken is not None and (evidence.leading_feature, evidence.leading) == (2, "bin 9+")
    outside = np.pad(stream.windows(20, 60), ((0, 0), *ends))
    outside[:, 6] = stream.rng.multinomial(60, [0] + [0.95 / 16] * 16 + [0.05], size=20)
    taken, evidence = _until_alarm(detector, outside)
    assert taken is not None and evidence.leading_feature == 6
    assert evidence.leading in {"bin 17+", "rare bins+"}


@pytest.mark.parametrize(("factor", "leading"), [(0.0, "bin 4-"), (2.0, "bin 4+")])
def test_classes_have_no_order_but_may_vanish_or_multiply(factor, leading):
    shares = np.array([0.3, 0.1, 0.1, 0.2, 0.3])
    detector = DriftDetector.of(["class"], [2000 * shares], ordered=False)
    changed = shares * np.where(np.arange(5) == 4, factor, 1)
    window = np.round(60 * changed / changed.sum())
    taken, evidence = _until_alarm(detector, [[window]] * 20)
    assert taken is not None
    assert evidence.leading == leading
    taken, _ = _until_alarm(detector, [[60 * shares]] * 200)
    assert taken is None


def test_counts_of_many_devices_added_give_the_evidence_of_one_device():
    stream = NormalStream(6, features=8)
    detector = stream.detector()
    values = stream.rng.normal(size=(300, 8)) + 0.2
    whole, _ = detector.step(detector.start(), stream.binned(values))
    parts = [stream.binned(part) for part in np.array_split(values, [7, 100, 101, 250])]
    added, _ = detector.step(detector.start(), sum(parts[::-1]))
    assert np.array_equal(whole.log_r, added.log_r)
    assert np.array_equal(whole.since, added.since)


def test_a_state_that_was_stored_goes_on_as_one_that_was_not():
    stream = NormalStream(7, features=6)
    detector = stream.detector()
    state = stored = detector.start()
    for counts in stream.windows(30, 60, {1: 0.2}):
        stored = DetectorState.from_document(json.loads(json.dumps(stored.to_document())))
        state, evidence = detector.step(state, counts)
        stored, again = detector.step(stored, counts)
        assert evidence.value == again.value
        assert evidence.since == again.since
    assert state.to_document() == stored.to_document()


def test_a_step_leaves_the_old_state_as_it_was():
    stream = NormalStream(8, features=2)
    detector = stream.detector()
    state = detector.start()
    before = state.to_document()
    detector.step(state, stream.windows(1, 60)[0])
    assert state.to_document() == before
    with pytest.raises(ValueError):
        state.log_r[0, 0] = 1


def test_a_feature_without_rows_keeps_its_evidence():
    stream = NormalStream(9, features=2)
    detector = stream.detector()
    state, before = detector.step(detector.start(), stream.windows(1, 60, {0: 0.5})[0])
    silent = stream.windows(1, 60)[0]
    silent[0] = 0
    _, after = detector.step(state, silent)
    assert after.per_feature[0] == before.per_feature[0]
    assert after.per_feature[1] != before.per_feature[1]


def test_inflation_from_healthy_windows_keeps_dependent_rows_from_alarming():
    rng = np.random.default_rng(10)
    stream = NormalStream(10, features=4)
    noise = rng.normal(size=(600 * 60, 4)) * np.sqrt(1 - 0.8**2)
    values = np.empty_like(noise)
    values[0] = rng.normal(size=4)
    for t in range(1, len(noise)):
        values[t] = 0.8 * values[t - 1] + noise[t]
    windows = [stream.binned(values[i : i + 60]) for i in range(0, len(values), 60)]
    plain = stream.detector()
    tempered = plain.with_inflation(windows[:200])
    assert _until_alarm(plain, windows[200:])[0] is not None
    assert _until_alarm(tempered, windows[200:])[0] is None
    shifted = [stream.binned(values[i : i + 60] + [1, 0, 0, 0]) for i in range(0, 6000, 60)]
    taken, evidence = _until_alarm(tempered, shifted)
    assert taken is not None and evidence.leading_feature == 0


def test_independent_rows_are_hardly_inflated_and_few_windows_refused():
    stream = NormalStream(11, features=4)
    windows = list(stream.windows(200, 60))
    inflation = stream.detector().with_inflation(windows).inflation
    assert 1.0 <= np.median(inflation) < 1.25
    with pytest.raises(ValueError, match="fewer than 50"):
        stream.detector().with_inflation(windows[:49])


def test_a_tolerated_change_raises_no_alarm_and_a_larger_one_does():
    stream = NormalStream(12, features=4)
    detector = stream.detector(tolerance=0.3)
    assert _until_alarm(detector, stream.windows(300, 600, {0: 0.2}))[0] is None
    assert _until_alarm(detector, stream.windows(50, 600, {0: 0.6}))[0] is not None


def test_the_mean_e_value_of_one_window_is_at_most_one_under_the_reference():
    rng = np.random.default_rng(13)
    shares = rng.dirichlet(np.ones(10))
    family = family_of(shares * 1000, ordered=True, z=0.0, tolerance=0.0)
    assert shares @ np.exp(family.log_e) == pytest.approx(1.0, abs=1e-9)
    wider = family_of(shares * 1000, ordered=True, z=3.0, tolerance=0.1)
    assert np.all(shares @ np.exp(wider.log_e) < 1)


@pytest.mark.parametrize("empty", [False, True])
def test_the_largest_mean_under_the_null_is_what_an_optimiser_finds(empty):
    rng = np.random.default_rng(14)
    p, x = rng.dirichlet(np.ones(5)), rng.exponential(size=5)
    if empty:
        p[2], x[2] = 0.0, x.max() + 2
        p /= p.sum()

    def shares(u):
        return np.exp(u - u.max()) / np.exp(u - u.max()).sum()

    def slack(u):
        seen = p > 0
        return 0.01 - p[seen] @ np.log(p[seen] / shares(u)[seen])

    found = optimize.minimize(
        lambda u: -(shares(u) @ x),
        np.log(p + 1e-4),
        constraints={"type": "ineq", "fun": slack},
        method="SLSQP",
        options={"maxiter": 500, "ftol": 1e-12},
    )
    assert largest_means(p, x[:, None], 0.01)[0] == pytest.approx(-found.fun, abs=1e-6)


def test_the_largest_share_of_a_bin_never_seen_has_the_closed_form():
    means = largest_means(np.array([1.0, 0.0]), np.array([[0.0], [1.0]]), 0.005)
    assert means[0] == pytest.approx(1 - np.exp(-0.005))


@pytest.mark.parametrize(
    "reference",
    [[], [[5]], [[0, 0]], [[3, -1]], [[1, 1], [1, 1]], [[float("nan"), 1]], [[[1, 2]]], [[1, 1]]],
)
def test_a_reference_that_is_none_is_refused(reference):
    with pytest.raises(ValueError):
        DriftDetector.of(["a"], reference)


def test_counts_and_states_of_another_reference_are_refused():
    detector = NormalStream(1, features=3).detector()
    other = NormalStream(1, features=2).detector()
    good = np.ones((3, 16), dtype=int)
    for counts in (good[:2], good[:, :15], -good, np.full((3, 16), np.nan)):
        with pytest.raises(ValueError):
            detector.step(detector.start(), counts)
    with pytest.raises(ValueError, match="state"):
        detector.step(other.start(), good)


@pytest.mark.parametrize(
    "change",
    [
        {"windows": -1},
        {"windows": None},
        {"log_r": [[0.5]]},
        {"log_r": "x"},
        {"log_r": [[10**7]]},
        {"log_r": [[1], [2, 3]]},
        {"age": [[5]]},
        {"age": [[0, 0]]},
    ],
)
def test_a_document_that_is_no_state_is_refused(change):
    good = {"windows": 3, "log_r": [[12]], "age": [[1]]}
    assert DetectorState.from_document(good).to_document() == good
    with pytest.raises(ValueError):
        DetectorState.from_document(good | change)
