"""Quality: evidence and reference profile of an artifact, from the user's evaluation rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from device_agent.protocol.evidence import Evidence, MetricEvidence
from device_agent.protocol.manifest import FORMAT_OF_RUNTIME
from edgeops.domain.errors import GateFailed, InvalidGolden, InvalidInput
from edgeops.packaging.evaluate import Evaluation, predict
from edgeops.packaging.files.model_file import AS_IS, ModelFile, on_trial
from edgeops.packaging.gates.evidence import (
    FIDELITY_GATE,
    MIN_AGREEMENT,
    MIN_SQNR_DB,
    QUALITY_GATE,
    check_fidelity,
    check_labels,
    check_quality,
    confidence_after,
    drop_of,
    measure,
)
from edgeops.packaging.gates.groups import Group, check_groups, find_groups, striking
from edgeops.packaging.gates.metric_slices import (
    MeasuredSlice,
    check_slices,
    measure_slices,
    striking_slices,
)
from edgeops.packaging.gates.metrics import (
    ACCURACY,
    Metric,
    check_metric,
    check_targets,
    measure_metric,
)
from edgeops.packaging.gates.score_errors import ScoreErrors, score_errors
from edgeops.packaging.gates.verdicts import of_artifact
from edgeops.packaging.rows.drawing import mix_of
from edgeops.packaging.rows.golden_rows import LabelledRows
from edgeops.packaging.rows.predictions import Predictions
from edgeops.packaging.rows.reference import ROWS_WANTED, make_plan, make_reference
from edgeops.statistics.intervals import PairedDrop


@dataclass(frozen=True, slots=True, kw_only=True)
class FidelityBars:
    """How near an artifact's answers must be to its float model's."""

    min_sqnr_db: float = MIN_SQNR_DB
    min_agreement: float = MIN_AGREEMENT


@dataclass(frozen=True, slots=True, kw_only=True)
class Quality:
    """What the evaluation rows showed of one artifact.

    Attributes:
        evidence: accuracy before and after, with the interval of the paired drop; None for a
            model that tells no classes.
        drop: that drop.
        metric: another measure than accuracy, None if none was asked for.
        hidden: why the rows measure nothing, or a class or slice lost too much; None if not.
        reference: bytes of the reference profile.
        unsure: rows on which the artifact is below the threshold of its class.
        errors: of the scores, row by row; None if there is no float model to compare with.
        striking: a line about each class or slice that lost much without failing.
    """

    evidence: Evidence | None
    drop: PairedDrop | None
    metric: MetricEvidence | None
    hidden: GateFailed | None
    reference: bytes
    unsure: int = 0
    errors: ScoreErrors | None = None
    striking: tuple[str, ...] = ()


def evaluate_quality(
    file: ModelFile,
    found: Evaluation,
    rows: LabelledRows,
    *,
    max_drop: float,
    metric: Metric = ACCURACY,
) -> Quality:
    """Run the artifact and its float model on the evaluation rows.

    Args:
        file: the artifact, with its float model if it has one.
        found: what is known of the artifact already.
        rows: labelled rows that nothing was trained or calibrated on.
        max_drop: the bar, kept with the evidence.
        metric: what the quality gate looks at.

    Raises:
        InvalidGolden: rows without labels, or that do not fit the model.
        InvalidModel: the float model or the artifact does not run on them.
        InvalidInput: the metric fails.
        GateFailed: too few rows for the metric.
    """
    if rows.y is None and rows.targets is None:
        raise InvalidGolden(
            "the evaluation rows have no labels (y)",
            next_step="give the true classes, or numbers, as y in the .npz",
        )
    with on_trial(file, found.engine) as trial:
        predicted = predict(trial, rows, like=found.outputs, scores=found.scores)
    float_predicted = predicted
    if file.float_data is not None:
        with on_trial(file, found.engine, file.float_data) as trial:
            float_predicted = predict(trial, rows, like=found.outputs, scores=None)
    every = _Answered(file=file, rows=rows, before=float_predicted, after=predicted)
    answered = every.mix()
    rows, float_predicted, predicted = answered.rows, answered.before, answered.after
    x = np.asarray(rows.x, dtype=np.float32)
    reference = make_reference(make_plan(x), x, predicted, rows.y)
    groups, parts = every.groups(), every.parts(metric)
    measured = answered.measured(metric, max_drop, parts)
    told = striking(groups)
    if measured is not None:
        told += striking_slices(metric, parts, measured)
    return Quality(
        evidence=answered.evidence(max_drop, every),
        drop=None if rows.y is None else drop_of(rows.y, float_predicted, predicted),
        metric=measured,
        hidden=answered.hidden(metric, groups, parts, measured),
        reference=reference.to_bytes(),
        unsure=predicted.unsure,
        errors=(
            None
            if file.float_data is None
            else score_errors(found.engine.runtime, float_predicted, predicted)
        ),
        striking=told,
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Answered:
    """An artifact, and what its float model and itself answered the rows."""

    file: ModelFile
    rows: LabelledRows
    before: Predictions
    after: Predictions

    def mix(self) -> _Answered:
        """Return what was answered to the rows that have the mix of their file."""
        rows = mix_of(self.rows)
        before, after = (each.first(len(rows.x)) for each in (self.before, self.after))
        return replace(self, rows=rows, before=before, after=after)

    def evidence(self, max_drop: float, every: _Answered) -> Evidence | None:
        """Return the evidence of a model that tells classes; by part it is of every row."""
        if self.rows.y is None:
            return None
        found = self._measured(self.rows.y, max_drop)
        if every.rows.y is not None and len(every.rows.x) > len(self.rows.x):
            whole = every._measured(every.rows.y, max_drop)
            found = replace(found, slices=whole.slices)
            if len(whole.classes) == len(found.classes):
                found = replace(found, classes=whole.classes)
        return found

    def _measured(self, truth: NDArray[np.int64], max_drop: float) -> Evidence:
        data, float_data = self.file.data, self.file.float_data
        found = measure(
            recipe=self.file.recipe,
            truth=truth,
            float_predicted=self.before,
            predicted=self.after,
            sizes=(len(data if float_data is None else float_data), len(data)),
            max_drop=max_drop,
            slices=self.rows.slices,
            confidence=confidence_after(self.file.refused),
        )
        if float_data is None:  # nothing was converted: nothing is lost, however few the rows
            return replace(found, drop_low=0.0, drop_high=0.0)
        return found

    def measured(
        self, metric: Metric, max_drop: float, parts: tuple[MeasuredSlice, ...]
    ) -> MetricEvidence | None:
        """Return what another metric than accuracy says."""
        y = self.rows.y if self.rows.targets is None else self.rows.targets
        if metric is ACCURACY or y is None:
            return None
        if self.before.scores is None or self.after.scores is None:
            raise InvalidInput(
                f"metric {metric.name} needs scores, and there are none",
                next_step="use the metric accuracy, or a model whose output is scores",
            )
        found = measure_metric(
            metric,
            self.before.scores,
            self.after.scores,
            y,
            max_drop=max_drop,
            confidence=confidence_after(self.file.refused),
        )
        return replace(found, slices=tuple(each.found for each in parts))

    def parts(self, metric: Metric) -> tuple[MeasuredSlice, ...]:
        """Return another metric than accuracy, slice by slice."""
        y = self.rows.y if self.rows.targets is None else self.rows.targets
        before, after = self.before.scores, self.after.scores
        if metric is ACCURACY or y is None or before is None or after is None:
            return ()
        return measure_slices(metric, before, after, y, self.rows.slices)

    def groups(self) -> tuple[Group, ...]:
        """Return what became of each class and slice of a model that tells classes."""
        if self.rows.y is None:
            return ()
        return find_groups(self.rows.y, self.before, self.after, self.rows.slices)

    def hidden(
        self,
        metric: Metric,
        groups: tuple[Group, ...],
        parts: tuple[MeasuredSlice, ...],
        measured: MetricEvidence | None,
    ) -> GateFailed | None:
        """Return why the rows measure nothing, or what hides in the mean."""
        try:
            if self.rows.targets is not None and self.before.scores is not None:
                check_targets(metric, self.before.scores, self.rows.targets, self.file.label)
            if self.rows.y is not None:
                check_labels(self.rows.y, self.before, self.file.label)
                check_groups(groups, self.file.label)
            if measured is not None:
                check_slices(metric, parts, measured, self.file.label)
        except GateFailed as error:
            return error
        return None


def errors_of(qualities: Mapping[str, Quality]) -> list[ScoreErrors]:
    """Return the errors of the scores, one for each runtime that has them."""
    return [each.errors for each in qualities.values() if each.errors is not None]


def quality_checks(
    qualities: Mapping[str, Quality], files: Mapping[str, ModelFile], metric: Metric = ACCURACY
) -> Iterator[Callable[[], str | None]]:
    """Yield the checks of the quality gate, one for each runtime.

    Args:
        qualities: by runtime.
        files: the artifacts, by format.
        metric: what is held against the bar.
    """
    for runtime, quality in qualities.items():
        name = files[FORMAT_OF_RUNTIME[runtime]].label
        check = partial(_check_quality, quality, name, runtime, metric)
        yield of_artifact(QUALITY_GATE, FORMAT_OF_RUNTIME[runtime], check)


def _check_quality(quality: Quality, name: str, runtime: str, metric: Metric) -> str:
    if quality.metric is not None:
        said = f"{runtime}: {check_metric(metric, quality.metric, name)}"
        if quality.hidden is not None:
            raise quality.hidden
        return said
    evidence = quality.evidence
    if evidence is None or quality.drop is None:
        raise GateFailed(
            f"gate {QUALITY_GATE!r}: nothing was measured of {name}",
            next_step="give y of classes, or a --metric for models that predict numbers",
        )
    check_quality(evidence, quality.drop, name)
    if quality.hidden is not None:
        raise quality.hidden
    return (
        f"{runtime}: accuracy {evidence.accuracy:.4f} on {evidence.rows} rows, float "
        f"{evidence.float_accuracy:.4f}, drop below {evidence.drop_high:.4f}"
    )


def fidelity_checks(
    qualities: Mapping[str, Quality], files: Mapping[str, ModelFile], bars: FidelityBars
) -> Iterator[Callable[[], str | None]]:
    """Yield the checks of the fidelity gate: every artifact's answers against its float model's."""
    for runtime, quality in qualities.items():
        file = files[FORMAT_OF_RUNTIME[runtime]]
        if file.float_data is None:
            continue
        if quality.evidence is not None:
            check = partial(_check_fidelity, quality.evidence, file.label, runtime, bars)
            yield of_artifact(FIDELITY_GATE, file.format, check)
        elif quality.metric is not None:
            likeness = partial(_check_likeness, quality.metric, file, runtime, bars)
            yield of_artifact(FIDELITY_GATE, file.format, likeness)


def _check_likeness(
    metric: MetricEvidence, file: ModelFile, runtime: str, bars: FidelityBars
) -> str:
    if metric.sqnr_db < bars.min_sqnr_db:
        raise GateFailed(
            f"gate {FIDELITY_GATE!r}: answers of {file.label} by {file.recipe} differ by "
            f"{metric.sqnr_db:.1f} dB (SQNR) from its float model's, {bars.min_sqnr_db:g} asked",
            next_step="use another recipe, or better calibration rows",
        )
    return f"{runtime}: SQNR {metric.sqnr_db:.1f} dB"


def _check_fidelity(evidence: Evidence, name: str, runtime: str, bars: FidelityBars) -> str:
    check_fidelity(evidence, name, min_sqnr_db=bars.min_sqnr_db, min_agreement=bars.min_agreement)
    ratio = "" if evidence.sqnr_db is None else f", SQNR {evidence.sqnr_db:.1f} dB"
    return f"{runtime}: same answer on {evidence.agreement:.4f} of the rows{ratio}"


def tell(
    qualities: Mapping[str, Quality],
    files: Mapping[str, ModelFile],
    progress: Callable[[str], None],
) -> None:
    """Say what was measured of each artifact."""
    for runtime, quality in qualities.items():
        name, evidence, metric = (
            files[FORMAT_OF_RUNTIME[runtime]].label,
            quality.evidence,
            quality.metric,
        )
        if evidence is not None:
            _tell(evidence, name, progress)
        if metric is not None:
            progress(
                f"{name}: {metric.name} {metric.value:.4g}, float {metric.float_value:.4g}, SQNR "
                f"{metric.sqnr_db:.1f} dB"
            )
        for line in quality.striking:
            progress(f"warning: {name}: {line}")
        if quality.unsure and evidence is not None:
            progress(
                f"note: {quality.unsure} of {evidence.rows} rows are below their threshold: no "
                "class, and so not right"
            )


def _tell(evidence: Evidence, name: str, progress: Callable[[str], None]) -> None:
    progress(
        f"{name} by {evidence.recipe}: accuracy {evidence.accuracy:.4f} on {evidence.rows} rows, "
        f"float {evidence.float_accuracy:.4f}, drop between {evidence.drop_low:.4f} and "
        f"{evidence.drop_high:.4f}, {evidence.size_bytes} of {evidence.float_size_bytes} bytes"
    )
    if evidence.sqnr_db is not None and evidence.recipe != AS_IS:
        progress(f"same answer on {evidence.agreement:.4f} of them, SQNR {evidence.sqnr_db:.1f} dB")
    absent = [str(at) for at, each in enumerate(evidence.classes) if not each.rows]
    if absent:
        progress(f"note: no evaluation rows are of class {', '.join(absent)}: nothing shows of it")
    if evidence.rows < ROWS_WANTED:
        progress(
            f"note: the reference profile has {evidence.rows} rows, {ROWS_WANTED} are wanted: "
            "drift is compared with a wider tolerance"
        )
