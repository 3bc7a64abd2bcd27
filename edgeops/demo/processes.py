"""The demo's processes: in sessions of their own, tied to the demo, and all ended with it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from edgeops.domain.errors import EdgeopsError
from edgeops.hub.broker import tether

STOP_S = 10.0


class DemoFailed(EdgeopsError):
    """A step of the demo did not show what it should have shown."""


class Processes:
    """Background processes by name. Use as a context manager."""

    def __init__(self, logs: Path) -> None:
        """Write each process's output to ``logs/NAME.log``."""
        self._logs = logs
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str, command: Sequence[str], environment: dict[str, str]) -> int:
        """Start a process; return its id. Its tether ends it even if the demo is killed."""
        self._logs.mkdir(parents=True, exist_ok=True)
        with open(self._logs / f"{name}.log", "ab") as log:
            process = subprocess.Popen(
                (sys.executable, "-I", "-S", tether.__file__, str(os.getpid()), *command),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,
            )
        self._running[name] = process
        return process.pid

    def kill(self, name: str) -> None:
        """Kill a process at once, as a power cut would."""
        process = self._running.pop(name)
        process.kill()
        process.wait()

    def check(self, name: str) -> None:
        """Tell early when a process has ended by itself.

        Raises:
            DemoFailed: it has; the message holds the end of its log.
        """
        code = self._running[name].poll()
        if code is not None:
            text = (self._logs / f"{name}.log").read_text(errors="replace")
            raise DemoFailed(
                f"{name} ended with code {code}: {' / '.join(text.strip().splitlines()[-3:])}",
                next_step=f"read {self._logs / f'{name}.log'}",
            )

    def stop_all(self) -> None:
        """End every process: politely, then at once."""
        for process in self._running.values():
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        end_s = time.monotonic() + STOP_S
        for process in self._running.values():
            try:
                process.wait(timeout=max(0.1, end_s - time.monotonic()))
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        self._running.clear()

    def __enter__(self) -> Processes:
        """Return the processes."""
        return self

    def __exit__(self, *_: object) -> None:
        """End every process; a second Ctrl-C does not hinder it."""
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            self.stop_all()
        finally:
            signal.signal(signal.SIGINT, before)


def free_port() -> int:
    """Return a TCP port that nobody listens on right now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def program(name: str) -> str:
    """Return the path of a console script of this environment."""
    beside = Path(sys.executable).parent / name
    return str(beside) if beside.exists() else name
