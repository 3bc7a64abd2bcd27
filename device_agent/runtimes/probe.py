"""The child process in which an unknown model is loaded for the first time.

``python -m device_agent.runtimes.probe`` reads a ``ProbeSpec`` on standard input and writes a
``ProbeReport`` on standard output. A model that crashes, hangs or eats the memory takes only
this process with it. It imports nothing but the agent's contract, numpy and the runtime.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import numpy as np

from device_agent.processing.golden import MAX_GOLDEN_BYTES, GoldenRows, decode_golden
from device_agent.processing.prepare import prepare_row
from device_agent.processing.scores import read_scores
from device_agent.protocol.errors import (
    AgentError,
    BadInput,
    InferenceFailed,
    ModelRefused,
    ProtocolError,
    RuntimeMissing,
)
from device_agent.protocol.manifest import TensorSpec
from device_agent.protocol.reasons import Reason
from device_agent.runtimes.available import get_runtime
from device_agent.runtimes.contract import Array, LoadedModel
from device_agent.runtimes.probe_report import (
    MAX_NUMBER,
    MAX_SPEC_BYTES,
    ProbeReport,
    ProbeSpec,
    failure,
)
from device_agent.runtimes.sandbox import enter_sandbox, limit_memory, peak_growth_mib, restart_peak

T = TypeVar("T")


def probe(spec: ProbeSpec) -> ProbeReport:
    """Load a model, run it, and return what was measured; a failure is a report too."""
    try:
        runtime = get_runtime(spec.runtime)
        # Memory is measured before any golden row is read, so that only the model counts.
        resident_kib = restart_peak()
        if spec.memory_mib is not None:
            limit_memory(spec.memory_mib)
        model, load_ms = _timed(
            lambda: runtime.load(Path(spec.artifact), spec.threads, optimized=spec.optimized)
        )
        trial = [np.zeros([max(1, n) for n in each.shape], each.dtype) for each in model.inputs]
        model.run(trial)
        report = ProbeReport(
            inputs=model.inputs,
            outputs=model.outputs,
            load_ms=load_ms,
            memory_mib=peak_growth_mib(resident_kib),
        )
        if spec.golden is not None:
            rows = _read_golden(spec.golden)
            trial = [_fit(rows.x[0], model, spec)]
            report = _with_golden(report, model, rows, spec)
        if spec.parent_golden is not None:
            report = replace(report, parent_accuracy=_parent_accuracy(model, spec))
        report = _with_latency(report, model, trial, spec)
        model.close()
        return report
    except AgentError as error:
        return failure(_out_of_memory(error, spec) or _reason(error), error)
    except MemoryError as error:
        return failure(Reason.MEMORY_BUDGET, f"needs more memory than it may have: {error}")
    except Exception as error:  # noqa: BLE001 - the last door: whatever a hostile model provokes is reported
        return failure(Reason.SELF_TEST_CRASHED, f"{type(error).__name__}: {error}")


def _reason(error: AgentError) -> Reason:
    if isinstance(error, ModelRefused):
        return error.reason
    if isinstance(error, RuntimeMissing):
        return Reason.NO_VARIANT
    if isinstance(error, InferenceFailed):
        return Reason.SELF_TEST_CRASHED
    return Reason.GOLDEN_MISMATCH


def _out_of_memory(error: AgentError, spec: ProbeSpec) -> Reason | None:
    """Runtimes say it in words of their own; without a limit it may mean anything."""
    said = str(error).lower()
    ran_out = any(word in said for word in ("alloc", "memory"))
    return Reason.MEMORY_BUDGET if spec.memory_mib is not None and ran_out else None


def _timed(act: Callable[[], T]) -> tuple[T, float]:
    started = time.perf_counter_ns()
    result = act()
    return result, (time.perf_counter_ns() - started) / 1e6


def _read_golden(path: str) -> GoldenRows:
    try:
        with open(path, "rb") as file:
            return decode_golden(file.read(MAX_GOLDEN_BYTES + 1))
    except OSError as error:
        raise ProtocolError(f"golden rows cannot be read: {error.strerror}") from error


def _fit(row: Array, model: LoadedModel, spec: ProbeSpec) -> Array:
    if len(model.inputs) != 1:
        raise BadInput(f"the model has {len(model.inputs)} inputs, golden rows are for 1")
    return prepare_row(row, spec.preprocessing, model.inputs[0])


def _answers(model: LoadedModel, rows: GoldenRows, spec: ProbeSpec) -> dict[str, Array]:
    """Run every row; return output name → ``[n, ...]``, the batch dimension taken away."""
    answers: list[list[Array]] = [model.run([_fit(row, model, spec)]) for row in rows.x]
    return {
        output.name: _stacked([answer[at] for answer in answers], output)
        for at, output in enumerate(model.outputs)
    }


def _stacked(outputs: list[Array], spec: TensorSpec) -> Array:
    if len({output.shape for output in outputs}) > 1:
        raise InferenceFailed(f"output {spec.name!r} changes its shape from row to row")
    has_batch = outputs[0].shape[:1] == (1,)
    return np.stack([output[0] if has_batch else output for output in outputs])


def _with_golden(
    report: ProbeReport, model: LoadedModel, rows: GoldenRows, spec: ProbeSpec
) -> ProbeReport:
    answers = _answers(model, rows, spec)
    difference, mismatches = _compare(answers, rows)
    return replace(
        report,
        rows=rows.count,
        nonfinite=_nonfinite(answers, rows.count),
        max_abs_difference=difference,
        label_mismatches=mismatches,
        accuracy=_accuracy(answers.get(spec.scores), rows, spec),
        outputs_data=answers if spec.return_outputs else None,
    )


def _nonfinite(answers: dict[str, Array], count: int) -> int:
    bad = np.zeros(count, bool)
    for value in answers.values():
        if value.dtype.kind == "f":
            bad |= ~np.isfinite(value).reshape(count, -1).all(axis=1)
    return int(bad.sum())


def _compare(answers: dict[str, Array], rows: GoldenRows) -> tuple[float | None, int]:
    difference: float | None = None
    mismatched = np.zeros(rows.count, bool)
    for name, expected in rows.expected.items():
        given = answers.get(name)
        if given is None or given.dtype != expected.dtype or given.shape != expected.shape:
            raise BadInput(f"output {name!r} is not of the dtype and shape that was signed")
        scale = 256.0 if given.dtype.itemsize == 1 and given[0].size > 1 else 1.0
        if given.dtype.kind == "f" or scale != 1.0:
            difference = max(difference or 0.0, _largest(given, expected) / scale)
        else:
            mismatched |= (given != expected).reshape(rows.count, -1).any(axis=1)
    return difference, int(mismatched.sum())


def _largest(given: Array, expected: Array) -> float:
    """Return the largest difference where both are finite; what is not is counted elsewhere."""
    both = np.isfinite(given) & np.isfinite(expected)
    gaps = np.abs(given[both].astype(np.float64) - expected[both].astype(np.float64))
    return min(MAX_NUMBER, float(gaps.max(initial=0.0)))


def _accuracy(scores: Array | None, rows: GoldenRows, spec: ProbeSpec) -> float | None:
    if scores is None or rows.labels is None:
        return None
    said = [read_scores(row[np.newaxis], spec.thresholds).class_index for row in scores]
    right = sum(one == int(label) for one, label in zip(said, rows.labels, strict=True))
    return right / rows.count


def _parent_accuracy(model: LoadedModel, spec: ProbeSpec) -> float | None:
    """Return the accuracy on the parent's rows; another input than the parent's is no fault."""
    if spec.parent_golden is None:
        return None
    rows = _read_golden(spec.parent_golden)
    try:
        return _accuracy(_answers(model, rows, spec).get(spec.scores), rows, spec)
    except BadInput:
        return None


def _with_latency(
    report: ProbeReport, model: LoadedModel, row: list[Array], spec: ProbeSpec
) -> ProbeReport:
    for _ in range(spec.warmup):
        model.run(row)
    times_ms = [_timed(lambda: model.run(row))[1] for _ in range(spec.repeats)]
    middle, late = np.percentile(times_ms, [50, 95])
    return replace(report, latency_ms_p50=float(middle), latency_ms_p95=float(late))


def main() -> int:
    """Read the spec, write the report; 0 whatever became of the model."""
    # Native code prints to descriptor 1 as it likes; only the report goes to the real one.
    report_to = os.dup(1)
    os.dup2(2, 1)
    enter_sandbox(int(sys.argv[1]) if len(sys.argv) > 1 else None)
    spec = ProbeSpec.from_bytes(sys.stdin.buffer.read(MAX_SPEC_BYTES + 1))
    with os.fdopen(report_to, "wb") as file:
        file.write(probe(spec).to_bytes())
    return 0


if __name__ == "__main__":
    sys.exit(main())
