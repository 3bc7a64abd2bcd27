"""The arena: how little memory a model's tensors need on a microcontroller.

What a process grows by here says nothing of a microcontroller. TensorFlow Lite Micro lays all
tensors of a model into one piece of memory, the arena, and refuses to begin when it is too small.
So the smallest is found by asking it: by bisection, in a child that cannot take this process with
it. Its structures have 64-bit pointers here, and are smaller on a 32-bit board; kernels of a
board's maker may want scratch memory on top.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from device_agent.protocol.codec import decode
from device_agent.protocol.errors import ProtocolError
from device_agent.protocol.fields import Fields
from device_agent.runtimes.child import AGENT_FOLDER, LOAD_AGENT
from edgeops.domain.errors import EdgeopsError, GateFailed, InvalidModel, StoreFailed
from edgeops.packaging.engines import Engine
from edgeops.packaging.files.scratch import HOW

TIMEOUT_S = 120.0
MAX_FINDINGS_BYTES = 64 * 1024
MAX_WORDS = 400
NO_WHOLE_FILE = "no whole .tflite"

_PROGRAM = Path(__file__).with_name("arena_child.py")
_START = f"""{LOAD_AGENT}
import runpy
runpy.run_path(sys.argv.pop(1), run_name="__main__")
"""
_MISSING_OPERATOR = re.compile(r"Didn't find (?:op for builtin opcode|custom op for name) '(.+?)'")
_TOO_SMALL = re.compile(r"\bmissing: \d+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Arena:
    """What a model needs of an arena, in bytes, on this 64-bit machine with reference kernels.

    Attributes:
        size_bytes: the smallest with which TFLM begins, a multiple of 16. It can be more than
            both parts together: planning takes memory too, and gives it back.
        head_bytes: of it, what holds inputs, outputs and activations in turn.
        tail_bytes: of it, what stays for as long as the model is loaded.
    """

    size_bytes: int
    head_bytes: int
    tail_bytes: int

    def __str__(self) -> str:
        """Return it for people and for the lineage."""
        return f"{self.size_bytes} bytes (head {self.head_bytes}, tail {self.tail_bytes})"


def measure_arena(model: bytes, engine: Engine, *, timeout_s: float = TIMEOUT_S) -> Arena:
    """Find the smallest arena with which TFLM runs a model.

    Args:
        model: a ``.tflite``.
        engine: of the runtime ``tflm``.
        timeout_s: for all trials together.

    Raises:
        GateFailed: TFLM does not take it at all: an operator that it does not have, or not for
            these types. The message has its words.
        InvalidModel: no whole file, or one that crashes or hangs even with plenty of memory.
        StoreFailed: the system gives no process or no file.
        EdgeopsError: the child died, or its environment is broken.
    """
    findings = _findings(model, engine, timeout_s)
    if findings.has("refused"):
        raise _refusal(findings.text("refused", max_length=MAX_FINDINGS_BYTES)[:MAX_WORDS])
    return Arena(
        size_bytes=findings.integer("size_bytes", minimum=1),
        head_bytes=findings.integer("head_bytes"),
        tail_bytes=findings.integer("tail_bytes"),
    )


def _refusal(words: str) -> GateFailed | InvalidModel:
    if words.startswith(NO_WHOLE_FILE):
        return InvalidModel(words, next_step="export it again")
    if (missing := _MISSING_OPERATOR.search(words)) is not None:
        return GateFailed(
            f"TFLM has no operator {missing[1]}",
            next_step="replace the operator in the model, or leave the profile out",
        )
    if _TOO_SMALL.search(words):
        return GateFailed(
            f"more memory is needed than any microcontroller has: {words}",
            next_step="make the model smaller, or leave the profile out",
        )
    if words.startswith("killed by"):
        return InvalidModel(f"it crashes TFLM: {words}", next_step="export it again")
    return GateFailed(
        f"TFLM does not run it: {words}",
        next_step="it takes int8, int16 and float32 of fixed shapes, for example --recipe int8; or "
        "leave the profile out",
    )


def _findings(model: bytes, engine: Engine, timeout_s: float) -> Fields:
    # What our environment variables add for our Python is not for another one.
    isolation = [] if engine.python == sys.executable else ["-I"]
    command = [engine.python, *isolation, "-c", _START]
    command += [str(AGENT_FOLDER), str(_PROGRAM), str(os.getpid())]
    # One thread, so that forks are clean; nothing here is worth more.
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    try:
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            code = subprocess.run(
                command,
                input=model,
                stdout=out,
                stderr=err,
                cwd="/",
                env=environment,
                timeout=timeout_s,
                check=False,
            ).returncode
            said, words = _start(out), _start(err).decode(errors="replace").split()
    except subprocess.TimeoutExpired as error:
        raise InvalidModel(
            f"TFLM did not end in {timeout_s:g} s",
            next_step="make the model smaller, or leave the profile out",
        ) from error
    except OSError as error:
        raise StoreFailed(
            f"cannot run {engine.name}: {error.strerror or error}", next_step=HOW
        ) from error
    try:
        return Fields(decode(said, max_bytes=MAX_FINDINGS_BYTES), "arena")
    except ProtocolError as error:
        ended = " ".join(words)[-MAX_WORDS:] or "it said nothing"
        raise EdgeopsError(
            f"{engine.name} ended with {code} and no findings: {ended}",
            next_step="remove HOME/cache/environments, it is made again; or leave the profile out",
        ) from error


def _start(file: IO[bytes]) -> bytes:
    file.seek(0)
    return file.read(MAX_FINDINGS_BYTES)
