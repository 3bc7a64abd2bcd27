"""Where the package comes from, and what names its parts."""

from __future__ import annotations

from collections.abc import Iterator

from edgeops.reports.document import Block, Heading, Section, Terms
from edgeops.reports.figures.canvas import Canvas
from edgeops.reports.operators import short_name
from edgeops.reports.package_chapters.search import MAX_ARTIFACTS
from edgeops.reports.package_chapters.summary import made_by
from edgeops.reports.package_facts import ArtifactFacts, PackageFacts
from edgeops.reports.wording import counted, drawn, listed, size

_MAX_TERMS = 64
_MAX_VALUE = 400


def origin(facts: PackageFacts, _: Canvas) -> Section:
    """Return digests, signature and lineage of the package, and how each file was made."""
    blocks: list[Block] = [
        Heading(text="The package"),
        Terms(items=tuple(_package(facts))),
    ]
    for each in facts.artifacts[:MAX_ARTIFACTS]:
        blocks.append(Heading(text=f".{each.format}", aside=size(each.size_bytes)))
        blocks.append(Terms(items=tuple(_artifact(each))))
    if facts.lineage:
        blocks.append(Heading(text="Lineage", aside="as it was signed"))
        items = facts.lineage[:_MAX_TERMS]
        blocks.append(Terms(items=tuple((drawn(k, 60), drawn(v, _MAX_VALUE)) for k, v in items)))
    return Section(
        anchor="origin",
        title="Origin",
        lead=(
            "A digest names bytes and no others. With the build record and the float model the "
            "command edgeops verify --rebuild makes the files again, and compares them."
        ),
        blocks=tuple(blocks),
    )


def _package(facts: PackageFacts) -> Iterator[tuple[str, str]]:
    yield "digest", facts.digest
    yield "by the key", drawn(facts.key, 80)
    yield "signature", f"{facts.signature}: {drawn(facts.found, _MAX_VALUE)}"
    if facts.min_agent:
        yield "needs", f"agent {drawn(facts.min_agent, 40)} or newer"
    if facts.labels:
        names = listed([drawn(each, 40) for each in facts.labels[:40]], 40)
        more = len(facts.labels) - 40
        yield "classes", f"{names} and {more} more" if more > 0 else names


def _artifact(artifact: ArtifactFacts) -> Iterator[tuple[str, str]]:
    yield "digest", artifact.digest
    yield "made", made_by(artifact) or "not known"
    if artifact.source:
        yield "from the model", artifact.source
    if artifact.float_model:
        yield "float model", artifact.float_model
    if artifact.calibration:
        yield "calibration", artifact.calibration
    if artifact.ranges is not None:
        yield "ranges", f"of {counted(artifact.ranges, 'activation')}, in the build record"
    if artifact.excluded:
        names = listed([short_name(each, 40) for each in artifact.excluded[:12]], 12)
        more = len(artifact.excluded) - 12
        said = f"{names} and {more} more" if more > 0 else names
        yield "left in floats", f"{said}: some runtime misreads them"
    if artifact.tools:
        tools = [f"{drawn(name, 40)} {drawn(version, 40)}" for name, version in artifact.tools]
        yield "tools", listed(tools, 24)
    for each in artifact.notes[:12]:
        yield "note", drawn(each, _MAX_VALUE)
