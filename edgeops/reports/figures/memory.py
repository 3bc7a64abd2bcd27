"""Bytes alive, operator by operator, as steps; the peak is marked."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from edgeops.reports.figures.canvas import WIDTH_IN, blank, place, thinned
from edgeops.reports.figures.palette import BAD, BAD_INK, SHARE, tint
from edgeops.reports.operators import numbered
from edgeops.reports.package_facts import OperationFacts
from edgeops.reports.wording import size, unit_of

_PANEL_IN = 2.0
_LEFT_IN, _RIGHT_IN, _TOP_IN, _BOTTOM_IN = 0.7, 0.15, 0.3, 0.5
_MAX_STEPS = 300


def draw_memory(operations: Sequence[OperationFacts]) -> Figure:
    """Return the bytes alive while each operation runs; of very many, the highest of each few."""
    figure = blank(_TOP_IN + _PANEL_IN + _BOTTOM_IN)
    axes = place(
        figure,
        left_in=_LEFT_IN,
        top_in=_TOP_IN,
        width_in=WIDTH_IN - _LEFT_IN - _RIGHT_IN,
        height_in=_PANEL_IN,
    )
    found = thinned([(each.number, each.live_bytes) for each in operations], _MAX_STEPS)
    edges = [number - 0.5 for number, _ in found] + [operations[-1].number + 0.5]
    unit_bytes, unit = unit_of(max(value for _, value in found))
    heights = [value / unit_bytes for _, value in found]
    axes.stairs(heights, edges, fill=True, color=tint(SHARE, 0.25), linewidth=0)
    axes.stairs(heights, edges, baseline=None, color=SHARE, linewidth=1.4)
    _frame(axes, edges, max(heights), unit)
    peak = max(operations, key=lambda each: (each.live_bytes, -each.number))
    _mark(axes, peak, peak.live_bytes / unit_bytes, edges)
    return figure


def _frame(axes: Axes, edges: Sequence[float], most: float, unit: str) -> None:
    axes.set_xlim(edges[0], edges[-1])
    axes.set_ylim(0, 1.08 * (most or 1))
    axes.xaxis.set_major_locator(MaxNLocator(nbins=14, integer=True, min_n_ticks=1))
    axes.yaxis.set_major_locator(MaxNLocator(nbins=5))
    axes.yaxis.set_major_formatter(lambda at, _: f"{at:g} {unit}")
    axes.grid(axis="y")
    axes.set_xlabel("number of the operator, in the order of computing")


def _mark(axes: Axes, peak: OperationFacts, height: float, edges: Sequence[float]) -> None:
    axes.axhline(height, color=BAD, linewidth=1.0, dashes=(4, 3))
    axes.plot(peak.number, height, marker="o", markersize=5, color=BAD)
    is_right = peak.number > (edges[0] + edges[-1]) / 2
    axes.annotate(
        f"peak: {size(peak.live_bytes)}, first at {numbered(peak, 26)}",
        (peak.number, height),
        xytext=(-4 if is_right else 4, 5),
        textcoords="offset points",
        ha="right" if is_right else "left",
        color=BAD_INK,
        weight="bold",
        size=8.0,
    )
