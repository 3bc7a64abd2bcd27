"""The canvas: one look for all drawings, and the way from a figure to SVG in the page."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from threading import Lock
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from edgeops.reports.figures import palette
from edgeops.reports.figures.svg import inlined
from edgeops.reports.moments import Moments

WIDTH_IN = 7.2
"""Of a drawing that fills the text's width; fonts are sized for it."""
LETTER_IN = 0.075
"""Mean width of a letter at the default size."""

_SETTINGS_IN_USE = Lock()
"""Settings of matplotlib belong to the process, and renderings may come from several threads."""
_LOOK: Mapping[Any, Any] = {
    "font.family": "DejaVu Sans",  # measured with what matplotlib brings; the page's font is shown
    "font.size": 8.5,
    "text.color": palette.INK,
    "text.parse_math": False,
    "axes.edgecolor": palette.RULE,
    "axes.labelcolor": palette.QUIET,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "xtick.color": palette.RULE,
    "ytick.color": palette.RULE,
    "xtick.labelcolor": palette.QUIET,
    "ytick.labelcolor": palette.QUIET,
    "grid.color": palette.FAINT,
    "grid.linewidth": 0.7,
    "lines.linewidth": 1.4,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "legend.handlelength": 1.6,
    "svg.fonttype": "none",
}


class Canvas:
    """Draws figures, each with a number of its own in the page."""

    def __init__(self) -> None:
        self._drawn = 0

    def draw(self, make: Callable[[], Figure], title: str) -> str:
        """Return what ``make`` draws, as SVG to stand in a page."""
        self._drawn += 1
        prefix = f"f{self._drawn}"
        with _look(prefix):
            written = io.StringIO()
            nobody = dict.fromkeys(("Date", "Creator", "Format", "Type"))
            make().savefig(written, format="svg", transparent=True, metadata=nobody)
        return inlined(written.getvalue(), prefix=prefix, title=title)


@contextmanager
def _look(salt: str) -> Iterator[None]:
    """Use this room's settings and no person's, then restore what was."""
    with _SETTINGS_IN_USE, mpl.rc_context(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        mpl.rcdefaults()
        mpl.rcParams.update({**_LOOK, "svg.hashsalt": salt})
        yield


def blank(height_in: float, width_in: float = WIDTH_IN) -> Figure:
    """Return a figure without axes."""
    return Figure(figsize=(width_in, height_in))


def place(
    figure: Figure, *, left_in: float, top_in: float, width_in: float, height_in: float
) -> Axes:
    """Return axes at a place that is measured in inches from the upper left corner."""
    whole_width, whole_height = figure.get_size_inches()
    return figure.add_axes(
        (
            left_in / whole_width,
            1 - (top_in + height_in) / whole_height,
            width_in / whole_width,
            height_in / whole_height,
        )
    )


def time_axis(axes: Axes, moments: Moments, low_s: float, high_s: float) -> None:
    """Let an axis go from one moment to another, with round ticks since the first event."""
    if high_s <= low_s:
        high_s = low_s + 1.0
    margin = 0.01 * (high_s - low_s)
    axes.set_xlim(low_s - margin, high_s + margin)
    ticks = moments.ticks(low_s, high_s, at_most=8)
    axes.set_xticks(ticks, [moments.since_first(each) for each in ticks])


def name_width(names: Sequence[str], *, most_in: float = 1.7) -> float:
    """Return the width that names take beside an axis, in inches."""
    return min(most_in, 0.2 + LETTER_IN * max((len(name) for name in names), default=0))


def free_lines(starts: Sequence[float], width: float) -> list[int]:
    """Return for names that begin at these places, sorted, the line in which each finds room."""
    free_from: list[float] = []
    lines: list[int] = []
    for start in starts:
        line = next((i for i, end in enumerate(free_from) if end <= start), len(free_from))
        if line == len(free_from):
            free_from.append(start)
        free_from[line] = start + width
        lines.append(line)
    return lines


def thinned(points: Sequence[tuple[float, float]], at_most: int) -> Sequence[tuple[float, float]]:
    """Return at most so many points: of each stretch of time, the highest."""
    if len(points) <= at_most:
        return points
    low, high = points[0][0], points[-1][0]
    highest: dict[int, tuple[float, float]] = {}
    for at_s, value in points:
        stretch = min(at_most - 1, int((at_s - low) / ((high - low) or 1.0) * at_most))
        if stretch not in highest or value > highest[stretch][1]:
            highest[stretch] = (at_s, value)
    return [highest[stretch] for stretch in sorted(highest)]
