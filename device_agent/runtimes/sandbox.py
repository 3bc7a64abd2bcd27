"""What a probe does to itself before it touches a model, and how it weighs itself."""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1
"""From linux/prctl.h."""
MAX_WRITTEN_BYTES = 8 * 2**20
"""What a process with little memory may write into one file. A self-test's report takes few KiB."""
_KIB_PER_MIB = 1024.0


def enter_sandbox(parent_pid: int | None) -> None:
    """Write no core file, die with the parent, and be the first that lack of memory ends.

    Ends the process if the parent has died already.
    """
    try:
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    except (ImportError, OSError, ValueError):
        pass  # not a POSIX system, or a stricter limit than ours
    _write("/proc/self/oom_score_adj", "1000")
    if parent_pid is None:
        return
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, ctypes.c_ulong(signal.SIGKILL))
    # The parent may have died before the line above: then nobody would tell us any more.
    if os.getppid() != parent_pid:
        sys.exit("the parent died before the probe started")


def limit_memory(more_mib: int) -> None:
    """Let this process take so many MiB more of data, heap and stacks; no more, for good.

    No file may grow beyond ``MAX_WRITTEN_BYTES`` by it: files in memory are memory too, and
    standard output and error of a probe are such files. Mapped files and memory that is shared do
    not count, and each process that it starts has a limit of its own (Linux, RLIMIT_DATA); a limit
    on processes would count the threads of all programs of this user. Where there is no such
    limit, nothing is done.
    """
    try:
        import resource
    except ImportError:
        return
    _lower(resource.RLIMIT_DATA, _status_kib("VmData:") * 1024 + more_mib * 2**20)
    _lower(resource.RLIMIT_FSIZE, MAX_WRITTEN_BYTES)


def _lower(kind: int, limit: int) -> None:
    import resource

    try:
        _, hard = resource.getrlimit(kind)
        if hard != resource.RLIM_INFINITY:
            limit = min(limit, hard)
        resource.setrlimit(kind, (limit, limit))
    except (OSError, ValueError):
        pass  # a system without it


def restart_peak() -> int:
    """Begin a new peak of resident memory; return the resident KiB, 0 if it is not known."""
    _write("/proc/self/clear_refs", "5")
    return _status_kib("VmRSS:")


def peak_growth_mib(resident_kib: int) -> float:
    """Return the peak's growth over ``resident_kib`` in MiB, 0 if it is not known."""
    peak_kib = _status_kib("VmHWM:")
    return max(0, peak_kib - resident_kib) / _KIB_PER_MIB if resident_kib else 0.0


def _status_kib(key: str) -> int:
    try:
        with open("/proc/self/status", encoding="ascii", errors="replace") as file:
            lines = [line for line in file if line.startswith(key)]
        return int(lines[0].split()[1])
    except (OSError, IndexError, ValueError):
        return 0


def _write(path: str, text: str) -> None:
    try:
        with open(path, "w", encoding="ascii") as file:
            file.write(text)
    except OSError:
        pass  # not Linux, or a kernel without it: the figure is then an upper bound
