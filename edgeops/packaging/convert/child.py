"""The child process in which converters run: native code, and hostile models in it.

``python -m edgeops.packaging.convert.child PARENT_PID`` reads a ``Job`` on standard input and
writes a ``Report`` on standard output. What crashes, hangs or eats the memory takes only this
process with it. Which converter is imported depends on the job: TensorFlow takes seconds.
"""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path

import numpy as np

from device_agent.runtimes.refusals import one_line
from device_agent.runtimes.sandbox import enter_sandbox
from edgeops.domain.errors import EdgeopsError, InvalidModel, StoreFailed
from edgeops.packaging.convert.errors import ConversionFailed
from edgeops.packaging.convert.job import MAX_JOB_BYTES, Job, Report, failure_bytes
from edgeops.packaging.convert.source import SourceKind, read_source

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
        if error.errno not in _DISK:
            return _unknown(job, error)
        why = f"converting to {job.recipe.name}: {error.strerror}"
        return failure_bytes(StoreFailed(why, next_step="make room on the disk, then try again"))
    except MemoryError:
        why = f"converting to {job.recipe.name} takes more than {job.memory_mib} MiB"
        return failure_bytes(ConversionFailed(why, next_step="give it more, or a smaller model"))
    except Exception as error:  # noqa: BLE001 - the last door: whatever a converter raises is reported
        return _unknown(job, error)


def _unknown(job: Job, error: Exception) -> bytes:
    why = f"converting to {job.recipe.name} failed: {type(error).__name__}: {one_line(error)}"
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
    if job.only_check:
        from edgeops.packaging.convert.as_is import try_out

        try_out(source.read_bytes(), job.kind)
        return Report()
    rows = np.load(job.calibration, allow_pickle=False) if job.calibration else None
    if job.kind is SourceKind.TFLITE:
        from edgeops.packaging.convert.tflite_quantize import quantize_tflite

        data, report = quantize_tflite(source.read_bytes(), job.recipe, rows, job.others)
    else:
        from edgeops.packaging.convert.onnx_quantize import quantize_onnx

        folder = source.parent if found.side_files else None
        data, report = quantize_onnx(source.read_bytes(), job.recipe, rows, folder)
    target.write_bytes(data)
    return report


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
