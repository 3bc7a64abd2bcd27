"""Evaluation: what a model file really answers, on the runtime that devices will use.

Every file is loaded in a probe's child process, from a folder that holds nothing else: just
what a device has. So a file that crashes its runtime, or that leans on a second file beside
it, is found here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from device_agent.processing.golden import GoldenRows, encode_golden
from device_agent.processing.prepare import prepare_row
from device_agent.processing.scores import read_scores
from device_agent.protocol.errors import AgentError, BadInput, ProtocolError
from device_agent.protocol.manifest import TensorSpec, class_count
from device_agent.protocol.preprocessing import Preprocessing
from device_agent.protocol.reasons import Reason
from device_agent.protocol.thresholds import check_thresholds
from device_agent.runtimes.child import spawn_probe
from device_agent.runtimes.probe_report import ProbeReport, ProbeSpec
from edgeops.domain.errors import EdgeopsError, InvalidGolden, InvalidInput, InvalidModel
from edgeops.packaging.engines import Engine
from edgeops.packaging.files.scratch import write_scratch
from edgeops.packaging.rows.golden_rows import LabelledRows, kept_numbers
from edgeops.packaging.rows.predictions import Predictions, read_predictions

PROBE_TIMEOUT_S = 120.0
BATCH_BYTES = 8 * 1024 * 1024
"""Bytes of rows for one probe: well inside what a golden document may hold as base64."""
BATCH_ROWS = 2048
THREADS = 1

TOLERANCE = {"litert": 1e-3, "onnxruntime": 1e-3, "tflite-runtime": 1e-3, "tflm": 1e-3}
"""Absolute difference of float outputs that devices may show, by runtime, for answers up to 1
(probabilities); in proportion for larger ones. Kernels for other instruction sets sum in
another order: that moves a probability by about 1e-6; 1e-3 leaves room for half precision, and
is far below what a wrong kernel does."""
TOLERANCE_8_BIT = 4 / 256
"""The same for 8-bit scores: four steps. One runtime's kernels agree bit by bit on x86-64 and
aarch64 where this was measured; a broken one is off by tens of steps."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """What one artifact showed.

    Attributes:
        engine: what it was run on.
        inputs: its inputs (just one).
        outputs: its outputs.
        scores: the output that holds the scores.
        tolerance: largest absolute difference to the golden answers that devices may show.
        memory_mib: growth of resident memory by loading and one run.
        latency_ms_p50: median of one row, on this machine, not on the device.
        latency_ms_p95: likewise its 95th percentile.
        golden: the golden document, None without golden rows.
        golden_accuracy: share of the kept golden rows answered right, None without labels.
        accuracy: share of all evaluated rows answered right, None without labels.
        rows: how many rows were evaluated.
        threads: of the runtime.
    """

    engine: Engine
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    scores: str
    tolerance: float
    memory_mib: float
    latency_ms_p95: float
    golden: bytes | None = None
    golden_accuracy: float | None = None
    accuracy: float | None = None
    rows: int = 0
    latency_ms_p50: float = 0.0
    threads: int = THREADS


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One artifact to evaluate: the file alone in ``folder``, and how errors name it.

    ``preprocessing`` is what is done to each row first, ``thresholds`` how sure it must be of a
    class.
    """

    name: str
    engine: Engine
    artifact: Path
    folder: Path
    preprocessing: Preprocessing | None = None
    thresholds: tuple[float, ...] = ()


def evaluate(
    trial: Trial, rows: LabelledRows | None, *, scores: str | None, tolerance: float | None
) -> Evaluation:
    """Run an artifact on the golden rows, twice, and make its golden document.

    Args:
        trial: the artifact.
        rows: golden rows, or None: then only what the model is and costs is found out.
        scores: output that holds the scores; None finds it.
        tolerance: None chooses by the outputs.

    Raises:
        InvalidModel: it does not load, crashes, hangs, answers NaN, or answers the same rows
            differently the second time.
        InvalidGolden: the rows do not fit it, or have classes that it does not know.
        InvalidInput: there is no output of that name, what preprocessing makes is no input of
            the model, or thresholds that do not fit its classes.
    """
    described = _describe(trial)
    chosen = choose_scores(described.outputs, scores)
    _check_thresholds(trial, chosen)
    found = Evaluation(
        engine=trial.engine,
        inputs=described.inputs,
        outputs=described.outputs,
        scores=chosen.name,
        tolerance=TOLERANCE[trial.engine.runtime] if tolerance is None else tolerance,
        memory_mib=described.memory_mib,
        latency_ms_p50=described.latency_ms_p50,
        latency_ms_p95=described.latency_ms_p95,
    )
    if rows is None:
        return found
    _check_classes(rows, chosen, trial)
    given, _ = _answer(trial, rows, described.outputs)
    kept = kept_numbers(len(rows.x), _row_bytes(rows, described.outputs))
    expected = {name: each[kept] for name, each in given.items()}
    allowed = _tolerance(expected, trial.engine.runtime) if tolerance is None else tolerance
    golden = rows.at(kept)
    document = _encoded(GoldenRows(x=golden.x, labels=golden.y, expected=expected))
    repeated = _probe(trial, document, scores=chosen.name, rows=rows.name)
    _check_same(repeated, allowed, trial)
    return replace(
        found,
        tolerance=allowed,
        golden=document,
        golden_accuracy=repeated.accuracy,
        accuracy=_accuracy(given[chosen.name], rows, trial),
        rows=len(rows.x),
        latency_ms_p50=repeated.latency_ms_p50,
        latency_ms_p95=repeated.latency_ms_p95,
    )


def predict(
    trial: Trial, rows: LabelledRows, *, like: Sequence[TensorSpec], scores: str | None
) -> Predictions:
    """Return the class and the confidence that an artifact gives each row.

    Args:
        trial: the artifact.
        rows: ``x`` ``[n, ...]``; labels are not looked at.
        like: outputs of about the size that its have, for batches that fit.
        scores: output that holds the scores; None finds it.

    Raises:
        InvalidModel: it does not load, crashes, hangs or answers NaN.
        InvalidGolden: the rows do not fit it.
    """
    given, outputs = _answer(trial, rows, like)
    chosen = choose_scores(outputs, scores)
    _check_classes(rows, chosen, trial)
    return read_predictions(given[chosen.name], trial.thresholds)


def answers(
    trial: Trial, rows: LabelledRows, *, like: Sequence[TensorSpec], scores: str | None
) -> NDArray[Any]:
    """Return the scores that an artifact gives each row, ``[n, ...]``, as they come.

    Args and Raises:
        as ``predict``.
    """
    given, outputs = _answer(trial, rows, like)
    return given[choose_scores(outputs, scores).name]


def choose_scores(outputs: Sequence[TensorSpec], asked: str | None) -> TensorSpec:
    """Return the output that holds the scores: the one asked for, or the likeliest.

    That is the first with a row of several floats or 8-bit numbers, else the first.

    Raises:
        InvalidInput: there is no output of that name.
    """
    for spec in outputs:
        if spec.name == asked:
            return spec
    if asked is not None:
        raise InvalidInput(
            f"there is no output {asked!r}",
            next_step="outputs: " + ", ".join(spec.name for spec in outputs),
        )
    rows = [spec for spec in outputs if class_count(spec) != 0]
    return (rows or list(outputs))[0]


def _describe(trial: Trial) -> ProbeReport:
    described = _probe(trial, None, scores="")
    if len(described.inputs) != 1:
        names = ", ".join(spec.name for spec in described.inputs)
        raise InvalidModel(
            f"{trial.name} has {len(described.inputs)} inputs ({names}), not one",
            next_step="export it with one input: join the others into it, or make them constants",
        )
    _check_preprocessing(trial, described.inputs[0])
    return described


def _check_preprocessing(trial: Trial, spec: TensorSpec) -> None:
    """Try a row of zeros: without golden rows nothing else would before the device does."""
    preprocessing = trial.preprocessing
    if preprocessing is None:
        return
    shape = preprocessing.row_shape or tuple(max(1, size) for size in spec.shape)
    try:
        prepare_row(np.zeros(shape, np.float32), preprocessing, spec)
    except BadInput as error:
        raise InvalidInput(
            f"what preprocessing makes is no input of {trial.name}: {error}",
            next_step="it must make as many elements as the input has, which must be of floats",
        ) from error


def _check_thresholds(trial: Trial, scores: TensorSpec) -> None:
    """Refuse thresholds that would silently do nothing."""
    classes = class_count(scores)
    if trial.thresholds and classes == 0:
        raise InvalidInput(
            f"output {scores.name!r} of {trial.name} has no confidence that thresholds could ask",
            next_step="leave the thresholds out, or name the output with the scores",
        )
    try:
        check_thresholds("thresholds", trial.thresholds, classes)
    except ProtocolError as error:
        raise InvalidInput(f"{trial.name}: {error}", next_step=error.next_step) from error


def _row_bytes(rows: LabelledRows, outputs: Sequence[TensorSpec]) -> int:
    """Return the bytes of one row and its answers."""
    answers = sum(
        math.prod(max(1, size) for size in spec.shape) * int(np.dtype(spec.dtype).itemsize)
        for spec in outputs
    )
    return max(1, int(rows.x[0].nbytes) + answers)


def _answer(
    trial: Trial, rows: LabelledRows, like: Sequence[TensorSpec]
) -> tuple[dict[str, NDArray[Any]], tuple[TensorSpec, ...]]:
    """Return output name → answers ``[n, ...]``, and the outputs, in batches that fit a probe."""
    size = min(BATCH_ROWS, max(1, BATCH_BYTES // _row_bytes(rows, like)))
    parts: list[Mapping[str, NDArray[Any]]] = []
    outputs: tuple[TensorSpec, ...] = ()
    for start in range(0, len(rows.x), size):
        document = _encoded(GoldenRows(x=rows.x[start : start + size]))
        report = _probe(trial, document, scores="", return_outputs=True, rows=rows.name)
        if report.nonfinite:
            raise InvalidModel(
                f"{trial.name} answers NaN or infinity on {report.nonfinite} rows",
                next_step="check its training and conversion",
            )
        parts.append(report.outputs_data or {})
        outputs = report.outputs
    given = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return given, outputs


def _encoded(rows: GoldenRows) -> bytes:
    try:
        return encode_golden(rows)
    except ProtocolError as error:
        raise InvalidGolden(str(error), next_step=error.next_step) from error


def _probe(
    trial: Trial,
    golden: bytes | None,
    *,
    scores: str,
    return_outputs: bool = False,
    rows: str = "the rows",
) -> ProbeReport:
    path = trial.folder / "golden.json"
    if golden is not None:
        write_scratch(path, golden)
    spec = ProbeSpec(
        runtime=trial.engine.runtime,
        optimized=trial.engine.optimized,
        artifact=str(trial.artifact),
        golden=str(path) if golden is not None else None,
        scores=scores,
        preprocessing=trial.preprocessing,
        thresholds=trial.thresholds,
        threads=THREADS,
        return_outputs=return_outputs,
        warmup=0 if return_outputs else 3,
        repeats=1 if return_outputs else 30,
    )
    try:
        report = spawn_probe(spec, timeout_s=PROBE_TIMEOUT_S, python=trial.engine.python)
    except AgentError as error:
        raise EdgeopsError(str(error), next_step=error.next_step) from error
    if report.reason is not None:
        raise _refusal(report, trial, rows)
    return report


def _refusal(report: ProbeReport, trial: Trial, rows: str) -> EdgeopsError:
    if report.reason is Reason.NO_VARIANT:
        return EdgeopsError(
            report.cause, next_step=f"pip install 'edgeops[{trial.engine.runtime}]'"
        )
    if report.reason is Reason.GOLDEN_MISMATCH:
        return InvalidGolden(
            f"rows in {rows} do not fit {trial.name}: {report.cause}",
            next_step="give rows in x as the application gives them to the model, [n, …]",
        )
    return InvalidModel(
        f"{trial.name} does not run on {trial.engine.name}: {report.cause}",
        next_step="export it again, as one file, with operators that this runtime has",
    )


def _check_classes(rows: LabelledRows, scores: TensorSpec, trial: Trial) -> None:
    if rows.y is None:
        return
    known = class_count(scores)
    if known == 0 and scores.dtype.startswith("float"):
        raise InvalidGolden(
            f"output {scores.name!r} of {trial.name} tells no classes apart, so labels say nothing",
            next_step="leave y out of the golden rows, or name the output with the scores",
        )
    if known and int(rows.y.max()) >= known:
        raise InvalidGolden(
            f"{rows.name} has the class {rows.y.max()}, {trial.name} knows 0 to {known - 1}",
            next_step="number the classes in y as the model's scores are",
        )


def _accuracy(scores: NDArray[Any], rows: LabelledRows, trial: Trial) -> float | None:
    if rows.y is None:
        return None
    said = [read_scores(row[np.newaxis], trial.thresholds).class_index for row in scores]
    right = sum(one == int(label) for one, label in zip(said, rows.y, strict=True))
    return right / len(said)


def _tolerance(answers: Mapping[str, NDArray[Any]], runtime: str) -> float:
    floats = [value for value in answers.values() if value.dtype.kind == "f"]
    largest = max([1.0, *(float(np.abs(value).max(initial=0.0)) for value in floats)])
    # One figure in two digits, so that it does not carry the last bits of a float.
    allowed = float(f"{TOLERANCE[runtime] * largest:.2g}")
    is_8_bit = any(value.dtype.itemsize == 1 for value in answers.values())
    return max(allowed, TOLERANCE_8_BIT) if is_8_bit else allowed


def _check_same(report: ProbeReport, allowed: float, trial: Trial) -> None:
    difference = report.max_abs_difference or 0.0
    if difference > allowed or report.label_mismatches or not math.isfinite(difference):
        raise InvalidModel(
            f"{trial.name} answers the same rows differently each time (by {difference:.3g})",
            next_step="export it for inference: without dropout or random operators",
        )
