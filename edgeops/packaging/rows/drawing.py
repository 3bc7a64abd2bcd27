"""Drawing rows: of more than are looked at an even part, and what rare classes and slices have.

The even part has the mix of the file: accuracy, drop and reference profile are of it alone. A class
of one row in five hundred keeps four rows in it, which show nothing; so each class and slice gets
rows of its own on top, which only the gate on parts and the counts by part see.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from edgeops.packaging.rows.golden_rows import MAX_EVALUATED_ROWS, LabelledRows, spread

MAX_EXTRA_ROWS = 2048
WANTED_OF_A_PART = 64
"""Rows of a class or slice, if the file has so many."""


def draw(rows: LabelledRows) -> LabelledRows:
    """Return the rows that are looked at: all, or an even part and what rare parts get on top."""
    count = len(rows.x)
    even = spread(count, MAX_EVALUATED_ROWS)
    if count <= len(even):
        return rows
    drawn = rows.at(np.concatenate([even, _extra(rows, even)]))
    return replace(drawn, even=len(even))


def mix_of(rows: LabelledRows) -> LabelledRows:
    """Return the even part of drawn rows."""
    return rows if rows.even is None else rows.at(np.arange(rows.even))


def _extra(rows: LabelledRows, even: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return rows that parts have too few of, those of the rarest parts first."""
    taken = np.zeros(len(rows.x), bool)
    taken[even] = True
    left = MAX_EXTRA_ROWS
    added: list[NDArray[np.int64]] = []
    for part in sorted(_parts(rows), key=len):
        missing = min(WANTED_OF_A_PART - int(taken[part].sum()), left)
        free = part[~taken[part]]
        if missing <= 0 or not len(free):
            continue
        chosen = free[spread(len(free), missing)]
        taken[chosen] = True
        left -= len(chosen)
        added.append(chosen)
    return np.sort(np.concatenate(added)) if added else np.array([], np.int64)


def _parts(rows: LabelledRows) -> Iterator[NDArray[np.int64]]:
    kinds = [*rows.slices.values(), *([] if rows.y is None else [rows.y])]
    for names in kinds:
        for each in np.unique(names):
            yield np.flatnonzero(names == each)
