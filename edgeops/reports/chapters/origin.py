"""8. Where versions come from, and whether the record of it is whole."""

from __future__ import annotations

from edgeops.reports.chapters.desk import Desk
from edgeops.reports.document import Block, Heading, Paragraph, Section, Terms
from edgeops.reports.facts import VersionFacts
from edgeops.reports.moments import utc
from edgeops.reports.wording import counted, size


def origin(desk: Desk) -> Section:
    """Return the lineage of every version, and the state of the audit."""
    blocks: list[Block] = []
    for version in desk.facts.versions:
        blocks.append(Heading(text=f"Version {version.number}", aside=", ".join(version.aliases)))
        blocks.append(Terms(items=_terms(desk, version)))
    entries, unbroken = desk.facts.audit
    if entries:
        blocks.append(Heading(text="Audit"))
        blocks.append(_audit(entries, unbroken=unbroken))
    return Section(
        anchor="lineage",
        title="Lineage and audit",
        lead=(
            "Where each version comes from, who published it and what was waived; the audit is a "
            "chain in which no entry can be changed without breaking it."
        ),
        blocks=tuple(blocks),
    )


def _terms(desk: Desk, version: VersionFacts) -> tuple[tuple[str, str], ...]:
    items = [
        ("digest", version.digest),
        ("published", f"{desk.when(version.created_s)} ({utc(version.created_s)})"),
        ("by", version.created_by),
    ]
    items += [
        ("artifact", f"{each.runtime}, {size(each.size_bytes)}, {', '.join(each.profiles)}")
        for each in version.variants
    ]
    items += list(version.lineage)
    items += [("waived", f"gate {gate}: {reason}") for gate, reason in version.waivers]
    return tuple(items)


def _audit(entries: int, *, unbroken: bool) -> Paragraph:
    said = counted(entries, "entry", "entries")
    if unbroken:
        return Paragraph(
            text=f"{said}, each holding the hash of the one before: unbroken.", tone="good"
        )
    return Paragraph(
        text=f"{said}: the chain is broken, so entries were changed outside the hub.", tone="bad"
    )
