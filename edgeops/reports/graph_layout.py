"""Where the operations of a graph stand in its picture: rows from top to bottom, and columns.

1. An operation stands below those whose outputs it takes; one that takes nothing stands directly
   above the first that takes its output.
2. A row has at most ``ACROSS`` places; a fuller one is split.
3. An operation stands near those that it takes from: a chain, and the longest of a few branches,
   is a straight line.
4. Many rows are broken into columns, where the fewest values pass.
5. An edge over several rows goes straight down where nothing stands below, else in a lane beside
   the boxes; one to another column is cut.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from edgeops.reports.package_facts import OperationFacts

ACROSS = 4
"""Operations side by side that can still be read."""
MAX_LANES = 6
"""Lanes beside a column; further edges share the outermost."""
MAX_COLUMNS = 4
ROWS_WANTED = 11
"""Rows from which on another column is worth it."""
STRAIGHT = -1
_FEW = 2
"""Up to so many sources the lowest one decides where an operation stands; of more, all do."""
_SHIFT = 2
"""A column may be broken so many rows earlier or later."""

Edge = tuple[int, int]
"""Numbers of the operation that makes a value and of one that takes it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where an operation stands: column and row from 0, and its slot in the row."""

    column: int
    row: int
    slot: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Lane:
    """Where an edge runs: right of the boxes in a slot, counted from 0 from the inside.

    ``at`` is ``STRAIGHT`` where it goes down in the slot itself, which is empty there.
    """

    slot: int
    at: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """One part of a graph.

    Attributes:
        places: by number of the operation.
        columns: how many there are.
        rows: of the longest column.
        slots: of every column.
        short: edges to the next row.
        lanes: edges over several rows of one column, with the lane of each.
        cut: edges to another column.
    """

    places: Mapping[int, Place]
    columns: int
    rows: int
    slots: int
    short: tuple[Edge, ...]
    lanes: Mapping[Edge, Lane]
    cut: tuple[Edge, ...]


def laid_out(operations: Sequence[OperationFacts], fitting: Callable[[int, int], int]) -> Layout:
    """Return the layout of operations that belong together.

    Args:
        operations: in the order of computing; edges from others are left out.
        fitting: how many columns of so many slots, with so many lanes, fit beside each other.
    """
    edges = edges_among(operations)
    rows = _split(_ranked([each.number for each in operations], edges))
    slots = _slotted(rows, edges)
    used = sorted(set(slots.values()))
    wide = used[-1] - used[0] + 1
    row_of = {number: at for at, row in enumerate(rows) for number in row}
    jumps = any(row_of[b] - row_of[a] > 1 for a, b in edges)
    fit = fitting(wide, MAX_LANES if jumps else 0)
    columns = min(MAX_COLUMNS, fit, max(1, -(-len(rows) // ROWS_WANTED)))
    starts = _broken(len(rows), columns, _reach(row_of, edges))
    places = {}
    for number, row in row_of.items():
        column = max(at for at, start in enumerate(starts) if start <= row)
        places[number] = Place(
            column=column, row=row - starts[column], slot=slots[number] - used[0]
        )
    inside = [(a, b) for a, b in edges if places[a].column == places[b].column]
    long = [(a, b) for a, b in inside if places[b].row - places[a].row > 1]
    return Layout(
        places=places,
        columns=columns,
        rows=1 + max(each.row for each in places.values()),
        slots=wide,
        short=tuple(each for each in inside if each not in set(long)),
        lanes=_lanes(long, places),
        cut=tuple(each for each in edges if places[each[0]].column != places[each[1]].column),
    )


def edges_among(operations: Sequence[OperationFacts]) -> list[Edge]:
    """Return the edges between these operations; all go forward."""
    known = {each.number for each in operations}
    return [
        (source, each.number)
        for each in operations
        for source in each.takes
        if source in known and source < each.number
    ]


def _ranked(numbers: Sequence[int], edges: Iterable[Edge]) -> dict[int, int]:
    """Return the rank of each: one more than the highest that it takes from."""
    takes: dict[int, list[int]] = {number: [] for number in numbers}
    gives: dict[int, list[int]] = {number: [] for number in numbers}
    for source, target in edges:
        takes[target].append(source)
        gives[source].append(target)
    ranks: dict[int, int] = {}
    for number in numbers:
        ranks[number] = 1 + max((ranks[each] for each in takes[number]), default=-1)
    for number in numbers:
        if not takes[number] and gives[number]:
            ranks[number] = min(ranks[each] for each in gives[number]) - 1
    return ranks


def _split(ranks: Mapping[int, int]) -> list[list[int]]:
    """Return rows of at most ``ACROSS``, in the order of ranks."""
    by_rank: dict[int, list[int]] = {}
    for number, rank in ranks.items():
        by_rank.setdefault(rank, []).append(number)
    return [
        sorted(by_rank[rank])[at : at + ACROSS]
        for rank in sorted(by_rank)
        for at in range(0, len(by_rank[rank]), ACROSS)
    ]


def _slotted(rows: Sequence[Sequence[int]], edges: Iterable[Edge]) -> dict[int, int]:
    """Return the slot of each: the free one that is nearest to those that it takes from."""
    takes: dict[int, list[int]] = {}
    for source, target in edges:
        takes.setdefault(target, []).append(source)
    middle = (ACROSS - 1) // 2
    slots: dict[int, int] = {}
    row_of = {number: at for at, row in enumerate(rows) for number in row}
    for row in rows:
        free = list(range(ACROSS))
        for number in sorted(row, key=lambda each: (each not in takes, each)):
            sources = takes.get(number, [])
            if len(sources) <= _FEW:
                sources = sorted(sources, key=lambda each: row_of[each])[-1:]
            near = [slots[each] for each in sources]
            wanted = sum(near) / len(near) if near else middle
            slots[number] = min(free, key=lambda slot: (abs(slot - wanted), slot))
            free.remove(slots[number])
    return slots


def _reach(row_of: Mapping[int, int], edges: Iterable[Edge]) -> list[tuple[int, int]]:
    """Return for each value the row that makes it and the last that takes it."""
    last: dict[int, int] = {}
    for source, target in edges:
        last[source] = max(last.get(source, 0), row_of[target])
    return [(row_of[source], row) for source, row in last.items()]


def _broken(rows: int, columns: int, spans: Sequence[tuple[int, int]]) -> list[int]:
    """Return the first row of each column: about equally many, where few values pass."""
    starts = [0]
    for column in range(1, columns):
        even = round(rows * column / columns)
        nearby = [row for row in range(even - _SHIFT, even + _SHIFT + 1) if starts[-1] < row < rows]
        if nearby:
            starts.append(min(nearby, key=lambda row: (_cut_at(row, spans), abs(row - even))))
    return starts


def _cut_at(row: int, spans: Sequence[tuple[int, int]]) -> int:
    return sum(first < row <= last for first, last in spans)


def _lanes(edges: Sequence[Edge], places: Mapping[int, Place]) -> dict[Edge, Lane]:
    """Return a lane for each edge, so that those in one lane do not meet; short ones inside."""
    standing: dict[tuple[int, int], list[int]] = {}
    for each in places.values():
        standing.setdefault((each.column, each.row), []).append(each.slot)
    taken: dict[tuple[int, int, int], list[tuple[int, int]]] = {}
    lanes: dict[Edge, Lane] = {}
    for edge in sorted(edges, key=lambda each: (places[each[1]].row - places[each[0]].row, each)):
        first, last = places[edge[0]], places[edge[1]]
        rows = [standing[first.column, row] for row in range(first.row, last.row + 1)]
        if all(first.slot not in row for row in rows[1:-1]):
            lanes[edge] = Lane(slot=first.slot, at=STRAIGHT)
            continue
        slot = max(map(max, rows))
        for at in range(MAX_LANES):
            others = taken.setdefault((first.column, slot, at), [])
            if all(last.row <= low or high <= first.row for low, high in others):
                break
        others.append((first.row, last.row))
        lanes[edge] = Lane(slot=slot, at=at)
    return lanes
