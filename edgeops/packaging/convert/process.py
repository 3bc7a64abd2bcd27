"""The parent's side of a conversion: start the child, wait for it, tell how it ended.

The report goes to a file in memory, so that the child never blocks on a full pipe.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import edgeops
from device_agent.protocol.errors import ProtocolError
from edgeops.domain.errors import StoreFailed
from edgeops.packaging.convert.errors import ConversionFailed
from edgeops.packaging.convert.job import MAX_REPORT_BYTES, PROGRESS, Job, Report, Task

POLL_S = 0.02
MAX_STDERR_BYTES = 4000
MAX_TOLD_BYTES = 64 * 1024
_DOING = {
    Task.CONVERT: "converting",
    Task.SEARCH: "searching a recipe for",
    Task.REBUILD: "making again",
    Task.LOCATE: "looking for the operator that differs in",
    Task.EXAMINE: "looking into",
}
CHILD_MODULE = "edgeops.packaging.convert.child"

# Set before the interpreter starts, since most are read at the first import. A fixed hash seed
# makes the order of sets, and with it the order of what converters write, the same each time.
ENVIRONMENT = {
    "PYTHONHASHSEED": "0",
    "ORT_DISABLE_TELEMETRY": "1",
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "CUDA_VISIBLE_DEVICES": "",
    "KERAS_BACKEND": "tensorflow",
}

# With -m, Python looks for modules in the working folder first: let that be where this
# package is, so that the child runs the same code and nothing of the folder we happen to be in.
_PACKAGE_PARENT = Path(edgeops.__file__).resolve().parent.parent


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one conversion may take, and after how long it is said each time that it goes on."""

    timeout_s: float = 600.0
    memory_mib: int = 8192
    tell_every_s: float = 15.0


DEFAULT_LIMITS = Limits()


def run_job(
    job: Job,
    limits: Limits,
    progress: Callable[[str], None] = lambda _: None,
    scratch: Path | None = None,
) -> Report:
    """Do a job in a child process that cannot take this one with it.

    The child dies with the thread that calls this.

    Args:
        job: what to do.
        limits: time and memory.
        progress: told what the child tells.
        scratch: folder for the child's temporary files, which nobody removes if it is killed;
            None takes the system's.

    Raises:
        EdgeopsError: what the child reported, as the kind that it was.
        ConversionFailed: it crashed, was killed, answered nonsense, or took too long.
        StoreFailed: the system gives no process or no file.
    """
    asked = job.to_bytes()
    try:
        out, err = _scratch_file(), _scratch_file()
        process = subprocess.Popen(
            [sys.executable, "-m", CHILD_MODULE, str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=out,
            stderr=err,
            cwd=_PACKAGE_PARENT,
            env={**os.environ, **ENVIRONMENT, **({"TMPDIR": str(scratch)} if scratch else {})},
        )
    except OSError as error:
        raise StoreFailed(
            f"cannot start a conversion: {error.strerror}",
            next_step="end other processes, or make room in memory",
        ) from error
    with out, err:
        try:
            _send(process, asked)
            code = _wait(process, limits, _Teller(err, progress), job)
        finally:
            process.kill()
            process.wait()
        if code is None:
            raise ConversionFailed(
                f"{_DOING[job.task]} {Path(job.source).name} ({job.recipe.name}) took more than "
                f"{limits.timeout_s:g} s",
                next_step="a model that loops without end never ends: export it without loops, or "
                "give a smaller one",
            )
        return _read(code, out, err, job)


def _send(process: subprocess.Popen[bytes], data: bytes) -> None:
    if process.stdin is None:
        raise ValueError("the child has no standard input")
    try:
        with process.stdin as pipe:
            pipe.write(data)
    except BrokenPipeError:
        pass  # it died at once: its exit code tells how


class _Teller:
    """Passes on the lines of progress that a child writes between those of native code."""

    def __init__(self, file: IO[bytes], progress: Callable[[str], None]) -> None:
        self._file, self._progress, self._at = file.fileno(), progress, 0

    def say(self, line: str) -> None:
        """Say a line of our own."""
        self._progress(line)

    def tell(self) -> None:
        """Pass on the whole lines that came since the last time."""
        new = os.pread(self._file, MAX_TOLD_BYTES, self._at)
        whole = new[: new.rfind(b"\n") + 1] or (new if len(new) == MAX_TOLD_BYTES else b"")
        self._at += len(whole)
        for line in whole.decode(errors="replace").split("\n"):
            if line.startswith(PROGRESS):
                self._progress(line.removeprefix(PROGRESS))


def _wait(
    process: subprocess.Popen[bytes], limits: Limits, teller: _Teller, job: Job
) -> int | None:
    """Wait for the child, and say from time to time that it is still waited for."""
    begun_s = told_s = time.monotonic()
    while (code := process.poll()) is None:
        teller.tell()
        now_s = time.monotonic()
        if now_s >= begun_s + limits.timeout_s:
            return None
        if now_s >= told_s + limits.tell_every_s:
            told_s = now_s
            since = f"since {now_s - begun_s:.0f} s, at most {limits.timeout_s:g} s"
            teller.say(f"still {_DOING[job.task]} {Path(job.source).name}, {since}")
        time.sleep(POLL_S)
    teller.tell()
    return code


def _read(code: int, out: IO[bytes], err: IO[bytes], job: Job) -> Report:
    out.seek(0)
    data = out.read(MAX_REPORT_BYTES + 1)
    what = f"the converter to {job.name}"
    if code < 0:
        raise ConversionFailed(
            f"{what} was killed by {_signal_name(-code)}: {_last_line(err)}",
            next_step=f"it may have needed more than {job.memory_mib} MiB, or the model is damaged",
        )
    try:
        return Report.from_bytes(data)
    except ProtocolError as error:
        raise ConversionFailed(
            f"{what} ended with {code} and no report ({error}): {_last_line(err)}",
            next_step="export the model in another way; edgeops doctor looks at this machine",
        ) from error


def _scratch_file() -> IO[bytes]:
    if hasattr(os, "memfd_create"):
        return os.fdopen(os.memfd_create("edgeops-convert"), "w+b")
    return tempfile.TemporaryFile()


def _last_line(file: IO[bytes]) -> str:
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - MAX_STDERR_BYTES))
    lines = [line.strip() for line in file.read().decode(errors="replace").split("\n")]
    return next((line[:400] for line in reversed(lines) if line), "it said nothing")


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
