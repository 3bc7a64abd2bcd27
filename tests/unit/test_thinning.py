"""Which rows of a fast model are counted."""

from __future__ import annotations

from collections import Counter

import pytest

from device_agent.monitor.thinning import FULL_ROWS, Thinning


def chosen(thinning: Thinning, offered: int) -> list[int]:
    """Offer rows and return the numbers of those that are chosen."""
    return [number for number in range(offered) if thinning.chooses()]


def test_every_row_of_a_slow_model_is_chosen() -> None:
    thinning = Thinning()
    for _ in range(3):
        assert len(chosen(thinning, FULL_ROWS)) == FULL_ROWS
        thinning.close()


@pytest.mark.parametrize("offered", [600, 1_000, 5_000, 40_000, 300_000])
def test_at_a_steady_rate_enough_rows_are_chosen_and_not_many_more(offered: int) -> None:
    thinning = Thinning()
    chosen(thinning, offered)
    for _ in range(5):
        thinning.close()
        every = thinning.every
        rows = chosen(thinning, offered)
        assert 0.9 * FULL_ROWS <= len(rows) <= 2.2 * FULL_ROWS
        if offered * 1.1 < 2 * FULL_ROWS * every:  # not at the brink of the next step
            assert thinning.every == every
            thirds = Counter(3 * row // offered for row in rows)
            assert max(thirds.values()) < 1.3 * min(thirds.values())


def test_a_rate_that_leaps_is_followed_at_once_and_one_that_falls_by_and_by() -> None:
    thinning = Thinning()
    assert len(chosen(thinning, 1_000_000)) < 12 * 2 * FULL_ROWS
    rows = []
    for _ in range(4):
        thinning.close()
        rows.append(chosen(thinning, 100))
    assert rows[0][0] == 0
    assert len(rows[0]) < 5
    assert len(rows[-1]) == 100


def test_a_rhythm_of_the_rows_is_not_taken_for_what_they_are() -> None:
    thinning = Thinning()
    chosen(thinning, 100_000)
    thinning.close()
    rows = chosen(thinning, 100_000)
    even = sum(row % 2 == 0 for row in rows)
    assert 0.4 < even / len(rows) < 0.6


def test_a_close_in_the_midst_of_a_choice_costs_no_more_than_a_row() -> None:
    class Meddled(Thinning):
        """One that is closed by another thread after it has looked whether to pass on."""

        def __setattr__(self, name: str, value: object) -> None:
            if name == "_passing" and meddle.pop("now", False):
                value = -1  # 0, set by the other, less the one of this row
            super().__setattr__(name, value)

    meddle: dict[str, bool] = {}
    thinning = Meddled()
    chosen(thinning, 10_000)
    while thinning.chooses():
        pass
    meddle["now"] = True
    assert len(chosen(thinning, 1_000)) > 10
