"""Times of devices whose clocks may be wrong by decades: what the hub believes of them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_agent.protocol.ids import DeviceId
from device_agent.protocol.items import Event, Numbered, Window
from device_agent.protocol.samples import Sample
from edgeops.fleet.clocks import AHEAD_S, MAX_DELAY_S, Heard, put_right
from tests.hub_harness import event, sample, window

DAY_S = 86400.0
ENROLLED_S = 1_800_000_000.0
NOW_S = ENROLLED_S + 100 * DAY_S


def heard(age_s: float | None = None) -> Heard:
    return Heard(received_s=NOW_S, enrolled_s=ENROLLED_S, age_s=age_s)


def numbered(body: Event | tuple[Window | Sample, ...]) -> Numbered:
    return Numbered(device=DeviceId("cam-1"), stream="s", sequence=1, oldest=1, body=body)


def retimed(each: Window, age_s: float | None = None) -> Window:
    """Return the window as the hub keeps it."""
    item, moved = put_right(numbered((each,)), heard(age_s))
    assert moved == int(item.windows != (each,))
    return item.windows[0]


def lasting(ended_s: float, length_s: float = 60.0) -> Window:
    return replace(window(), started_s=ended_s - length_s, ended_s=ended_s)


@pytest.mark.parametrize("age_s", [None, 0.0, 3600.0, 90 * DAY_S])
def test_what_can_be_right_is_left_as_the_device_says(age_s: float | None) -> None:
    for late_s in (0.0, 60.0, MAX_DELAY_S - 1):
        each = lasting(NOW_S - (age_s or 0.0) - late_s)
        assert retimed(each, age_s) is each


def test_a_window_of_1970_is_where_its_age_says_and_as_long_as_it_was() -> None:
    moved = retimed(lasting(900.0, 600.0), 7 * DAY_S)
    assert moved.ended_s == NOW_S - 7 * DAY_S
    assert moved.ended_s - moved.started_s == 600.0


def test_a_window_of_1970_without_an_age_ended_at_the_latest_when_it_was_heard_of() -> None:
    assert retimed(lasting(900.0)) == lasting(NOW_S)


@pytest.mark.parametrize("age_s", [None, 0.0, 2 * DAY_S])
def test_a_clock_that_jumped_years_ahead_is_not_believed(age_s: float | None) -> None:
    assert retimed(lasting(NOW_S + 3650 * DAY_S), age_s).ended_s == NOW_S - (age_s or 0.0)


def test_a_clock_that_is_slow_by_more_than_a_broker_keeps_messages_is_not_believed() -> None:
    slow = lasting(NOW_S - 2 * MAX_DELAY_S)
    assert retimed(slow, 60.0).ended_s == NOW_S - 60.0
    assert retimed(slow, 1.5 * MAX_DELAY_S) is slow


def test_an_age_from_before_the_device_was_enrolled_is_not_believed() -> None:
    each = lasting(NOW_S - DAY_S)
    assert retimed(each, 400 * DAY_S) is each
    assert retimed(lasting(5.0), 400 * DAY_S).ended_s == NOW_S


def test_a_window_over_the_moment_when_the_clock_was_set_begins_at_the_enrolment() -> None:
    each = replace(window(), started_s=30.0, ended_s=NOW_S - 60.0)
    moved = retimed(each, 60.0)
    assert (moved.started_s, moved.ended_s) == (ENROLLED_S, NOW_S - 60.0)


def test_an_event_is_moved_as_a_window_is() -> None:
    item, moved = put_right(numbered(replace(event("r1"), at_s=12.0)), heard(DAY_S))
    assert isinstance(item.body, Event)
    assert (item.body.at_s, moved) == (NOW_S - DAY_S, 1)


def test_samples_of_one_item_keep_the_distances_between_them() -> None:
    body = tuple(replace(sample(), at_s=at_s) for at_s in (100.0, 160.0, 130.0))
    item, moved = put_right(numbered(body), heard(DAY_S))
    assert [each.at_s - NOW_S + DAY_S for each in item.samples] == [-60.0, 0.0, -30.0]
    assert moved == 3


@given(
    started_s=st.floats(0, 1e11),
    length_s=st.floats(-1e11, 1e11),
    age_s=st.none() | st.floats(0, 1e15),
)
def test_whatever_a_device_claims_its_windows_end_between_its_enrolment_and_now(
    started_s: float, length_s: float, age_s: float | None
) -> None:
    each = replace(window(), started_s=started_s, ended_s=max(0.0, started_s + length_s))
    moved = retimed(each, age_s)
    assert ENROLLED_S - AHEAD_S <= moved.ended_s <= NOW_S + AHEAD_S
    assert ENROLLED_S - AHEAD_S <= moved.started_s or moved.started_s == moved.ended_s
    assert moved.inferences == each.inferences


@given(started_s=st.floats(0, 1e11), age_s=st.none() | st.floats(0, 1e10))
def test_what_was_put_right_is_right(started_s: float, age_s: float | None) -> None:
    once = retimed(lasting(started_s + 60.0), age_s)
    assert retimed(once, age_s) == once
