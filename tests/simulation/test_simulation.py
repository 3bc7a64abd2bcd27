"""The simulated world: it holds, it is one world for one seed, and it finds bugs."""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from logging import disable

import pytest

from device_agent.shell.loop import AgentLoop
from edgeops.demo.processes import program
from edgeops.domain.rollout import Policy
from edgeops.simulation.invariants import most_at_it
from edgeops.simulation.run import simulate, simulate_all
from edgeops.simulation.scenario import SCENARIOS, Fault
from tests.simulation.planted import ALSO_PLANTED, PLANTED

SEEDS = 300
JOBS = 2
SLICES = 6
HAPPEN = (
    *Fault,
    *("bad_model", "process_killed", "session_forgotten", "message_lost_with_connection"),
    *("message_dropped", "message_repeated", "message_reordered"),
    *("message_delayed", "message_spoiled", "subscription_lost"),
    *("message_lost_in_silence", "outbox_refused"),
)
"""Faults that must have had an effect, each at least once in five worlds."""
ENOUGH = 1000
"""Seeds within which each planted bug must be found."""


@pytest.mark.timeout(600)
@pytest.mark.parametrize("part", range(SLICES))
def test_every_invariant_holds_for_three_hundred_seeds_of_every_fault(part: int) -> None:
    count = SEEDS // SLICES
    outcomes = list(simulate_all(range(part * count, (part + 1) * count), jobs=JOBS))
    assert [f"{each.violation}; again: {each.replay}" for each in outcomes if each.violation] == []
    assert sum(each.installs for each in outcomes) > 5 * count, "hardly anything is installed"
    faults = sum((Counter(each.faults) for each in outcomes), Counter[str]())
    assert {name: faults[name] for name in HAPPEN if faults[name] < count // 5} == {}


@pytest.mark.parametrize("name", [name for name in SCENARIOS if name != "everything"])
def test_every_other_scenario_holds_too(name: str) -> None:
    outcomes = list(simulate_all(range(8), SCENARIOS[name], jobs=JOBS))
    for outcome in outcomes:
        assert not outcome.violation, outcome.replay
    assert sum(outcome.installs for outcome in outcomes) > 5 * len(outcomes)


def test_on_a_calm_day_every_device_commits_every_version() -> None:
    calm = SCENARIOS["calm"]
    assert simulate(1, calm, devices=5).installs == 5 * (calm.versions + 1)


def test_every_fault_has_its_scenario() -> None:
    struck = {fault for scenario in SCENARIOS.values() for fault in scenario.faults}
    assert struck == set(Fault)
    assert set(SCENARIOS["everything"].faults) == set(Fault)


def test_one_seed_is_one_world_whatever_the_process_hashes_by() -> None:
    said = [
        subprocess.run(
            [program("edgeops"), "simulate", "--seed", "5", "-o", "json"],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    ]
    assert said[0] == said[1]
    assert json.loads(said[0])["digests"]


def test_another_seed_is_another_world() -> None:
    assert simulate(5).digest != simulate(6).digest


def test_more_devices_are_simulated_too() -> None:
    outcome = simulate(0, SCENARIOS["calm"], devices=12)
    assert not outcome.violation


@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_bug_is_found_and_its_replay_shows_it_again(name: str) -> None:
    scenario, agent = PLANTED[name]
    run = partial(simulate, scenario=SCENARIOS[scenario], agent=agent)
    for first in range(0, ENOUGH, 8):
        with ProcessPoolExecutor(JOBS, initializer=disable) as workers:
            found = [each for each in workers.map(run, range(first, first + 8)) if each.violation]
        if found:
            again = run(found[0].seed)
            assert (again.violation, again.digest) == (found[0].violation, found[0].digest)
            assert f"--seed {found[0].seed} --scenario {scenario}" in found[0].replay
            assert not simulate(found[0].seed, SCENARIOS[scenario]).violation
            return
    pytest.fail(f"{name} was not found in {ENOUGH} seeds")


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", ALSO_PLANTED)
def test_a_bug_is_found_that_the_record_of_the_device_does_not_show(name: str) -> None:
    scenario, agent, who = ALSO_PLANTED[name]
    for seed in range(50):
        violation = simulate(seed, SCENARIOS[scenario], agent=agent).violation
        if violation:
            assert violation.startswith(who), violation
            return
    pytest.fail(f"{name} was not found in 50 seeds")


@pytest.mark.parametrize(
    ("committed", "most"), [(0, 2), (1, 2), (2, 5), (4, 5), (5, 10), (9, 10), (10, 10)]
)
def test_a_plan_says_how_many_devices_may_have_begun_by_how_many_committed(
    committed: int, most: int
) -> None:
    assert most_at_it(Policy(canary=2, steps=(10, 50, 100)), 10, committed) == most


class UncaughtError(AgentLoop):
    """Raises what nobody expects when it brings its models up."""

    def _recover(self) -> None:
        raise KeyError("slots")


def test_an_error_that_nobody_catches_is_a_violation_of_its_seed() -> None:
    outcome = simulate(3, SCENARIOS["calm"], agent=UncaughtError)
    assert outcome.violation.startswith("crashed: KeyError at test_simulation.py:")
    assert outcome.violation.endswith("'slots'")
    assert outcome.replay.startswith("edgeops simulate --seed 3 --scenario calm ")
    assert outcome.digest == simulate(3, SCENARIOS["calm"], agent=UncaughtError).digest


def test_whoever_stops_asking_gets_what_was_done_and_no_process_is_left() -> None:
    outcomes = simulate_all(range(10_000), SCENARIOS["calm"], 1, jobs=JOBS)
    assert next(outcomes).seed == 0
    outcomes.close()
    assert multiprocessing.active_children() == []
