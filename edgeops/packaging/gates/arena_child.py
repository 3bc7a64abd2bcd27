"""The program that finds how little memory a model needs on TensorFlow Lite Micro.

It runs in the environment of the runtime, which has neither this package nor what it needs: so it
imports nothing but the agent's runtimes. It reads a ``.tflite`` on standard input, writes its
findings as JSON on standard output, and ends.

Each size is tried in a fork of its own: with an arena that is too small TFLM mostly refuses, but
some kernels write to memory that they did not get, and crash.
"""

from __future__ import annotations

import json
import os
import re
import resource
import signal
import sys
from dataclasses import dataclass

import numpy as np

from device_agent.protocol.errors import AgentError
from device_agent.runtimes.sandbox import enter_sandbox
from device_agent.runtimes.tflm import ARENA_BYTES, MicroModel

STEP_BYTES = 16
"""To what TFLM aligns tensors, and firmware its arena."""
MAX_MEMORY_BYTES = 1024 * 1024 * 1024
"""What the trials may take besides what is taken before they begin."""
SUMMARY_LINES = 4
"""TFLM tells of the arena as a whole first, and then of each kind of data in it."""
MAX_LINE = 300
_PART = re.compile(r"Arena allocation (head|tail) (\d+) bytes")


@dataclass(frozen=True)
class Trial:
    """What became of one size: why it did not do, or what TFLM said that it allocated."""

    refusal: str = ""
    allocations: tuple[str, ...] = ()


def measure(data: bytes) -> dict[str, object]:
    """Return the smallest arena and its parts in bytes, or ``refused``: why there is none."""
    whole = attempt(data, ARENA_BYTES, run=True)
    if whole.refusal:
        return {"refused": whole.refusal}
    too_small, enough = 0, ARENA_BYTES // STEP_BYTES
    while enough - too_small > 1:
        middle = (too_small + enough) // 2
        if attempt(data, middle * STEP_BYTES, run=False).refusal:
            too_small = middle
        else:
            enough = middle
    found = attempt(data, enough * STEP_BYTES, run=True)
    if found.refusal:
        return {"refused": f"it allocates, and then does not run: {found.refusal}"}
    parts = {part[1]: int(part[2]) for line in found.allocations for part in _PART.finditer(line)}
    return {
        "size_bytes": enough * STEP_BYTES,
        "head_bytes": parts["head"],
        "tail_bytes": parts["tail"],
    }


def attempt(data: bytes, arena_bytes: int, *, run: bool) -> Trial:
    """Lay out a model in an arena of that size, in a fork; with ``run`` also answer zeros.

    Raises:
        RuntimeError: the fork stumbled over something else than the model.
    """
    read_end, write_end = os.pipe()
    parent = os.getpid()
    child = os.fork()
    if child == 0:
        try:
            enter_sandbox(parent)
            os.write(write_end, _try(data, arena_bytes, run=run))
            os._exit(0)
        finally:  # whatever happened: a fork must not go on with the work of its parent
            os._exit(1)
    os.close(write_end)
    with os.fdopen(read_end, "rb") as pipe:
        said = pipe.read()
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code < 0:
        return Trial(refusal=f"killed by {signal.Signals(-code).name}")
    if code > 0:
        raise RuntimeError(f"a trial ended with code {code}")
    refusal, allocations = json.loads(said)
    return Trial(refusal=refusal, allocations=tuple(allocations))


def _try(data: bytes, arena_bytes: int, *, run: bool) -> bytes:
    allocations: list[str] = []
    refusal = ""
    try:
        model = MicroModel(data, arena_bytes)
        if run:
            model.run([np.zeros(each.shape, each.dtype) for each in model.inputs])
            allocations = model.allocations()
    except AgentError as error:
        refusal = str(error) or type(error).__name__
    except MemoryError:
        refusal = f"it takes more than {MAX_MEMORY_BYTES} bytes of memory"
    said = [line[:MAX_LINE] for line in allocations[:SUMMARY_LINES]]
    return json.dumps([refusal[:MAX_LINE], said]).encode()


def main() -> int:
    """Read the model, write the findings."""
    # Native code prints to descriptor 1 as it likes; only the findings go to the real one.
    report_to = os.dup(1)
    os.dup2(2, 1)
    enter_sandbox(int(sys.argv[1]))
    data = sys.stdin.buffer.read()
    with open("/proc/self/statm", encoding="ascii") as file:
        taken = int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    limit = taken + MAX_MEMORY_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    with os.fdopen(report_to, "wb") as file:
        file.write(json.dumps(measure(data)).encode())
    return 0


if __name__ == "__main__":
    sys.exit(main())
