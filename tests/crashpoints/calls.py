"""The system calls of an install that change its state folder, and what is done to one of them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

MUTATING = (
    *("open", "creat", "openat", "openat2"),
    *("write", "writev", "pwrite64", "pwritev", "pwritev2"),
    *("sendfile", "copy_file_range", "splice"),
    *("fsync", "fdatasync", "sync_file_range", "msync"),
    *("truncate", "ftruncate", "fallocate"),
    *("rename", "renameat", "renameat2"),
    *("link", "linkat", "symlink", "symlinkat"),
    *("unlink", "unlinkat", "rmdir"),
    *("mkdir", "mkdirat", "mknod", "mknodat"),
    *("chmod", "fchmod", "fchmodat", "chown", "fchown", "lchown", "fchownat"),
    *("utime", "utimes", "utimensat", "futimesat"),
    *("setxattr", "fsetxattr", "removexattr", "fremovexattr"),
)
"""By Linux's names; not every architecture has each of them."""
OPENING = ("open", "openat", "openat2")
"""Only those of them that may make or empty a file change anything."""
TAKING_ROOM = ("write", "pwrite64", "mkdir", "mkdirat", "ftruncate", "fallocate")
"""What a full disk refuses again and again. Opening is not among them: strace cannot tell the
opening of a new file from that of an old one, which may be opened. What is opened cannot be
written, though."""

_CALL = re.compile(r"^(\w+)\((.*)\)\s+= (.*)$")


class Kind(Enum):
    """What is done to a call."""

    KILL = "kill"
    """The process is killed instead of it."""
    EIO = "eio"
    """It fails once with EIO."""
    ENOSPC = "enospc"
    """It fails once with ENOSPC."""
    FULL = "full"
    """From it on the disk is full; after a while it is freed, and the process lives on."""
    READ_ONLY = "read-only"
    """From it on nothing can be changed, as Linux does with a file system that has errors; after
    a while it is repaired, and the process lives on."""

    @property
    def lasts(self) -> bool:
        """Whether it goes on until it is ended."""
        return self in (Kind.FULL, Kind.READ_ONLY)


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One call.

    Attributes:
        number: of it among those of its install that change the state folder, from 1.
        call: its name.
        nth: it is the n-th call of that name of its process.
        what: its arguments, for people.
        before: how many calls of each name the process made before it.
    """

    number: int
    call: str
    nth: int
    what: str
    before: Mapping[str, int]

    def injection(self, kind: Kind) -> list[str]:
        """Return the expressions by which strace does something to this call."""
        if kind is Kind.KILL:
            return [f"inject={self.call}:signal=SIGKILL:when={self.nth}"]
        if not kind.lasts:
            return [f"inject={self.call}:error={kind.name}:when={self.nth}"]
        error = "ENOSPC" if kind is Kind.FULL else "EROFS"
        calls = TAKING_ROOM if kind is Kind.FULL else tuple(set(MUTATING) - set(OPENING))
        firsts = {call: self.before.get(call, 0) + 1 for call in calls}
        lasting = [f"inject=?{call}:error={error}:when={n}+" for call, n in firsts.items()]
        if self.call in calls:
            return lasting
        return [f"inject={self.call}:error={error}:when={self.nth}", *lasting]


def read_points(log: str, folder: Path) -> list[Point]:
    """Return the calls of a log of strace that change a folder, in their order.

    Args:
        log: of one process, with decoded descriptors and without strings.
        folder: calls that do not name it, or anything in it, are counted and left out.
    """
    points: list[Point] = []
    seen: Counter[str] = Counter()
    for line in log.splitlines():
        match = _CALL.match(line)
        if match is None:
            continue
        call, arguments = match[1], match[2]
        before = dict(seen)
        seen[call] += 1
        if str(folder) in arguments and _changes(call, arguments):
            number, what = len(points) + 1, _in_short(arguments, folder)
            points.append(Point(number=number, call=call, nth=seen[call], what=what, before=before))
    return points


def _in_short(arguments: str, folder: Path) -> str:
    """Return arguments as people read them; without sizes, since a process's number has one."""
    inside = arguments.replace(f"{folder}/", "").replace(str(folder), ".")
    return re.sub(r'AT_FDCWD<[^>]*>, |, "".*', "", inside)


def _changes(call: str, arguments: str) -> bool:
    return call not in OPENING or "O_CREAT" in arguments or "O_TRUNC" in arguments


def is_done(log: str, kind: Kind) -> bool:
    """Tell whether what was to be done to a call was done."""
    if kind is Kind.KILL:
        return "+++ killed by SIGKILL +++" in log
    return "(INJECTED)" in log
