"""Rows by the error of their scores, on a logarithmic scale."""

from __future__ import annotations

import math

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from edgeops.reports.figures.canvas import WIDTH_IN, blank, place
from edgeops.reports.figures.palette import BAD, BAD_INK, INK, QUIET, SHARE
from edgeops.reports.package_facts import ErrorFacts

_PANEL_IN = 1.9
_LEFT_IN, _RIGHT_IN, _TOP_IN, _BOTTOM_IN = 0.6, 0.3, 0.42, 0.5


def draw_errors(errors: ErrorFacts) -> Figure:
    """Return the histogram, with the median, the error that 95 % do not exceed, and the worst.

    Heights are square roots of the counts, so that a few rows beside very many are seen.
    """
    figure = blank(_TOP_IN + _PANEL_IN + _BOTTOM_IN)
    axes = place(
        figure,
        left_in=_LEFT_IN,
        top_in=_TOP_IN,
        width_in=WIDTH_IN - _LEFT_IN - _RIGHT_IN,
        height_in=_PANEL_IN,
    )
    low, high = math.log10(errors.low), math.log10(errors.high)
    width = (high - low) / len(errors.counts)
    edges = [low + width * at for at in range(len(errors.counts))]
    heights = [math.sqrt(count) for count in errors.counts]
    axes.bar(edges, heights, width=width, align="edge", color=SHARE, edgecolor="#ffffff")
    _frame(axes, errors, low, width)
    _mark(axes, errors.median, "half of the rows", INK, QUIET, ha="right", line=0)
    _mark(axes, errors.p95, "95 % of the rows", INK, QUIET, ha="center", line=1)
    _mark(axes, errors.worst, "worst", BAD, BAD_INK, ha="left", line=0)
    return figure


def _frame(axes: Axes, errors: ErrorFacts, low: float, width: float) -> None:
    """Show whole powers of ten around the bins that hold rows."""
    held = [at for at, count in enumerate(errors.counts) if count] or [len(errors.counts) // 2]
    first = math.floor(low + width * held[0] + 1e-9)
    last = math.ceil(low + width * (held[-1] + 1) - 1e-9)
    axes.set_xlim(first, max(last, first + 2))
    axes.set_ylim(0, 1.06 * (math.sqrt(max(errors.counts)) or 1))
    axes.yaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
    axes.yaxis.set_major_formatter(lambda at, _: f"{at * at:g}")
    ticks = range(first, max(last, first + 2) + 1)
    axes.set_xticks(ticks, [f"{100 * 10.0**at:g} %" for at in ticks])
    axes.grid(axis="y")
    axes.set_xlabel("error of a row's scores (logarithmic)")
    axes.set_ylabel("rows")


def _mark(
    axes: Axes, error: float, text: str, colour: str, ink: str, *, ha: str, line: int
) -> None:
    left, right = axes.get_xlim()
    if error <= 0.0 or not left <= math.log10(error) <= right:
        return
    at = math.log10(error)
    axes.axvline(at, color=colour, linewidth=1.1, dashes=(4, 3))
    axes.annotate(
        text,
        (at, 1.0),
        xycoords=axes.get_xaxis_transform(),
        xytext=({"left": 2, "center": 0, "right": -2}[ha], 3 + 9 * line),
        textcoords="offset points",
        ha=ha,
        color=ink,
        size=7.5,
    )
