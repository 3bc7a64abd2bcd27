"""2. What the conversion to the device's format cost."""

from __future__ import annotations

from edgeops.reports.before_after import LEAD, before_and_after
from edgeops.reports.chapters.desk import Desk
from edgeops.reports.document import Block, Section


def quantization(desk: Desk) -> Section:
    """Return accuracy, classes and confusions of every variant, before and after."""
    blocks: list[Block] = []
    for version in desk.facts.versions:
        for variant in version.variants:
            profiles = ", ".join(variant.profiles) or "no profile"
            blocks += before_and_after(
                desk.canvas,
                variant,
                version.labels,
                title=f"Version {version.number} for {profiles}",
                of=f"version {version.number}",
            )
    return Section(
        anchor="quantization",
        title="Before and after quantization",
        lead=LEAD,
        blocks=tuple(blocks),
    )
