"""Where operations stand in the picture of a graph."""

from __future__ import annotations

import random

import pytest

from edgeops.reports.figures.graph_edges import Frame, curves, heads
from edgeops.reports.graph_layout import (
    ACROSS,
    MAX_LANES,
    ROWS_WANTED,
    STRAIGHT,
    Layout,
    edges_among,
    laid_out,
)
from edgeops.reports.package_facts import OperationFacts
from tests.package_facts import operation


def laid(operations: list[OperationFacts]) -> Layout:
    return laid_out(operations, Frame.fitting)


def chain(count: int) -> list[OperationFacts]:
    return [operation(i, "CONV_2D", i - 1) for i in range(1, count + 1)]


def places_of(layout: Layout) -> dict[int, tuple[int, int, int]]:
    return {number: (at.column, at.row, at.slot) for number, at in layout.places.items()}


def test_a_short_chain_is_one_straight_column() -> None:
    layout = laid(chain(4))
    assert places_of(layout) == {i: (0, i - 1, 0) for i in range(1, 5)}
    assert layout.short == ((1, 2), (2, 3), (3, 4))
    assert not layout.lanes and not layout.cut


def test_a_long_chain_goes_on_in_the_next_column_and_the_edge_between_is_cut() -> None:
    layout = laid(chain(2 * ROWS_WANTED))
    assert (layout.columns, layout.rows) == (2, ROWS_WANTED)
    assert layout.cut == ((ROWS_WANTED, ROWS_WANTED + 1),)


def test_a_column_is_broken_where_fewest_edges_are_cut() -> None:
    blocks = [operation(1, "CONV_2D", 0)]
    for first in range(1, 22, 3):  # blocks of three: the sum takes what came before the block
        blocks += [
            operation(first + 1, "CONV_2D", first),
            operation(first + 2, "CONV_2D", first + 1),
            operation(first + 3, "ADD", first, first + 2),
        ]
    layout = laid(blocks)
    assert layout.columns == 2
    assert len(layout.cut) == 2 and len({source for source, _ in layout.cut}) == 1


def test_a_jump_over_the_chain_runs_in_a_lane_beside_it() -> None:
    layout = laid([*chain(3), operation(4, "ADD", 1, 3)])
    assert {edge: (lane.slot, lane.at) for edge, lane in layout.lanes.items()} == {(1, 4): (0, 0)}


def test_a_short_branch_goes_straight_down_and_the_long_one_stays_in_line() -> None:
    layout = laid(
        [
            operation(1, "CONV_2D", 0),
            operation(2, "CONV_2D", 1),
            operation(3, "CONV_2D", 2),
            operation(4, "CONV_2D", 1),
            operation(5, "ADD", 3, 4),
        ]
    )
    line = {layout.places[number].slot for number in (1, 2, 3, 5)}
    assert len(line) == 1 and layout.places[4].slot not in line
    assert layout.lanes[4, 5].at == STRAIGHT


def test_what_takes_nothing_stands_directly_above_what_takes_it() -> None:
    layout = laid([operation(1, "DEQUANTIZE"), *[operation(i, "X", i - 1) for i in range(3, 8)],
                   operation(8, "ADD", 1, 7)])  # fmt: skip
    assert layout.places[1].row == layout.places[8].row - 1


def test_a_row_that_is_too_full_is_split() -> None:
    many = [operation(1, "SPLIT", 0), *[operation(i, "X", 1) for i in range(2, 12)]]
    layout = laid(many)
    rows = [(at.column, at.row) for at in layout.places.values()]
    assert max(rows.count(row) for row in rows) == ACROSS
    assert layout.rows == 4


@pytest.mark.parametrize("seed", range(20))
def test_any_graph_is_drawn_with_every_box_in_the_page_and_none_over_another(seed: int) -> None:
    chance = random.Random(seed)
    count = chance.randrange(1, 120)
    operations = [
        operation(i, "X", *sorted({chance.randrange(max(0, i - 9), i) for _ in range(3)}))
        for i in range(1, count + 1)
    ]
    layout = laid(operations)
    assert set(layout.places) == {each.number for each in operations}
    edges = {*layout.short, *layout.lanes, *layout.cut}
    assert edges == set(edges_among(operations))
    for source, target in (*layout.short, *layout.lanes):
        assert layout.places[source].row < layout.places[target].row
    assert all(STRAIGHT <= lane.at < MAX_LANES for lane in layout.lanes.values())
    frame = Frame.of(layout, top_in=0.5, is_roomy=False)
    corners = sorted(frame.corner(at) for at in layout.places.values())
    assert corners[0][0] >= 0 and corners[-1][0] + frame.box_in <= 7.2
    for at, (left, top) in enumerate(corners):
        for other_left, other_top in corners[at + 1 :]:
            assert other_left - left >= frame.box_in or abs(other_top - top) >= frame.height_in
    assert len(curves(layout, frame)) == len(heads(layout, frame)) == len(edges) - len(layout.cut)


def test_edges_of_a_damaged_graph_that_go_backward_are_left_out() -> None:
    assert edges_among([operation(1, "X", 2), operation(2, "X", 1, 2)]) == [(1, 2)]
