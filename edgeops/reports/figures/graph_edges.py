"""The arrows of a graph: curves to the next row, lanes beside a column, and stubs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.path import Path

from edgeops.reports.figures.canvas import WIDTH_IN
from edgeops.reports.graph_layout import STRAIGHT, Edge, Lane, Layout, Place
from edgeops.reports.package_facts import MODEL_INPUT, OperationFacts

_BETWEEN_IN = 0.14
_LEAST_BOX_IN, _WIDEST_BOX_IN = 1.56, 2.15
_LANE_IN, _BESIDE_IN = 0.07, 0.1
_GAP_IN = 0.24
_HEAD_IN = 0.055
_STUB_IN = 0.13
_MAX_NAMED = 3
"""Numbers of operations that a stub names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """Where a layout is drawn, in inches from the upper left corner of the picture."""

    left_in: float
    top_in: float
    column_in: float
    slots: int
    rows: int
    is_roomy: bool
    box_in: float
    lanes_in: float

    @classmethod
    def of(cls, layout: Layout, *, top_in: float, is_roomy: bool) -> Frame:
        """Return the frame of a layout, in the middle of the page's width."""
        outside = [each.at for each in layout.lanes.values() if each.slot == layout.slots - 1]
        lanes_in = _lanes_in(1 + max(outside, default=-1))
        column_in = WIDTH_IN / layout.columns
        roomy_in = 0.72 * (column_in - 2 * lanes_in) / layout.slots
        box_in = min(_WIDEST_BOX_IN, max(_LEAST_BOX_IN, roomy_in))
        needed_in = layout.slots * (box_in + _BETWEEN_IN) + 2 * lanes_in
        column_in = min(column_in, 1.3 * needed_in)
        return cls(
            left_in=(WIDTH_IN - column_in * layout.columns) / 2,
            top_in=top_in,
            column_in=column_in,
            slots=layout.slots,
            rows=layout.rows,
            is_roomy=is_roomy,
            box_in=box_in,
            lanes_in=lanes_in,
        )

    @staticmethod
    def fitting(slots: int, lanes: int) -> int:
        """Return how many columns of so many slots and lanes fit beside each other."""
        least_in = slots * (_LEAST_BOX_IN + _BETWEEN_IN) + _lanes_in(lanes)
        return max(1, int(WIDTH_IN / least_in))

    @property
    def scale(self) -> float:
        """Of what stands in a box, 1 in the least one."""
        return min(1.25, self.box_in / _LEAST_BOX_IN)

    @property
    def height_in(self) -> float:
        """Of a box."""
        return self.scale * (0.48 if self.is_roomy else 0.34)

    @property
    def bottom_in(self) -> float:
        """Where the lowest box ends."""
        return self.top_in + self.rows * (self.height_in + _GAP_IN) - _GAP_IN

    def corner(self, at: Place) -> tuple[float, float]:
        """Return the upper left corner of a box."""
        pitch_in = self.box_in + _BETWEEN_IN
        margin_in = (self.column_in - (self.slots - 1) * pitch_in - self.box_in) / 2
        margin_in = min(
            margin_in, max(0.02, self.column_in - self.slots * pitch_in - self.lanes_in)
        )
        return (
            self.left_in + at.column * self.column_in + margin_in + at.slot * pitch_in,
            self.top_in + at.row * (self.height_in + _GAP_IN),
        )

    def lane(self, column: int, lane: Lane) -> float:
        """Return where a lane of a column runs."""
        left, _ = self.corner(Place(column=column, row=0, slot=lane.slot))
        if lane.at == STRAIGHT:
            return left + self.box_in / 2
        return left + self.box_in + _BESIDE_IN + lane.at * _LANE_IN


def _lanes_in(lanes: int) -> float:
    return lanes * _LANE_IN + _BESIDE_IN if lanes else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Stub:
    """A short line with a word: where a value comes from, or where it goes."""

    x: float
    y: float
    length: float
    text: str


def curves(layout: Layout, frame: Frame) -> list[Path]:
    """Return the line of every edge that is not cut."""
    ends = _ends(layout, frame)
    paths = []
    for edge in (*layout.short, *layout.lanes):
        (x, y), (to_x, to_y) = ends[edge]
        to_y -= _HEAD_IN
        if edge not in layout.lanes:
            paths.append(Path(*_bend(x, y, to_x, to_y)))
            continue
        lane = frame.lane(layout.places[edge[0]].column, layout.lanes[edge])
        down, up = y + _GAP_IN * 0.8, to_y - _GAP_IN * 0.6
        points, codes = _bend(x, y, lane, down)
        more, more_codes = _bend(lane, up, to_x, to_y)
        codes = [*codes, int(Path.LINETO), *more_codes[1:]]
        paths.append(Path(np.concatenate([points, more]), codes))
    return paths


def heads(layout: Layout, frame: Frame) -> list[Path]:
    """Return the head of every edge that is not cut."""
    ends = _ends(layout, frame)
    found = []
    for edge in (*layout.short, *layout.lanes):
        x, y = ends[edge][1]
        wide = _HEAD_IN * 0.55
        corners = [(x, y), (x - wide, y - _HEAD_IN), (x + wide, y - _HEAD_IN), (x, y)]
        found.append(Path(np.array(corners), closed=True))
    return found


def stubs(
    part: Sequence[OperationFacts],
    layout: Layout,
    frame: Frame,
    takers: Mapping[int, Sequence[int]],
) -> Iterator[Stub]:
    """Yield where values come from that no arrow brings, and where they go.

    Args:
        part: the operations that are laid out.
        layout: of these.
        frame: where they are drawn.
        takers: by number of an operation, those of all that take its output.
    """
    arrows = {*layout.short, *layout.lanes}
    for each in part:
        left, top = frame.corner(layout.places[each.number])
        x, bottom = left + frame.box_in * 0.86, top + frame.height_in
        sources = [source for source in each.takes if (source, each.number) not in arrows]
        if sources:
            yield Stub(x=x, y=top - _STUB_IN, length=_STUB_IN, text=_from(sources))
        given = takers.get(each.number, ())
        unseen = [target for target in given if (each.number, target) not in arrows]
        if not given:
            yield Stub(x=x, y=bottom, length=_STUB_IN, text="output")
        elif unseen:
            yield Stub(x=x, y=bottom, length=_STUB_IN, text=f"to {_named(unseen)}")


def _from(sources: Sequence[int]) -> str:
    if MODEL_INPUT not in sources:
        return f"from {_named(sources)}"
    others = [each for each in sources if each != MODEL_INPUT]
    return f"input, {_named(others)}" if others else "input"


def _named(numbers: Sequence[int]) -> str:
    named = ", ".join(map(str, sorted(numbers)[:_MAX_NAMED]))
    return f"{named}, …" if len(numbers) > _MAX_NAMED else named


def _ends(
    layout: Layout, frame: Frame
) -> dict[Edge, tuple[tuple[float, float], tuple[float, float]]]:
    """Return where each edge leaves its box and where it enters the next, side by side."""
    edges = (*layout.short, *layout.lanes)
    slots = {number: at.slot for number, at in layout.places.items()}
    leaving: dict[int, list[Edge]] = {}
    entering: dict[int, list[Edge]] = {}
    for edge in edges:
        leaving.setdefault(edge[0], []).append(edge)
        entering.setdefault(edge[1], []).append(edge)
    x: dict[tuple[Edge, int], float] = {}
    for side, found in ((0, leaving), (1, entering)):
        for number, touching in found.items():
            left, _ = frame.corner(layout.places[number])
            other = 1 - side
            touching.sort(key=lambda e: (e in layout.lanes, slots[e[other]], e))
            for at, edge in enumerate(touching, 1):
                x[edge, side] = left + frame.box_in * at / (len(touching) + 1)
    return {
        edge: (
            (x[edge, 0], frame.corner(layout.places[edge[0]])[1] + frame.height_in),
            (x[edge, 1], frame.corner(layout.places[edge[1]])[1]),
        )
        for edge in edges
    }


def _bend(x: float, y: float, to_x: float, to_y: float) -> tuple[np.ndarray, list[int]]:
    """Return a curve that begins and ends going down and stays between the two heights."""
    points = np.array([(x, y), (x, to_y), (to_x, y), (to_x, to_y)])
    codes: list[int] = [int(Path.MOVETO), *[int(Path.CURVE4)] * 3]
    return points, codes
