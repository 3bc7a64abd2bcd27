"""The rows that a request names, all read before any model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from edgeops.packaging.gates.evidence import check_rows
from edgeops.packaging.gates.metrics import read_metric
from edgeops.packaging.request import PackageRequest
from edgeops.packaging.rows.drawing import draw
from edgeops.packaging.rows.golden_rows import (
    MAX_EVALUATED_ROWS,
    LabelledRows,
    read_golden_rows,
    spread,
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class GivenRows:
    """The rows that a request names; None where it names none."""

    golden: LabelledRows | None
    evaluation: LabelledRows | None
    calibration: LabelledRows | None

    @property
    def any(self) -> LabelledRows | None:
        """Rows to compare answers on, whatever they are."""
        return next(
            (each for each in (self.evaluation, self.golden, self.calibration) if each is not None),
            None,
        )


def read_rows(request: PackageRequest, progress: Callable[[str], None]) -> GivenRows:
    """Read all rows before any model: what cannot be is said before minutes of conversion."""
    filled = request.preprocessing.filled if request.preprocessing is not None else ()
    takes_targets = read_metric(request.metric).takes_targets
    golden, evaluation, calibration = (
        read_golden_rows(path, filled, targets=takes_targets, every=True)
        if path is not None
        else None
        for path in (request.golden, request.evaluation, request.calibration)
    )
    golden, calibration = (
        _even(each, what, progress)
        for each, what in ((golden, "golden"), (calibration, "calibration"))
    )
    if evaluation is not None:
        check_rows(evaluation, calibration)
        evaluation = _drawn(_each_once(evaluation, progress), progress)
    return GivenRows(golden=golden, evaluation=evaluation, calibration=calibration)


def _each_once(rows: LabelledRows, progress: Callable[[str], None]) -> LabelledRows:
    """Leave repetitions out: they would narrow intervals without showing anything."""
    distinct = rows.distinct()
    if left_out := len(rows.x) - len(distinct.x):
        progress(f"note: {left_out} of {len(rows.x)} evaluation rows repeat others: left out")
    return distinct


def _even(
    rows: LabelledRows | None, what: str, progress: Callable[[str], None]
) -> LabelledRows | None:
    """Return an even part of the rows, no more than are looked at, and say so."""
    if rows is None or len(rows.x) <= MAX_EVALUATED_ROWS:
        return rows
    progress(f"note: {MAX_EVALUATED_ROWS} of {len(rows.x)} {what} rows are looked at, evenly drawn")
    return rows.at(spread(len(rows.x), MAX_EVALUATED_ROWS))


def _drawn(rows: LabelledRows, progress: Callable[[str], None]) -> LabelledRows:
    """Return the evaluation rows that are looked at, and say so if that is not all."""
    drawn = draw(rows)
    if drawn.even is not None:
        more = len(drawn.x) - drawn.even
        rare = f"; {more} more of rare classes and slices, for the gate on these alone"
        progress(
            f"note: {drawn.even} of {len(rows.x)} evaluation rows are looked at, evenly drawn"
            + (rare if more else "")
        )
    return drawn
