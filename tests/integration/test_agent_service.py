"""An agent under a service manager, and commands through a hub: every part a real process."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from device_agent.shell.service import EXIT_RESTART
from edgeops.demo.processes import Processes, free_port, program
from tests.digits_models import digits
from tests.processes import process_runs
from tests.running_site import PATIENCE_S, Site

WATCHDOG_S = 1.5


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A hub, and a device ``cam-1`` that serves version 1 and whose agent is stopped."""
    folder = tmp_path_factory.mktemp("site")
    with Processes(folder / "logs") as processes:
        site = Site(folder, processes, free_port(), free_port())
        split = digits(0)
        np.savez(folder / "golden.npz", x=split.golden_x, y=split.golden_y)
        site.edgeops("keys", "init")
        site.up()
        site.package(1, 1)
        site.enroll("cam-1")
        with agent(site):
            site.edgeops(
                *("rollout", "create", "digits:1", "--selector", "only=cam-1", "--wait"),
                *("--probation", "min_inferences=0"),
            )
        yield site
        site.close()


@dataclass
class RunningAgent:
    """A `device-agent run`, and what it told its service manager."""

    site: Site
    process: subprocess.Popen[bytes]
    heard: socket.socket | None

    def __enter__(self) -> RunningAgent:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        if self.heard is not None:
            self.heard.close()

    def word(self) -> str:
        assert self.heard is not None
        return self.heard.recv(4096).decode()

    def words_until(self, last: str) -> list[str]:
        words = [self.word()]
        while not words[-1].startswith(last):
            words.append(self.word())
        return words

    def session(self) -> int:
        """The session of the device, which grows with each connection."""
        return int(self.site.client().device("cam-1")["session"])

    def command(self, kind: str, *, code: int = 0) -> dict[str, Any]:
        answer = self.site.edgeops(
            *("devices", "command", "cam-1", kind, "--wait", "-o", "json"),
            *("--timeout", str(PATIENCE_S)),
            code=code,
        )
        shown: dict[str, Any] = json.loads(answer)
        return shown


def agent(site: Site, *, watched: Path | None = None) -> RunningAgent:
    """Start an agent on the state of ``cam-1``; wait until it is online."""
    heard, environment = None, {**site.environment}
    if watched is not None:
        heard = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        heard.bind(str(watched / "notify"))
        heard.settimeout(PATIENCE_S)
        environment["NOTIFY_SOCKET"] = str(watched / "notify")
        environment["WATCHDOG_USEC"] = str(int(WATCHDOG_S * 1e6))
    before = site.client().device("cam-1")["session"]
    process = subprocess.Popen(
        [
            *(program("device-agent"), "run", "--state", str(site.folder / "cam-1")),
            *("--enrolment", str(site.folder / "cam-1.json")),
        ],
        env=environment,
        stderr=subprocess.DEVNULL,
    )
    running = RunningAgent(site, process, heard)
    online(site, before)
    return running


def online(site: Site, after_session: int) -> None:
    def reached() -> bool:
        device = site.client().device("cam-1")
        return bool(device["online"] and device["session"] > after_session)

    site.wait("cam-1 is online", reached)


# ---- sd_notify


def test_a_service_manager_hears_of_readiness_life_and_the_end(site: Site, tmp_path: Path) -> None:
    with agent(site, watched=tmp_path) as running:
        first, *words = running.words_until("STATUS=")
        while words.count("WATCHDOG=1") < 3:
            words.append(running.word())
        assert {first, *words} <= {"READY=1", "WATCHDOG=1", "STATUS=serves digits:1"}
        assert [first, *words].count("READY=1") == 1
        running.process.send_signal(signal.SIGTERM)
        assert running.words_until("STOPPING=1")
        assert running.process.wait(PATIENCE_S) == 0


def test_a_hung_loop_starves_the_watchdog_although_the_process_lives(
    site: Site, tmp_path: Path
) -> None:
    with agent(site, watched=tmp_path) as running:
        running.words_until("WATCHDOG=1")
        # A disk that does not answer: opening a pipe that nobody reads waits for ever.
        pipe = site.folder / "cam-1" / "commands.json.new"
        os.mkfifo(pipe)
        site.edgeops("devices", "command", "cam-1", "announce")
        assert running.heard is not None
        running.heard.settimeout(2 * WATCHDOG_S)
        deadline_s = time.monotonic() + PATIENCE_S
        with pytest.raises(TimeoutError):
            while time.monotonic() < deadline_s:
                running.word()
        assert running.process.poll() is None
        pipe.unlink()


def test_a_restart_under_a_service_manager_is_an_exit_that_asks_for_it(
    site: Site, tmp_path: Path
) -> None:
    with agent(site, watched=tmp_path) as running:
        command = site.edgeops("devices", "command", "cam-1", "restart").strip()
        assert running.words_until("STOPPING=1")
        assert running.process.wait(PATIENCE_S) == EXIT_RESTART
        assert site.client().command("cam-1", command)["state"] == "waiting"
    with agent(site):
        shown = site.client().wait_for_command("cam-1", command, timeout_s=PATIENCE_S)
        assert (shown["state"], shown["detail"]) == ("done", "the agent was started again")


# ---- commands


def test_a_restart_without_a_service_manager_is_a_new_agent_in_the_same_process(
    site: Site,
) -> None:
    with agent(site) as running:
        before = running.session()
        shown = running.command("restart")
        assert shown["state"] == "done"
        online(site, before)
        assert running.process.poll() is None
        assert process_runs(running.process.pid)
        status = site.run(
            *(program("device-agent"), "status", "--state", str(site.folder / "cam-1")),
            *("-o", "json"),
        )
        assert json.loads(status)["process"] == running.process.pid


def test_a_self_test_and_the_log_come_back_to_the_command_line(site: Site) -> None:
    with agent(site) as running:
        (verdict,) = running.command("self-test")["models"]
        assert (verdict["model"], verdict["version"], verdict["passed"]) == ("digits", 1, True)
        assert verdict["evidence"]["accuracy"] > 0.8
        log = running.command("collect-logs")["log"]
        begun = [line for line in log if "command.begun" in line]
        assert "kind=self_test" in begun[-2]
        assert "kind=collect_logs" in begun[-1]
        password = json.loads((site.folder / "cam-1.json").read_text())["password"]
        assert password not in "\n".join(log)
        assert not [line for line in log if "kind=announce" in line]  # of an earlier process
        listed = site.edgeops("devices", "commands", "cam-1")
        assert "collect-logs" in listed
        assert "1 of 1 models passed" in listed
        newest = json.loads(site.edgeops("devices", "commands", "cam-1", "-o", "json"))[0]
        assert newest["log"] is None
        said = site.edgeops("devices", "commands", "cam-1", newest["id"])
        assert "command.begun" in said


def test_a_command_to_a_device_that_is_away_ends_in_a_timeout(site: Site) -> None:
    said = site.edgeops(
        *("devices", "command", "cam-1", "announce", "--wait", "--timeout", "0.5"), code=5
    )
    assert said == ""
    (newest, *_) = site.client().commands("cam-1")
    assert newest["state"] == "waiting"
