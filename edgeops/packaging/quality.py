"""Quality: evidence and reference profile of an artifact, from the user's evaluation rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from device_agent.protocol.evidence import Evidence
from device_agent.protocol.manifest import FORMAT_OF_RUNTIME, Waiver
from edgeops.domain.errors import GateFailed, InvalidGolden
from edgeops.packaging.evaluate import Evaluation, predict
from edgeops.packaging.evidence import (
    FIDELITY_GATE,
    MIN_AGREEMENT,
    MIN_SQNR_DB,
    QUALITY_GATE,
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
        unsure: rows on which the artifact is below the threshold of its class.
    """

    evidence: Evidence
    drop: PairedDrop
    hidden: GateFailed | None
    reference: bytes
    unsure: int = 0


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
    x = np.asarray(rows.x, dtype=np.float32)
    reference = make_reference(make_plan(x), x, predicted, rows.y)
    return Quality(
        evidence=evidence,
        drop=drop_of(rows.y, float_predicted, predicted),
        hidden=_hidden(rows, rows.y, float_predicted, predicted, file.name),
        reference=reference.to_bytes(),
        unsure=predicted.unsure,
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


def pass_quality_gate(
    qualities: Mapping[str, Quality],
    files: Mapping[str, ModelFile],
    waivers: tuple[Waiver, ...],
    progress: Callable[[str], None],
) -> tuple[Waiver, ...]:
    """Hold every artifact to the bar; return the waiver if it was needed.

    Args:
        qualities: by runtime.
        files: the artifacts, by format.
        waivers: of this gate.
        progress: told what was measured.

    Raises:
        GateFailed: an artifact loses too much, or too few rows can show that it does not.
    """
    checks = []
    for runtime, quality in qualities.items():
        name = files[FORMAT_OF_RUNTIME[runtime]].name
        _tell(quality.evidence, name, progress)
        if quality.unsure:
            progress(
                f"note: {quality.unsure} of {quality.evidence.rows} rows are below their "
                "threshold: no class, and so not right"
            )
        checks.append(partial(_check_quality, quality, name))
    return _held(QUALITY_GATE, checks, waivers, progress)


def _check_quality(quality: Quality, name: str) -> None:
    check_quality(quality.evidence, quality.drop, name)
    if quality.hidden is not None:
        raise quality.hidden


def pass_fidelity_gate(
    qualities: Mapping[str, Quality],
    files: Mapping[str, ModelFile],
    waivers: tuple[Waiver, ...],
    progress: Callable[[str], None],
    bars: FidelityBars,
) -> tuple[Waiver, ...]:
    """Hold every artifact's answers to its float model's; return the waiver if it was needed.

    Raises:
        GateFailed: an artifact answers something else.
    """
    checks = [
        partial(
            check_fidelity,
            quality.evidence,
            files[FORMAT_OF_RUNTIME[runtime]].name,
            min_sqnr_db=bars.min_sqnr_db,
            min_agreement=bars.min_agreement,
        )
        for runtime, quality in qualities.items()
    ]
    return _held(FIDELITY_GATE, checks, waivers, progress)


def _held(
    gate: str,
    checks: Iterable[Callable[[], None]],
    waivers: tuple[Waiver, ...],
    progress: Callable[[str], None],
) -> tuple[Waiver, ...]:
    """Make every check of a gate; return the waiver if one was missed.

    Raises:
        GateFailed: of the first check that was missed, if nobody waived the gate.
    """
    needed = False
    for check in checks:
        try:
            check()
        except GateFailed as error:
            if not waivers:
                raise
            needed = True
            progress(f"warning: waived: {error}")
    if waivers and not needed:
        progress(f"the gate {gate!r} holds: its waiver is not needed, nor recorded")
    return waivers[:1] if needed else ()


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
