"""Runs a function in a process of its own, traced by strace.

The process is a fork, which spares it the start of Python; strace attaches to it before it
begins. Where that is forbidden there are no crash points: ``why_not`` tells.
"""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.crashpoints.calls import MUTATING

PATIENCE_S = 120.0
"""For one install on a busy machine: no claim about speed."""
MESSAGE_BYTES = 2**17
PR_SET_PTRACER, ANY = 0x59616D61, -1
NOT_INSTALLED = "strace is not installed"
FORBIDDEN = "processes may not be traced here"


@dataclass(slots=True)
class Way:
    """From the traced process to this one. It sends by ``sendto``, which nothing is done to."""

    channel: socket.socket

    def tell(self, **facts: Any) -> None:
        """Send one message."""
        self.channel.send(json.dumps(facts).encode())

    def free_disk(self) -> None:
        """Wait until nothing is done to calls any more."""
        self.tell(free=True)
        self.channel.recv(1)


@dataclass(slots=True)
class Life:
    """What became of a traced process.

    Attributes:
        told: its messages.
        code: its exit code, negative for the signal that ended it.
        log: what strace wrote.
        is_hung: whether it had to be killed, because it did not end.
    """

    told: list[dict[str, Any]] = field(default_factory=list)
    code: int = 0
    log: str = ""
    is_hung: bool = False


def find_strace() -> list[str]:
    """Return the words that begin a command of strace, none if there is none.

    One that scripts/fetch_strace put here is given its libraries; what it starts is not.
    """
    fetched = Path(sys.prefix, "strace")
    if (fetched / "bin/strace").is_file():
        libraries = f"LD_LIBRARY_PATH={fetched / 'lib'}"
        return ["env", libraries, str(fetched / "bin/strace"), "-E", "LD_LIBRARY_PATH"]
    installed = shutil.which("strace")
    return [installed] if installed else []


def why_not() -> str:
    """Return why nothing can be traced here, empty if it can be."""
    if not find_strace():
        return NOT_INSTALLED
    with tempfile.TemporaryDirectory() as folder:
        life = run_traced(lambda way: way.tell(here=True), Path(folder, "log"))
    return "" if life.told else FORBIDDEN


def run_traced(act: Callable[[Way], object], log: Path, injections: Sequence[str] = ()) -> Life:
    """Run a function in a fork under strace, and wait for its end.

    Args:
        act: what the process does; its exceptions are told as ``crash``.
        log: where strace writes.
        injections: what strace does to calls.

    Returns:
        What became of it; nothing told if strace may not trace.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    child = os.fork()
    if not child:
        ours.close()
        _live(act, Way(theirs))
    theirs.close()
    life = Life()
    try:
        with _strace(child, log, injections) as tracer:
            if tracer is not None:
                _listen(ours, tracer, life)
    finally:
        ours.close()
        life.code = _wait(child)
    life.log = log.read_text(errors="replace") if log.is_file() else ""
    return life


def _live(act: Callable[[Way], object], way: Way) -> None:
    """Be the fork: begin when told, and end without what the parent would do at its end."""
    try:
        ctypes.CDLL(None).prctl(
            PR_SET_PTRACER, ctypes.c_ulong(ANY), 0, 0, 0
        )  # where Yama restricts tracing
        if way.channel.recv(1):
            act(way)
    except BaseException:
        way.tell(crash=traceback.format_exc())
    finally:
        os._exit(0)


@contextmanager
def _strace(
    child: int, log: Path, injections: Sequence[str]
) -> Iterator[subprocess.Popen[str] | None]:
    """Attach strace; None if it may not."""
    calls = "trace=" + ",".join(f"?{call}" for call in MUTATING)
    expressions = [part for each in (calls, *injections) for part in ("-e", each)]
    command = [*find_strace(), "-y", "-a", "1", "-s", "0", "-o", str(log), *expressions]
    tracer = subprocess.Popen([*command, "-p", str(child)], stderr=subprocess.PIPE, text=True)
    try:
        assert tracer.stderr is not None
        yield tracer if "attached" in tracer.stderr.readline() else None
    finally:
        if tracer.poll() is None:
            _kill(child)
        tracer.wait(PATIENCE_S)
        if tracer.stderr is not None:
            tracer.stderr.close()


def _listen(channel: socket.socket, tracer: subprocess.Popen[str], life: Life) -> None:
    """Let it begin, and hear it to its end."""
    channel.settimeout(PATIENCE_S)
    try:
        channel.send(b"!")
        while message := channel.recv(MESSAGE_BYTES):
            facts = json.loads(message)
            if facts.get("free"):
                tracer.send_signal(signal.SIGINT)  # it lets go of the process, which lives on
                tracer.wait(PATIENCE_S)
                channel.send(b"!")
            else:
                life.told.append(facts)
        tracer.wait(PATIENCE_S)
    except (TimeoutError, subprocess.TimeoutExpired):
        life.is_hung = True
    except ConnectionError:
        pass  # it was killed


def _kill(child: int) -> None:
    try:
        os.kill(child, signal.SIGKILL)
    except ProcessLookupError:
        return


def _wait(child: int) -> int:
    """Return how our own child ended; one that nobody traces is ended here."""
    pid, status = os.waitpid(child, os.WNOHANG)
    if not pid:
        _kill(child)
        _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)
