"""A worker gives inputs to one parser in a fork, so that whatever happens to it is told.

It writes the number of each input into shared memory before the parser sees it. If it dies or
stops, the parent knows by which input, and starts another one behind it.
"""

from __future__ import annotations

import json
import logging
import mmap
import os
import resource
import select
import signal
import struct
import sys
import time
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field, replace

from tests.fuzz.check import MIB, Finding, Target, check

STUCK_S = 90.0
"""Without a new input for so long, native code does not come back: Python's limit is far below."""
POLL_S = 0.2
MEMORY_BYTES = 3 * 1024 * MIB
"""What a worker may allocate at all: a net below the bounds of inputs."""
_SEEN = struct.Struct("qqq")


@dataclass(kw_only=True)
class Outcome:
    """What a run found, and how many inputs it gave; ``found`` is by the number of the input."""

    inputs: int = 0
    accepted: int = 0
    seconds: float = 0.0
    found: dict[int, Finding] = field(default_factory=dict)

    def add(self, other: Outcome) -> None:
        """Take in another run; of each finding the first input is kept."""
        self.inputs += other.inputs
        self.accepted += other.accepted
        self.seconds += other.seconds
        known = {each.key for each in self.found.values()}
        for number, each in sorted(other.found.items()):
            if each.key not in known:
                known.add(each.key)
                self.found[number] = each


def run(target: Target, numbers: range, *, seconds: float = float("inf")) -> Outcome:
    """Give a parser the inputs of those numbers, or as many as there is time for."""
    outcome = Outcome()
    begun_s = time.monotonic()
    while numbers and time.monotonic() - begun_s < seconds:
        last, part = _in_fork(target, numbers, seconds - (time.monotonic() - begun_s))
        outcome.add(part)
        numbers = range(last + 1, numbers.stop)
    outcome.seconds = time.monotonic() - begun_s
    return outcome


def run_file(target: Target, data: bytes) -> Outcome:
    """Give a parser one input that somebody kept."""
    return run(replace(target, seeds=lambda: (data,), spoil=lambda each, *_: each), range(1))


def _in_fork(target: Target, numbers: range, seconds: float) -> tuple[int, Outcome]:
    """Return the number of the last input, and what came of all of them."""
    target.seeds()  # in the parent: so that each fork has them
    shared = mmap.mmap(-1, _SEEN.size)
    shared[:] = _SEEN.pack(numbers.start, 0, 0)
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read_end)
        _work(target, numbers, seconds, shared, write_end)
    os.close(write_end)
    said, was_stuck = _listen(read_end, child, shared)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    number, inputs, accepted = _SEEN.unpack(shared[:])
    found = {each["number"]: Finding(**each["finding"]) for each in map(json.loads, said)}
    if was_stuck:
        found[number] = Finding(kind="hang", what=f"native code, more than {STUCK_S:g} s")
    elif code != 0:
        found[number] = Finding(kind="death", what=_ended(code))
    last = number if was_stuck or code != 0 else numbers.stop
    outcome = Outcome(inputs=inputs, accepted=accepted)
    outcome.add(Outcome(found=found))
    return last, outcome


def _listen(read_end: int, child: int, shared: mmap.mmap) -> tuple[Iterable[bytes], bool]:
    """Return the lines that a worker wrote, and whether it had to be killed."""
    said, seen, since_s, was_stuck = b"", b"", time.monotonic(), False
    with os.fdopen(read_end, "rb", buffering=0) as pipe:
        while True:
            if select.select([pipe], [], [], POLL_S)[0]:
                piece = pipe.read(65536)
                if not piece:
                    return [line for line in said.split(b"\n")[:-1] if line], was_stuck
                said += piece
            if shared[:] != seen:
                seen, since_s = shared[:], time.monotonic()
            elif time.monotonic() - since_s > STUCK_S and not was_stuck:
                os.kill(child, signal.SIGKILL)
                was_stuck = True


def _work(
    target: Target, numbers: range, seconds: float, shared: mmap.mmap, write_end: int
) -> None:
    """Give inputs until there are no more; never returns."""
    code = 1
    try:
        be_quiet()
        _bound_memory()
        for number, found in _checked(target, numbers, seconds, shared):
            line = json.dumps({"number": number, "finding": asdict(found)}) + "\n"
            os.write(write_end, line.encode())
        code = 0
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:  # whatever happened: a fork must not go on with the work of its parent
        os._exit(code)


def _checked(
    target: Target, numbers: range, seconds: float, shared: mmap.mmap
) -> Iterator[tuple[int, Finding]]:
    end_s, accepted = time.monotonic() + seconds, 0
    for inputs, number in enumerate(numbers, start=1):
        shared[:] = _SEEN.pack(number, inputs, accepted)
        found = check(target, target.input(number))
        if isinstance(found, Finding):
            yield number, found
        else:
            accepted += found
        shared[:] = _SEEN.pack(number, inputs, accepted)
        if time.monotonic() > end_s:
            return


def be_quiet() -> None:
    """Let nothing be told of inputs any more."""
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")


def _bound_memory() -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with open("/proc/self/statm", encoding="ascii") as file:
        taken = int(file.read().split()[5]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_DATA, (taken + MEMORY_BYTES,) * 2)


def _ended(code: int) -> str:
    return f"killed by {signal.Signals(-code).name}" if code < 0 else f"ended with {code}"
