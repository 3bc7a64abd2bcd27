"""A rollout in time: a bar for each device, its steps as shades, its outcome as colour."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from edgeops.reports.facts import MemberFacts, RolloutFacts
from edgeops.reports.figures.canvas import WIDTH_IN, blank, name_width, place, time_axis
from edgeops.reports.figures.palette import (
    BAD,
    FAINT,
    GOOD,
    INK,
    QUIET,
    UNDER_WAY,
    outcome_colour,
    outcome_ink,
    tint,
)
from edgeops.reports.moments import Moments
from edgeops.reports.wording import cohort_name, drawn, worded

_ROW_IN = 0.21
_TOP_IN, _BOTTOM_IN = 0.3, 0.5
_OUTCOME_IN = 0.95
_BAR_HEIGHT = 0.62
_SHADES = "#57606a"
"""The colour in which shades alone are explained."""
_ASKED, _LAST = "asked", "in service, or going back"
_PHASES: Mapping[str, float] = {
    _ASKED: 0.18,
    "download and check": 0.38,
    "self-test": 0.58,
    "probation": 0.8,
    _LAST: 1.0,
}
"""Phase → strength of its colour; a phase is darker the closer the version is to the inputs."""
_PHASE_OF: Mapping[str, str] = {
    **dict.fromkeys(
        ("admission", "manifest", "precheck", "fetch", "verify", "stage"), "download and check"
    ),
    **dict.fromkeys(("self_test", "standby"), "self-test"),
    **dict.fromkeys(("activate", "probation"), "probation"),
}
_OUTCOMES = (("committed", GOOD), ("failed or taken back", BAD))


def draw_rollout(rollout: RolloutFacts, moments: Moments) -> Figure:
    """Return a bar for each device in the order of the waves."""
    members = sorted(rollout.members, key=lambda member: member.wave)
    rows = _rows(members)
    names = [_name(member, with_cohort=_differ(members)) for member in members]
    left_in = name_width(names, most_in=2.6)
    height_in = _ROW_IN * (rows[-1] + 1.6)
    figure = blank(_TOP_IN + height_in + _BOTTOM_IN)
    axes = place(
        figure,
        left_in=left_in,
        top_in=_TOP_IN,
        width_in=WIDTH_IN - left_in - _OUTCOME_IN,
        height_in=height_in,
    )
    end_s = _end(members, moments)
    low_s = min([each.ordered_s for each in members if each.ordered_s is not None], default=end_s)
    for member, row in zip(members, rows, strict=True):
        _draw_member(axes, member, row, end_s)
    _frame(axes, members, rows, names)
    time_axis(axes, moments, min(low_s, end_s), end_s)
    axes.set_xlabel("time since the first event")
    _explain(figure, members)
    return figure


def _rows(members: Sequence[MemberFacts]) -> list[float]:
    """Return the row of each member; a wave begins with a line for its name."""
    rows: list[float] = []
    at, wave = -1.0, None
    for member in members:
        at += 1.0 if member.wave == wave else 2.0
        wave = member.wave
        rows.append(at)
    return rows or [0.0]


def _end(members: Sequence[MemberFacts], moments: Moments) -> float:
    if any(each.ordered_s is not None and each.ended_s is None for each in members):
        return moments.last_s
    return max((each.ended_s for each in members if each.ended_s), default=moments.last_s)


def _draw_member(axes: Axes, member: MemberFacts, row: float, end_s: float) -> None:
    colour = outcome_colour(member.state)
    if member.ordered_s is None:
        axes.axhline(row, color=colour, linewidth=0.9, linestyle=(0, (1, 3)))
        return
    ended_s = min(end_s, end_s if member.ended_s is None else member.ended_s)
    for phase, start_s, stop_s in _phases(member, member.ordered_s, ended_s):
        shade = tint(colour, _PHASES[phase])
        axes.barh(row, stop_s - start_s, left=start_s, height=_BAR_HEIGHT, color=shade, linewidth=0)
    axes.plot([ended_s, ended_s], [row - 0.42, row + 0.42], color=colour, linewidth=1.8)


def _phases(
    member: MemberFacts, ordered_s: float, ended_s: float
) -> list[tuple[str, float, float]]:
    """Return ``(phase, start, stop)``; what a wrong clock puts outside the bar is moved in."""
    phases: list[tuple[str, float, float]] = [(_ASKED, ordered_s, ended_s)]
    for step, at_s in sorted(member.steps, key=lambda each: each[1]):
        before, start_s, stop_s = phases.pop()
        begins_s = max(start_s, min(at_s, stop_s))
        phase = _PHASE_OF.get(step, _LAST)
        if phase == before:
            phases.append((before, start_s, stop_s))
        else:
            phases += [(before, start_s, begins_s), (phase, begins_s, stop_s)]
    return [each for each in phases if each[2] > each[1]]


def _frame(
    axes: Axes, members: Sequence[MemberFacts], rows: Sequence[float], names: Sequence[str]
) -> None:
    axes.set_ylim(rows[-1] + 0.8, -0.8)
    axes.set_yticks(rows[: len(names)], names)
    axes.tick_params(axis="y", length=0, labelcolor=INK)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x")
    beside = axes.get_yaxis_transform()
    wave = None
    for member, row in zip(members, rows, strict=False):
        if member.wave != wave:
            wave = member.wave
            text = "wave 0, the canary" if wave == 0 else f"wave {wave}"
            if row > 1.0:
                axes.axhline(row - 1.5, color=FAINT, linewidth=0.7)
            axes.text(0.0, row - 1.0, text, transform=beside, va="center", color=QUIET, size=7.5)
        said = drawn(worded(member.state), 16)
        ink = outcome_ink(member.state)
        axes.text(1.02, row, said, transform=beside, va="center", color=ink, weight="bold")


def _name(member: MemberFacts, *, with_cohort: bool) -> str:
    name = drawn(member.device, 18)
    return f"{name} · {drawn(cohort_name(member.cohort), 16)}" if with_cohort else name


def _differ(members: Sequence[MemberFacts]) -> bool:
    return len({member.cohort for member in members}) > 1


def _explain(figure: Figure, members: Sequence[MemberFacts]) -> None:
    """Say in the same line what colours and what shades mean, as far as they occur."""
    there = {outcome_colour(member.state) for member in members if member.ordered_s is not None}
    handles = [
        Patch(color=colour, label=label)
        for label, colour in (*_OUTCOMES, ("under way", UNDER_WAY))
        if colour in there
    ]
    if there:
        handles += [
            Patch(color=tint(_SHADES, strength), label=phase) for phase, strength in _PHASES.items()
        ]
        figure.legend(
            handles=handles,
            loc="upper left",
            bbox_to_anchor=(0.0, 1.0),
            ncols=len(handles),
            columnspacing=1.0,
            handlelength=0.9,
            handletextpad=0.4,
            borderaxespad=0.1,
            fontsize=7.2,
        )
