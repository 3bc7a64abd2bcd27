"""6. What was done about it: request, data, contest, verdict."""

from __future__ import annotations

from edgeops.reports.chapters.desk import Desk
from edgeops.reports.document import (
    Block,
    Cell,
    Column,
    Heading,
    Paragraph,
    Picture,
    Section,
    Table,
    Terms,
)
from edgeops.reports.facts import ContestFacts, RetrainFacts
from edgeops.reports.figures.gains import draw_gains
from edgeops.reports.moments import duration
from edgeops.reports.wording import percent, points, worded

_MAX_DATA = 20


def retraining(desk: Desk) -> Section:
    """Return each retraining from its request to its verdict."""
    blocks: list[Block] = []
    for each in desk.facts.retrainings:
        blocks += _of_retraining(desk, each)
    return Section(
        anchor="retraining",
        title="Retraining",
        lead=(
            "A new model was trained and had to beat the one in service on the same rows; an "
            "interval wholly to the right of zero says that it is better there, beyond chance."
        ),
        blocks=tuple(blocks),
    )


def _of_retraining(desk: Desk, each: RetrainFacts) -> list[Block]:
    name = f"Retraining {each.id}"
    blocks: list[Block] = [
        Heading(text=name, aside=worded(each.state)),
        Terms(items=_request(desk, each)),
    ]
    if each.contests:
        blocks += [
            _contests(each.contests),
            Picture(
                svg=desk.canvas.draw(lambda: draw_gains(each.contests), f"{name}: new against old"),
                caption=(
                    "The gain in accuracy with its interval: green is better beyond chance, "
                    "vermilion worse, grey undecided."
                ),
            ),
        ]
    blocks.append(_verdict(each))
    return blocks


def _request(desk: Desk, each: RetrainFacts) -> tuple[tuple[str, str], ...]:
    took = f", took {duration(each.ended_s - each.started_s)}" if each.ended_s is not None else ""
    items = [
        ("asked by", f"alarm {each.alarm}" if each.alarm else "a person"),
        ("from", f"version {each.parent}"),
        ("started", f"{desk.when(each.started_s)}{took}"),
    ]
    items += [("" if i else "trained on", part) for i, part in enumerate(each.data[:_MAX_DATA])]
    if len(each.data) > _MAX_DATA:
        items.append(("", f"and {len(each.data) - _MAX_DATA} more"))
    items += [(metric, f"{value:.4g}") for metric, value in each.metrics]
    return tuple(items)


def _contests(contests: tuple[ContestFacts, ...]) -> Table:
    titles = (
        ("on these rows", False),
        ("rows", True),
        ("old", True),
        ("new", True),
        ("gain", True),
    )
    return Table(
        columns=tuple(Column(title=title, is_figure=figure) for title, figure in titles),
        rows=tuple(
            (
                Cell(text=each.rows_name),
                Cell(text=str(each.rows)),
                Cell(text=percent(each.champion)),
                Cell(text=percent(each.challenger)),
                Cell(text=points(each.challenger - each.champion), tone=_tone(each)),
            )
            for each in contests
        ),
    )


def _tone(contest: ContestFacts) -> str:
    if contest.gain_low > 0:
        return "good"
    return "bad" if contest.gain_high < 0 else "quiet"


def _verdict(each: RetrainFacts) -> Paragraph:
    made = f"it became version {each.child}" if each.child is not None else worded(each.state)
    why = f" ({each.why})" if each.why else ""
    tone = "good" if each.child is not None else "quiet" if each.ended_s is None else "bad"
    return Paragraph(text=f"Verdict: {made}{why}.", tone=tone)
