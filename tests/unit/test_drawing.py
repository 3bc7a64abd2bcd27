"""Drawing rows: an even part for the mean, and rare parts as whole as can be."""

from __future__ import annotations

import numpy as np

from device_agent.protocol.ids import digest_of
from edgeops.packaging.rows.drawing import MAX_EXTRA_ROWS, WANTED_OF_A_PART, draw, mix_of
from edgeops.packaging.rows.golden_rows import MAX_EVALUATED_ROWS, LabelledRows


def rows(y: np.ndarray, **slices: np.ndarray) -> LabelledRows:
    x = np.arange(len(y), dtype=np.float32)[:, np.newaxis]
    return LabelledRows(x=x, y=y, digest=digest_of(b""), slices=slices)


def test_rows_that_are_not_too_many_are_all_looked_at() -> None:
    given = rows(np.arange(MAX_EVALUATED_ROWS) % 3)
    assert draw(given) is given is mix_of(given)


def test_a_rare_class_and_a_rare_slice_keep_all_that_they_have() -> None:
    y = np.arange(20_000) % 9
    y[5::1000] = 9  # twenty rows, of which an even part has about two
    light = np.where(np.isin(np.arange(20_000), np.arange(7, 20_000, 2000)), "night", "day")
    drawn = draw(rows(y, light=light))
    assert drawn.y is not None and drawn.even == MAX_EVALUATED_ROWS
    assert (drawn.y == 9).sum() == 20
    assert (drawn.slices["light"] == "night").sum() == 10
    assert len(np.unique(drawn.x)) == len(drawn.x)  # none is there twice


def test_the_even_part_has_the_mix_of_the_file() -> None:
    y = np.arange(20_000) % 9
    y[5::1000] = 9
    mix = mix_of(draw(rows(y)))
    assert mix.y is not None and len(mix.y) == MAX_EVALUATED_ROWS
    assert (mix.y == 9).sum() <= 5
    assert np.array_equal(mix.x[:, 0].astype(int), sorted(mix.x[:, 0].astype(int)))


def test_what_rare_parts_get_on_top_is_bounded() -> None:
    site = (np.arange(100_000) // 400).astype(str)  # 250 parts of 400 rows
    drawn = draw(rows(np.arange(100_000) % 2, site=site))
    assert len(drawn.x) == MAX_EVALUATED_ROWS + MAX_EXTRA_ROWS
    assert max(np.unique(drawn.slices["site"], return_counts=True)[1]) == WANTED_OF_A_PART
