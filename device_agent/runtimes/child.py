"""The parent's side of a probe: start it, look at it, end it.

Nothing here waits but ``spawn_probe``: the report goes to a file in memory, so that the child
never blocks on a full pipe, and one thread can look after several probes.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import IO

import device_agent
from device_agent.protocol.errors import ModelRefused, ProtocolError
from device_agent.protocol.reasons import Reason
from device_agent.runtimes.probe_report import (
    MAX_REPORT_BYTES,
    ProbeReport,
    ProbeSpec,
    failure,
)

POLL_S = 0.01
MAX_STDERR_BYTES = 400

AGENT_FOLDER = Path(device_agent.__file__).resolve().parent
LOAD_AGENT = """
import importlib.util, sys
folder = sys.argv.pop(1)
spec = importlib.util.spec_from_file_location(
    "device_agent", folder + "/__init__.py", submodule_search_locations=[folder]
)
sys.modules["device_agent"] = package = importlib.util.module_from_spec(spec)
spec.loader.exec_module(package)
"""
"""With this a child runs this very package, also in another environment, which does not have it;
and of the folder that we happen to be in, it runs nothing. Its first argument is the folder of
the package."""
_START = f"""{LOAD_AGENT}
from device_agent.runtimes.probe import main
sys.exit(main())
"""


class ProbeProcess:
    """A running probe. The thread that starts it must outlive it: it dies with that thread."""

    def __init__(self, spec: ProbeSpec, deadline_s: float, python: str = sys.executable) -> None:
        """Start the child.

        Args:
            spec: what to try.
            deadline_s: when to kill it, in seconds of ``time.monotonic``.
            python: interpreter of an environment that has numpy and the runtime.

        Raises:
            ModelRefused: ``storage_failed``: the system gives no process or no file.
        """
        self._deadline_s = deadline_s
        self._report: ProbeReport | None = None
        # What our environment variables add for our Python is not for another one.
        isolation = [] if python == sys.executable else ["-I"]
        try:
            self._out, self._err = _scratch_file(), _scratch_file()
            self._process = subprocess.Popen(
                [python, *isolation, "-c", _START, str(AGENT_FOLDER), str(os.getpid())],
                stdin=subprocess.PIPE,
                stdout=self._out,
                stderr=self._err,
                cwd="/",
                # Ctrl-C goes to the whole group; a child that it ended would look like a crash,
                # for which the model, not the person, would be put into quarantine.
                start_new_session=True,
            )
        except OSError as error:
            raise ModelRefused(
                Reason.STORAGE_FAILED, f"cannot start a self-test: {error.strerror}"
            ) from error
        self._send(spec)

    def poll(self) -> ProbeReport | None:
        """Return the report, or None while the child runs; kills it after the deadline.

        A child that was killed by a signal, or that answered nonsense, is a report with
        ``self_test_crashed``; a late one is a report with ``self_test_timeout``.
        """
        if self._report is None:
            code = self._process.poll()
            if code is not None:
                self._report = self._read(code)
            elif time.monotonic() >= self._deadline_s:
                self._end()
                self._report = failure(
                    Reason.SELF_TEST_TIMEOUT, "the model did not answer in the time it had"
                )
        return self._report

    def kill(self) -> None:
        """End the child now. Killing a child that has ended is no harm."""
        if self._report is None:
            self._end()
            self._report = failure(Reason.SELF_TEST_CRASHED, "the self-test was stopped")

    def _send(self, spec: ProbeSpec) -> None:
        if self._process.stdin is None:
            raise ValueError("the probe has no standard input")
        try:
            with self._process.stdin as pipe:
                pipe.write(_absolute(spec).to_bytes())
        except BrokenPipeError:
            pass  # it died at once: poll tells how

    def _end(self) -> None:
        self._process.kill()
        self._process.wait()
        self._out.close()
        self._err.close()

    def _read(self, code: int) -> ProbeReport:
        with self._out as out, self._err as err:
            out.seek(0)
            data = out.read(MAX_REPORT_BYTES + 1)
            said = _last_line(err)
        if code < 0:
            return failure(Reason.SELF_TEST_CRASHED, f"killed by {_signal_name(-code)}: {said}")
        try:
            return ProbeReport.from_bytes(data)
        except ProtocolError as error:
            return failure(
                Reason.SELF_TEST_CRASHED, f"ended with {code} and no report ({error}): {said}"
            )


def start_probe(spec: ProbeSpec, *, deadline_s: float) -> ProbeProcess:
    """Start a probe and return at once; see ``ProbeProcess``."""
    return ProbeProcess(spec, deadline_s)


def spawn_probe(spec: ProbeSpec, *, timeout_s: float, python: str = sys.executable) -> ProbeReport:
    """Start a probe and wait for its report, at most ``timeout_s`` seconds."""
    process = ProbeProcess(spec, time.monotonic() + timeout_s, python)
    try:
        while (report := process.poll()) is None:
            time.sleep(POLL_S)
        return report
    finally:
        process.kill()


def _absolute(spec: ProbeSpec) -> ProbeSpec:
    """Name the files so that they mean the same in the child's working folder."""
    return replace(
        spec,
        artifact=os.path.abspath(spec.artifact),
        golden=spec.golden and os.path.abspath(spec.golden),
        parent_golden=spec.parent_golden and os.path.abspath(spec.parent_golden),
    )


def _scratch_file() -> IO[bytes]:
    if hasattr(os, "memfd_create"):
        return os.fdopen(os.memfd_create("edgeops-probe"), "w+b")
    return tempfile.TemporaryFile()


def _last_line(file: IO[bytes]) -> str:
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - MAX_STDERR_BYTES))
    lines = file.read().decode(errors="replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing")


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
