"""The graph of every file as a picture."""

from __future__ import annotations

from collections.abc import Iterator

from edgeops.reports.document import Block, Heading, Picture, Section
from edgeops.reports.figures.canvas import Canvas
from edgeops.reports.figures.graph import MAX_DRAWN, draw_graph
from edgeops.reports.operators import connected
from edgeops.reports.package_chapters.search import MAX_ARTIFACTS
from edgeops.reports.package_chapters.unknown import unread
from edgeops.reports.package_facts import ArtifactFacts, PackageFacts
from edgeops.reports.wording import counted


def graph(facts: PackageFacts, canvas: Canvas) -> Section:
    """Return a picture of each artifact: its operations and what flows between them."""
    blocks: list[Block] = []
    for each in facts.artifacts[:MAX_ARTIFACTS]:
        blocks += _of_artifact(facts, each, canvas)
    return Section(
        anchor="graph",
        title="The graph",
        lead=(
            "Operators in the order of computing, from top to bottom and then from left to right; "
            "an arrow is a value that one makes and another takes."
        ),
        blocks=tuple(blocks),
    )


def _of_artifact(facts: PackageFacts, artifact: ArtifactFacts, canvas: Canvas) -> Iterator[Block]:
    operations = artifact.operations
    yield Heading(text=f".{artifact.format}", aside=counted(len(operations), "operator"))
    if not operations:
        yield unread(facts)
        return
    shown = connected(operations)
    yield Picture(
        svg=canvas.draw(
            lambda: draw_graph(shown),
            f"Graph of {facts.model}:{facts.number} as .{artifact.format}",
        ),
        caption=_caption(len(shown), len(operations) - len(shown)),
    )


def _caption(shown: int, unpacking: int) -> str:
    boxes = "Each box has the operator's number and type, and the bytes of its output; the colour"
    said = [f"{boxes} is how its weights are stored."]
    if shown > MAX_DRAWN:
        between = counted(shown - MAX_DRAWN, "operator")
        said.append(
            f"The first and the last {MAX_DRAWN // 2} are drawn, not the {between} between."
        )
    if unpacking:
        said.append(f"Not drawn: {counted(unpacking, 'operator')} that only unpack constants.")
    return " ".join(said)
