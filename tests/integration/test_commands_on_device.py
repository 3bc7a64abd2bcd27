"""Commands on a device: what each does, what is told of it, and that nothing is done twice."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from device_agent import logs
from device_agent.core.states import State
from device_agent.protocol import outcomes, topics
from device_agent.protocol.codec import MAX_DOCUMENT_BYTES, encode
from device_agent.protocol.fields import Fields
from device_agent.protocol.outcomes import CommandOutcome
from edgeops.packaging.package import Package
from tests.device_harness import DEVICE, OPTIONS, Device, Hub, Workshop
from tests.storage_fakes import BreakableFolder

CMD = topics.command(DEVICE)
RESTARTS = replace(OPTIONS, restarts=True)


@pytest.fixture(scope="module")
def first(workshop: Workshop) -> Package:
    return workshop.linear(1)


@pytest.fixture(scope="module")
def installed(hub: Hub, first: Package, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("installed") / "state"
    device = Device(folder, hub)
    device.order(first)
    device.settle()
    device.stop()
    return folder


@pytest.fixture
def device(installed: Path, tmp_path: Path, hub: Hub) -> Iterator[Device]:
    """A device on which version 1 is committed, and whose program starts it again."""
    shutil.copytree(installed, tmp_path / "state")
    made = Device(
        tmp_path / "state", hub, options=RESTARTS, storage=BreakableFolder(tmp_path / "state")
    )
    made.generation = 1
    yield made
    made.crash()


def told(device: Device, name: str) -> CommandOutcome:
    """Turn until the outcome of a command has reached the hub; return it."""
    device.until(
        lambda: any(each["id"] == name for each in device.outcomes), f"the outcome of {name}"
    )
    (document,) = [each for each in device.outcomes if each["id"] == name]
    return CommandOutcome.from_fields(Fields(document, "outcome"))


def order(device: Device, name: str, kind: str, **fields: Any) -> CommandOutcome:
    device.send(CMD, device.hub.command(name, kind, **fields))
    return told(device, name)


def untold(device: Device) -> list[str]:
    return [each.id for each in device.loop._desk._log.untold()]


def rot(device: Device, package: Package) -> None:
    """Spoil the artifact on the disk; what is loaded goes on."""
    artifact = package.manifest.variants[0].artifact.ref.digest.removeprefix("sha256:")
    (blob,) = [each for each in device.folder.glob("blobs/**/*") if each.name == artifact]
    blob.write_bytes(b"rot" * 50)


# ---- announce, and what is not executed


def test_an_announcement_is_answered(device: Device) -> None:
    outcome = order(device, "c1", "announce")
    assert (outcome.kind, outcome.outcome, outcome.detail) == ("announce", "done", "")
    assert outcome.at_s > 1e9
    assert untold(device) == []


def test_an_expired_command_is_answered_with_both_clocks(device: Device) -> None:
    outcome = order(device, "c1", "restart", expires_in_s=-5.0)
    assert outcome.outcome == "expired"
    assert "this device's clock says" in outcome.detail
    assert not device.loop.restart_wanted.is_set()


def test_a_command_of_a_newer_hub_is_refused_by_name(device: Device) -> None:
    outcome = order(device, "c1", "dance")
    assert (outcome.outcome, outcome.kind) == ("refused", "dance")
    assert "does not know the command 'dance'" in outcome.detail


def test_a_command_that_cannot_be_remembered_does_nothing(device: Device) -> None:
    device.turn()
    command = device.hub.command("c1", "restart")
    device.storage.full = True
    device.send(CMD, command)
    device.until(lambda: device.loop.counters["dropped.cmd.storage"])
    assert not device.loop.restart_wanted.is_set()
    device.storage.full = False
    device.send(CMD, command)
    device.until(device.loop.restart_wanted.is_set)


# ---- restart


def test_a_restart_is_remembered_before_it_acts_and_told_by_the_next_start(
    device: Device,
) -> None:
    command = device.hub.command("c1", "restart")
    device.send(CMD, command)
    device.until(device.loop.restart_wanted.is_set)
    assert untold(device) == ["c1"]
    assert device.infer().version == 1
    device.stop()
    device.start()
    outcome = told(device, "c1")
    assert (outcome.outcome, outcome.detail) == ("done", "the agent was started again")
    assert not device.loop.restart_wanted.is_set()
    # The broker may deliver it again, as often as it likes.
    for _ in range(3):
        device.send(CMD, command)
        device.turn()
        device.restart()
    assert not device.loop.restart_wanted.is_set()
    assert len(device.outcomes) == 1


def test_a_power_cut_at_the_restart_makes_no_loop_of_restarts(device: Device) -> None:
    device.send(CMD, device.hub.command("c1", "restart"))
    device.until(device.loop.restart_wanted.is_set)
    device.restart()
    assert not device.loop.restart_wanted.is_set()
    assert told(device, "c1").outcome == "done"


def test_an_application_that_does_not_start_agents_again_refuses(
    installed: Path, tmp_path: Path, hub: Hub
) -> None:
    shutil.copytree(installed, tmp_path / "state")
    device = Device(tmp_path / "state", hub)
    outcome = order(device, "c1", "restart")
    assert outcome.outcome == "refused"
    assert "does not start it again" in outcome.detail
    assert not device.loop.restart_wanted.is_set()
    device.crash()


# ---- logs


def test_the_recent_log_travels_in_one_message(device: Device) -> None:
    device.log_lines = ('2026 info a cause="x"', "2026 warning b")
    outcome = order(device, "c1", "collect_logs")
    assert (outcome.log, outcome.detail) == (device.log_lines, "2 lines")
    (payload,) = [data for topic, data in device.link.published if topic.endswith("/outcome")]
    assert len(payload) < MAX_DOCUMENT_BYTES


# ---- self-test


def test_a_self_test_tells_the_numbers_of_what_serves_and_touches_nothing(
    device: Device, first: Package
) -> None:
    before = device.record()
    outcome = order(device, "c1", "self_test")
    assert (outcome.outcome, outcome.detail) == ("done", "1 of 1 models passed")
    (verdict,) = outcome.models
    assert (verdict.model, verdict.version, verdict.passed) == ("digits", 1, True)
    assert verdict.digest == first.digest
    assert verdict.evidence["accuracy"] == 1.0
    assert verdict.evidence["latency_ms_p95"] > 0.0
    assert device.record() == before
    assert device.infer().version == 1


def test_a_model_that_has_gone_bad_on_the_disk_fails_and_goes_on_serving(
    device: Device, first: Package
) -> None:
    device.turn()
    rot(device, first)
    outcome = order(device, "c1", "self_test")
    (verdict,) = outcome.models
    assert (outcome.outcome, verdict.reason) == ("failed", "load_failed")
    assert "digits:1 load_failed" in outcome.detail
    assert device.infer().version == 1
    assert device.state() is State.COMMITTED


def test_a_version_that_does_not_serve_is_told_as_such(device: Device, first: Package) -> None:
    rot(device, first)
    device.restart()
    assert device.serving() is None
    outcome = order(device, "c1", "self_test")
    (verdict,) = outcome.models
    assert (verdict.version, verdict.reason) == (1, "load_failed")
    assert "does not serve" in verdict.detail


def test_a_self_test_without_a_model_is_refused(tmp_path: Path, hub: Hub) -> None:
    device = Device(tmp_path / "state", hub)
    outcome = order(device, "c1", "self_test")
    assert (outcome.outcome, outcome.detail) == ("refused", "this device has no model yet")
    device.crash()


def test_an_update_that_comes_while_a_self_test_runs_is_none_the_worse(
    device: Device, workshop: Workshop
) -> None:
    device.send(CMD, device.hub.command("c1", "self_test"))
    device.order(workshop.linear(2), rollout="r2")
    assert told(device, "c1").outcome in ("done", "failed")
    device.settle()
    assert device.outcome() == (State.COMMITTED, None)
    assert device.serving() == 2


def test_a_self_test_that_a_power_cut_ended_is_told_as_failed(device: Device) -> None:
    device.send(CMD, device.hub.command("c1", "self_test"))
    device.until(lambda: device.loop._desk._tests.running)
    device.restart()
    outcome = told(device, "c1")
    assert outcome.outcome == "failed"
    assert "not done again" in outcome.detail


# ---- the way to the hub


def test_an_outcome_waits_for_a_connection_across_a_restart(device: Device) -> None:
    device.turn()
    device.link.connected = False
    device.send(CMD, device.hub.command("c1", "announce"))
    device.until(lambda: device.loop.counters["command.done"])
    assert device.outcomes == []
    device.restart()
    assert told(device, "c1").outcome == "done"
    assert len(device.outcomes) == 1


def test_the_largest_outcome_is_a_message_of_the_protocol(first: Package) -> None:
    assert (logs.MAX_RECENT_LINES, logs.MAX_RECENT_LINE, logs.MAX_RECENT_BYTES) == (
        outcomes.MAX_LOG_LINES,
        outcomes.MAX_LOG_LINE,
        outcomes.MAX_LOG_BYTES,
    )
    evidence = {"accuracy": 0.123456789012345} | {f"m{n}": 1e-300 for n in range(4)}
    models = tuple(
        outcomes.ModelVerdict(
            model=f"{n:064}",
            version=2**31 - 1,
            digest=first.digest,
            reason="r" * 64,
            detail="d" * 400,
            evidence=evidence,
        )
        for n in range(32)
    )
    largest = CommandOutcome(id="i" * 64, kind="self_test", outcome="failed", models=models)
    assert len(encode(largest.to_document())) < MAX_DOCUMENT_BYTES - 1024
