"""Maintenance windows: how they are written, and when they are open in a zone that jumps."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_agent.core.window import EARLIEST_WALL_S, is_open, reason_to_wait
from device_agent.protocol.activation import DAYS, Activation, MaintenanceWindow
from device_agent.protocol.errors import ProtocolError
from device_agent.protocol.fields import Fields

OSLO = ZoneInfo("Europe/Oslo")
TOKYO = ZoneInfo("Asia/Tokyo")
HOUR_S = 3600.0


def window(text: str) -> MaintenanceWindow:
    return MaintenanceWindow.from_text(text)


def at(text: str, zone: ZoneInfo = OSLO, fold: int = 0) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=zone, fold=fold).timestamp()


def open_minutes(meant: MaintenanceWindow, day: str, zone: ZoneInfo) -> int:
    """How many minutes of the 22 hours from a local midnight on a window is open."""
    begin_s = at(f"{day}T00:00", zone)
    return sum(is_open(meant, begin_s + 60.0 * minute, zone) for minute in range(22 * 60))


@pytest.mark.parametrize(
    ("text", "days", "start", "length"),
    [
        ("02:00-04:30", DAYS, 120, 150),
        ("22:00-01:00", DAYS, 1320, 180),
        ("sun,sat 02:00-02:00", ("sat", "sun"), 120, 1440),
        (" MON 00:00-00:01 ", ("mon",), 0, 1),
    ],
)
def test_a_window_is_read_as_people_write_it(
    text: str, days: tuple[str, ...], start: int, length: int
) -> None:
    meant = window(text)
    assert (meant.days, meant.start, meant.length) == (days, start, length)
    assert window(meant.text) == meant


@pytest.mark.parametrize(
    "text",
    ["", "2:00-4:00", "24:00-01:00", "02:60-03:00", "fry 02:00-03:00", "02:00", ", 01:00-02:00"],
)
def test_what_is_no_window_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ProtocolError) as raised:
        window(text)
    assert raised.value.next_step


@given(st.sets(st.sampled_from(DAYS), min_size=1), st.integers(0, 1439), st.integers(1, 1440))
def test_a_window_survives_its_two_forms(days: set[str], start: int, length: int) -> None:
    ordered = tuple(day for day in DAYS if day in days)
    meant = MaintenanceWindow(days=ordered, start=start, length=length)
    assert MaintenanceWindow.from_text(meant.text) == meant
    assert MaintenanceWindow.from_fields(Fields(meant.to_document(), "window")) == meant


def test_a_window_opens_at_its_start_and_closes_at_its_end_on_its_days_only() -> None:
    nights, opens_s = window("sat 02:00-04:00"), at("2026-11-28T02:00")
    found = [is_open(nights, opens_s + after_s, OSLO) for after_s in (-1, 0, 7199, 7200)]
    assert found == [False, True, True, False]
    assert not is_open(nights, opens_s + 24 * HOUR_S, OSLO)


def test_a_window_past_midnight_belongs_to_the_day_on_which_it_opens() -> None:
    late = window("fri 22:00-04:00")
    assert is_open(late, at("2026-11-28T03:59"), OSLO)
    assert not is_open(late, at("2026-11-27T03:59"), OSLO)


def test_it_is_the_devices_own_zone_that_counts() -> None:
    night, moment_s = window("02:00-04:00"), at("2026-11-28T03:00", TOKYO)
    assert is_open(night, moment_s, TOKYO)
    assert not is_open(night, moment_s, OSLO)


@pytest.mark.parametrize("text", ["02:00-03:00", "02:30-03:30", "01:00-04:00", "03:00-04:00"])
@pytest.mark.parametrize("day", ["2026-03-29", "2026-10-25", "2026-11-28"])
def test_a_window_opens_once_a_day_for_its_whole_length_when_the_clocks_jump(
    day: str, text: str
) -> None:
    meant = window(text)
    assert open_minutes(meant, day, OSLO) == meant.length


def test_where_the_clocks_jump_over_the_start_it_opens_after_the_jump() -> None:
    lost = window("02:00-03:00")  # does not exist on that morning in Oslo
    assert not is_open(lost, at("2026-03-29T01:59"), OSLO)
    assert is_open(lost, at("2026-03-29T03:00"), OSLO)
    assert not is_open(lost, at("2026-03-29T04:00"), OSLO)


def test_where_the_clocks_show_the_start_twice_it_opens_at_the_first() -> None:
    twice = window("02:30-03:00")
    assert is_open(twice, at("2026-10-25T02:30", fold=0), OSLO)
    assert not is_open(twice, at("2026-10-25T02:30", fold=1), OSLO)


@given(
    st.datetimes(datetime(2026, 1, 2), datetime(2035, 1, 1)),
    st.sampled_from(["Europe/Oslo", "America/Santiago", "Australia/Lord_Howe", "Asia/Kathmandu"]),
    st.integers(0, 1439),
)
def test_a_window_is_closed_before_its_start_and_open_at_it_in_every_zone(
    moment: datetime, name: str, start: int
) -> None:
    zone, meant = ZoneInfo(name), MaintenanceWindow(start=start, length=30)
    shown = moment.replace(hour=start // 60, minute=start % 60, second=0, microsecond=0, fold=0)
    opens = shown.replace(tzinfo=zone).astimezone(UTC)
    assert is_open(meant, opens.timestamp(), zone)
    assert is_open(meant, (opens + timedelta(minutes=29)).timestamp(), zone)
    assert not is_open(meant, (opens - timedelta(seconds=1)).timestamp(), zone)
    assert not is_open(meant, (opens + timedelta(minutes=30)).timestamp(), zone)


def test_a_clock_that_was_never_set_opens_no_window_and_it_is_said() -> None:
    activation = Activation(window=window("00:00-00:00"))
    assert "the clock was never set" in reason_to_wait(activation, 42.0, OSLO)
    assert reason_to_wait(activation, EARLIEST_WALL_S + 12 * HOUR_S, OSLO) == ""


def test_what_is_on_hold_waits_whatever_the_time() -> None:
    held = Activation(hold=True, window=window("00:00-00:00"))
    assert reason_to_wait(held, at("2026-11-28T03:00"), OSLO) == "waits to be let go"
    assert reason_to_wait(Activation(), 0.0, OSLO) == ""


@pytest.mark.parametrize("text", ["sat 23:59-23:59", "sat 23:30-23:30", "sat 00:00-00:00"])
def test_a_whole_day_is_24_hours_also_where_the_next_day_has_23(text: str) -> None:
    # Of Sunday 2026-03-29 Oslo leaves out the hour from 02:00 on.
    whole_day, begin_s = window(text), at("2026-03-28T00:00")
    minutes = range(72 * 60)
    assert sum(is_open(whole_day, begin_s + 60.0 * each, OSLO) for each in minutes) == 24 * 60
