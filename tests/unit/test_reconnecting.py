"""When a link connects again, and in which version of MQTT."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_agent.core.reconnecting import MQTT_5, MQTT_311, SILENCES, Attempts, Ended

STABLE_S = 30.0
ENDS = st.sampled_from(list(Ended))
LIVES = st.lists(st.tuples(ENDS, st.floats(0, 100)), max_size=40)


def after(*ends: Ended, start: Attempts | None = None, stood_s: float = 0.0) -> Attempts:
    attempts = start or Attempts()
    for ended in ends:
        attempts = attempts.after(ended, stood_s=stood_s, stable_s=STABLE_S)
    return attempts


@given(
    failures=st.integers(0, 2000),
    first_s=st.floats(0.01, 60),
    most_s=st.floats(0.01, 600),
    seed=st.integers(0, 2**32),
)
def test_a_pause_is_between_nothing_and_the_doubled_bound_and_never_above_the_longest(
    failures: int, first_s: float, most_s: float, seed: int
) -> None:
    attempts = Attempts(failures=failures)
    bound = min(most_s, first_s * 2.0 ** min(failures, 1000))
    assert attempts.longest_pause_s(first_s, most_s) == pytest.approx(bound)
    pause_s = attempts.pause_s(random.Random(seed), first_s, most_s)
    assert 0.0 <= pause_s <= bound


@pytest.mark.parametrize("failures", [0, 3, 9])
def test_pauses_are_uniform_over_their_whole_range(failures: int) -> None:
    chance, attempts = random.Random(3), Attempts(failures=failures)
    bound = attempts.longest_pause_s(1.0, 120.0)
    tenths = [0] * 10
    for _ in range(10_000):
        tenths[min(9, int(10 * attempts.pause_s(chance, 1.0, 120.0) / bound))] += 1
    spread = sum((count - 1000) ** 2 / 1000 for count in tenths)
    assert spread < 27.9, "chi-squared of 9 degrees: 1 in 1,000 by chance, and the seed is fixed"


def test_the_bound_doubles_with_each_failure_in_a_row_up_to_the_longest() -> None:
    attempts, bounds = Attempts(), []
    for _ in range(12):
        bounds.append(attempts.longest_pause_s(1.0, 120.0))
        attempts = after(Ended.UNREACHABLE, start=attempts)
    assert bounds == [1, 2, 4, 8, 16, 32, 64, 120, 120, 120, 120, 120]


def test_a_connection_that_stood_ends_the_row_and_one_that_was_lost_at_once_does_not() -> None:
    tired = Attempts(failures=6)
    assert after(Ended.LOST, start=tired, stood_s=STABLE_S).failures == 0
    assert after(Ended.LOST, start=tired, stood_s=STABLE_S - 1).failures == 7


def test_a_broker_that_says_it_does_not_speak_mqtt_5_is_asked_in_3_1_1_without_a_pause() -> None:
    attempts = after(Ended.UNREACHABLE, Ended.UNSUPPORTED)
    assert attempts.version == MQTT_311
    assert attempts.longest_pause_s(1.0, 120.0) == 0.0
    again = after(Ended.UNREACHABLE, start=attempts)
    assert (again.version, again.at_once) == (MQTT_311, False)


def test_a_broker_that_closes_without_a_word_is_asked_in_3_1_1_after_the_second_time() -> None:
    versions = [after(*[Ended.SILENT] * count).version for count in range(7)]
    assert versions == [5, 5, 4, 5, 5, 4, 5]
    assert SILENCES == 2


def test_a_refusal_for_another_reason_changes_no_version() -> None:
    for version in (MQTT_5, MQTT_311):
        assert after(Ended.REFUSED, start=Attempts(version=version)).version == version


@given(life=LIVES, stood_s=st.floats(0, 100))
def test_after_a_connection_was_lost_mqtt_5_is_tried_first_whatever_was_before(
    life: list[tuple[Ended, float]], stood_s: float
) -> None:
    attempts = Attempts()
    for ended, stood in life:
        attempts = attempts.after(ended, stood_s=stood, stable_s=STABLE_S)
    lost = attempts.after(Ended.LOST, stood_s=stood_s, stable_s=STABLE_S)
    assert (lost.version, lost.silences, lost.at_once) == (MQTT_5, 0, False)


@given(life=LIVES)
def test_no_two_attempts_in_a_row_follow_without_a_pause(life: list[tuple[Ended, float]]) -> None:
    attempts, at_once = Attempts(), []
    for ended, stood_s in life:
        attempts = attempts.after(ended, stood_s=stood_s, stable_s=STABLE_S)
        at_once.append(attempts.at_once)
    assert not any(one and two for one, two in pairwise(at_once))
