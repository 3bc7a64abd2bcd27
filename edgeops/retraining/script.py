"""Running a training script in a process of its own, within bounds of time and memory.

The script is the user's own and runs with the worker's rights; the bounds are against
accidents, not against malice. Its whole process group ends with it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from edgeops.domain.errors import StoreFailed
from edgeops.retraining.contract import Trained, TrainingTask, read_output
from edgeops.retraining.errors import TrainingFailed

REQUEST, OUT, LOG = "request.json", "out", "train.log"
_TAIL_BYTES = 4000
_BYTES_PER_MIB = 1024 * 1024
_LAUNCH = (
    "import os,resource,sys;"
    "resource.setrlimit(resource.RLIMIT_DATA,(int(sys.argv[1]),)*2);"
    "resource.setrlimit(resource.RLIMIT_CORE,(0,0));"
    "os.execv(sys.executable,[sys.executable,*sys.argv[2:]])"
)
"""Sets the bounds in the process itself, before the script is loaded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingLimits:
    """What one training may take."""

    timeout_s: float = 3600.0
    memory_mib: int = 8192


def run_script(script: Path, task: TrainingTask, folder: Path, limits: TrainingLimits) -> Trained:
    """Train.

    Args:
        script: the training script; see ``contract``.
        task: what it is given.
        folder: an empty folder for its request, its output (``out``) and its log
            (``train.log``).
        limits: time and memory.

    Raises:
        TrainingFailed: it is missing, crashed, took too long, or left no model; the message
            ends with what it said last.
        StoreFailed: the disk said no.
    """
    if not script.is_file():
        raise TrainingFailed(f"there is no training script {script}", next_step="name it: --script")
    try:
        (folder / OUT).mkdir(parents=True)
        (folder / REQUEST).write_bytes(task.to_bytes())
        with (folder / LOG).open("wb") as log:
            code = _run(script, folder, log, limits)
    except OSError as error:
        raise StoreFailed(f"{folder}: {error.strerror or error}") from error
    said = _last_line(folder / LOG)
    see = f"read {folder / LOG}"
    if code is None:
        why = f"{script.name} took more than {limits.timeout_s:g} s; it said: {said}"
        raise TrainingFailed(why, next_step=f"give it more time, or {see}")
    if code != 0:
        how = f"was killed by {_signal_name(-code)}" if code < 0 else f"ended with {code}"
        raise TrainingFailed(f"{script.name} {how}; it said: {said}", next_step=see)
    try:
        return read_output(folder / OUT)
    except TrainingFailed as error:
        raise TrainingFailed(f"{script.name}: {error}", next_step=error.next_step) from error


def _run(script: Path, folder: Path, log: IO[bytes], limits: TrainingLimits) -> int | None:
    """Return the exit code; None if the time was over."""
    memory = str(limits.memory_mib * _BYTES_PER_MIB)
    command = [sys.executable, "-c", _LAUNCH, memory, str(script.absolute())]
    process = subprocess.Popen(
        [*command, str((folder / REQUEST).absolute()), str((folder / OUT).absolute())],
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        cwd=folder,
        env={**os.environ, "PYTHONUNBUFFERED": "1", "ORT_DISABLE_TELEMETRY": "1"},
        start_new_session=True,
    )
    try:
        return process.wait(timeout=limits.timeout_s)
    except subprocess.TimeoutExpired:
        return None
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # also what it started and left behind
        process.wait()


def _last_line(path: Path) -> str:
    try:
        with path.open("rb") as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - _TAIL_BYTES))
            lines = log.read().decode(errors="replace").split("\n")
    except OSError:
        return "nothing that can be read"
    return next((line.strip()[:400] for line in reversed(lines) if line.strip()), "nothing")


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
