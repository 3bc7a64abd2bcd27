"""A defect in one task of the agent's loop: it is counted and told, and all the rest goes on."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from threading import Event, Thread
from typing import Any

import numpy as np
import pytest

from device_agent.core import probation
from device_agent.core.states import State
from device_agent.protocol import topics
from device_agent.protocol.probation import ProbationRules
from device_agent.protocol.reasons import Reason
from tests.device_harness import DEVICE, Device, Workshop

MODEL = "digits"


@pytest.fixture
def device(updated: Device, tmp_path: Path) -> Device:
    return updated.copied(tmp_path / "device")


def defective(*_: object, **__: object) -> Any:
    raise ValueError("a defect")


def turn(device: Device, turns: int = 3) -> None:
    """Turn without the harness's own look at defects."""
    for _ in range(turns):
        device.loop.turn(0.005)


TASKS: dict[str, Callable[[Device], tuple[object, str]]] = {
    "the downloads": lambda device: (device.loop._fetcher, "ask"),
    "the commands": lambda device: (device.loop._desk, "tick"),
    "the windows": lambda device: (device.loop, "_close_windows"),
    "the samples": lambda device: (device.loop, "_keep_samples"),
    "the items": lambda device: (device.loop._reporter, "due"),
}


@pytest.mark.parametrize("name", TASKS)
def test_that_a_broken_task_stops_no_other(
    name: str, device: Device, workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner, attribute = TASKS[name](device)
    monkeypatch.setattr(owner, attribute, defective)
    device.loop._window_due_s = 0.0
    turn(device)
    assert device.loop.counters["defect"] > 0
    device.link.published.clear()
    device.loop._changed = True
    turn(device)
    said = [topic for topic, _ in device.link.published]
    assert topics.up(DEVICE, "state") in said, "it still says how it is"
    assert device.infer().version == 2
    monkeypatch.undo()
    device.loop.counters["defect"] = 0
    device.order(workshop.linear(3), rollout="three")
    device.settle(MODEL)
    assert device.outcome(MODEL) == (State.COMMITTED, None)


def test_that_a_defect_is_told_once_with_its_traceback(
    device: Device, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(device.loop._desk, "tick", defective)
    with caplog.at_level(logging.ERROR):
        turn(device, 10)
    told = [each for each in caplog.records if each.getMessage() == "agent.defect"]
    assert len(told) == 1
    assert told[0].exc_info is not None
    assert vars(told[0])["cause"] == "ValueError: a defect"
    assert device.loop.counters["defect"] == 10


def test_that_a_message_with_which_the_agent_cannot_deal_is_dropped(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device.loop._desk, "take", defective)
    monkeypatch.setattr(device.loop._trust, "open_command", lambda *_: None)
    device.send(topics.command(DEVICE), b"{}")
    turn(device)
    assert device.loop.counters["dropped.cmd.defect"] == 1
    assert device.infer().version == 2


def test_that_a_stop_takes_every_step_though_some_go_wrong(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    device.turn()  # it is connected
    loop = device.loop
    for owner, attribute in (
        (loop, "_close_windows"),
        (loop._fetcher, "flush"),
        (loop._desk, "stop"),
    ):
        monkeypatch.setattr(owner, attribute, defective)
    loop.close()
    assert device.link.farewell is not None
    assert loop.counters["defect"] == 3
    assert device.live.items() == []


@pytest.mark.parametrize("correct", [True, False, np.bool_(True), np.bool_(False)])
def test_that_a_label_by_numpy_is_counted_and_travels(device: Device, correct: bool) -> None:
    answer = device.infer()
    assert device.live.label(MODEL, answer.digest, correct=correct)
    device.loop._window_due_s = 0.0
    device.turn()
    counts = device.live.items()[0][1].counts()
    assert (counts.labelled, counts.labelled_correct) == (1, int(correct))
    assert type(counts.labelled_correct) is int


class Hanging:
    """A loaded model whose inference ends when it is let."""

    def __init__(self, real: Any) -> None:
        self._real = real
        self.begun, self.released, self.closed = Event(), Event(), Event()

    def run(self, inputs: Any) -> Any:
        self.begun.set()
        self.released.wait(60.0)
        return self._real.run(inputs)

    def close(self) -> None:
        self._real.close()
        self.closed.set()


def test_that_an_inference_that_hangs_in_probation_stops_neither_the_loop_nor_the_rollback(
    device: Device, workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probation, "HUNG_AFTER_S", 0.3)
    monkeypatch.setattr("device_agent.shell.live.CLOSE_PATIENCE_S", 0.1)
    device.order(workshop.linear(3), rollout="three", rules=ProbationRules(timeout_s=600.0))
    device.reach(State.PROBATION)
    live = device.live.get(MODEL)
    live._loaded = hanging = Hanging(live._loaded)
    caller = Thread(target=device.infer)
    caller.start()
    assert hanging.begun.wait(20.0)
    device.until(lambda: device.state() is State.ROLLED_BACK, "the rollback")
    assert device.reason() is Reason.PROBATION_FAILURES
    assert "has not answered" in device.detail()
    assert device.infer().version == 2, "another thread is answered by the version before"
    assert not hanging.closed.is_set()
    hanging.released.set()
    caller.join()
    assert hanging.closed.wait(20.0), "freed as soon as it has answered"


def test_that_an_agent_stops_though_an_inference_hangs(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("device_agent.shell.live.CLOSE_PATIENCE_S", 0.1)
    live = device.live.get(MODEL)
    live._loaded = hanging = Hanging(live._loaded)
    caller = Thread(target=device.infer)
    caller.start()
    assert hanging.begun.wait(20.0)
    device.turn()
    device.stop()
    assert device.link.farewell is not None
    hanging.released.set()
    caller.join()


def test_that_a_row_of_nan_says_nothing_about_a_version_in_probation(
    device: Device, workshop: Workshop
) -> None:
    rules = ProbationRules(min_inferences=5, max_latency_ratio=1e6)
    device.order(workshop.linear(3), rollout="three", rules=rules)
    device.reach(State.PROBATION)
    for _ in range(3):
        device.infer(row=np.full(4, np.nan, np.float32))
    assert device.live.get(MODEL).counts().nonfinite == 0
    device.settle(MODEL)
    assert device.outcome(MODEL) == (State.COMMITTED, None)
