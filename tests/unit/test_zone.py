"""The device's own time zone: read late, and the same as one that was read at once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from device_agent.protocol.errors import BadInput
from device_agent.shell.zone import find_zone

ZONES = Path("/usr/share/zoneinfo")
OSLO = ZoneInfo("Europe/Oslo")
SPRING = datetime(2026, 3, 29, 0, 30, tzinfo=UTC)


@pytest.fixture
def system(tmp_path: Path) -> Path:
    """A file as /etc/localtime is one: a small zone file with Oslo's next few years."""
    for folder in (ZONES, Path(_tzdata())):
        if (folder / "Europe" / "Oslo").is_file():
            path = tmp_path / "localtime"
            path.write_bytes((folder / "Europe" / "Oslo").read_bytes())
            return path
    raise AssertionError("no zone files here")


def _tzdata() -> str:
    try:
        import tzdata
    except ImportError:
        return "/nowhere"
    return str(Path(tzdata.__file__).parent / "zoneinfo")


@pytest.mark.parametrize("hours", range(-2, 5))
def test_the_systems_zone_tells_the_time_around_the_clock_change(system: Path, hours: int) -> None:
    zone = find_zone("", system)
    moment = SPRING + timedelta(hours=hours)
    here, there = moment.astimezone(zone), moment.astimezone(OSLO)
    assert here.replace(tzinfo=None) == there.replace(tzinfo=None)
    assert (here.utcoffset(), here.dst(), here.tzname()) == (
        there.utcoffset(),
        there.dst(),
        there.tzname(),
    )
    assert here.astimezone(UTC) == moment


def test_the_hour_that_comes_twice_in_autumn_keeps_its_fold(system: Path) -> None:
    zone = find_zone("", system)
    first = datetime(2026, 10, 25, 0, 30, tzinfo=UTC).astimezone(zone)
    second = datetime(2026, 10, 25, 1, 30, tzinfo=UTC).astimezone(zone)
    assert (first.hour, first.fold, second.hour, second.fold) == (2, 0, 2, 1)


@pytest.mark.parametrize("content", [None, b"", b"no zone"])
def test_a_system_without_a_zone_lives_by_utc(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "localtime"
    if content is not None:
        path.write_bytes(content)
    here = SPRING.astimezone(find_zone("", path))
    assert (here.hour, here.utcoffset()) == (0, timedelta(0))


def test_a_zone_that_is_not_known_is_refused_at_once() -> None:
    with pytest.raises(BadInput, match="Europe/Nowhere"):
        find_zone("Europe/Nowhere")
