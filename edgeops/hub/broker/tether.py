"""Becomes a command that is ended when the process that started it dies.

    python tether.py PARENT_PID COMMAND [ARGUMENT ...]

Linux's parent-death signal survives execve, so nothing of this program stays. It is sent when
the *thread* that started us ends: see `child.TetheredChild`, which keeps one for that. Where
there is no such signal the command just runs, and a stale one is ended at the next start.
Run by path and isolated (`-I -S`), so that it costs milliseconds: standard library only.
"""

import ctypes
import os
import signal
import sys

# From linux/prctl.h. SIGTERM and not SIGKILL: the child then saves its state.
PR_SET_PDEATHSIG = 1


def main(arguments: list[str]) -> None:
    """Ties this process to the parent named and replaces it by the command."""
    parent_pid, command = int(arguments[0]), arguments[1:]
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(PR_SET_PDEATHSIG, ctypes.c_ulong(signal.SIGTERM)) != 0:
            sys.exit(f"cannot tie this process to its parent: {os.strerror(ctypes.get_errno())}")
    if os.getppid() != parent_pid:
        sys.exit("the parent died before its child started")
    os.execv(command[0], command)  # noqa: S606 - a command that we built


if __name__ == "__main__":
    main(sys.argv[1:])
