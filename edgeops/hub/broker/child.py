"""A child process that never outlives this one, in a folder that knows about it."""

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import BinaryIO

from edgeops.hub.broker.errors import BrokerHomeInUse, BrokerHomeUnusable, BrokerStartFailed
from edgeops.hub.broker.port import answers
from edgeops.hub.broker.private_file import open_private_log, write_private

_TETHER = Path(__file__).with_name("tether.py")
# How long a child may take to save its state after SIGTERM, before SIGKILL.
STOP_GRACE_S = 10.0
_POLL_S = 0.02
# How much of the child's log an error quotes.
_LAST_LINES = 8

log = logging.getLogger(__name__)


class TetheredChild:
    """Runs one command as a child process tied to the life of this process.

    When this process dies, however it dies, the child gets SIGTERM (Linux). The kernel watches
    the thread that started the child, so a thread of our own starts it and waits for it:
    `start` may be called from any thread. What no signal caught (another system, a crash in
    between) is found by the pid file at the next start in the same folder.
    """

    def __init__(self, command: Sequence[str], *, pid_file: Path, log_file: Path) -> None:
        """Prepares, starts nothing.

        Args:
            command: absolute path of the program, and arguments that name this folder, so that
                a process with the same program name and arguments can only be ours.
            pid_file: where the child's and our own process ids are kept.
            log_file: what the child prints; opened anew at each start, the previous one is kept
                beside it with the suffix `.1`.
        """
        self._command = list(command)
        self._pid_file = pid_file
        self._log_file = log_file
        self._process: subprocess.Popen[bytes] | None = None
        self._keeper: threading.Thread | None = None

    def start(self, environment: Mapping[str, str]) -> None:
        """Starts the child with these environment variables added to ours.

        Raises:
            BrokerStartFailed: the program cannot be started at all.
            BrokerHomeUnusable: its log or pid file cannot be written.
        """
        started: Future[subprocess.Popen[bytes]] = Future()
        with open_private_log(self._log_file) as output:
            self._keeper = threading.Thread(
                target=self._keep,
                args=({**os.environ, **environment}, output, started),
                name="broker-keeper",
                daemon=True,
            )
            self._keeper.start()
            self._process = started.result()
        try:
            write_private(self._pid_file, f"{self._process.pid} {os.getpid()}\n")
        except BrokerHomeUnusable:
            self.stop()
            raise

    def _keep(
        self,
        environment: Mapping[str, str],
        output: BinaryIO,
        started: "Future[subprocess.Popen[bytes]]",
    ) -> None:
        tether = [sys.executable, "-I", "-S", str(_TETHER), str(os.getpid())]
        try:
            process = subprocess.Popen(
                [*tether, *self._command],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                # Ctrl-C in the terminal is for us; we then stop the child in our own order.
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            started.set_exception(BrokerStartFailed(f"cannot start {self._command[0]}: {error}"))
            return
        started.set_result(process)
        process.wait()

    def is_alive(self) -> bool:
        """Whether the child runs."""
        return self._keeper is not None and self._keeper.is_alive()

    def signal(self, number: signal.Signals) -> None:
        """Sends the child a signal; nothing happens if it does not run."""
        if self._process is not None and self.is_alive():
            self._process.send_signal(number)

    def stop(self) -> None:
        """Ends the child: SIGTERM, and SIGKILL after `STOP_GRACE_S`."""
        if self._keeper is None:
            return
        self.signal(signal.SIGTERM)
        self._keeper.join(STOP_GRACE_S)
        self.signal(signal.SIGKILL)
        self._keeper.join()
        self._keeper = self._process = None
        self._pid_file.unlink(missing_ok=True)

    def wait_for_answer(self, host: str, port: int, *, act: str, timeout_s: float) -> None:
        """Waits until the child answers MQTT; ends it if it does not.

        Raises:
            BrokerStartFailed: it ended or the time is up; with the last lines of its log.
        """
        deadline = time.monotonic() + timeout_s
        while self.is_alive() and time.monotonic() < deadline:
            if answers(host, port) and self.is_alive():
                return
            time.sleep(_POLL_S)
        name = self._log_file.stem
        what = f"did not answer within {timeout_s:g} s" if self.is_alive() else "ended"
        self.stop()
        raise BrokerStartFailed(
            f"{name} {what} at {act}; its last words: {self._last_words()}",
            next_step=f"read {self._log_file}",
        )

    def end_stale(self) -> None:
        """Ends a child that an earlier owner of this folder left behind.

        The process must have our command in /proc; a process that merely has the same number
        is left alone.

        Raises:
            BrokerHomeInUse: the child's owner is alive.
        """
        try:
            pid, owner_pid = map(int, self._pid_file.read_text().split())
        except (OSError, ValueError):
            return
        if not self._is_ours(pid):
            return
        if _parent_of(pid) == owner_pid:
            raise BrokerHomeInUse(
                f"the broker in {self._pid_file.parent} belongs to running process {owner_pid}",
                next_step="stop that process, or use another home folder",
            )
        log.warning("stale_broker_ended", extra={"pid": pid})
        for number in (signal.SIGTERM, signal.SIGKILL):
            os.kill(pid, number)
            deadline = time.monotonic() + STOP_GRACE_S
            while self._is_ours(pid) and time.monotonic() < deadline:
                time.sleep(_POLL_S)
            if not self._is_ours(pid):
                return

    def _is_ours(self, pid: int) -> bool:
        """Whether process `pid` runs our command, whichever copy of the program it uses."""
        try:
            raw = Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            return False
        arguments = [os.fsdecode(part) for part in raw.split(b"\0")[:-1]]
        program, *rest = self._command
        running = arguments[-len(self._command) :]
        if len(running) != len(self._command) or running[1:] != rest:
            return False
        return Path(running[0]).name == Path(program).name

    def _last_words(self) -> str:
        try:
            text = self._log_file.read_text(errors="replace")
        except OSError:
            return "none"
        return " | ".join(text.splitlines()[-_LAST_LINES:]) or "none"


def _parent_of(pid: int) -> int | None:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return None
    parents = [line.split()[1] for line in status.splitlines() if line.startswith("PPid:")]
    return int(parents[0]) if parents else None
