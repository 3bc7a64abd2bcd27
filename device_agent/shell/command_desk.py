"""What is done for a command of the hub, and what is told of it.

A command is remembered before it acts, and its outcome leaves through the outbox. So whatever
ends the agent in between: it is not done again, and the next start tells what became of it.
"""

from __future__ import annotations

import logging
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from device_agent.core.states import State
from device_agent.protocol.errors import StorageFailed
from device_agent.protocol.orders import COMMANDS, Command
from device_agent.protocol.outcomes import CommandOutcome, ModelVerdict
from device_agent.protocol.reports import MAX_DETAIL
from device_agent.protocol.values import dataclass
from device_agent.shell.commands import MAX_REMEMBERED, CommandLog, Standing
from device_agent.shell.deployer import Deployer
from device_agent.shell.live import LiveModels
from device_agent.shell.packages import Host
from device_agent.shell.reporter import Reporter
from device_agent.shell.self_test_round import (
    Installed,
    SelfTestRound,
    installed_models,
    start_self_test,
)
from device_agent.shell.storage import Storage

logger = logging.getLogger(__name__)

TELL_AGAIN_S = 5.0
"""Pause before an outcome that the disk refused is kept again."""
MAX_FORGOTTEN = 1024
"""Forgotten commands of a start whose refusal is told; beyond, they are only counted."""
MAX_WAITING = 16
"""Outcomes that wait for the disk; the log of commands tells the next start of the others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hands:
    """What the desk needs of the agent.

    Attributes:
        announce: publish the full reported state.
        restart: ask the program around the agent to start it again; None if it will not.
        log_lines: the agent's recent log, oldest first.
        models: the active version of each model.
        is_testing: whether a deployment's own self-test runs.
        keep: puts an outcome into the outbox, or raises ``StorageFailed``.
    """

    announce: Callable[[], None]
    restart: Callable[[], None] | None
    log_lines: Callable[[], Sequence[str]]
    models: Callable[[], Sequence[Installed]]
    is_testing: Callable[[], bool]
    keep: Callable[[CommandOutcome], None]


class CommandDesk:
    """Takes commands, one after the other. Used by the loop thread only."""

    def __init__(
        self, log: CommandLog, tests: SelfTestRound, hands: Hands, counters: Counter[str]
    ) -> None:
        """Take the log of commands and the hands."""
        self._log = log
        self._tests = tests
        self._hands = hands
        self._counters = counters
        self._tested = ""
        self._forgotten: set[str] = set()
        self._waiting: deque[CommandOutcome] = deque(maxlen=MAX_WAITING)
        self._tell_again_s = 0.0
        self._acts: Mapping[str, Callable[[CommandOutcome], CommandOutcome | None]] = {
            "announce": self._announce,
            "collect_logs": self._collect_logs,
            "restart": self._restart,
            "self_test": self._self_test,
        }

    def resume(self) -> None:
        """Tell what became of the commands that an earlier run began: once, after a start."""
        for begun in self._log.untold():
            outcome = CommandOutcome(id=begun.id, kind=begun.kind, outcome="done")
            if begun.kind == "restart":
                self._tell(replace(outcome, detail="the agent was started again"))
            else:
                detail = "the agent was stopped before it told the outcome; not done again"
                self._tell(replace(outcome, outcome="failed", detail=detail))

    def take(self, command: Command, wall_s: float, now_s: float) -> None:
        """Carry out a command, unless it was begun before or has expired.

        Raises:
            StorageFailed: it cannot be remembered, so nothing was done.
        """
        standing = self._log.judge(command, wall_s, now_s)
        if standing is Standing.BEGUN_BEFORE:
            self._counters["command.not_executed"] += 1
            return
        if standing is Standing.FORGOTTEN:
            self._refuse_forgotten(command)
            return
        self._log.begin(command)
        logger.info("command.begun", extra={"command": command.id, "kind": command.kind})
        blank = CommandOutcome(id=command.id, kind=command.kind, outcome="done")
        if standing is Standing.EXPIRED:
            late = f"expired at {command.expires_s:.0f}, this device's clock says {wall_s:.0f}"
            outcome: CommandOutcome | None = replace(blank, outcome="expired", detail=late)
        elif command.kind not in COMMANDS:
            outcome = _refused(blank, f"this agent does not know the command {command.kind!r}")
        else:
            outcome = self._acts[command.kind](blank)
        if outcome is not None:
            self._tell(outcome)

    def _refuse_forgotten(self, command: Command) -> None:
        """Tell it once a start, whatever is delivered again: the hub keeps the first outcome."""
        if command.id in self._forgotten or len(self._forgotten) >= MAX_FORGOTTEN:
            self._counters["command.not_executed"] += 1
            return
        self._forgotten.add(command.id)
        blank = CommandOutcome(id=command.id, kind=command.kind, outcome="refused")
        detail = (
            "this device no longer knows whether it was done before: it remembers the newest "
            f"{MAX_REMEMBERED} commands, while their file is whole; give it again"
        )
        self._tell(_refused(blank, detail))

    def tick(self, now_s: float) -> None:
        """Look at the self-tests, and tell again what the disk refused."""
        if self._tests.running and self._hands.is_testing():
            self._tests.stop()
            detail = "a deployment's own self-test began and has precedence: ask again later"
            self._tell(
                CommandOutcome(id=self._tested, kind="self_test", outcome="failed", detail=detail)
            )
        verdicts = self._tests.poll()
        if verdicts is not None:
            self._tell(_judged(self._tested, verdicts))
        if self._waiting and now_s >= self._tell_again_s:
            self._tell_again_s = now_s + TELL_AGAIN_S
            again, self._waiting = self._waiting, deque(maxlen=MAX_WAITING)
            for outcome in again:
                self._keep(outcome)

    def stop(self) -> None:
        """End child processes."""
        self._tests.stop()

    # ---- the acts: each returns its outcome, None if that comes later

    def _announce(self, blank: CommandOutcome) -> CommandOutcome | None:
        self._hands.announce()
        return blank

    def _collect_logs(self, blank: CommandOutcome) -> CommandOutcome | None:
        lines = tuple(self._hands.log_lines())
        return replace(blank, log=lines, detail=f"{len(lines)} lines")

    def _restart(self, blank: CommandOutcome) -> CommandOutcome | None:
        if self._hands.restart is None:
            return _refused(
                blank, "the application that runs this agent does not start it again on command"
            )
        self._hands.restart()
        return None  # the next start tells

    def _self_test(self, blank: CommandOutcome) -> CommandOutcome | None:
        if self._tests.running:
            return _refused(blank, f"a self-test runs already, for command {self._tested}")
        if self._hands.is_testing():
            return _refused(blank, "a deployment's own self-test runs: ask again later")
        models = self._hands.models()
        if not models:
            return _refused(blank, "this device has no model yet")
        self._tested = blank.id
        self._tests.begin(models)
        return None  # a tick tells

    # ---- the telling

    def _tell(self, outcome: CommandOutcome) -> None:
        self._counters[f"command.{outcome.outcome}"] += 1
        if outcome.outcome in ("refused", "expired"):
            self._counters["command.not_executed"] += 1
        self._keep(outcome)

    def _keep(self, outcome: CommandOutcome) -> None:
        try:
            self._hands.keep(outcome)
        except StorageFailed as error:
            logger.warning("outcome.not_kept", extra={"command": outcome.id, "cause": str(error)})
            self._waiting.append(outcome)
            return
        try:
            self._log.told(outcome.id)
        except StorageFailed as error:
            logger.warning("outcome.not_noted", extra={"command": outcome.id, "cause": str(error)})


def _refused(blank: CommandOutcome, detail: str) -> CommandOutcome:
    return replace(blank, outcome="refused", detail=detail)


def _judged(command: str, verdicts: Sequence[ModelVerdict]) -> CommandOutcome:
    bad = [f"{each.model}:{each.version} {each.reason}" for each in verdicts if not each.passed]
    passed = f"{len(verdicts) - len(bad)} of {len(verdicts)} models passed"
    return CommandOutcome(
        id=command,
        kind="self_test",
        outcome="failed" if bad else "done",
        detail="; ".join([passed, *bad])[:MAX_DETAIL],
        models=tuple(verdicts),
    )


def make_desk(
    storage: Storage,
    deployer: Deployer,
    live: LiveModels,
    host: Host,
    reporter: Reporter,
    *,
    announce: Callable[[], None],
    restart: Callable[[], None] | None,
    log_lines: Callable[[], Sequence[str]],
    counters: Counter[str],
) -> CommandDesk:
    """Return the desk of an agent made of these parts."""
    hands = Hands(
        announce=announce,
        restart=restart,
        log_lines=log_lines,
        models=lambda: installed_models(deployer, live),
        is_testing=lambda: State.SELF_TEST in deployer.states(),
        keep=reporter.command_ended,
    )
    tests = SelfTestRound(lambda *package: start_self_test(host, *package))
    log = CommandLog(storage, host.clock.monotonic_s())
    return CommandDesk(log, tests, hands, counters)
