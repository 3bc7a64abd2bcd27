"""Whatever the counts are: intervals hold their estimate, merging is exact, states round-trip."""

import json

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeops.statistics.bernoulli import ShareDetector
from edgeops.statistics.edetector import DriftDetector
from edgeops.statistics.effect import js_divergence, ks_distance, psi
from edgeops.statistics.intervals import drop_of_table, wilson
from edgeops.statistics.label_free import CalibrationTable, estimate_accuracy
from edgeops.statistics.shiryaev_roberts import DetectorState

WIDTHS = (4, 7)
DETECTOR = DriftDetector.of(
    ["a", "b"], [[100, 200, 0, 700], [1, 500, 300, 100, 50, 49, 0]], ordered=[True, False]
)


def counts_of(width: int, most: int = 10**6) -> st.SearchStrategy[list[int]]:
    return st.lists(st.integers(0, most), min_size=width, max_size=width)


WINDOWS = st.tuples(*(counts_of(width) for width in WIDTHS)).map(list)


@st.composite
def tables(draw: st.DrawFn) -> tuple[int, int, int]:
    n = draw(st.integers(1, 10**6))
    b = draw(st.integers(0, n))
    return b, draw(st.integers(0, n - b)), n


@given(tables(), st.floats(0.5, 0.999))
def test_an_interval_of_a_drop_holds_it_and_turns_with_its_sides(table, confidence):
    b, c, n = table
    drop = drop_of_table(b, c, n, confidence=confidence)
    assert -1 <= drop.low <= drop.drop <= drop.high <= 1
    turned = drop_of_table(c, b, n, confidence=confidence)
    assert np.allclose([turned.low, turned.high], [-drop.high, -drop.low], atol=1e-9)


@given(tables(), st.floats(0.5, 0.99))
def test_more_confidence_is_a_wider_interval(table, confidence):
    b, _, n = table
    narrow, wide = wilson(b, n, confidence=confidence), wilson(b, n, confidence=confidence + 0.009)
    assert wide.low <= narrow.low <= narrow.estimate <= narrow.high <= wide.high


@given(counts_of(6), counts_of(6))
def test_effect_sizes_are_symmetric_and_in_their_ranges(a, b):
    a[0] += 1
    b[-1] += 1
    for measure, most in ((psi, np.inf), (ks_distance, 1.0), (js_divergence, 1.0)):
        value = measure(a, b)
        assert 0 <= value <= most + 1e-12
        assert np.isclose(value, measure(b, a))


@given(st.lists(WINDOWS, min_size=1, max_size=4), st.randoms(use_true_random=False))
def test_windows_merge_exactly_in_any_order(windows, chance):
    shuffled = chance.sample(windows, len(windows))

    def merged(parts):
        return [np.sum([part[d] for part in parts], axis=0) for d in range(len(WIDTHS))]

    one, _ = DETECTOR.step(DETECTOR.start(), merged(windows))
    other, _ = DETECTOR.step(DETECTOR.start(), merged(shuffled))
    assert one.to_document() == other.to_document()


@settings(max_examples=50)
@given(st.lists(WINDOWS, max_size=6))
def test_a_step_is_total_and_its_state_round_trips(windows):
    state = stored = DETECTOR.start()
    for counts in windows:
        stored = DetectorState.from_document(json.loads(json.dumps(stored.to_document())))
        state, evidence = DETECTOR.step(state, counts)
        stored, again = DETECTOR.step(stored, counts)
        assert np.isfinite(evidence.value) and evidence.value >= 0
        assert evidence.value == again.value
        assert 0 <= evidence.since <= evidence.windows == state.windows
        assert np.isclose(evidence.per_feature.mean(), evidence.value)
    assert state.to_document() == stored.to_document()


@given(st.lists(st.tuples(st.integers(0, 500), st.integers(0, 500)), min_size=1, max_size=5))
def test_a_share_detector_is_total_and_counts_merge(windows):
    detector = ShareDetector.of(["a"], [0.2])
    state = detector.start()
    for events, others in windows:
        state, evidence = detector.step(state, [[events, events + others]])
        assert np.isfinite(evidence.value)
    assert DetectorState.from_document(state.to_document()).to_document() == state.to_document()


@given(counts_of(8, 1000), counts_of(8, 1000), st.data())
def test_an_estimated_accuracy_lies_in_its_interval(rows, counts, data):
    rows[3] += 1
    counts[5] += 1
    correct = [data.draw(st.integers(0, n)) for n in rows]
    found = estimate_accuracy(counts, CalibrationTable.of(rows, correct))
    assert 0 <= found.low <= found.estimate <= found.high <= 1
    assert 0 <= found.unsupported <= 1 + 1e-12
