"""Which recipes a search tried, and which of them are worth having."""

from __future__ import annotations

from collections.abc import Iterator

from edgeops.reports.document import (
    Block,
    Cell,
    Column,
    Heading,
    Paragraph,
    Picture,
    Section,
    Table,
)
from edgeops.reports.figures.canvas import Canvas
from edgeops.reports.figures.pareto import draw_pareto
from edgeops.reports.package_facts import ArtifactFacts, PackageFacts, TrialFacts
from edgeops.reports.wording import counted, drawn, percent, size

MAX_ARTIFACTS = 3
"""Files of which a page tells; there is one for each format."""
_MAX_TRIALS = 100
_MAX_WHY = 300


def search(facts: PackageFacts, canvas: Canvas) -> Section | None:
    """Return the trials of every search, as a picture and a table; None if there was none."""
    searched = [each for each in facts.artifacts if each.trials][:MAX_ARTIFACTS]
    if not searched:
        return None
    blocks = [block for each in searched for block in _of_artifact(facts, each, canvas)]
    return Section(
        anchor="search",
        title="Search for the recipe",
        lead=(
            "Each candidate was made, and run on calibration rows from which it took no ranges: "
            "how many bytes it has, and how near its scores are to the float model's. Small and "
            "near is good; one usually costs the other."
        ),
        blocks=tuple(blocks),
    )


def _of_artifact(facts: PackageFacts, artifact: ArtifactFacts, canvas: Canvas) -> Iterator[Block]:
    yield Heading(text=f".{artifact.format}", aside=f"chosen: {drawn(artifact.recipe, 64)}")
    if any(each.size_bytes is not None for each in artifact.trials):
        yield Picture(
            svg=canvas.draw(
                lambda: draw_pareto(artifact.trials, _float_bytes(facts, artifact)),
                f"Candidates of {facts.model}:{facts.number} by size and likeness",
            ),
            caption=(
                "Up is nearer to the float model, left is smaller. The line joins the candidates "
                "than which none is both smaller and nearer; the ring is the chosen one. Crosses "
                "cannot be taken. The numbers are those of the table; of points that lie together "
                "only one has its number."
            ),
        )
    yield _table(artifact.trials)
    if artifact.objective:
        yield Paragraph(text=_aim(artifact))
    if artifact.stopped:
        yield Paragraph(text=f"Why it stopped: {drawn(artifact.stopped, _MAX_WHY)}.")


def _aim(artifact: ArtifactFacts) -> str:
    said = f"It searched by {drawn(artifact.objective, 40)}."
    if artifact.float_ms is not None:
        said += f" The float model took {artifact.float_ms:.3f} ms a row on the host that packaged."
    return said


def _float_bytes(facts: PackageFacts, artifact: ArtifactFacts) -> int | None:
    found = [
        each.evidence.float_size_bytes
        for each in facts.variants
        if each.runtime in artifact.runtimes and each.evidence is not None
    ]
    return found[0] if found else None


def _table(trials: tuple[TrialFacts, ...]) -> Table:
    titles = (
        ("", True),
        ("candidate", False),
        ("size", True),
        ("likeness (SQNR)", True),
        ("same answer", True),
        ("latency on that host", True),
        ("verdict", False),
    )
    more = len(trials) - _MAX_TRIALS
    return Table(
        columns=tuple(Column(title=title, is_figure=figure) for title, figure in titles),
        rows=tuple(_row(number, each) for number, each in enumerate(trials[:_MAX_TRIALS], 1)),
        note=(
            "On the front: none that can be taken is both smaller and nearer."
            + (f" {counted(more, 'candidate')} more left out." if more > 0 else "")
        ),
    )


def _row(number: int, trial: TrialFacts) -> tuple[Cell, ...]:
    if trial.size_bytes is None or trial.sqnr_db is None or trial.agreement is None:
        figures = ("-", "-", "-", "-")
    else:
        agreement = percent(trial.agreement)
        took = "-" if trial.latency_ms is None else f"{trial.latency_ms:.3f} ms"
        figures = (size(trial.size_bytes), f"{trial.sqnr_db:.1f} dB", agreement, took)
    return (
        Cell(text=str(number), tone="quiet"),
        Cell(text=drawn(trial.recipe, 64)),
        *(Cell(text=each) for each in figures),
        _verdict(trial),
    )


def _verdict(trial: TrialFacts) -> Cell:
    if trial.chosen:
        return Cell(text="chosen", tone="good")
    if trial.why_not:
        return Cell(text=drawn(trial.why_not, _MAX_WHY), tone="bad")
    return Cell(text="on the front" if trial.on_front else "", tone="quiet")
