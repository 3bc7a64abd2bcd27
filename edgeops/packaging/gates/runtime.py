"""The runtime gate: every runtime that the profiles name answers alike, optimized or not.

Files run without an error and answer at chance level: on an older runtime, or by an optimization
that mishandles what a quantizer wrote. So every artifact is run on all of them, on the same rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from device_agent.processing.prepare import prepare_rows
from device_agent.protocol.errors import BadInput
from device_agent.protocol.ids import digest_of
from device_agent.protocol.manifest import TensorSpec
from device_agent.runtimes.available import available_runtimes, runtime_package
from edgeops.domain.errors import GateFailed, InvalidModel
from edgeops.packaging.convert.examine import locate
from edgeops.packaging.convert.fidelity import relative_error, sqnr_db
from edgeops.packaging.convert.repair import MAX_FLOAT_ERROR, disagreement
from edgeops.packaging.engines import Engine
from edgeops.packaging.evaluate import Evaluation, answers
from edgeops.packaging.files.model_file import ModelFile, on_trial
from edgeops.packaging.gates.verdicts import RUNTIME_GATE
from edgeops.packaging.rows.golden_rows import LabelledRows, spread

COMPARED_ROWS = 64
_SEED = 0
_REFERENCE = {"tflite": "litert", "onnx": "onnxruntime"}


def check_runtimes(
    file: ModelFile,
    found: Mapping[str, Evaluation],
    rows: LabelledRows | None,
    cache: Path | None,
) -> str:
    """Run an artifact on every runtime, with optimizations and without; return what was found.

    Args:
        file: the artifact.
        found: what is known of it, by runtime of its format.
        rows: inputs as the application gives them; None takes random ones.
        cache: a folder for files in between; None does not look for the operator.

    Raises:
        GateFailed: one of them answers something else; the message says which.
        InvalidGolden: the rows do not fit the model.
    """
    first = next(iter(found.values()))
    compared = _random(first.inputs[0]) if rows is None else _part(rows)
    engines = [kind for each in _engines(file, found) for kind in reversed(each.kinds)]
    given = {engine.name: _answers(file, engine, first, compared) for engine in engines}
    which = "random rows" if rows is None else "rows"
    _check_finite(file, given, which)
    culprit = None
    if file.float_data is None:
        why = odd_one(given)
        if why is not None and cache is not None:
            culprit = _located(file, compared, _engines(file, found), cache)
    else:
        plain = _answers(file, engines[0], first, compared, file.float_data, scores=None)
        why = disagreement(given, plain)
    if why is not None:
        at = f"; the first operator that differs is {culprit}" if culprit else ""
        raise GateFailed(
            f"gate {RUNTIME_GATE!r}: {file.label} by {file.recipe}: {why}{at}",
            next_step="give the float model and a recipe: what a runtime misreads is then left in "
            "floats; or leave out that runtime's profiles",
        )
    return f".{file.format}: {', '.join(given)} answer alike on {len(compared.x)} {which}"


def _check_finite(file: ModelFile, given: Mapping[str, NDArray[Any]], which: str) -> None:
    """Refuse a model that no runtime gets numbers from: then it is no fault of one of them.

    Raises:
        GateFailed: on how many rows.
    """
    if any(np.isfinite(each).all() for each in given.values()):
        return
    bad = min(int((~np.isfinite(each)).any(axis=1).sum()) for each in given.values())
    count = len(next(iter(given.values())))
    raise GateFailed(
        f"gate {RUNTIME_GATE!r}: {file.label} by {file.recipe} answers NaN or infinity to {bad} of "
        f"{count} {which}, on every runtime",
        next_step="the model does it: look for a constant that is NaN, a logarithm or a root of "
        "what is not above 0, or a division by 0, and export it again",
    )


def _located(
    file: ModelFile, rows: LabelledRows, engines: Sequence[Engine], cache: Path
) -> str | None:
    try:
        prepared = prepare_rows(rows.x, file.preprocessing)
    except BadInput:
        return None
    return locate(file.data, file.format, prepared, engines, cache)


def _engines(file: ModelFile, found: Mapping[str, Evaluation]) -> list[Engine]:
    """Return what runs it, and its format's own runtime, if that is here: to compare with."""
    engines = [each.engine for each in found.values()]
    reference = _REFERENCE[file.format]
    if reference not in found and reference in available_runtimes():
        engines.insert(0, Engine(runtime=reference, package=runtime_package(reference)))
    return engines


def odd_one(answers: Mapping[str, NDArray[Any]]) -> str | None:
    """Say which engine answers otherwise than most, None if none does.

    Healthy files of 8 bits differ by as much as their own error (ResNet8 on LiteRT and on
    tflite-runtime: 0.14), so the bar is where it is not the same model any more.

    Args:
        answers: by engine, ``[n, ...]``; there is no float model to compare with.
    """
    for engine, given in answers.items():
        if not np.isfinite(given).all():
            return f"{engine} answers NaN or infinity"
    apart = {
        engine: {other: relative_error(given, answers[other]) for other in answers}
        for engine, given in answers.items()
    }
    typical = min(apart, key=lambda engine: sorted(apart[engine].values())[len(apart) // 2])
    for engine in answers:
        if apart[engine][typical] > MAX_FLOAT_ERROR:
            decibels = sqnr_db(apart[engine][typical])
            return f"{engine} answers something else than {typical} ({decibels:.1f} dB apart)"
    return None


def _answers(
    file: ModelFile,
    engine: Engine,
    like: Evaluation,
    rows: LabelledRows,
    data: bytes | None = None,
    *,
    scores: str | None = "",
) -> NDArray[Any]:
    """Return the scores as floats around zero ``[n, ...]``; NaN if the engine has no answer."""
    with on_trial(file, engine, data) as trial:
        try:
            said = answers(
                trial, rows, like=like.outputs, scores=like.scores if scores == "" else scores
            )
        except InvalidModel:
            return np.full((len(rows.x), 1), np.nan)
    values = said.reshape(len(said), -1).astype(np.float64)
    # Scores in 8 bits lie around their zero point: without it errors would seem small.
    return values - values.min() if said.dtype.kind in "iu" else values


def _part(rows: LabelledRows) -> LabelledRows:
    return replace(rows.at(spread(len(rows.x), COMPARED_ROWS)), y=None)


def _random(spec: TensorSpec) -> LabelledRows:
    """Return random rows for a model of which nobody gave any."""
    chance = np.random.default_rng(_SEED)
    shape = (COMPARED_ROWS, *(max(1, size) for size in spec.shape[1:]))
    x = chance.random(shape).astype(spec.dtype if spec.dtype.startswith("float") else np.float32)
    if not spec.dtype.startswith("float"):
        x = np.round(x * 100).astype(spec.dtype)
    return LabelledRows(x=x, y=None, digest=digest_of(x.tobytes()), name="random rows")
