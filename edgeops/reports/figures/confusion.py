"""Confusion matrices before and after quantization, side by side."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch
from matplotlib.path import Path
from numpy.typing import NDArray

from edgeops.reports.figures.canvas import WIDTH_IN, blank, name_width, place
from edgeops.reports.figures.palette import INK, SHARE, tint
from edgeops.reports.wording import drawn

MAX_NUMBERED = 12
"""Up to so many classes the counts stand in the cells."""
_LEVELS = 12
"""Shades: each is one path, so that a large matrix is not a thousand elements."""
_TOP_IN, _BETWEEN_IN, _RIGHT_IN = 0.36, 0.3, 0.12
_DARK = 0.6


def draw_confusions(before: Sequence[int], after: Sequence[int], labels: Sequence[str]) -> Figure:
    """Return both matrices, flat and row-major, with a true class a row.

    The colour is the share of the row, on a square root scale so that rare mistakes show.
    """
    classes = math.isqrt(len(before or after))
    names = [drawn(labels[i], 12) if i < len(labels) else str(i) for i in range(classes)]
    left_in = name_width(names, most_in=1.2) + 0.2
    side_in = (WIDTH_IN - left_in - _BETWEEN_IN - _RIGHT_IN) / 2
    are_short = max(len(name) for name in names) <= (2 if classes > MAX_NUMBERED else 4)
    below_in = 0.5 if are_short else 0.42 + name_width(names, most_in=1.2) * 0.85
    figure = blank(_TOP_IN + side_in + below_in)
    for i, (title, counts) in enumerate(
        (("before: float model", before), ("after: artifact", after))
    ):
        axes = place(
            figure,
            left_in=left_in + i * (side_in + _BETWEEN_IN),
            top_in=_TOP_IN,
            width_in=side_in,
            height_in=side_in,
        )
        if counts:
            _draw_matrix(axes, np.asarray(counts, dtype=np.int64).reshape(classes, classes))
        _frame(axes, names, title, is_first=i == 0, are_short=are_short)
    return figure


def _draw_matrix(axes: Axes, counts: NDArray[np.int64]) -> None:
    rows = np.maximum(counts.sum(axis=1, keepdims=True), 1)
    strength = np.sqrt(counts / rows)
    levels = np.ceil(strength * _LEVELS).astype(int)
    for level in range(1, _LEVELS + 1):
        cells = [_cell(int(row), int(column)) for row, column in np.argwhere(levels == level)]
        if cells:
            shade = tint(SHARE, level / _LEVELS)
            axes.add_patch(PathPatch(Path.make_compound_path(*cells), facecolor=shade, linewidth=0))
    if len(counts) > MAX_NUMBERED:
        return
    size = 7.5 if counts.max() < 1000 else 6.0
    for row, column in np.argwhere(counts > 0):
        axes.text(
            column,
            row,
            str(counts[row, column]),
            ha="center",
            va="center",
            size=size,
            color="#ffffff" if strength[row, column] > _DARK else INK,
        )


def _cell(row: int, column: int) -> Path:
    left, top = column - 0.5, row - 0.5
    corners = ((left, top), (left + 1, top), (left + 1, top + 1), (left, top + 1), (left, top))
    return Path(np.array(corners), closed=True)


def _frame(
    axes: Axes, names: Sequence[str], title: str, *, is_first: bool, are_short: bool
) -> None:
    last = len(names) - 0.5
    axes.set_xlim(-0.5, last)
    axes.set_ylim(last, -0.5)
    size = 7.5 if len(names) <= MAX_NUMBERED else 5.2
    rotation = 0 if are_short else 90
    axes.set_xticks(range(len(names)), names, size=size, rotation=rotation)
    axes.set_yticks(range(len(names)), names if is_first else [""] * len(names), size=size)
    axes.tick_params(length=0, labelcolor=INK)
    axes.spines[["top", "right"]].set_visible(True)
    axes.set_xlabel("answered")
    if is_first:
        axes.set_ylabel("true class")
    axes.set_title(title, loc="left", size=8.5, weight="bold")
