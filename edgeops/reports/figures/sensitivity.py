"""Bars: the error that each operator alone brings when it is quantized, the costliest first."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure

from edgeops.reports.figures.canvas import WIDTH_IN, blank, name_width, place
from edgeops.reports.figures.palette import INK, QUIET, SHARE
from edgeops.reports.operators import short_name
from edgeops.reports.package_facts import SensitivityFacts
from edgeops.reports.wording import drawn, fine_percent

MAX_BARS = 24
_ROW_IN = 0.22
_TOP_IN, _BOTTOM_IN, _RIGHT_IN = 0.08, 0.5, 0.65


def draw_sensitivity(found: Sequence[SensitivityFacts]) -> Figure:
    """Return a bar for each of the first ``MAX_BARS`` operators."""
    shown = found[:MAX_BARS]
    names = [_name(each) for each in shown]
    left_in = name_width(names, most_in=3.2)
    height_in = _ROW_IN * len(shown)
    figure = blank(_TOP_IN + height_in + _BOTTOM_IN)
    axes = place(
        figure,
        left_in=left_in,
        top_in=_TOP_IN,
        width_in=WIDTH_IN - left_in - _RIGHT_IN,
        height_in=height_in,
    )
    axes.barh(range(len(shown)), [each.error for each in shown], height=0.62, color=SHARE)
    most = max((each.error for each in shown), default=0.0) or 1.0
    axes.set_xlim(0.0, most)
    axes.set_ylim(len(shown) - 0.4, -0.6)
    axes.set_yticks(range(len(names)), names)
    axes.tick_params(axis="y", length=0, labelcolor=INK)
    axes.grid(axis="x")
    axes.xaxis.set_major_formatter(lambda at, _: f"{100 * at:g}")
    axes.set_xlabel("error of the scores in per cent of the scores")
    for row, each in enumerate(shown):
        axes.annotate(
            fine_percent(each.error),
            (each.error, row),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            color=QUIET,
            size=7.5,
            annotation_clip=False,
        )
    return figure


def _name(each: SensitivityFacts) -> str:
    name = short_name(each.name)
    return name if each.number is None else f"{each.number} {drawn(each.type, 18)} {name}"
