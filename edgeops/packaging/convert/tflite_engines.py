"""Running a ``.tflite`` on every engine that it is meant for, from within a conversion."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
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
NO_ANSWER = np.array([np.nan])


def on_engines(
    data: bytes, rows: Sequence[NDArray[Any]], others: Sequence[Engine]
) -> dict[str, NDArray[Any]]:
    """Return the answers ``[n, ...]`` by engine: LiteRT's kernels, XNNPACK's, and others'.

    An engine that does not take the file, or answers nothing, answers NaN.

    Args:
        data: the file.
        rows: inputs as the model takes them.
        others: engines in environments of their own.
    """
    version = f"ai-edge-litert {metadata.version('ai-edge-litert')}"
    answers = {
        f"{version} without optimizations": _here(data, rows, delegates=False),
        version: _here(data, rows, delegates=True),
    }
    for engine in others:
        answers[engine.name] = _elsewhere(data, rows, engine)
    return answers


def _here(data: bytes, rows: Sequence[NDArray[Any]], *, delegates: bool) -> NDArray[Any]:
    try:
        return run_rows(load(data, delegates=delegates), rows)
    except (InvalidModel, RuntimeError, ValueError):  # it does not take the file, or stumbles
        return NO_ANSWER


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


def _elsewhere(data: bytes, rows: Sequence[NDArray[Any]], engine: Engine) -> NDArray[Any]:
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
        return NO_ANSWER
    answers = [
        value.reshape(len(rows), -1).astype(np.float32) for value in report.outputs_data.values()
    ]
    return np.concatenate(answers, axis=1)
