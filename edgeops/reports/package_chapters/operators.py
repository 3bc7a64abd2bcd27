"""Which operators the files are made of, and who runs them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from edgeops.reports.document import Block, Cell, Column, Heading, Section, Table
from edgeops.reports.figures.canvas import Canvas
from edgeops.reports.operators import amount
from edgeops.reports.package_chapters.search import MAX_ARTIFACTS
from edgeops.reports.package_chapters.unknown import unread
from edgeops.reports.package_facts import (
    ArtifactFacts,
    OperationFacts,
    PackageFacts,
    SupportFacts,
)
from edgeops.reports.wording import counted, drawn, fine_percent, listed

_MAX_TYPES = 64
_MAX_PROFILES = 64
_BESIDE = 4
"""So many profiles have a column beside the operators; of more, the table below tells alone."""
_MAX_FOUND = 300
_ANSWERS = {True: ("runs", "good"), False: ("differs", "bad"), None: ("not known", "quiet")}


def operators(facts: PackageFacts, _: Canvas) -> Section:
    """Return the operators of every artifact by type, and for each profile whether they run."""
    blocks: list[Block] = []
    for each in facts.artifacts[:MAX_ARTIFACTS]:
        blocks += _of_artifact(facts, each)
    return Section(
        anchor="operators",
        title="Operators and the profiles that run them",
        lead=(
            "What each file asks of a runtime. That a runtime takes an operator proves little: "
            "some load what they then compute wrongly. So the gate runtime executes the whole "
            "file on each of them, and compares its answers."
        ),
        blocks=tuple(blocks),
    )


def _of_artifact(facts: PackageFacts, artifact: ArtifactFacts) -> Iterator[Block]:
    runtimes = listed([drawn(each, 40) for each in artifact.runtimes])
    yield Heading(text=f".{artifact.format}", aside=f"on {runtimes}")
    if artifact.operations:
        yield _types(artifact)
    else:
        yield unread(facts)
    yield _profiles(artifact.supports)


def _types(artifact: ArtifactFacts) -> Table:
    macs = artifact.macs
    beside = artifact.supports if len(artifact.supports) <= _BESIDE else ()
    by_type: dict[str, list[OperationFacts]] = {}
    for each in artifact.operations:
        by_type.setdefault(each.type, []).append(each)
    ordered = sorted(by_type.items(), key=lambda item: (-_macs(item[1]), -len(item[1]), item[0]))
    titles = (
        ("operator", False),
        ("count", True),
        ("multiplications", True),
        ("weights", True),
        ("as", False),
        *((drawn(each.profile, 40), False) for each in beside),
    )
    more = len(ordered) - _MAX_TYPES
    return Table(
        columns=tuple(Column(title=title, is_figure=figure) for title, figure in titles),
        rows=(
            *(_type_row(name, found, macs, beside) for name, found in ordered[:_MAX_TYPES]),
            (
                *_type_row("all", artifact.operations, macs, ()),
                *(Cell(text="") for _ in beside),
            ),
        ),
        note=(
            f"{counted(macs, 'multiplication')} with accumulation for one row."
            + (f" {counted(more, 'type')} with less work left out." if more > 0 else "")
        ),
    )


def _type_row(
    name: str,
    found: Sequence[OperationFacts],
    macs: int,
    beside: Sequence[SupportFacts],
) -> tuple[Cell, ...]:
    share = _macs(found) / macs if macs else 0.0
    weights = sum(each.weights for each in found)
    dtypes = Counter[str]()
    for each in found:
        dtypes[each.weight_dtype] += each.weights
    said = [drawn(dtype, 16) for dtype, count in dtypes.most_common() if count]
    return (
        Cell(text=drawn(name, 40), tone="quiet" if name == "all" else ""),
        Cell(text=str(len(found))),
        Cell(text=fine_percent(share) if _macs(found) else "-"),
        Cell(text=amount(weights) if weights else "-"),
        Cell(text=listed(said, 3)),
        *(_answer(each) for each in beside),
    )


def _macs(operations: Sequence[OperationFacts]) -> int:
    return sum(each.macs for each in operations)


def _profiles(supports: Sequence[SupportFacts]) -> Table:
    more = len(supports) - _MAX_PROFILES
    found = dict.fromkeys(each.found for each in supports)
    how = [
        drawn(each, _MAX_FOUND) or "no verdict of the gate runtime is recorded" for each in found
    ]
    return Table(
        columns=tuple(Column(title=title) for title in ("profile", "runtime", "verdict")),
        rows=tuple(
            (
                Cell(text=drawn(each.profile, 64)),
                Cell(text=drawn(each.runtime, 40)),
                _answer(each),
            )
            for each in supports[:_MAX_PROFILES]
        ),
        note=f"How it is known: {'; '.join(how[:4])}."
        + (f" {counted(more, 'profile')} more left out." if more > 0 else ""),
    )


def _answer(each: SupportFacts) -> Cell:
    word, tone = _ANSWERS[each.runs]
    return Cell(text=word, tone=tone)
