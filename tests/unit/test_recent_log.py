"""What an agent remembers of its own log: bounded, on one line each, without passwords."""

from __future__ import annotations

import json
import logging

import pytest

from device_agent.logs import MAX_RECENT_BYTES, MAX_RECENT_LINE, MAX_RECENT_LINES, RecentLog


@pytest.fixture
def recent() -> RecentLog:
    return RecentLog()


def say(recent: RecentLog, message: str, **fields: object) -> None:
    record = logging.LogRecord("device_agent.x", logging.INFO, "", 0, message, (), None)
    vars(record).update(fields)
    recent.handle(record)


def test_a_record_is_one_line_with_its_fields(recent: RecentLog) -> None:
    say(recent, "deployment.moved", model="kws", to="fetch")
    (line,) = recent.lines()
    assert line.endswith(" info deployment.moved model=kws to=fetch")


def test_the_newest_lines_are_kept(recent: RecentLog) -> None:
    for number in range(MAX_RECENT_LINES * 2):
        say(recent, "e", n=number)
    lines = recent.lines()
    assert len(lines) == MAX_RECENT_LINES
    assert lines[-1].endswith(f"n={MAX_RECENT_LINES * 2 - 1}")


@pytest.mark.parametrize(
    "text", ["x" * 5000, '"\\' * 5000, "\u20ac\U0001f600" * 5000, "\0\n\x1b" * 5000]
)
def test_all_lines_together_fit_a_message_whatever_is_in_them(recent: RecentLog, text: str) -> None:
    for _ in range(MAX_RECENT_LINES):
        say(recent, "e", cause=text)
    lines = recent.lines()
    assert len(lines) > 15
    assert max(map(len, lines)) <= MAX_RECENT_LINE
    assert len(json.dumps(lines, ensure_ascii=False).encode()) <= MAX_RECENT_BYTES + len(lines) + 2


def test_a_line_has_no_control_characters_and_no_lone_surrogates(recent: RecentLog) -> None:
    say(recent, "e", cause="a\x1b[31mred\0\ud800\nnext")
    (line,) = recent.lines()
    assert line.isprintable()
    assert line.endswith("next")
    line.encode()


def test_a_traceback_is_folded_into_its_line(recent: RecentLog) -> None:
    try:
        raise ValueError("bad")
    except ValueError as error:
        info = (ValueError, error, error.__traceback__)
    recent.handle(logging.LogRecord("device_agent", logging.ERROR, "", 0, "e", (), info))
    (line,) = recent.lines()
    assert "Traceback" in line and line.endswith("ValueError: bad")


def test_a_password_is_never_remembered(recent: RecentLog) -> None:
    recent.hide("geheim-geheim")
    recent.hide("x")  # too short to be one
    say(recent, "link.refused", cause="user cam-1 password geheim-geheim box")
    (line,) = recent.lines()
    assert "geheim" not in line
    assert line.endswith("password [hidden] box")
