"""What the conversion to the device's format cost, variant by variant."""

from __future__ import annotations

from edgeops.reports.before_after import LEAD, before_and_after
from edgeops.reports.document import Block, Paragraph, Section
from edgeops.reports.figures.canvas import Canvas
from edgeops.reports.package_chapters.summary import MAX_VARIANTS
from edgeops.reports.package_facts import PackageFacts
from edgeops.reports.wording import drawn, listed


def quantization(facts: PackageFacts, canvas: Canvas) -> Section:
    """Return accuracy, classes, slices and confusions of every variant, before and after."""
    blocks: list[Block] = []
    for variant in facts.variants[:MAX_VARIANTS]:
        profiles = listed([drawn(each, 64) for each in variant.profiles]) or "no profile"
        blocks += before_and_after(
            canvas,
            variant,
            facts.labels,
            title=f"For {profiles}",
            of=f"{facts.model}:{facts.number}",
        )
    if not blocks:
        said = "It was packaged without evaluation rows and without golden rows that have labels."
        blocks = [Paragraph(text=f"{said} So nothing is known of its accuracy.", tone="quiet")]
    return Section(
        anchor="quantization",
        title="Before and after quantization",
        lead=LEAD,
        blocks=tuple(blocks),
    )
