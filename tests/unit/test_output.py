"""What commands print is shown by a terminal, never obeyed."""

from __future__ import annotations

import pytest

from edgeops.cli.output import plain, say, show_table


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("gone\x1b[2J\x07", "gone\ufffd[2J\ufffd"),
        ("two\nlines\twide", "two\nlines\twide"),
        ("Bjørn café 日本", "Bjørn café 日本"),
        ("\x9b31m\u202etxt", "\ufffd31m\ufffdtxt"),
    ],
)
def test_control_characters_are_marked_and_text_is_left_alone(text: str, shown: str) -> None:
    assert plain(text) == shown


def test_neither_tables_nor_lines_hold_an_order(capsys: pytest.CaptureFixture[str]) -> None:
    say("failed: \x1b[31mred")
    show_table(("WHY",), [("\x1b[2Jgone",)])
    out, err = capsys.readouterr()
    assert "\x1b[2J" not in out
    assert "\x1b[31m" not in err
    assert "gone" in out
    assert "red" in err
