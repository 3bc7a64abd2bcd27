"""Commands as the hub gives and keeps them: signed, in the audit, answered once, few at a time."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from device_agent.protocol.codec import decode
from device_agent.protocol.envelope import PAYLOAD_COMMAND, unseal
from device_agent.protocol.orders import COMMANDS, Command
from edgeops.domain.errors import InvalidInput, NotFound
from edgeops.service import commands, fleet
from edgeops.store.commands import MAX_KEPT
from edgeops.trust.keys import verify_signature
from tests import agent_values as valid
from tests.hub_harness import FakeDevice, HubHarness, outcome


@pytest.fixture
def hub() -> Iterator[HubHarness]:
    with HubHarness() as harness:
        yield harness


@pytest.fixture
def cam(hub: HubHarness) -> FakeDevice:
    return hub.online("cam-1", "cam-2")[0]


def give(hub: HubHarness, kind: str = "self_test", *, to: str = "cam-1") -> str:
    return commands.give(hub.context, "ana", to, kind)[0].command.id


def state(hub: HubHarness, command: str) -> str:
    return commands.command(hub.context, "cam-1", command).state(hub.clock())


@pytest.mark.parametrize("kind", COMMANDS)
def test_a_command_is_signed_for_its_device_and_in_the_audit(
    hub: HubHarness, cam: FakeDevice, kind: str
) -> None:
    given, sealed = commands.give(hub.context, "ana", "cam-1", kind, life_s=60.0)
    payload = unseal(sealed, PAYLOAD_COMMAND, hub.keys.root.keys_of("director"), verify_signature)
    signed = Command.from_document(decode(payload))
    assert signed == given.command
    assert (signed.device, signed.kind, signed.issued_s) == ("cam-1", kind, hub.clock())
    assert signed.expires_s == hub.clock() + 60.0
    assert hub.acts(actor="ana")[-1] == ("device.command", "cam-1")
    assert commands.commands(hub.context, "cam-1") == (given,)


@pytest.mark.parametrize(
    ("name", "kind", "life_s", "error"),
    [
        ("cam-9", "restart", 60.0, NotFound),
        ("a/b", "restart", 60.0, InvalidInput),
        ("cam-1", "dance", 60.0, InvalidInput),
        ("cam-1", "restart", 0.0, InvalidInput),
        ("cam-1", "restart", 1e9, InvalidInput),
        ("cam-1", "restart", float("nan"), InvalidInput),
    ],
)
def test_what_cannot_be_commanded_is_refused_and_not_kept(
    hub: HubHarness, cam: FakeDevice, name: str, kind: str, life_s: float, error: type[Exception]
) -> None:
    with pytest.raises(error):
        commands.give(hub.context, "ana", name, kind, life_s=life_s)
    assert commands.commands(hub.context, "cam-1") == ()
    assert ("device.command", "cam-1") not in hub.acts()


def test_an_outcome_is_kept_whole_and_acknowledged(hub: HubHarness, cam: FakeDevice) -> None:
    command = give(hub)
    assert state(hub, command) == "waiting"
    told = valid.outcome(id=command)
    hub.clock.pass_s(5)
    assert hub.take(cam.numbered("outcome", told)) is not None
    kept = commands.command(hub.context, "cam-1", command)
    assert (kept.outcome, kept.answered_s) == (told, hub.clock())
    assert state(hub, command) == "failed"
    assert hub.handlers.counters["outcome.taken"] == 1


def test_the_first_word_on_a_command_stands(hub: HubHarness, cam: FakeDevice) -> None:
    command = give(hub)
    hub.take(cam.numbered("outcome", outcome(command)))
    assert hub.take(cam.numbered("outcome", outcome(command, outcome="failed"))) is not None
    assert state(hub, command) == "done"
    assert hub.handlers.counters["outcome.unknown"] == 1


def test_a_device_answers_only_for_itself(hub: HubHarness, cam: FakeDevice) -> None:
    command = give(hub, to="cam-2")
    hub.take(cam.numbered("outcome", outcome(command)))
    (kept,) = commands.commands(hub.context, "cam-2")
    assert kept.outcome is None
    assert hub.handlers.counters["outcome.unknown"] == 1
    with pytest.raises(NotFound, match="cam-1 has no command"):
        commands.command(hub.context, "cam-1", command)


def test_silence_is_told_as_such_until_an_outcome_comes(hub: HubHarness, cam: FakeDevice) -> None:
    command = give(hub, "restart")
    hub.clock.pass_s(commands.LIFE_S + 1)
    assert state(hub, command) == "unanswered"
    hub.take(cam.numbered("outcome", outcome(command, "restart")))
    assert state(hub, command) == "done"


def test_the_newest_commands_of_each_device_are_kept(hub: HubHarness, cam: FakeDevice) -> None:
    other = give(hub, to="cam-2")
    given = []
    for _ in range(MAX_KEPT + 5):
        hub.clock.pass_s(1)
        given.append(give(hub))
    kept = [each.command.id for each in commands.commands(hub.context, "cam-1")]
    assert kept == given[: -MAX_KEPT - 1 : -1]
    assert [each.command.id for each in commands.commands(hub.context, "cam-2")] == [other]


def test_a_removed_devices_commands_are_gone(hub: HubHarness, cam: FakeDevice) -> None:
    give(hub)
    fleet.remove(hub.context, "ana", "cam-1")
    hub.enroll("cam-1")
    assert commands.commands(hub.context, "cam-1") == ()
