"""A version whose load ends the process: it is noted before, and given up for the one before."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from device_agent.core.starts import MAX_STRIKES
from device_agent.core.states import State
from device_agent.protocol.errors import StorageFailed
from device_agent.protocol.probation import ProbationRules
from device_agent.protocol.reasons import Reason
from device_agent.shell import journal, packages
from tests.device_harness import Device, Workshop

MODEL = "digits"


class Killed(BaseException):
    """The process is gone: no handler of errors may hold this up."""


@pytest.fixture
def device(updated: Device, tmp_path: Path) -> Device:
    return updated.copied(tmp_path / "device")


def test_a_committed_version_whose_load_ends_the_process_gives_way_to_the_one_before(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = device.live.get(MODEL).digest
    real = packages.load_into
    noted = []

    def load(storage, host, live, record, letter) -> None:
        if record.slots[letter].manifest.digest == bad:
            starts = json.loads((device.folder / "starts.json").read_text())
            noted.append(starts["loading"])
            raise Killed
        real(storage, host, live, record, letter)

    monkeypatch.setattr(packages, "load_into", load)
    deaths = 0
    for _ in range(10):
        device.loop._deployer.acts.stop()
        device.loop._outbox.close()
        try:
            device.start()
        except Killed:
            deaths += 1
        else:
            break
    assert deaths == MAX_STRIKES
    assert noted == [bad] * MAX_STRIKES, "durably, before it is loaded"
    assert device.serving() == 1
    assert device.record().quarantine == {bad: Reason.KILLED_AGENT}
    device.turn()
    assert device.infer().version == 1


def test_probation_lasts_as_long_as_its_rule_says(device: Device, workshop: Workshop) -> None:
    rules = ProbationRules(min_inferences=5, min_duration_s=1e6, max_latency_ratio=1e6)
    device.order(workshop.linear(3), rollout="r3", rules=rules)
    device.reach(State.PROBATION)
    for _ in range(20):
        device.infer()
    for _ in range(5):
        device.turn()
    assert device.state() is State.PROBATION
    device.loop._deployer.acts._activated_s[MODEL] -= 2e6
    device.turn()
    assert device.outcome(MODEL) == (State.COMMITTED, None)


def test_a_rollback_that_the_disk_refuses_is_tried_again_after_a_pause(
    device: Device, workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    rules = ProbationRules(min_inferences=1000, max_failures=0)
    device.order(workshop.linear(3), rollout="r3", rules=rules)
    device.reach(State.PROBATION)
    real, tries = journal.write_pointer, []

    def write(storage, name, slot) -> None:
        tries.append(slot)
        raise StorageFailed(Reason.STORAGE_FAILED, "the disk says no")

    monkeypatch.setattr(journal, "write_pointer", write)
    device.live.get(MODEL).tally.observe_failure()
    device.until(lambda: tries, "the first try")
    for _ in range(10):
        device.turn()
    assert len(tries) < 5, "not at each turn"
    assert device.serving() == 2, "and what is not trusted does not answer meanwhile"
    monkeypatch.setattr(journal, "write_pointer", real)
    device.settle(MODEL)
    assert device.outcome(MODEL) == (State.ROLLED_BACK, Reason.PROBATION_FAILURES)


def test_windows_that_no_disk_takes_are_held_up_to_a_bound_and_counted_beyond(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(kind: str, body: bytes) -> None:
        raise StorageFailed(Reason.DISK_FULL, "No space left on device")

    reporter, live = device.loop._reporter, device.live.get(MODEL)
    monkeypatch.setattr(device.loop._outbox, "put", refuse)
    monkeypatch.setattr("device_agent.shell.reporter.MAX_HELD", 3)
    monkeypatch.setattr("device_agent.shell.reporter._with", lambda held, new: [*held, new])
    for _ in range(10):
        device.infer()
        reporter.window_closed(MODEL, live, 1.0)
    assert len(reporter._held) == 3
    assert reporter.lost["telemetry"] == 7
