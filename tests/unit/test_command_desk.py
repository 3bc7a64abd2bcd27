"""The desk of commands, with hands that only count: what it does, in which order, how often."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import pytest

from device_agent.core.deployment import Happened
from device_agent.core.states import EventType
from device_agent.core.window import EARLIEST_WALL_S
from device_agent.protocol.errors import ModelRefused, StorageFailed
from device_agent.protocol.ids import ModelName
from device_agent.protocol.outcomes import CommandOutcome
from device_agent.protocol.reasons import Reason
from device_agent.shell.command_desk import MAX_WAITING, TELL_AGAIN_S, CommandDesk, Hands
from device_agent.shell.commands import COMMANDS_PATH, MAX_REMEMBERED, CommandLog
from device_agent.shell.self_test_round import Installed, SelfTestRound
from tests import agent_values as valid
from tests.storage_fakes import MemoryStorage

NOW_S = EARLIEST_WALL_S + 1e6
PASSED = Happened(type=EventType.DONE, evidence={"accuracy": 1.0})
FAILED = Happened(type=EventType.REFUSED, reason=Reason.GOLDEN_MISMATCH, detail="other answers")


@dataclass
class Child:
    """A self-test that ends when the test says so."""

    happened: Happened | None = None
    killed: bool = False

    def poll(self) -> Happened | None:
        return self.happened

    def kill(self) -> None:
        self.killed = True


@dataclass
class Agent:
    """What a desk works with: a disk, an outbox, and hands that count."""

    storage: MemoryStorage = field(default_factory=MemoryStorage)
    acts: list[str] = field(default_factory=list)
    outbox: list[CommandOutcome] = field(default_factory=list)
    counters: Counter[str] = field(default_factory=Counter)
    models: tuple[Installed, ...] = ()
    children: list[Child] = field(default_factory=list)
    is_testing: bool = False
    outbox_full: bool = False
    no_process: bool = False

    def __post_init__(self) -> None:
        self.start()

    def start(self) -> None:
        hands = Hands(
            announce=lambda: self.acts.append("announce"),
            restart=lambda: self.acts.append("restart"),
            log_lines=lambda: ("a", "b"),
            models=lambda: self.models,
            is_testing=lambda: self.is_testing,
            keep=self._keep,
        )
        log = CommandLog(self.storage)
        self.desk = CommandDesk(log, SelfTestRound(self._child), hands, self.counters)
        self.desk.resume()

    def take(self, name: str, kind: str = "announce", **fields: Any) -> None:
        given = {"issued_s": NOW_S, "expires_s": NOW_S + 300, **fields}
        self.desk.take(valid.command(id=name, kind=kind, **given), NOW_S, 0.0)

    def said(self) -> list[tuple[str, str]]:
        return [(each.id, each.outcome) for each in self.outbox]

    def _keep(self, outcome: CommandOutcome) -> None:
        if self.outbox_full:
            raise StorageFailed(Reason.DISK_FULL, "full")
        self.outbox.append(outcome)

    def _child(self, *package: object) -> Child:
        if self.no_process:
            raise ModelRefused(Reason.STORAGE_FAILED, "cannot start a self-test")
        self.children.append(Child())
        return self.children[-1]


def installed(name: str, *, serves: bool = True) -> Installed:
    return Installed(
        model=ModelName(name),
        version=3,
        digest=valid.digest(),
        package=(valid.manifest(), valid.manifest().variants[0]) if serves else None,
    )


# ---- at most once


@pytest.mark.parametrize("broken", range(1, 8))
def test_whichever_write_fails_a_restart_is_done_once_and_told(broken: int) -> None:
    agent = Agent(MemoryStorage(break_at=broken))
    for _ in range(4):  # delivered again and again, with a power cut each time
        try:
            agent.take("c1", "restart")
        except StorageFailed:
            assert agent.acts == []
        agent.storage.power_cut()
        agent.start()
    assert agent.acts == ["restart"]
    assert set(agent.said()) == {("c1", "done")}


def test_nothing_acts_before_it_is_remembered() -> None:
    agent = Agent()
    agent.storage.fill()
    for kind in ("announce", "restart", "collect_logs", "self_test"):
        with pytest.raises(StorageFailed):
            agent.take(kind, kind)
    assert (agent.acts, agent.outbox) == ([], [])


def test_what_is_repeated_is_counted_and_not_answered_again() -> None:
    agent = Agent()
    for _ in range(3):
        agent.take("c1")
    assert agent.acts == ["announce"]
    assert agent.said() == [("c1", "done")]
    assert agent.counters == {"command.done": 1, "command.not_executed": 2}


def test_commands_of_one_moment_beyond_what_is_remembered_are_refused_and_told_once() -> None:
    agent = Agent()
    names = [f"c{number:03}" for number in range(MAX_REMEMBERED + 72)]
    for name in [*names, *names]:
        agent.take(name)
    outcomes = Counter(agent.said())
    assert set(outcomes) >= {(name, "done") for name in names[: MAX_REMEMBERED + 1]}
    assert {name for name, _ in outcomes} == set(names)
    assert set(outcomes.values()) == {1}
    assert len(agent.acts) == MAX_REMEMBERED + 1


def test_after_its_log_was_damaged_a_device_refuses_what_it_may_have_done() -> None:
    agent = Agent()
    agent.take("c1", "restart")
    agent.storage.replace(COMMANDS_PATH, b"damaged")
    agent.start()
    for _ in range(3):
        agent.take("c1", "restart")
    agent.take("c2", issued_s=NOW_S + 1)
    assert agent.acts == ["restart", "announce"]
    assert agent.said() == [("c1", "refused"), ("c2", "done")]


def test_what_an_earlier_run_began_is_told_once() -> None:
    agent = Agent(models=(installed("kws"),))
    agent.take("c1", "self_test")
    agent.take("c2", "restart")
    for _ in range(3):
        agent.start()
    assert agent.said() == [("c1", "failed"), ("c2", "done")]


# ---- the outbox


def test_an_outcome_that_the_disk_refuses_is_kept_as_soon_as_it_lets_us() -> None:
    agent = Agent(outbox_full=True)
    agent.take("c1")
    agent.desk.tick(10.0)
    agent.outbox_full = False
    agent.desk.tick(10.0 + TELL_AGAIN_S / 2)
    assert agent.said() == []
    agent.desk.tick(10.0 + TELL_AGAIN_S)
    agent.desk.tick(10.0 + 9 * TELL_AGAIN_S)
    assert agent.said() == [("c1", "done")]
    assert agent.counters == {"command.done": 1}


def test_more_outcomes_than_may_wait_are_told_by_the_next_start() -> None:
    agent = Agent(outbox_full=True)
    for number in range(MAX_WAITING + 3):
        agent.take(f"c{number}")
    agent.outbox_full = False
    agent.desk.tick(0.0)
    assert len(agent.outbox) == MAX_WAITING
    agent.start()
    assert sorted(agent.said()[-3:]) == [(f"c{number}", "failed") for number in range(3)]


# ---- self-tests


def test_models_are_tested_one_after_the_other_and_judged_together() -> None:
    agent = Agent(models=(installed("kws"), installed("cam"), installed("old", serves=False)))
    agent.take("c1", "self_test")
    for happened in (PASSED, FAILED):
        agent.desk.tick(0.0)
        agent.desk.tick(0.0)
        assert [each.happened for each in agent.children if each.happened is None] == [None]
        agent.children[-1].happened = happened
    for _ in range(4):
        agent.desk.tick(0.0)
    (outcome,) = agent.outbox
    assert [(each.model, each.reason) for each in outcome.models] == [
        ("kws", None),
        ("cam", "golden_mismatch"),
        ("old", "load_failed"),
    ]
    assert outcome.outcome == "failed"
    assert outcome.detail == "1 of 3 models passed; cam:3 golden_mismatch; old:3 load_failed"
    assert outcome.models[0].evidence == {"accuracy": 1.0}


def test_a_second_self_test_is_refused_while_one_runs() -> None:
    agent = Agent(models=(installed("kws"),))
    agent.take("c1", "self_test")
    agent.take("c2", "self_test")
    agent.desk.tick(0.0)
    agent.children[0].happened = PASSED
    agent.desk.tick(0.0)
    agent.desk.tick(0.0)
    agent.take("c3", "self_test")
    assert agent.said() == [("c2", "refused"), ("c1", "done")]
    assert agent.outbox[0].detail == "a self-test runs already, for command c1"


def test_a_deployments_own_self_test_has_precedence() -> None:
    agent = Agent(models=(installed("kws"),))
    agent.take("c1", "self_test")
    agent.desk.tick(0.0)
    agent.is_testing = True
    agent.desk.tick(0.0)
    assert agent.children[0].killed
    assert agent.said() == [("c1", "failed")]
    assert "has precedence" in agent.outbox[0].detail
    agent.take("c2", "self_test")
    assert agent.said()[1:] == [("c2", "refused")]
    assert "a deployment's own self-test runs" in agent.outbox[1].detail
    agent.is_testing = False
    agent.take("c3", "self_test")
    agent.desk.tick(0.0)
    assert len(agent.children) == 2


def test_a_system_that_gives_no_process_is_a_verdict() -> None:
    agent = Agent(models=(installed("kws"),), no_process=True)
    agent.take("c1", "self_test")
    agent.desk.tick(0.0)
    agent.desk.tick(0.0)
    assert agent.outbox[0].models[0].reason == "storage_failed"


def test_a_stopped_desk_leaves_no_child() -> None:
    agent = Agent(models=(installed("kws"),))
    agent.take("c1", "self_test")
    agent.desk.tick(0.0)
    agent.desk.stop()
    agent.desk.tick(0.0)
    assert agent.children[0].killed
    assert agent.outbox == []
