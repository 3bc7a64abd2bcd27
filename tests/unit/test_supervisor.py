"""What a service manager is told: systemd's own words, to its own socket, and no more."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from device_agent.shell.supervisor import PINGS_PER_TIMEOUT, Supervisor


@pytest.fixture(params=["path", "abstract"])
def listener(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, socket.socket]]:
    name = f"@edgeops-{os.getpid()}" if request.param == "abstract" else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as heard:
        heard.bind("\0" + name[1:] if name.startswith("@") else name)
        heard.settimeout(0.0)
        yield name, heard


def words(heard: socket.socket) -> list[str]:
    found = []
    while True:
        try:
            found.append(heard.recv(4096).decode())
        except BlockingIOError:
            return found


def test_the_words_are_those_of_sd_notify(listener: tuple[str, socket.socket]) -> None:
    name, heard = listener
    supervisor = Supervisor.of_this_process({"NOTIFY_SOCKET": name})
    supervisor.ready()
    supervisor.status("serves kws:2\nREADY=0")
    supervisor.status("serves kws:2\nREADY=0")
    supervisor.stopping()
    assert words(heard) == ["READY=1", "STATUS=serves kws:2 READY=0", "STOPPING=1"]


def test_a_watchdog_is_fed_three_times_in_its_time(listener: tuple[str, socket.socket]) -> None:
    name, heard = listener
    now_s = 100.0
    supervisor = Supervisor(name, 30.0, clock=lambda: now_s)
    for _ in range(300):
        supervisor.alive()
        now_s += 0.1
    assert words(heard) == ["WATCHDOG=1"] * PINGS_PER_TIMEOUT


@pytest.mark.parametrize(
    ("watchdog", "pause_s"),
    [
        ({}, 0.0),
        ({"WATCHDOG_USEC": "3000000"}, 1.0),
        ({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": str(os.getpid())}, 1.0),
        ({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "1"}, 0.0),
        ({"WATCHDOG_USEC": "-3"}, 0.0),
        ({"WATCHDOG_USEC": "many"}, 0.0),
    ],
)
def test_a_watchdog_that_is_not_meant_for_this_process_is_not_fed(
    watchdog: dict[str, str], pause_s: float
) -> None:
    supervisor = Supervisor.of_this_process({"NOTIFY_SOCKET": "@x", **watchdog})
    assert supervisor._pause_s == pause_s


def test_our_children_inherit_nothing_of_it() -> None:
    environment = {"NOTIFY_SOCKET": "@x", "WATCHDOG_USEC": "1", "WATCHDOG_PID": "1", "HOME": "/"}
    assert Supervisor.of_this_process(environment).watches
    assert environment == {"HOME": "/"}


def test_where_nobody_watches_nothing_is_said_and_nothing_fails(tmp_path: Path) -> None:
    for address in ("", str(tmp_path / "gone"), "/" + "x" * 200, "@nobody-listens"):
        supervisor = Supervisor(address, 1.0)
        supervisor.ready()
        supervisor.alive()
        supervisor.status("s")
        supervisor.stopping()
    assert not Supervisor.of_this_process({}).watches
