"""Candidates of a search: bytes against likeness, with the front and the chosen one."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from edgeops.reports.figures.canvas import WIDTH_IN, blank, place
from edgeops.reports.figures.palette import BAD, GOOD, GOOD_INK, INK, QUIET, SHARE, UNTOUCHED
from edgeops.reports.package_facts import TrialFacts
from edgeops.reports.wording import drawn, size

_PANEL_IN = 2.7
_LEFT_IN, _RIGHT_IN, _TOP_IN, _BOTTOM_IN = 0.6, 0.2, 0.3, 0.5
_APART_IN = 0.16
"""Numbers of points that are nearer to each other than this would lie one on the other."""
_MAX_POINTS = 128
_FLOOR_DB = -20.0
"""Candidates that are worse are drawn here: how much worse tells nothing."""

Point = tuple[int, TrialFacts, float, float]


def draw_pareto(trials: Sequence[TrialFacts], float_bytes: int | None) -> Figure:
    """Return the candidates that could be made, by their numbers in ``trials`` from 1.

    Args:
        trials: of one search; at least one could be made.
        float_bytes: size of the float model, None if that is not known.
    """
    points = [
        (number, each, each.size_bytes / 1024, max(_FLOOR_DB, each.sqnr_db))
        for number, each in enumerate(trials, 1)
        if each.size_bytes is not None and each.sqnr_db is not None
    ]
    points = sorted(points, key=_weight)[:_MAX_POINTS]
    figure = blank(_TOP_IN + _PANEL_IN + _BOTTOM_IN)
    axes = place(
        figure,
        left_in=_LEFT_IN,
        top_in=_TOP_IN,
        width_in=WIDTH_IN - _LEFT_IN - _RIGHT_IN,
        height_in=_PANEL_IN,
    )
    _frame(axes, points, None if float_bytes is None else float_bytes / 1024)
    _draw_points(axes, points)
    _draw_names(axes, points)
    return figure


def _weight(point: Point) -> tuple[bool, bool, int]:
    """Sort what matters first: the chosen one, the front, then in the order of trying."""
    number, trial, _, _ = point
    return not trial.chosen, not trial.on_front, number


def _frame(axes: Axes, points: Sequence[Point], float_kib: float | None) -> None:
    kib = [each[2] for each in points] + ([] if float_kib is None else [float_kib])
    ratios = [each[3] for each in points]
    wide = (max(kib) - min(kib)) or max(1.0, max(kib) * 0.1)
    high = (max(ratios) - min(ratios)) or 10.0
    axes.set_xlim(min(kib) - 0.06 * wide, max(kib) + 0.06 * wide)
    axes.set_ylim(min(ratios) - 0.12 * high, max(ratios) + 0.14 * high)
    axes.grid()
    axes.set_xlabel("size of the file in KiB")
    axes.set_ylabel("SQNR in dB")
    if float_kib is None:
        return
    axes.axvline(float_kib, color=INK, linewidth=1.0, dashes=(4, 3))
    axes.annotate(
        f"float model, {size(float_kib * 1024)}",
        (float_kib, 1.0),
        xycoords=axes.get_xaxis_transform(),
        xytext=(2, 4),
        textcoords="offset points",
        ha="right",
        color=QUIET,
        size=7.5,
    )


def _draw_points(axes: Axes, points: Sequence[Point]) -> None:
    front = sorted((x, y) for _, trial, x, y in points if trial.on_front)
    axes.plot([x for x, _ in front], [y for _, y in front], color=SHARE, linewidth=1.2)
    for _, trial, x, y in points:
        if trial.chosen:
            axes.plot(x, y, marker="o", markersize=11, color="none", markeredgecolor=GOOD)
        if trial.why_not:
            axes.plot(x, y, marker="x", markersize=5, color=BAD)
        else:
            colour = SHARE if trial.on_front else UNTOUCHED
            axes.plot(x, y, marker="o", markersize=5, color=colour, markeredgewidth=0)


def _draw_names(axes: Axes, points: Sequence[Point]) -> None:
    """Name what matters first; a number that would lie on another one is left to the table."""
    (left, right), (low, high) = axes.get_xlim(), axes.get_ylim()
    across = (WIDTH_IN - _LEFT_IN - _RIGHT_IN) / (right - left)
    up = _PANEL_IN / (high - low)
    placed: list[tuple[float, float]] = []
    for number, trial, x, y in points:
        at = (x * across, y * up)
        if any(abs(at[0] - a) < _APART_IN and abs(at[1] - b) < _APART_IN for a, b in placed):
            continue
        placed.append(at)
        is_named = trial.chosen
        # The front rises to the right: nothing is above and left of it, no line below and right.
        is_left = (trial.on_front and not is_named) or x > left + 0.8 * (right - left)
        axes.annotate(
            f"{number} {drawn(trial.recipe)}" if is_named else str(number),
            (x, y),
            xytext=((-1 if is_left else 1) * (7 if is_named else 4), -7 if is_named else 3),
            textcoords="offset points",
            ha="right" if is_left else "left",
            va="top" if is_named else "bottom",
            color=GOOD_INK if is_named else QUIET,
            weight="bold" if is_named else "normal",
            size=7.5,
        )
