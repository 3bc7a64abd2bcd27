"""The child process in which converters run: native code, and hostile models in it.

``python -m edgeops.packaging.convert.child PARENT_PID`` reads a ``Job`` on standard input and
writes a ``Report`` on standard output. What crashes, hangs or eats the memory takes only this
process with it. Which converter is imported depends on the job: TensorFlow takes seconds.
"""

from __future__ import annotations

import errno
import os
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from device_agent.runtimes.refusals import one_line
from device_agent.runtimes.sandbox import enter_sandbox
from edgeops.domain.errors import EdgeopsError, InvalidInput, InvalidModel, StoreFailed
from edgeops.packaging.convert.bench import Bench
from edgeops.packaging.convert.errors import ConversionFailed
from edgeops.packaging.convert.job import (
    MAX_JOB_BYTES,
    MAX_REPORT_BYTES,
    PROGRESS,
    Job,
    Report,
    Task,
    failure_bytes,
)
from edgeops.packaging.convert.source import SourceKind, read_source
from edgeops.packaging.files.scratch import NO_FOLDER
from edgeops.packaging.record.anatomy import Anatomy

_BYTES_PER_MIB = 1024 * 1024
_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


def do_job(job: Job) -> bytes:
    """Do a job; return the report's bytes, whatever became of it."""
    try:
        report = _convert(job)
        return report.to_bytes()
    except EdgeopsError as error:
        return failure_bytes(error)
    except OSError as error:
        if error.errno not in _DISK and NO_FOLDER not in str(error):
            return _unknown(job, error)
        why = f"converting to {job.name}: {error.strerror or error}"
        return failure_bytes(StoreFailed(why, next_step="make room on the disk, then try again"))
    except MemoryError:
        why = f"converting to {job.name} takes more than {job.memory_mib} MiB"
        return failure_bytes(ConversionFailed(why, next_step="give it more, or a smaller model"))
    except Exception as error:  # noqa: BLE001 - the last door: whatever a converter raises is reported
        return _unknown(job, error)


def _unknown(job: Job, error: Exception) -> bytes:
    why = f"converting to {job.name} failed: {type(error).__name__}: {one_line(error)}"
    return failure_bytes(ConversionFailed(why, next_step="export the model in another way"))


def _convert(job: Job) -> Report:
    source, target = Path(job.source), Path(job.target)
    found = read_source(source, trust_code=job.trust_code)
    if found.digest != job.digest:
        raise InvalidModel(f"{source} was changed meanwhile", next_step="try again")
    if job.kind.needs_tensorflow:
        from edgeops.packaging.convert.tensorflow_models import convert_tensorflow

        return convert_tensorflow(
            source, job.kind, target, job.recipe.format, trust_code=job.trust_code
        )
    if job.kind is SourceKind.SKOPS:
        from edgeops.packaging.convert.sklearn_models import convert_sklearn_model

        return convert_sklearn_model(source, target, trust_code=job.trust_code)
    data = source.read_bytes()
    if job.task is Task.LOCATE:
        return _located(data, job)
    if job.task is Task.EXAMINE:
        target.write_bytes(_anatomy(data, job.kind).to_bytes())
        return Report()
    made, report = _DO[job.task](data, job, source.parent if found.side_files else None)
    target.write_bytes(made)
    return report


def _located(data: bytes, job: Job) -> Report:
    from edgeops.packaging.convert.locate import locate

    rows = _rows(job)
    found = None if rows is None else locate(data, job.kind, rows, job.others)
    return Report(notes=() if found is None else (found,))


def _rows(job: Job) -> NDArray[Any] | None:
    return np.load(job.calibration, allow_pickle=False) if job.calibration else None


def _quantized(data: bytes, job: Job, folder: Path | None) -> tuple[bytes, Report]:
    rows = _rows(job)
    if job.kind is SourceKind.TFLITE:
        from edgeops.packaging.convert.tflite_quantize import quantize_tflite

        return quantize_tflite(data, job.recipe, rows, job.others)
    from edgeops.packaging.convert.onnx_quantize import quantize_onnx

    return quantize_onnx(data, job.recipe, rows, folder)


def _rebuilt(data: bytes, job: Job, _: Path | None) -> tuple[bytes, Report]:
    making = Report.from_bytes(_bounded(Path(job.making or ""), MAX_REPORT_BYTES))
    if job.kind is SourceKind.TFLITE:
        from edgeops.packaging.convert.tflite_quantize import rebuild_tflite

        return rebuild_tflite(data, job.recipe, making), making
    from edgeops.packaging.convert.onnx_quantize import rebuild_onnx

    return rebuild_onnx(data, job.recipe, making), making


def _searched(data: bytes, job: Job, folder: Path | None) -> tuple[bytes, Report]:
    from edgeops.packaging.convert.search import search

    rows = _rows(job)
    if rows is None or job.search is None:
        raise InvalidInput(
            "a search needs calibration rows, none are given",
            next_step="give some with --calibration: real inputs of the model, x in an .npz",
        )
    bench: Bench
    if job.kind is SourceKind.TFLITE:
        from edgeops.packaging.convert.tflite_quantize import TfliteBench

        bench = TfliteBench(data, job.others)
    else:
        from edgeops.packaging.convert.onnx_bench import OnnxBench

        bench = OnnxBench(data, folder)
    form = job.recipe.format
    return search(bench, form, job.search, rows, len(data), time.monotonic, tell_parent)


_DO: Mapping[Task, Callable[[bytes, Job, Path | None], tuple[bytes, Report]]] = {
    Task.CONVERT: _quantized,
    Task.REBUILD: _rebuilt,
    Task.SEARCH: _searched,
}


def tell_parent(line: str) -> None:
    """Send a line of progress: on standard error, marked."""
    print(f"{PROGRESS}{one_line(ValueError(line))}", file=sys.stderr, flush=True)  # noqa: T201


def _anatomy(data: bytes, kind: SourceKind) -> Anatomy:
    if kind is SourceKind.TFLITE:
        from edgeops.packaging.convert.tflite_anatomy import tflite_anatomy

        return tflite_anatomy(data)
    from edgeops.packaging.convert.onnx_anatomy import onnx_anatomy

    return onnx_anatomy(data)


def _bounded(path: Path, most_bytes: int) -> bytes:
    with path.open("rb") as file:
        return file.read(most_bytes + 1)


def _limit_memory(memory_mib: int) -> None:
    try:
        import resource

        # Data, not address space: native libraries reserve far more of that than they use.
        resource.setrlimit(resource.RLIMIT_DATA, (memory_mib * _BYTES_PER_MIB,) * 2)
    except (ImportError, OSError, ValueError):
        pass  # not a POSIX system, or a stricter limit than ours


def main() -> int:
    """Read the job, write the report; 0 whatever became of the model."""
    # Native code prints to descriptor 1 as it likes; only the report goes to the real one.
    report_to = os.dup(1)
    os.dup2(2, 1)
    enter_sandbox(int(sys.argv[1]) if len(sys.argv) > 1 else None)
    job = Job.from_bytes(sys.stdin.buffer.read(MAX_JOB_BYTES + 1))
    _limit_memory(job.memory_mib)
    with os.fdopen(report_to, "wb") as file:
        file.write(do_job(job))
        file.flush()
        # Native libraries crash when they are taken down, long after the work is done.
        os._exit(0)


if __name__ == "__main__":
    sys.exit(main())
