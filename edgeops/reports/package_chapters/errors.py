"""How far the scores of single rows went off."""

from __future__ import annotations

from edgeops.reports.document import Block, Heading, Paragraph, Picture, Section
from edgeops.reports.figures.canvas import Canvas
from edgeops.reports.figures.errors import draw_errors
from edgeops.reports.package_chapters.summary import MAX_VARIANTS
from edgeops.reports.package_facts import ErrorFacts, PackageFacts
from edgeops.reports.wording import counted, drawn, fine_percent


def errors(facts: PackageFacts, canvas: Canvas) -> Section:
    """Return a histogram of the rows by their error for each runtime."""
    blocks: list[Block] = []
    for each in facts.errors[:MAX_VARIANTS]:
        blocks.append(
            Heading(text=f"On {drawn(each.runtime, 64)}", aside=counted(each.rows, "row"))
        )
        blocks.append(
            Picture(
                svg=canvas.draw(
                    lambda each=each: draw_errors(each),  # type: ignore[misc]
                    f"Errors of the scores of {facts.model}:{facts.number} on {each.runtime}",
                ),
                caption=_caption(each),
            )
        )
    if not blocks:
        said = "It was not measured" if facts.has_record else "Without a build record"
        reason = (
            ": that takes evaluation rows, and an artifact that was made from a float model."
            if facts.has_record
            else " it is not known."
        )
        blocks.append(Paragraph(text=said + reason, tone="quiet"))
    return Section(
        anchor="errors",
        title="Errors of the scores",
        lead=(
            "How much the scores of each evaluation row changed, whether or not its answer did. A "
            "mean hides a few rows that went far off; here they stand on the right."
        ),
        blocks=tuple(blocks),
    )


def _caption(each: ErrorFacts) -> str:
    within = f"{fine_percent(each.median)}, 95 % within {fine_percent(each.p95)}"
    measure = (
        "Rows by the root mean square of the difference between the artifact's scores and the "
        "float model's, as a share of the root mean square of all the float model's scores. "
        "Heights are stretched so that a few rows show."
    )
    said = [measure, f"Half are within {within}; the worst is at {fine_percent(each.worst)}."]
    if each.counts and each.counts[0]:
        said.append("The first bar also holds all that is smaller.")
    if each.counts and each.counts[-1]:
        said.append("The last bar also holds all that is larger.")
    if each.same:
        same = counted(each.same, "row")
        said.append(f"{same} with exactly the float model's scores are not drawn.")
    return " ".join(said)
