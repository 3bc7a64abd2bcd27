"""The graph of a file as a picture: operations as boxes, values as arrows, from top to bottom."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import FancyBboxPatch, PathPatch
from matplotlib.path import Path

from edgeops.reports.figures.canvas import WIDTH_IN, blank, place
from edgeops.reports.figures.graph_edges import Frame, curves, heads, stubs
from edgeops.reports.figures.legend import explain, height_in
from edgeops.reports.figures.palette import INK, QUIET, UNTOUCHED, tint
from edgeops.reports.graph_layout import Layout, laid_out
from edgeops.reports.operators import numbered, short_name
from edgeops.reports.package_facts import OperationFacts
from edgeops.reports.wording import counted, drawn, size

MAX_DRAWN = 120
"""Of more operations the first and the last are drawn, half of these each."""
MAX_ROOMY = 40
"""Up to so many operations have their names in the boxes."""
_PART_IN = 0.5
"""Between the first and the last operations, where it is said how many are left out."""
_BOTTOM_IN = 0.28

_COLOURS: Mapping[str, str] = {
    "int8": "#56b4e9",
    "uint8": "#56b4e9",
    "int4": "#0072b2",
    "uint4": "#0072b2",
    "int16": "#a3447f",
    "uint16": "#a3447f",
    "float16": "#f0c000",
    "bfloat16": "#f0c000",
    "float32": "#e69f00",
    "float64": "#e69f00",
}


def draw_graph(operations: Sequence[OperationFacts]) -> Figure:
    """Return the picture of a graph that has at least one operation."""
    parts = parts_of(operations)
    layouts = [laid_out(part, Frame.fitting) for part in parts]
    is_roomy = len(operations) <= MAX_ROOMY
    handles = _handles(operations)
    top_in = height_in(handles) + 0.3
    frames = []
    for layout in layouts:
        frames.append(Frame.of(layout, top_in=top_in, is_roomy=is_roomy))
        top_in = frames[-1].bottom_in + _PART_IN
    figure = blank(frames[-1].bottom_in + _BOTTOM_IN)
    axes = place(
        figure, left_in=0.0, top_in=0.0, width_in=WIDTH_IN, height_in=figure.get_size_inches()[1]
    )
    axes.set_xlim(0.0, WIDTH_IN)
    axes.set_ylim(figure.get_size_inches()[1], 0.0)
    axes.axis("off")
    takers: dict[int, list[int]] = {}
    for each in operations:
        for source in each.takes:
            takers.setdefault(source, []).append(each.number)
    for part, layout, frame in zip(parts, layouts, frames, strict=True):
        _draw_part(axes, part, layout, frame, takers)
    if len(parts) > 1:
        left_out = len(operations) - MAX_DRAWN
        said = f"{counted(left_out, 'operator')} between these and those below are not drawn"
        axes.text(
            WIDTH_IN / 2, frames[0].bottom_in + 0.16, said, ha="center", color=QUIET, size=8.0
        )
    explain(figure, handles)
    return figure


def parts_of(operations: Sequence[OperationFacts]) -> list[Sequence[OperationFacts]]:
    """Return what is drawn: all of it, or the first and the last operations."""
    if len(operations) <= MAX_DRAWN:
        return [operations]
    return [operations[: MAX_DRAWN // 2], operations[-(MAX_DRAWN // 2) :]]


def _draw_part(
    axes: Axes,
    part: Sequence[OperationFacts],
    layout: Layout,
    frame: Frame,
    takers: Mapping[int, Sequence[int]],
) -> None:
    lines = curves(layout, frame)
    if lines:
        axes.add_patch(
            PathPatch(
                Path.make_compound_path(*lines), facecolor="none", edgecolor=QUIET, linewidth=0.8
            )
        )
        axes.add_patch(
            PathPatch(Path.make_compound_path(*heads(layout, frame)), facecolor=QUIET, linewidth=0)
        )
    for stub in stubs(part, layout, frame, takers):
        axes.plot([stub.x, stub.x], [stub.y, stub.y + stub.length], color=QUIET, linewidth=0.8)
        axes.text(
            stub.x + 0.04,
            stub.y + stub.length / 2,
            stub.text,
            va="center",
            color=QUIET,
            size=6.8,
        )
    for each in part:
        _draw_box(axes, each, *frame.corner(layout.places[each.number]), frame)


def _draw_box(axes: Axes, each: OperationFacts, left: float, top: float, frame: Frame) -> None:
    colour = _colour(each.weight_dtype if each.weights else "")
    axes.add_patch(
        FancyBboxPatch(
            (left, top),
            frame.box_in,
            frame.height_in,
            boxstyle="round,pad=0,rounding_size=0.04",
            facecolor=tint(colour, 0.3) if each.weights else "#ffffff",
            edgecolor=colour,
            linewidth=0.9,
        )
    )
    made = size(each.output_bytes)
    lines = [(numbered(each), INK, 7.4, "bold")]
    if frame.is_roomy:
        lines.append((short_name(each.name, 24), QUIET, 6.8, "normal"))
    dtype = drawn(each.weight_dtype, 10)
    lines.append((f"{dtype} weights, {made}" if each.weights else made, INK, 6.8, "normal"))
    step = frame.height_in / (len(lines) + 0.35)
    for at, (text, ink, points, weight) in enumerate(lines):
        axes.text(
            left + frame.box_in / 2,
            top + step * (at + 0.67),
            text,
            ha="center",
            va="center",
            color=ink,
            size=points * frame.scale,
            weight=weight,
        )


def _colour(dtype: str) -> str:
    """Return the colour of a dtype of weights, empty for none."""
    return _COLOURS.get(dtype, "#4d4d4d") if dtype else UNTOUCHED


def _handles(operations: Sequence[OperationFacts]) -> list[Line2D]:
    """Return a legend entry for each dtype of weights, those with most operations first."""
    counts = Counter(each.weight_dtype if each.weights else "" for each in operations)
    found = sorted(counts, key=lambda dtype: (-counts[dtype], dtype))[:8]
    return [
        Line2D(
            [],
            [],
            linestyle="none",
            marker="s",
            markersize=7,
            color=tint(_colour(dtype), 0.3) if dtype else "#ffffff",
            markeredgecolor=_colour(dtype),
            label=f"{drawn(dtype, 12) if dtype else 'no'} weights ({counts[dtype]})",
        )
        for dtype in found
    ]
