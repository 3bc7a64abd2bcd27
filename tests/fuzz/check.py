"""One input to one parser: it gives a value or refuses, in its time and within its memory.

Time is counted as CPU time of the process, so that a busy machine does not look like a hang.
Memory is what Python and numpy allocate at once, beside what was there before.
"""

from __future__ import annotations

import signal
import traceback
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random

ROOT = Path(__file__).resolve().parents[2]
MIB = 1024 * 1024
OURS = ("device_agent/", "edgeops/", "tests/fuzz/broken.py")

Spoiler = Callable[[bytes, Random, Sequence[bytes]], bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """What one input may take: ``per_byte`` times its size and ``spare_bytes`` of memory, and time.

    A list of empty JSON objects takes 24 times its text, and a parser may hold it twice.
    """

    per_byte: int = 64
    spare_bytes: int = 4 * MIB
    cpu_s: float = 10.0

    def bytes_for(self, data: bytes) -> int:
        """Return the memory for an input."""
        return self.per_byte * len(data) + self.spare_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One parser.

    Attributes:
        name: of it.
        parse: takes bytes from outside, wherever it gets them from in real life.
        seeds: returns valid inputs; made when they are needed.
        spoil: makes a spoiled input of a seed.
        refusals: the errors by which it may refuse.
        bound: what one input may take.
        count: inputs in the suite, so that all targets together take about a minute.
        forks: whether it parses in a fork of its own.
    """

    name: str
    parse: Callable[[bytes], object]
    seeds: Callable[[], Sequence[bytes]]
    spoil: Spoiler
    refusals: tuple[type[Exception], ...]
    bound: Bound = Bound()
    count: int = 800
    forks: bool = False

    def input(self, number: int) -> bytes:
        """Return the input of that number: the same on every machine."""
        chance = Random(f"{self.name} {number}")
        seeds = self.seeds()
        return self.spoil(chance.choice(seeds), chance, seeds)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What a parser may not do: ``kind`` is crash, hang, memory or death; ``where`` it was."""

    kind: str
    what: str
    where: str = ""

    @property
    def key(self) -> tuple[str, str]:
        """What tells it from others: much too much memory is one finding, however much it is."""
        return self.kind, self.where or (self.what if self.kind != "memory" else "")

    def __str__(self) -> str:
        """Return it in one line."""
        return f"{self.kind}: {self.what}{f' at {self.where}' if self.where else ''}"


class TookTooLong(BaseException):
    """The CPU time of one input is over. No parser may catch it."""


def check(target: Target, data: bytes) -> Finding | bool:
    """Give an input to a parser; return what is wrong, or whether it was accepted."""
    tracemalloc.start(1)
    try:
        accepted = _parsed(target, data)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    if isinstance(accepted, bool) and peak > target.bound.bytes_for(data):
        return Finding(kind="memory", what=f"{peak / MIB:.1f} MiB for {len(data)} bytes")
    return accepted


def _parsed(target: Target, data: bytes) -> Finding | bool:
    try:
        with _limited(target.bound.cpu_s):
            target.parse(data)
        return True
    except target.refusals:
        return False
    except TookTooLong as error:
        return Finding(kind="hang", what=f"more than {target.bound.cpu_s:g} s", where=_place(error))
    except MemoryError as error:
        return Finding(kind="memory", what="MemoryError", where=_place(error))
    except BaseException as error:
        said = " ".join(str(error).split())[:200]
        return Finding(kind="crash", what=f"{type(error).__name__}: {said}", where=_place(error))


@contextmanager
def _limited(cpu_s: float) -> Iterator[None]:
    def over(*_: object) -> None:
        raise TookTooLong

    before = signal.signal(signal.SIGPROF, over)
    signal.setitimer(signal.ITIMER_PROF, cpu_s, cpu_s)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def _place(error: BaseException) -> str:
    """Return the innermost line of the project, and the line outside of it that was reached."""
    frames = [
        (str(Path(each.filename).resolve().relative_to(ROOT)), each.lineno)
        for each in traceback.extract_tb(error.__traceback__)
        if Path(each.filename).resolve().is_relative_to(ROOT)
    ]
    own = [f"{name}:{line}" for name, line in frames if name.startswith(OURS)]
    return own[-1] if own else f"{frames[-1][0]}:{frames[-1][1]}" if frames else ""
