"""Quality: evidence and reference profile of an artifact, from the user's evaluation rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from device_agent.protocol.evidence import Evidence
from device_agent.protocol.manifest import FORMAT_OF_RUNTIME
from edgeops.domain.errors import GateFailed, InvalidGolden
from edgeops.packaging.evaluate import Evaluation, predict
from edgeops.packaging.evidence import (
    MIN_AGREEMENT,
    MIN_SQNR_DB,
    check_fidelity,
    check_groups,
    check_labels,
    check_quality,
    drop_of,
    measure,
)
from edgeops.packaging.golden_rows import LabelledRows
from edgeops.packaging.model_file import AS_IS, ModelFile, on_trial
from edgeops.packaging.predictions import Predictions
from edgeops.packaging.reference import ROWS_WANTED, make_plan, make_reference
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
        evidence: accuracy before and after, with the interval of the paired drop.
        drop: that drop.
        hidden: why the rows measure nothing, or a class or slice lost too much; None if not.
        reference: bytes of the reference profile.
    """

    evidence: Evidence
    drop: PairedDrop
    hidden: GateFailed | None
    reference: bytes


def evaluate_quality(
    file: ModelFile, found: Evaluation, rows: LabelledRows, *, max_drop: float
) -> Quality:
    """Run the artifact and its float model on the evaluation rows.

    Args:
        file: the artifact, with its float model if it has one.
        found: what is known of the artifact already.
        rows: labelled rows that nothing was trained or calibrated on.
        max_drop: the bar, kept with the evidence.

    Raises:
        InvalidGolden: rows without labels, or that do not fit the model.
        InvalidModel: the float model or the artifact does not run on them.
    """
    if rows.y is None:
        raise InvalidGolden("the evaluation rows have no labels (y)")
    with on_trial(file, found.engine) as trial:
        predicted = predict(trial, rows, like=found.outputs, scores=found.scores)
    float_predicted = predicted
    if file.float_data is not None:
        with on_trial(file, found.engine, file.float_data) as trial:
            float_predicted = predict(trial, rows, like=found.outputs, scores=None)
    float_size = len(file.data if file.float_data is None else file.float_data)
    evidence = measure(
        recipe=file.recipe,
        truth=rows.y,
        float_predicted=float_predicted,
        predicted=predicted,
        sizes=(float_size, len(file.data)),
        max_drop=max_drop,
        slices=rows.slices,
    )
    if file.float_data is None:  # nothing was converted: nothing is lost, however few the rows
        evidence = replace(evidence, drop_low=0.0, drop_high=0.0)
    x = np.asarray(rows.x, dtype=np.float32)
    reference = make_reference(make_plan(x), x, predicted, rows.y)
    return Quality(
        evidence=evidence,
        drop=drop_of(rows.y, float_predicted, predicted),
        hidden=_hidden(rows, rows.y, float_predicted, predicted, file.name),
        reference=reference.to_bytes(),
    )


def _hidden(
    rows: LabelledRows,
    truth: NDArray[np.int64],
    float_predicted: Predictions,
    predicted: Predictions,
    name: str,
) -> GateFailed | None:
    try:
        check_labels(truth, float_predicted, name)
        check_groups(truth, float_predicted, predicted, rows.slices, name)
    except GateFailed as error:
        return error
    return None


def quality_checks(
    qualities: Mapping[str, Quality], files: Mapping[str, ModelFile]
) -> Iterator[Callable[[], str | None]]:
    """Yield the checks of the quality gate, one for each runtime.

    Args:
        qualities: by runtime.
        files: the artifacts, by format.
    """
    for runtime, quality in qualities.items():
        yield partial(_check_quality, quality, files[FORMAT_OF_RUNTIME[runtime]].name, runtime)


def _check_quality(quality: Quality, name: str, runtime: str) -> str:
    check_quality(quality.evidence, quality.drop, name)
    if quality.hidden is not None:
        raise quality.hidden
    evidence = quality.evidence
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
        if file.float_data is not None:
            yield partial(_check_fidelity, quality.evidence, file.name, runtime, bars)


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
        _tell(quality.evidence, files[FORMAT_OF_RUNTIME[runtime]].name, progress)


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
