"""One variant before and after quantization: tables and confusions, for every page with it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeAlias

from device_agent.protocol.evidence import (
    ClassEvidence,
    Evidence,
    MetricEvidence,
    MetricSlice,
    SliceEvidence,
)
from edgeops.reports.document import Block, Cell, Column, Heading, Picture, Table, Terms
from edgeops.reports.facts import VariantFacts
from edgeops.reports.figures.canvas import Canvas
from edgeops.reports.figures.confusion import draw_confusions
from edgeops.reports.wording import counted, percent, points, size

Part: TypeAlias = ClassEvidence | SliceEvidence
AS_IS = "as-is"
"""The recipe of a file that was packaged as it was given: there is nothing to compare with."""
LEAD = (
    "A model is made smaller for each kind of board; here both forms answered the same "
    "labelled rows, so the drop is what the smaller form costs: about zero is good."
)
_MAX_CLASSES = 32
"""Classes or slices in a table; of more, those that lost most."""
_NOTICEABLE = 0.05
"""Loss of a class from which on it is coloured."""


def before_and_after(
    canvas: Canvas, variant: VariantFacts, labels: Sequence[str], *, title: str, of: str
) -> Iterator[Block]:
    """Yield what was measured of a variant; nothing if nothing was.

    Args:
        canvas: to draw on.
        variant: what is known of it.
        labels: names of the classes.
        title: of the heading above.
        of: whose variant it is, for who cannot see the drawing.
    """
    evidence = variant.evidence
    metric = variant.metric
    if evidence is None and metric is None and variant.golden_accuracy is None:
        return
    yield Heading(
        text=title,
        aside=variant.runtime if evidence is None else f"{variant.runtime}, by {evidence.recipe}",
    )
    if metric is not None:
        yield _by_metric(metric)
        if metric.slices:
            yield _metric_by_slice(metric)
    if evidence is None:
        yield Terms(items=tuple(_unmeasured(variant)))
        return
    yield _whole(evidence, variant.golden_accuracy)
    if evidence.classes:
        yield _by_class(evidence.classes, labels)
    if evidence.slices:
        yield _by_part("slice", [(each.name, each) for each in evidence.slices], "slices")
    if evidence.float_confusion or evidence.confusion:
        yield Picture(
            svg=canvas.draw(
                lambda: draw_confusions(evidence.float_confusion, evidence.confusion, labels),
                f"Confusion matrices of {of} on {variant.runtime}",
            ),
            caption=(
                "Which class was answered for which true class. What is right lies on the "
                "diagonal; darker is a larger share of the row, stretched so that rare mistakes "
                "show. A new dark cell on the right is a mistake that quantization brought."
            ),
        )


def _unmeasured(variant: VariantFacts) -> Iterator[tuple[str, str]]:
    yield "size", size(variant.size_bytes)
    if variant.golden_accuracy is not None:
        yield "answered right", f"{percent(variant.golden_accuracy)} of the golden rows"
    if variant.metric is None:
        yield "float model", "not compared: no evaluation rows were given"


def _by_metric(metric: MetricEvidence) -> Table:
    held = metric.drop_high < metric.max_drop
    titles = (
        (f"on {counted(metric.rows, 'row')}", False),
        ("float model", True),
        ("artifact", True),
        ("drop", True),
    )
    drop = f"{metric.drop_low:.4f} to {metric.drop_high:.4f}"
    rows = [
        _row(metric.name, f"{metric.float_value:.4g}", f"{metric.value:.4g}", ""),
        _row(
            f"{percent(metric.confidence, 0)} interval of what is lost",
            "",
            "",
            drop,
            tone="good" if held else "bad",
        ),
        _row("likeness of the answers (SQNR)", "", f"{metric.sqnr_db:.1f} dB", ""),
    ]
    return Table(
        columns=tuple(Column(title=title, is_figure=figure) for title, figure in titles),
        rows=tuple(rows),
        note=f"The gate wants proof that less than {metric.max_drop:g} is lost.",
    )


def _metric_by_slice(metric: MetricEvidence) -> Table:
    """Return the metric of each slice, so that none hides in the mean."""
    titles = (("slice", False), ("rows", True), ("float model", True), ("artifact", True))
    left_out = max(0, len(metric.slices) - _MAX_CLASSES)
    shown = metric.slices
    if left_out:
        shown = tuple(sorted(shown, key=_change, reverse=True))
    return Table(
        columns=tuple(Column(title=title, is_figure=figure) for title, figure in titles),
        rows=tuple(_slice_row(each) for each in shown[:_MAX_CLASSES]),
        note=f"{counted(left_out, 'slice', 'slices')} that changed less left out."
        if left_out
        else "",
    )


def _change(each: MetricSlice) -> float:
    return abs((each.value or 0.0) - (each.float_value or 0.0))


def _slice_row(each: MetricSlice) -> tuple[Cell, ...]:
    return (
        Cell(text=each.name),
        Cell(text=str(each.rows)),
        Cell(text="not measured" if each.float_value is None else f"{each.float_value:.4g}"),
        Cell(text="not measured" if each.value is None else f"{each.value:.4g}"),
    )


def _whole(evidence: Evidence, golden_accuracy: float | None) -> Table:
    rows = _measured(evidence)
    if golden_accuracy is not None:
        rows.append(_row("right on golden rows", "", percent(golden_accuracy), ""))
    titles = (
        (f"on {counted(evidence.rows, 'row')}", False),
        ("float model", True),
        ("artifact", True),
        ("difference", True),
    )
    return Table(
        columns=tuple(Column(title=title, is_figure=figure) for title, figure in titles),
        rows=tuple(rows),
        note=_gate(evidence),
    )


def _measured(evidence: Evidence) -> list[tuple[Cell, ...]]:
    drop = evidence.float_accuracy - evidence.accuracy
    ratio = evidence.float_size_bytes / max(1, evidence.size_bytes)
    held = evidence.drop_high < evidence.max_drop
    return [
        _row(
            "answered right",
            percent(evidence.float_accuracy),
            percent(evidence.accuracy),
            f"{points(-drop)} points",
        ),
        _row(
            f"{percent(evidence.confidence, 0)} interval of that",
            "",
            "",
            f"{points(-evidence.drop_high)} to {points(-evidence.drop_low)}",
            tone="good" if held else "bad",
        ),
        _row("same answer from both", "", percent(evidence.agreement), ""),
        *(
            [_row("likeness of the scores (SQNR)", "", f"{evidence.sqnr_db:.1f} dB", "")]
            if evidence.sqnr_db is not None and evidence.recipe != AS_IS
            else []
        ),
        _row(
            "size",
            size(evidence.float_size_bytes),
            size(evidence.size_bytes),
            f"{ratio:.1f} times smaller" if ratio > 1 else "not smaller",
        ),
    ]


def _gate(evidence: Evidence) -> str:
    held = evidence.drop_high < evidence.max_drop
    return (
        f"The gate wants proof that less than {percent(evidence.max_drop)} is lost, even at the "
        f"worse end of the interval: {'held' if held else 'not held'}."
    )


def _by_class(classes: Sequence[ClassEvidence], labels: Sequence[str]) -> Table:
    named = [(labels[i] if i < len(labels) else str(i), each) for i, each in enumerate(classes)]
    return _by_part("true class", named, "classes")


def _by_part(title: str, parts: Sequence[tuple[str, Part]], plural: str) -> Table:
    """Return each part of the rows by itself, so that none hides in the mean."""
    shown = [(name, each) for name, each in parts if each.rows > 0]
    left_out = max(0, len(shown) - _MAX_CLASSES)
    if left_out:
        shown.sort(key=lambda part: part[1].correct / part[1].rows - _float_share(part[1]))
    titles = (
        (title, False),
        ("rows", True),
        ("float model", True),
        ("artifact", True),
        ("difference", True),
    )
    note = f"{counted(left_out, title.split()[-1], plural)} that lost less left out."
    return Table(
        columns=tuple(Column(title=title, is_figure=figure) for title, figure in titles),
        rows=tuple(_class_row(name, each) for name, each in shown[:_MAX_CLASSES]),
        note=note if left_out else "",
    )


def _class_row(name: str, each: Part) -> tuple[Cell, ...]:
    share = each.correct / each.rows
    change = share - _float_share(each)
    tone = "bad" if change <= -_NOTICEABLE else "good" if change >= _NOTICEABLE else "quiet"
    return (
        Cell(text=name),
        Cell(text=str(each.rows)),
        Cell(text=percent(_float_share(each))),
        Cell(text=percent(share)),
        Cell(text=points(change), tone=tone),
    )


def _float_share(each: Part) -> float:
    return each.float_correct / each.rows


def _row(what: str, before: str, after: str, difference: str, tone: str = "") -> tuple[Cell, ...]:
    return (
        Cell(text=what),
        Cell(text=before),
        Cell(text=after),
        Cell(text=difference, tone=tone),
    )
