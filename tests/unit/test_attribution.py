"""Attribution: who raised the alarm, in order, with effect sizes beside."""

import numpy as np
import pytest

from edgeops.statistics.attribution import attribute, explaining
from edgeops.statistics.effect import effect_sizes
from edgeops.statistics.shiryaev_roberts import alarm_threshold
from tests.drift_streams import NormalStream

THRESHOLD = alarm_threshold(24)


def _attributed(stream, shifts, most=60):
    detector, state = stream.detector(), None
    state, total = detector.start(), np.zeros_like(stream.reference)
    for counts in stream.windows(most, 60, shifts):
        state, evidence = detector.step(state, counts)
        total += counts
        if evidence.alarms(THRESHOLD):
            break
    return attribute(
        stream.names, evidence, THRESHOLD, reference=list(stream.reference), current=list(total)
    ), total


def test_features_that_explain_an_alarm_are_among_those_that_changed():
    right = first = 0
    for seed in range(10):
        stream = NormalStream(300 + seed, features=32)
        changed = {int(d): 0.4 for d in stream.rng.choice(32, 3, replace=False)}
        listed, _ = _attributed(stream, changed)
        named = explaining(listed)
        assert named
        right += set(named) <= {f"f{d}" for d in changed}
        first += listed[0].feature == named[0]
    assert right >= 9
    assert first == 10


def test_all_features_are_ranked_with_their_effect_sizes():
    stream = NormalStream(1, features=6)
    listed, total = _attributed(stream, {2: 0.5})
    assert sorted(each.feature for each in listed) == sorted(stream.names)
    assert [each.evidence for each in listed] == sorted((e.evidence for e in listed), reverse=True)
    assert sum(each.part for each in listed) == pytest.approx(1)
    assert listed[0].feature == "f2"
    assert listed[0].direction == "location+"
    assert listed[0].effect == effect_sizes(stream.reference[2], total[2])
    assert listed[0].effect.psi == max(each.effect.psi for each in listed)


def test_without_an_alarm_nothing_is_explained_and_no_rows_have_no_effect():
    stream = NormalStream(2, features=3)
    detector = stream.detector()
    evidence = detector.evidence(detector.start())
    listed = attribute(
        stream.names,
        evidence,
        THRESHOLD,
        reference=list(stream.reference),
        current=list(np.zeros_like(stream.reference)),
    )
    assert explaining(listed) == ()
    assert all(each.part == 0 and each.effect is None for each in listed)


def test_other_features_than_those_of_the_evidence_are_refused():
    stream = NormalStream(3, features=3)
    evidence = stream.detector().evidence(stream.detector().start())
    counts = list(stream.reference)
    with pytest.raises(ValueError):
        attribute(stream.names[:2], evidence, THRESHOLD, reference=counts, current=counts)
