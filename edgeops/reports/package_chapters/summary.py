"""The package in a few figures, and what its gates found."""

from __future__ import annotations

from collections.abc import Iterator

from edgeops.reports.before_after import AS_IS
from edgeops.reports.document import (
    Block,
    Cell,
    Column,
    Figures,
    Heading,
    Paragraph,
    Section,
    Table,
)
from edgeops.reports.facts import VariantFacts
from edgeops.reports.figures.canvas import Canvas
from edgeops.reports.operators import amount
from edgeops.reports.package_facts import ArtifactFacts, GateFacts, PackageFacts
from edgeops.reports.wording import counted, drawn, listed, percent, points, size

MAX_VARIANTS = 6
"""Of which a page tells; of more, that there are more."""
_MAX_FOUND = 600
_MAX_VERDICTS = 64


def summary(facts: PackageFacts, _: Canvas) -> Section:
    """Return the figures of every variant, and the verdict of every gate."""
    blocks: list[Block] = [*_signature(facts)]
    for variant in facts.variants[:MAX_VARIANTS]:
        profiles = listed([drawn(each, 64) for each in variant.profiles]) or "no profile"
        blocks.append(Heading(text=f"For {profiles}", aside=_made(facts, variant)))
        items = tuple(_figures(variant, facts.artifact_on(variant.runtime)))
        blocks.append(Figures(items=items, is_dense=True))
    left_out = len(facts.variants) - MAX_VARIANTS
    if left_out > 0:
        blocks.append(Paragraph(text=f"{counted(left_out, 'variant')} more left out."))
    blocks.extend(_measured(facts))
    blocks.append(Heading(text="Gates"))
    blocks.append(_gates(facts))
    return Section(
        anchor="summary",
        title="Summary",
        lead=(
            "What the package brings to each kind of board, against the float model that it was "
            "made from, and what its gates found before it was signed."
        ),
        blocks=tuple(blocks),
    )


def _signature(facts: PackageFacts) -> Iterator[Paragraph]:
    found = drawn(facts.found, _MAX_FOUND)
    if facts.signature == "not trusted":
        yield Paragraph(
            text=f"Do not believe this page, anybody may have written what it says: {found}.",
            tone="bad",
        )
    elif facts.signature != "trusted":
        yield Paragraph(text=f"Whose signature it bears was not checked: {found}.", tone="quiet")
    if not facts.has_record:
        yield Paragraph(
            text=(
                "This package carries no build record. So it is not known what its gates found, "
                "how its files were made, and what is in them; only what its manifest says is "
                "shown."
            ),
            tone="quiet",
        )


def _made(facts: PackageFacts, variant: VariantFacts) -> str:
    artifact = facts.artifact_on(variant.runtime)
    said = made_by(artifact) if artifact is not None else ""
    return f"{variant.runtime}, {said}" if said else variant.runtime


def made_by(artifact: ArtifactFacts) -> str:
    """Return how a file was made, in words; empty if that is not known."""
    if artifact.recipe == AS_IS:
        return "as it was given"
    return f"by {drawn(artifact.recipe, 64)}" if artifact.recipe else ""


def _figures(
    variant: VariantFacts, artifact: ArtifactFacts | None
) -> Iterator[tuple[str, str, str]]:
    evidence = variant.evidence
    remark = ""
    if evidence is not None and evidence.recipe != AS_IS:
        ratio = evidence.float_size_bytes / max(1, evidence.size_bytes)
        remark = (
            f"{ratio:.1f} times smaller"
            if ratio >= 1.05
            else f"not smaller than {size(evidence.float_size_bytes)}"
        )
    yield size(variant.size_bytes), "file", remark
    if evidence is not None:
        lost = f"{points(-evidence.drop_high)} to {points(-evidence.drop_low)} points"
        yield percent(evidence.accuracy), "answered right", "" if evidence.recipe == AS_IS else lost
        if evidence.sqnr_db is not None and evidence.recipe != AS_IS:
            yield f"{evidence.sqnr_db:.1f} dB", "SQNR", "likeness of scores"
    if variant.metric is not None:
        yield (
            f"{variant.metric.value:.4g}",
            variant.metric.name,
            "float model: " + (f"{variant.metric.float_value:.4g}"),
        )
    if evidence is None and variant.golden_accuracy is not None:
        yield percent(variant.golden_accuracy), "answered right", "of golden rows"
    if artifact is not None and artifact.operations:
        yield amount(artifact.macs), "MACs", "multiplications with addition, a row"
        yield size(artifact.peak_bytes), "peak", "of values in memory, at least"


def _measured(facts: PackageFacts) -> Iterator[Block]:
    """Yield what the host that packaged measured; of a board nothing is known here."""
    if not facts.runs:
        return
    yield Heading(text="On the host that packaged", aside=drawn(facts.host, 120))
    titles = ("runtime", "latency, median", "95th percentile", "memory grew by", "threads")
    rows = [
        (
            Cell(text=drawn(each.package, 80)),
            Cell(text=f"{each.latency_ms:.3f} ms"),
            Cell(text=f"{each.latency_ms_p95:.3f} ms"),
            Cell(text="-" if each.memory_mib is None else f"{each.memory_mib:.1f} MiB"),
            Cell(text=str(each.threads)),
        )
        for each in facts.runs[:MAX_VARIANTS]
    ]
    yield Table(
        columns=tuple(Column(title=title, is_figure=at > 0) for at, title in enumerate(titles)),
        rows=tuple(rows),
        note=(
            "Of that host alone, and not signed. It is not the board's latency: no profile has a "
            "figure of that with a source; devices measure it and hold it to their budget."
        ),
    )


def _gates(facts: PackageFacts) -> Table:
    rows = [row for gate in facts.gates for row in _of_gate(gate, has_record=facts.has_record)]
    titles = ("gate", "verdict", "what was found")
    more = len(rows) - _MAX_VERDICTS
    return Table(
        columns=tuple(Column(title=title) for title in titles),
        rows=tuple(rows[:_MAX_VERDICTS]),
        note=(
            "A gate that is missed refuses the package, unless a person waives it and says why."
            + (f" {counted(more, 'verdict')} more left out." if more > 0 else "")
        ),
    )


def _of_gate(gate: GateFacts, *, has_record: bool) -> Iterator[tuple[Cell, ...]]:
    name = drawn(gate.name, 40)
    for each in gate.verdicts:
        word, tone = ("held", "good") if each.holds else ("missed", "bad")
        yield Cell(text=name), Cell(text=word, tone=tone), Cell(text=drawn(each.found, _MAX_FOUND))
        name = ""
    if gate.waived:
        reason = Cell(text=f"because: {drawn(gate.waived, _MAX_FOUND)}")
        yield Cell(text=name), Cell(text="waived", tone="bad"), reason
    elif not gate.verdicts:
        said = "nothing was asked of it" if has_record else "not known"
        yield Cell(text=name), Cell(text="-", tone="quiet"), Cell(text=said, tone="quiet")
