"""Running worlds: one seed after the other, each watched by the invariants."""

from __future__ import annotations

import logging
import signal
import traceback
from collections import deque
from collections.abc import Callable, Generator, Iterable, Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from device_agent.shell.loop import AgentLoop
from edgeops.simulation.disk import PowerCut
from edgeops.simulation.hub import HubCrash
from edgeops.simulation.invariants import Violation, Watch, check_event
from edgeops.simulation.rest import check_end, check_rest, serves_only_good
from edgeops.simulation.runtime import ProcessKilled
from edgeops.simulation.scenario import SCENARIOS, Scenario
from edgeops.simulation.world import World

REST_WITHIN_S = 900.0
"""Seconds after the last fault within which a world must come to rest."""
AHEAD = 4
"""Worlds that are begun or wait for each process, so that none is idle."""
REST_CHECK_S = 7.3
"""No multiple of any interval: a device that reports every 10 s must not be looked at just then."""
DEVICES = 3
DEFAULT = SCENARIOS["everything"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of one seed.

    Attributes:
        seed: the seed.
        scenario: the scenario's name.
        devices: how many there were.
        violation: which invariant did not hold, or what was raised and not caught; empty if all
            is well.
        installs: how many deployments were committed.
        events: how many events happened.
        seconds: virtual seconds.
        faults: how often each kind of fault had its effect.
        digest: hash of the event log; the same for the same seed.
        last: the last lines of the log.
    """

    seed: int
    scenario: str
    devices: int
    violation: str
    installs: int
    events: int
    seconds: float
    faults: Mapping[str, int]
    digest: str
    last: tuple[str, ...]

    @property
    def replay(self) -> str:
        """The command that lets the same happen again."""
        return (
            f"edgeops simulate --seed {self.seed} --scenario {self.scenario} "
            f"--devices {self.devices} --show-log"
        )


def simulate(
    seed: int,
    scenario: Scenario = DEFAULT,
    devices: int = DEVICES,
    *,
    agent: Callable[..., AgentLoop] = AgentLoop,
) -> Outcome:
    """Run one world from its beginning until it has come to rest, or an invariant breaks.

    What the agent, the hub or the simulation raise and nobody catches is a violation, too.

    Args:
        seed: decides everything that chance decides.
        scenario: what kind of world it is.
        devices: how many devices it has.
        agent: makes the agents' loops.
    """
    world = World(seed, scenario, devices, agent=agent)
    try:
        violation = _lived(world)
        world.time.note("world", violation or "has come to rest")
        return Outcome(
            seed=seed,
            scenario=scenario.name,
            devices=devices,
            violation=violation,
            installs=world.witness.installs,
            events=world.time.events,
            seconds=world.time.now_s,
            faults={name: n for name, n in sorted(world.time.faults.items()) if n},
            digest=world.time.log.digest,
            last=tuple(world.time.log.last),
        )
    finally:
        world.end()


def simulate_all(
    seeds: Iterable[int], scenario: Scenario = DEFAULT, devices: int = DEVICES, *, jobs: int = 1
) -> Generator[Outcome]:
    """Run many worlds, ``jobs`` at a time in processes of their own; outcomes come in order.

    Whoever stops asking ends it: worlds that are under way are ended, the others not begun.
    """
    run = partial(simulate, scenario=scenario, devices=devices)
    if jobs == 1:
        yield from map(run, seeds)
        return
    workers = ProcessPoolExecutor(jobs, initializer=_begin_worker)
    waiting: deque[Future[Outcome]] = deque()
    try:
        for seed in seeds:
            waiting.append(workers.submit(run, seed))
            if len(waiting) == AHEAD * jobs:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    except BaseException:  # Ctrl-C, or whoever stops asking
        _end_now(workers)
        raise
    finally:
        workers.shutdown(cancel_futures=True)


def _end_now(workers: ProcessPoolExecutor) -> None:
    """End worlds that are under way: a large one takes minutes, and nobody waits for it."""
    for process in list((workers._processes or {}).values()):  # noqa: SLF001 - public from 3.14 on
        process.terminate()


def _begin_worker() -> None:
    """Ctrl-C is for the one who shows the outcomes; faults are not worth a log here."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    logging.disable()


def _lived(world: World) -> str:
    """Let a world live; return the violation, if there is one."""
    try:
        world.begin()
        return _watched(world)
    except (Exception, PowerCut, HubCrash, ProcessKilled) as error:  # noqa: BLE001 - a finding
        last = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{Path(last.filename).name}:{last.lineno}"
        return f"crashed: {type(error).__name__} at {where}: {error}"


def _watched(world: World) -> str:
    """Let events happen until the world is at rest, twice; return the violation, if any.

    At the first rest the last version is rolled out, which is good: it shows that all works.
    """
    watch, check_s = Watch(), world.scenario.faults_s
    give_up_s, must_succeed = check_s + REST_WITHIN_S, False
    try:
        while world.time.next_event(give_up_s):
            check_event(world, watch)
            if world.time.now_s < check_s or not world.is_finished:
                continue
            check_s = world.time.now_s + REST_CHECK_S
            if check_rest(world):
                continue
            if world.is_proved:
                check_end(world, must_succeed=must_succeed)
                return ""
            must_succeed = serves_only_good(world)
            give_up_s = world.time.now_s + REST_WITHIN_S
            world.prove()
    except Violation as violation:
        return str(violation)
    return f"invariant {check_rest(world) or 'unknown: nothing is planned any more'}"
