"""Running a training script in a process of its own, within bounds of time and memory.

The script is the user's own and runs with the worker's rights; the bounds are against
accidents, not against malice. What it started ends with it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from edgeops.domain.errors import StoreFailed
from edgeops.retraining import supervisor
from edgeops.retraining.contract import Trained, TrainingTask, read_output
from edgeops.retraining.errors import TrainingFailed

REQUEST, OUT, LOG = "request.json", "out", "train.log"
POLL_S = 5.0
_TAIL_BYTES = 4000
_BYTES_PER_MIB = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingLimits:
    """What one training may take."""

    timeout_s: float = 3600.0
    memory_mib: int = 8192


def run_script(
    script: Path,
    task: TrainingTask,
    folder: Path,
    limits: TrainingLimits,
    still_works: Callable[[], None] = lambda: None,
) -> Trained:
    """Train.

    Args:
        script: the training script; see ``contract``.
        task: what it is given.
        folder: an empty folder for its request, its output (``out``) and its log
            (``train.log``).
        limits: time and memory.
        still_works: called every ``POLL_S`` seconds while it runs; what it raises ends the script.

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
            code = _run(script, folder, log, limits, still_works)
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


def _run(
    script: Path,
    folder: Path,
    log: IO[bytes],
    limits: TrainingLimits,
    still_works: Callable[[], None],
) -> int | None:
    """Return the exit code; None if the time was over."""
    memory = str(limits.memory_mib * _BYTES_PER_MIB)
    paths = [str(path.absolute()) for path in (script, folder / REQUEST, folder / OUT)]
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", supervisor.__file__, str(os.getpid()), memory, *paths],
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        cwd=folder,
        env={**os.environ, "PYTHONUNBUFFERED": "1", "ORT_DISABLE_TELEMETRY": "1"},
        start_new_session=True,
    )
    end_s = time.monotonic() + limits.timeout_s
    try:
        while (left_s := end_s - time.monotonic()) > 0:
            try:
                return process.wait(timeout=min(POLL_S, left_s))
            except subprocess.TimeoutExpired:
                still_works()
        return None
    finally:
        process.terminate()  # the supervisor then ends whatever the script started
        process.wait()


def _last_line(path: Path) -> str:
    try:
        with path.open("rb") as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - _TAIL_BYTES))
            lines = log.read().decode(errors="replace").split("\n")
    except OSError:
        return "nothing that can be read"
    # A terminal that shows this must not obey it.
    plain = ("".join(c if c.isprintable() else " " for c in line).strip() for line in lines)
    return next((line[:400] for line in reversed([*plain]) if line), "nothing")


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
