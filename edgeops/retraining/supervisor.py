"""Runs a training script within bounds, and ends with it whatever it started.

    python supervisor.py WORKER_PID MEMORY_BYTES SCRIPT [ARGUMENT ...]

What a script starts and leaves behind becomes a child of this process, also from another session:
Linux makes it their subreaper. If the worker dies, this ends too, and everything with it.
Run by path and isolated (`-I -S`): standard library only. Ends as the script ended.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
import sys
from pathlib import Path

# From linux/prctl.h.
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36


def main(arguments: list[str]) -> None:
    """Run the script; see the module."""
    worker_pid, memory_bytes, command = int(arguments[0]), int(arguments[1]), arguments[2:]
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(128 + signal.SIGTERM))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        libc.prctl(PR_SET_CHILD_SUBREAPER, ctypes.c_ulong(1))
        libc.prctl(PR_SET_PDEATHSIG, ctypes.c_ulong(signal.SIGTERM))
    if os.getppid() != worker_pid:
        sys.exit("the worker died before its script started")
    script = os.fork()
    if script == 0:
        become(command, memory_bytes)
    status = 0
    try:
        status = waited(script)
    finally:
        end_children()
    if os.WIFSIGNALED(status):
        with contextlib.suppress(OSError):  # SIGKILL cannot be handled in the first place
            signal.signal(os.WTERMSIG(status), signal.SIG_DFL)
        os.kill(os.getpid(), os.WTERMSIG(status))
    sys.exit(os.waitstatus_to_exitcode(status))


def become(command: list[str], memory_bytes: int) -> None:
    """Set the bounds and replace this process by Python with the script."""
    try:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)
        resource.setrlimit(resource.RLIMIT_DATA, (memory_bytes,) * 2)
        os.execv(sys.executable, [sys.executable, *command])  # noqa: S606 - the user's own script
    finally:
        os._exit(127)


def waited(script: int) -> int:
    """Return the script's wait status; reap what it left meanwhile."""
    while True:
        ended, status = os.wait()
        if ended == script:
            return status


def end_children() -> None:
    """Kill all children, and theirs as they become ours, until there are none."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    while found := children():
        for pid in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for pid in found:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, 0)


def children() -> list[int]:
    """Return the ids of this process's children."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError, IndexError):
                # The name of the program, in parentheses, may hold anything.
                fields = (entry / "stat").read_text(errors="replace").rpartition(")")[2].split()
                if int(fields[1]) == os.getpid():
                    found.append(int(entry.name))
    return found


if __name__ == "__main__":
    main(sys.argv[1:])
