"""How long a row takes when a search measures it."""

from __future__ import annotations

import time

import numpy as np

from edgeops.packaging.convert.bench import TIMED_ROWS, Rows, median_ms

ROWS: Rows = [np.array([at]) for at in range(5 * TIMED_ROWS)]


def test_one_disturbance_does_not_move_what_a_row_takes() -> None:
    seen: list[int] = []

    def run(rows: Rows) -> None:
        seen.extend(int(row[0]) for row in rows)
        if 0 in seen[-len(rows) :]:
            time.sleep(0.2)

    assert median_ms(run, ROWS) < 5.0  # the mean would be 5
    assert seen == list(range(len(ROWS)))


def test_what_each_call_costs_is_shared_by_several_rows() -> None:
    def run(rows: Rows) -> None:
        time.sleep(0.016)

    assert 16 / TIMED_ROWS <= median_ms(run, ROWS) < 16
