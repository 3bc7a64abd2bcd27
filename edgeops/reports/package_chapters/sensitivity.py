"""Which operators lose most when they are quantized."""

from __future__ import annotations

from collections.abc import Iterator

from edgeops.reports.document import Block, Cell, Column, Heading, Picture, Section, Table
from edgeops.reports.figures.canvas import Canvas
from edgeops.reports.figures.sensitivity import MAX_BARS, draw_sensitivity
from edgeops.reports.operators import spelled_out
from edgeops.reports.package_chapters.search import MAX_ARTIFACTS
from edgeops.reports.package_facts import ArtifactFacts, PackageFacts, SensitivityFacts
from edgeops.reports.wording import counted, drawn, fine_percent

_MAX_ROWS = 64
_MAX_NAME = 480


def sensitivity(facts: PackageFacts, canvas: Canvas) -> Section | None:
    """Return the error that each operator alone brings; None if that was not measured."""
    measured = [each for each in facts.artifacts if each.sensitivity][:MAX_ARTIFACTS]
    if not measured:
        return None
    blocks = [block for each in measured for block in _of_artifact(facts, each, canvas)]
    return Section(
        anchor="sensitivity",
        title="Sensitivity, operator by operator",
        lead=(
            "One operator at a time was quantized to 8 bits, all others stayed in floats. A long "
            "bar is an operator to leave in a wider precision."
        ),
        blocks=tuple(blocks),
    )


def _of_artifact(facts: PackageFacts, artifact: ArtifactFacts, canvas: Canvas) -> Iterator[Block]:
    found = artifact.sensitivity
    yield Heading(text=f".{artifact.format}", aside=counted(len(found), "operator"))
    yield Picture(
        svg=canvas.draw(
            lambda: draw_sensitivity(found),
            f"Sensitivity of the operators of {facts.model}:{facts.number}",
        ),
        caption=(
            "Root mean square of what changed in the scores, as a share of the scores themselves, "
            "on rows from which no range was taken. Numbers are the order of computing, the same "
            "in all chapters."
            + (
                f" The {MAX_BARS} costliest of {len(found)} are drawn."
                if len(found) > MAX_BARS
                else ""
            )
        ),
    )
    more = len(found) - _MAX_ROWS
    yield Table(
        columns=(
            Column(title="", is_figure=True),
            Column(title="type"),
            Column(title="name of its output"),
            Column(title="error", is_figure=True),
        ),
        rows=tuple(_row(each) for each in found[:_MAX_ROWS]),
        note=(
            "Of a name that a converter joined each part stands once."
            + (f" {counted(more, 'operator')} that cost less left out." if more > 0 else "")
        ),
    )


def _row(each: SensitivityFacts) -> tuple[Cell, ...]:
    return (
        Cell(text="-" if each.number is None else str(each.number), tone="quiet"),
        Cell(text=drawn(each.type, 40) or "-"),
        Cell(text=spelled_out(each.name, _MAX_NAME), tone="long", is_code=True),
        Cell(text=fine_percent(each.error)),
    )
