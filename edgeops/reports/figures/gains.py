"""Champion and challenger as an interval plot: the gain on each set of rows around zero."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from edgeops.reports.facts import ContestFacts
from edgeops.reports.figures.canvas import WIDTH_IN, blank, name_width, place
from edgeops.reports.figures.palette import BAD, BAD_INK, GOOD, GOOD_INK, INK, QUIET
from edgeops.reports.wording import MINUS, drawn, points

_ROW_IN = 0.32
_TOP_IN, _BOTTOM_IN, _RIGHT_IN = 0.3, 0.5, 1.75
_MIN_SPAN = 0.02


def draw_gains(contests: Sequence[ContestFacts]) -> Figure:
    """Return the gain with its interval on each set of rows, in percentage points."""
    names = [drawn(each.rows_name, 28) for each in contests]
    left_in = name_width(names, most_in=2.4)
    height_in = _ROW_IN * (len(contests) + 0.4)
    figure = blank(_TOP_IN + height_in + _BOTTOM_IN)
    axes = place(
        figure,
        left_in=left_in,
        top_in=_TOP_IN,
        width_in=WIDTH_IN - left_in - _RIGHT_IN,
        height_in=height_in,
    )
    for row, contest in enumerate(contests):
        _draw_contest(axes, row, contest)
    _frame(axes, contests, names)
    return figure


def _draw_contest(axes: Axes, row: int, contest: ContestFacts) -> None:
    colour, ink = QUIET, QUIET
    if contest.gain_low > 0:
        colour, ink = GOOD, GOOD_INK
    elif contest.gain_high < 0:
        colour, ink = BAD, BAD_INK
    gain = contest.challenger - contest.champion
    axes.plot([contest.gain_low, contest.gain_high], [row, row], color=colour, linewidth=2.2)
    for end in (contest.gain_low, contest.gain_high):
        axes.plot([end, end], [row - 0.14, row + 0.14], color=colour, linewidth=1.4)
    axes.plot(gain, row, color=colour, marker="D", markersize=5.0)
    axes.text(
        1.03,
        row,
        f"{points(gain)}  ({points(contest.gain_low)} to {points(contest.gain_high)})",
        transform=axes.get_yaxis_transform(),
        va="center",
        color=ink,
        weight="bold",
        size=8.0,
    )


def _frame(axes: Axes, contests: Sequence[ContestFacts], names: Sequence[str]) -> None:
    low = min(0.0, *(each.gain_low for each in contests), -_MIN_SPAN)
    high = max(0.0, *(each.gain_high for each in contests), _MIN_SPAN)
    margin = 0.06 * (high - low)
    axes.set_xlim(low - margin, high + margin)
    axes.set_ylim(len(contests) - 0.3, -0.7)
    axes.set_yticks(range(len(names)), names)
    axes.tick_params(axis="y", length=0, labelcolor=INK)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x")
    axes.axvline(0.0, color=INK, linewidth=1.0)
    axes.xaxis.set_major_formatter(lambda at, _: f"{100 * at:g}".replace("-", MINUS))
    axes.set_xlabel("gain in percentage points; right of zero the new version is better")
    for text, at, align in (("old is better", -0.004, "right"), ("new is better", 0.004, "left")):
        axes.annotate(
            text,
            (0.0, 1.0),
            xycoords=axes.get_xaxis_transform(),
            xytext=(3 if at > 0 else -3, 3),
            textcoords="offset points",
            ha=align,
            color=QUIET,
            size=7.5,
        )
