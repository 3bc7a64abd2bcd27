"""How many bytes of values exist while each operator runs."""

from __future__ import annotations

from collections.abc import Iterator

from edgeops.reports.document import Block, Cell, Column, Heading, Picture, Section, Table
from edgeops.reports.figures.canvas import Canvas
from edgeops.reports.figures.memory import draw_memory
from edgeops.reports.operators import connected, short_name
from edgeops.reports.package_chapters.search import MAX_ARTIFACTS
from edgeops.reports.package_chapters.summary import made_by
from edgeops.reports.package_chapters.unknown import unread
from edgeops.reports.package_facts import ArtifactFacts, OperationFacts, PackageFacts
from edgeops.reports.wording import counted, drawn, size

_MOST = 5


def memory(facts: PackageFacts, canvas: Canvas) -> Section:
    """Return the bytes alive at each operator of every artifact, and where they are most."""
    blocks: list[Block] = []
    for each in facts.artifacts[:MAX_ARTIFACTS]:
        blocks += _of_artifact(facts, each, canvas)
    return Section(
        anchor="memory",
        title="Memory over operators",
        lead=(
            "Inputs, outputs and inner values that exist while each operator runs, one row at a "
            "time. The highest place decides how much memory a board must have for them."
        ),
        blocks=tuple(blocks),
    )


def _of_artifact(facts: PackageFacts, artifact: ArtifactFacts, canvas: Canvas) -> Iterator[Block]:
    yield Heading(text=f".{artifact.format}", aside=made_by(artifact))
    if not artifact.operations:
        yield unread(facts)
        return
    # What an operator only unpacks is counted where it is used.
    constants = sum(each.constant_bytes for each in connected(artifact.operations))
    yield Picture(
        svg=canvas.draw(
            lambda: draw_memory(artifact.operations),
            f"Bytes alive at each operator of {facts.model}:{facts.number}",
        ),
        caption=(
            f"At most {size(artifact.peak_bytes)} of values at once. Weights and other constants "
            f"take {size(constants)} beside them; the whole file has {size(artifact.size_bytes)}. "
            "It is a lower bound: a runtime adds what it needs for itself, and may place values "
            "less well."
        ),
    )
    if len(artifact.operations) > _MOST:
        yield _most(artifact)


def _most(artifact: ArtifactFacts) -> Table:
    ordered = sorted(artifact.operations, key=lambda each: (-each.live_bytes, each.number))
    peak_bytes = ordered[0].live_bytes
    at_peak = sum(each.live_bytes == peak_bytes for each in ordered)
    return Table(
        columns=(
            Column(title="", is_figure=True),
            Column(title="where it is most"),
            Column(title="name"),
            Column(title="values at once", is_figure=True),
            Column(title="its output", is_figure=True),
        ),
        rows=tuple(_row(each) for each in ordered[:_MOST]),
        note=f"{counted(at_peak, 'operator')} reach the peak." if at_peak > 1 else "",
    )


def _row(each: OperationFacts) -> tuple[Cell, ...]:
    return (
        Cell(text=str(each.number), tone="quiet"),
        Cell(text=drawn(each.type, 40)),
        Cell(text=short_name(each.name, 28), tone="quiet"),
        Cell(text=size(each.live_bytes)),
        Cell(text=size(each.output_bytes)),
    )
