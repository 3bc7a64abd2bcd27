"""Running a ``.tflite`` on every engine that it is meant for, from within a conversion."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from device_agent.processing.golden import GoldenRows, encode_golden
from device_agent.runtimes.child import spawn_probe
from device_agent.runtimes.probe_report import ProbeSpec
from edgeops.domain.errors import InvalidModel
from edgeops.packaging.convert.tflite_file import load
from edgeops.packaging.engines import Engine

PROBE_TIMEOUT_S = 60.0
MAX_CAUSE = 300
NO_ANSWER = np.array([np.nan])


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Answers:
    """What engines answered, ``[n, ...]`` by engine; NaN if nothing, and ``refusals`` says why."""

    given: dict[str, NDArray[Any]] = field(default_factory=dict)
    refusals: dict[str, str] = field(default_factory=dict)


def on_engines(data: bytes, rows: Sequence[NDArray[Any]], others: Sequence[Engine]) -> Answers:
    """Return the answers of LiteRT's kernels, of XNNPACK's, and of others.

    Args:
        data: the file.
        rows: inputs as the model takes them.
        others: engines in environments of their own.
    """
    answers = Answers()
    version = f"ai-edge-litert {metadata.version('ai-edge-litert')}"
    _here(f"{version} without optimizations", data, rows, answers, delegates=False)
    _here(version, data, rows, answers, delegates=True)
    for engine in others:
        _elsewhere(engine, data, rows, answers)
    return answers


def _here(
    name: str, data: bytes, rows: Sequence[NDArray[Any]], answers: Answers, *, delegates: bool
) -> None:
    try:
        answers.given[name] = run_rows(load(data, delegates=delegates), rows)
    except (InvalidModel, RuntimeError, ValueError) as error:  # it does not take it, or stumbles
        answers.given[name] = NO_ANSWER
        answers.refusals[name] = " ".join(str(error).split())[:MAX_CAUSE]


def run_rows(interpreter: Any, rows: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """Return the answers to rows, all outputs in one row: ``[n, ...]``."""
    at = interpreter.get_input_details()[0]["index"]
    outputs = [detail["index"] for detail in interpreter.get_output_details()]
    said = []
    for row in rows:
        interpreter.set_tensor(at, row)
        interpreter.invoke()
        said.append(np.concatenate([interpreter.get_tensor(out).ravel() for out in outputs]))
    return np.stack(said)


def _elsewhere(engine: Engine, data: bytes, rows: Sequence[NDArray[Any]], answers: Answers) -> None:
    with tempfile.TemporaryDirectory(prefix="edgeops-engine-") as name:
        artifact, golden = Path(name) / "model.tflite", Path(name) / "golden.json"
        artifact.write_bytes(data)
        golden.write_bytes(encode_golden(GoldenRows(x=np.stack([row.ravel() for row in rows]))))
        spec = ProbeSpec(
            runtime=engine.runtime,
            artifact=str(artifact),
            golden=str(golden),
            optimized=engine.optimized,
            return_outputs=True,
            warmup=0,
            repeats=1,
        )
        report = spawn_probe(spec, timeout_s=PROBE_TIMEOUT_S, python=engine.python)
    if not report.outputs_data:
        answers.given[engine.name] = NO_ANSWER
        answers.refusals[engine.name] = report.cause
        return
    answers.given[engine.name] = np.concatenate(
        [value.reshape(len(rows), -1).astype(np.float32) for value in report.outputs_data.values()],
        axis=1,
    )
