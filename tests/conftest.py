"""The suite's own rules: what may be skipped is listed and reviewed in ``tests/skips.txt``.

And the real broker, which is fetched once if this machine has none.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from edgeops.hub.broker import FoundMosquitto, find_mosquitto

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell ignores Ctrl-C for what it runs in the background, and all programs under test would.
    signal.signal(signal.SIGINT, signal.default_int_handler)

LISTED = Path(__file__).with_name("skips.txt")


@pytest.fixture(scope="session")
def mosquitto() -> FoundMosquitto:
    """Return a Mosquitto that runs here."""
    found = find_mosquitto()
    if found is None:
        script = Path(__file__).parents[1] / "scripts" / "fetch_mosquitto"
        subprocess.run([script, Path(sys.prefix, "mosquitto")], check=False)
        found = find_mosquitto()
    if found is None:
        pytest.skip("no Mosquitto can be had: scripts/fetch_mosquitto failed")
    return found


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, exitstatus: int, config: pytest.Config
) -> None:
    """Print every skip with its reason, and those that nobody has reviewed."""
    skipped = _skips(terminalreporter)
    if not skipped:
        return
    terminalreporter.section("skipped")
    for name, reason in skipped:
        mark = "" if reason in _reviewed() else "  (not in tests/skips.txt)"
        terminalreporter.line(f"{name}: {reason}{mark}")


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """In CI, fail on a skip that is not in the reviewed list."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if os.environ.get("CI") != "true" or reporter is None:
        return
    if any(reason not in _reviewed() for _, reason in _skips(reporter)):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def _skips(reporter: pytest.TerminalReporter) -> list[tuple[str, str]]:
    found = []
    for report in reporter.stats.get("skipped", []):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        found.append((report.nodeid, reason.removeprefix("Skipped: ")))
    return found


def _reviewed() -> set[str]:
    lines = LISTED.read_text().splitlines()
    return {line for line in lines if line and not line.startswith("#")}
