"""`edgeops simulate`: what a person sees of violations, and how it is stopped."""

from __future__ import annotations

import signal
import subprocess
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from edgeops.cli import simulate as command
from edgeops.demo.processes import program
from edgeops.simulation.run import simulate, simulate_all
from tests.simulation.planted import NoFloor

SOON_S = 60.0
"""Far more than Ctrl-C takes, and far less than a world of three hundred devices."""


@pytest.fixture
def buggy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every world has agents that forget their floor."""

    def worlds(seeds, scenario, devices, *, jobs):  # type: ignore[no-untyped-def]
        yield from (simulate(seed, scenario, devices, agent=NoFloor) for seed in seeds)

    monkeypatch.setattr(command, "simulate_all", worlds)


def run(*arguments: str):  # type: ignore[no-untyped-def]
    return CliRunner().invoke(command.simulate, arguments)


def test_a_violation_is_shown_with_the_line_that_shows_it_again(buggy: None) -> None:
    said = run("--seeds", "2", "--first", "3", "--scenario", "calm", "--devices", "1")
    assert said.exit_code == 1
    lines = said.output.splitlines()
    assert lines[0].startswith("seed 3: invariant 2: cam-1 committed version 1")
    assert lines[1] == ("  again: edgeops simulate --seed 3 --scenario calm --devices 1 --show-log")
    assert lines[2].startswith("seed 4: invariant 2")
    assert any(line.split() == ["violations", "2"] for line in lines)


def test_the_line_that_shows_it_again_is_a_command_that_shows_its_log(buggy: None) -> None:
    again = simulate(3, command.SCENARIOS["calm"], 1, agent=NoFloor).replay
    said = run(*again.split()[2:])
    assert said.exit_code == 1
    assert "cam-1    version 1 for r1: committed" in said.output
    assert "seed 3: event log " in said.output
    assert "seed 3: invariant 2: cam-1 committed version 1" in said.output


def test_a_violation_is_said_before_the_next_world_begins(
    buggy: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def worlds(seeds, scenario, devices, *, jobs):  # type: ignore[no-untyped-def]
        yield simulate(0, scenario, devices, agent=NoFloor)
        assert "seed 0: invariant 2" in capsys.readouterr().out
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "simulate_all", worlds)
    with pytest.raises(SystemExit):
        command.simulate.main(
            ["--seeds", "9", "--scenario", "calm", "--devices", "1"], standalone_mode=False
        )


def test_a_scenario_without_violation_ends_well() -> None:
    said = run("--seed", "1", "--scenario", "calm", "--devices", "1", "--jobs", "1")
    assert said.exit_code == 0
    assert any(line.split() == ["installs", "4", "committed"] for line in said.output.splitlines())
    assert "s left" not in said.output


@pytest.mark.parametrize(
    "arguments",
    [
        ("--seed", "1", "--seeds", "2"),
        ("--seed", "1", "--first", "2"),
        ("--scenario", "stormy"),
        ("--seed", "1", "--show-log", "-o", "json"),
    ],
)
def test_options_that_contradict_each_other_are_an_error_of_usage(
    arguments: tuple[str, ...],
) -> None:
    assert run(*arguments).exit_code == 2


def test_before_the_first_world_has_ended_nobody_knows_how_long_it_takes() -> None:
    summary = command.Summary("calm", 3, 10)
    rows = [[*column.cells] for column in summary.table().columns]
    assert "0 of 10" in rows[1]
    summary.add(next(simulate_all([1], command.SCENARIOS["calm"], 1)))
    assert any(", about " in cell for cell in [*summary.table().columns[1].cells])


def test_ctrl_c_ends_it_though_large_worlds_are_under_way_in_other_processes() -> None:
    running = subprocess.Popen(
        [program("edgeops"), "simulate", "--seeds", "50", "--jobs", "2", "--devices", "300"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    children = Path(f"/proc/{running.pid}/task/{running.pid}/children")
    until_s = time.monotonic() + 60.0
    while len(children.read_text().split()) < 2 and time.monotonic() < until_s:
        time.sleep(0.1)
    time.sleep(2.0)
    assert running.poll() is None, "two processes have begun with worlds"
    running.send_signal(signal.SIGINT)
    _, said = running.communicate(timeout=SOON_S)
    assert running.returncode == 1
    assert "stopped after 0 of 50 seeds" in said
