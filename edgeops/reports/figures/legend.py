"""The legend of cohorts, the same above each figure that shows them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from edgeops.reports.figures.palette import Stroke
from edgeops.reports.wording import cohort_name, drawn

_MAX_COHORTS = 7
_COLUMNS = 4
_LINE_IN = 0.17


def handles_of(cohorts: Iterable[str], strokes: Mapping[str, Stroke]) -> list[Line2D]:
    """Return an entry for each cohort; of very many, the first few and how many more."""
    names = sorted(set(cohorts))
    handles = [
        Line2D(
            [],
            [],
            color=strokes[name].colour,
            marker=strokes[name].marker,
            markersize=3.2,
            label=drawn(cohort_name(name)),
        )
        for name in names[:_MAX_COHORTS]
    ]
    if len(names) > _MAX_COHORTS:
        text = f"and {len(names) - _MAX_COHORTS} more"
        handles.append(Line2D([], [], linestyle="none", label=text))
    return handles


def height_in(handles: Sequence[Line2D]) -> float:
    """Return the height that a legend takes, in inches."""
    return _LINE_IN * (-(-len(handles) // _COLUMNS)) + 0.08


def explain(figure: Figure, handles: Sequence[Line2D]) -> None:
    """Put the legend at the top."""
    figure.legend(
        handles=list(handles),
        loc="upper left",
        bbox_to_anchor=(0.0, 1.0),
        ncols=min(_COLUMNS, max(1, len(handles))),
        borderaxespad=0.1,
    )
