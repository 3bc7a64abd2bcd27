"""The agent's inbox: whatever comes is counted, nothing is raised, and what serves goes on."""

from __future__ import annotations

import base64
import json
import random
import shutil
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from device_agent.core.states import State
from device_agent.protocol import topics
from device_agent.protocol.chunks import encode_chunk
from device_agent.protocol.codec import encode
from device_agent.protocol.envelope import (
    PAYLOAD_COMMAND,
    PAYLOAD_DESIRED,
    PAYLOAD_ROOT,
    pre_authentication,
    seal,
)
from device_agent.protocol.ids import DeviceId
from device_agent.protocol.orders import Ack, Epoch
from device_agent.shell.inbox import Inbox
from device_agent.shell.link import Connected, Disconnected, Link, LinkLimits, Message
from edgeops.packaging.package import Package
from tests.device_harness import DEVICE, Device, Hub, Workshop, order_of
from tests.hostile import hostile_payloads, mutations, on_the_wire

BLOB = "0" * 64
READ = {
    "desired": topics.desired(DEVICE),
    "cmd": topics.command(DEVICE),
    "ack": topics.ack(DEVICE),
    "blob": f"edgeops/v1/blob/{BLOB}",
    "repair": f"edgeops/v1/d/{DEVICE}/repair/{BLOB}",
    "root": topics.root(2),
    "epoch": topics.epoch(),
}
NOT_READ = [
    "",
    "x",
    "edgeops/v1/d/cam-2/desired",
    "edgeops/v1/d/cam-1/other",
    "edgeops/v1/blob/xyz",
    "edgeops/v1/d/cam-1/repair/../../etc",
    "edgeops/v1/u/00/cam-1/state",
    "$SYS/broker/load",
    "edgeops/v1/d/cam-1/desired/" + "x" * 70_000,
    "\udcff",
]


@pytest.fixture(scope="module")
def first(hub: Hub, tmp_path_factory: pytest.TempPathFactory) -> Package:
    return Workshop(hub, tmp_path_factory.mktemp("packages")).linear(1)


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
    shutil.copytree(installed, tmp_path / "state")
    made = Device(tmp_path / "state", hub)
    made.turn()
    made.until(lambda: not made.loop._outbox.depth() and not made.loop.inbox)
    made.loop.counters.clear()
    yield made
    made.crash()


def deliver(device: Device, topic: str, *payloads: bytes) -> Counter[str]:
    """Deliver through the queue; return what was counted meanwhile."""
    before = Counter(device.loop.counters)
    for payload in payloads:
        device.send(topic, payload)
    device.until(lambda: not device.loop.inbox)
    device.turn()
    return Counter(device.loop.counters) - before


def still_serves(device: Device) -> bool:
    return device.infer().version == 1 and device.state() is State.COMMITTED


# ---- hostile messages


@pytest.mark.parametrize("kind", READ)
def test_every_hostile_payload_on_a_topic_is_counted_as_malformed(
    device: Device, kind: str
) -> None:
    payloads = hostile_payloads()
    assert deliver(device, READ[kind], *payloads) == {f"dropped.{kind}.malformed": len(payloads)}
    assert still_serves(device)


@pytest.mark.parametrize("topic", NOT_READ, ids=lambda topic: repr(topic[:30]))
def test_a_topic_that_is_not_ours_is_counted_as_unknown(device: Device, topic: str) -> None:
    assert deliver(device, topic, b"{}") == {"dropped.unknown.malformed": 1}
    assert still_serves(device)


def test_a_trust_role_that_this_agent_does_not_know_is_counted(device: Device) -> None:
    assert deliver(device, topics.trust("timestamp"), b"{}") == {"dropped.trust.malformed": 1}


@pytest.mark.parametrize("kind", ["desired", "cmd"])
def test_a_spoiled_envelope_is_dropped_or_means_the_same(
    device: Device, hub: Hub, first: Package, kind: str
) -> None:
    envelope = {
        "desired": hub.desired(1, {"digits": order_of(first)}),
        "cmd": hub.command("c1"),
    }[kind]
    spoiled = [on_the_wire(each) for each in mutations(json.loads(envelope))]
    counted = deliver(device, READ[kind], *spoiled)
    dropped = counted[f"dropped.{kind}.malformed"] + counted[f"dropped.{kind}.untrusted"]
    assert dropped + counted[f"received.{kind}"] == len(spoiled)
    assert dropped > len(spoiled) * 0.9
    assert still_serves(device)


@pytest.mark.parametrize(
    ("kind", "payload_type"), [("desired", PAYLOAD_DESIRED), ("cmd", PAYLOAD_COMMAND)]
)
def test_what_the_director_signed_but_never_meant_is_malformed(
    device: Device, hub: Hub, kind: str, payload_type: str
) -> None:
    signed = [hub.sealed(payload_type, data) for data in hostile_payloads() if len(data) < 40_000]
    assert deliver(device, READ[kind], *signed) == {f"dropped.{kind}.malformed": len(signed)}


def test_chunks_that_nobody_asked_for_are_counted_and_not_kept(
    device: Device, first: Package
) -> None:
    ref = order_of(first).manifest
    payload = encode_chunk(ref, 0, first.manifest_bytes[:256])
    counted = deliver(device, topics.blob(ref.digest), payload)
    assert counted == {"chunk.not_used": 1, "received.blob": 1}
    assert not (device.folder / "partial").exists() or not list(
        (device.folder / "partial").iterdir()
    )


# ---- trust


def test_orders_by_another_hub_are_not_trusted(device: Device, first: Package) -> None:
    foreign = Hub()
    orders = {"digits": order_of(first, "r9")}
    assert deliver(device, READ["desired"], foreign.desired(9, orders)) == {
        "dropped.desired.untrusted": 1
    }
    assert deliver(device, READ["cmd"], foreign.command("c1")) == {"dropped.cmd.untrusted": 1}
    assert still_serves(device)


@pytest.mark.parametrize("role", ["root", "targets"])
def test_an_order_signed_by_another_role_is_not_trusted(
    device: Device, hub: Hub, first: Package, role: str
) -> None:
    desired = json.loads(hub.desired(9, {"digits": order_of(first)}))
    payload = base64.b64decode(desired["payload"])
    assert deliver(device, READ["desired"], hub.sealed(PAYLOAD_DESIRED, payload, role=role)) == {
        "dropped.desired.untrusted": 1
    }


def test_another_devices_orders_are_refused_although_truly_signed(
    device: Device, hub: Hub, first: Package
) -> None:
    other = DeviceId("cam-2")
    desired = hub.desired(9, {"digits": order_of(first)}, device=other)
    assert deliver(device, READ["desired"], desired) == {"dropped.desired.untrusted": 1}
    assert deliver(device, READ["cmd"], hub.command("c1", device=other)) == {
        "dropped.cmd.untrusted": 1
    }
    assert still_serves(device)


def test_a_replayed_older_generation_is_counted_and_changes_nothing(
    device: Device, hub: Hub, first: Package
) -> None:
    newer = hub.desired(5, {"digits": order_of(first)})
    assert deliver(device, READ["desired"], newer) == {"received.desired": 1}
    older = [hub.desired(n, {"digits": order_of(first, "old")}) for n in (1, 4, 5)]
    assert deliver(device, READ["desired"], *older) == {
        "desired.not_newer": 3,
        "received.desired": 3,
    }
    assert device.loop._generation == 5
    device.restart()
    assert deliver(device, READ["desired"], *older)["desired.not_newer"] == 3


def test_a_command_cannot_be_replayed_as_a_desired_state(device: Device, hub: Hub) -> None:
    assert deliver(device, READ["desired"], hub.command("c1")) == {"dropped.desired.malformed": 1}


def test_the_next_root_is_followed_and_orders_of_the_old_director_are_not(
    device: Device, hub: Hub, first: Package
) -> None:
    later = Hub()
    later.keys = {**hub.keys, "director": later.keys["director"]}
    payload = later.root(2).to_bytes()
    envelope = later.sealed(PAYLOAD_ROOT, payload, role="root")
    assert deliver(device, topics.root(2), envelope, envelope) == {"received.root": 2}
    orders = {"digits": order_of(first, "r2")}
    assert deliver(device, READ["desired"], hub.desired(7, orders)) == {
        "dropped.desired.untrusted": 1
    }
    assert deliver(device, READ["desired"], later.desired(7, orders))["received.desired"] == 1
    device.restart()
    assert device.loop._trust.root.version == 2
    assert still_serves(device)


def test_a_root_that_only_strangers_or_only_its_own_keys_signed_is_not_followed(
    device: Device, hub: Hub
) -> None:
    stranger = Hub()
    payload = stranger.root(2).to_bytes()
    own = seal(
        PAYLOAD_ROOT,
        payload,
        [stranger.keys["root"].sign(pre_authentication(PAYLOAD_ROOT, payload))],
    )
    skipping = hub.sealed(PAYLOAD_ROOT, hub.root(3).to_bytes(), role="root")
    assert deliver(device, topics.root(2), own, skipping) == {"dropped.root.untrusted": 2}
    assert device.loop._trust.root.version == 1


# ---- commands


def states_said(device: Device) -> int:
    return sum(topic.endswith("/state") for topic, _ in device.link.published)


def test_a_command_is_executed_at_most_once_also_after_a_restart(device: Device, hub: Hub) -> None:
    command = hub.command("c1")
    before = states_said(device)
    assert deliver(device, READ["cmd"], command)["command.done"] == 1
    assert states_said(device) > before
    assert deliver(device, READ["cmd"], command)["command.not_executed"] == 1
    device.restart()
    device.turn()
    assert deliver(device, READ["cmd"], command)["command.not_executed"] == 1
    assert deliver(device, READ["cmd"], hub.command("c2"))["command.done"] == 1


def test_a_command_is_not_executed_after_it_expired(device: Device, hub: Hub) -> None:
    late = hub.command("c1", expires_in_s=-1.0)
    counted = deliver(device, READ["cmd"], late)
    assert (counted["command.expired"], counted["command.not_executed"]) == (1, 1)
    assert counted["received.cmd"] == 1


# ---- acknowledgements and the epoch


def test_acknowledgements_of_unknown_streams_and_impossible_numbers_drop_nothing(
    device: Device,
) -> None:
    outbox = device.loop._outbox
    outbox.put("event", b"{}")
    outbox.due(0.0)
    ((stream, acked),) = [each[1:] for each in outbox._streams() if each[0] == "event"]
    number = acked + 1
    wrong = [("other", number), (stream, number + 1), (stream, 2**53 - 1), (stream, 0)]
    payloads = [encode(Ack(stream=name, sequence=at).to_document()) for name, at in wrong]
    depth = outbox.depth()
    for payload in payloads:
        device.loop._on_ack(topics.DownTopic(kind="ack"), payload)
    assert outbox.depth() == depth
    right = encode(Ack(stream=stream, sequence=number).to_document())
    device.loop._on_ack(topics.DownTopic(kind="ack"), right)
    assert outbox.depth() == 0


def test_a_hub_that_begins_anew_hears_the_state_again(device: Device) -> None:
    for _ in range(3):
        device.turn()
    before = states_said(device)
    epoch = encode(Epoch(epoch="e2", hub="0.1.0").to_document())
    assert deliver(device, READ["epoch"], epoch) == {"received.epoch": 1}
    assert states_said(device) == before + 1


def test_a_hub_that_begins_anew_hears_at_once_what_it_has_not_acknowledged(device: Device) -> None:
    outbox = device.loop._outbox
    outbox.put("event", b"{}")
    assert [item.kind for item in outbox.due(0.0)] == ["event"]
    assert outbox.due(0.1) == []
    epoch = encode(Epoch(epoch="e2", hub="0.1.0").to_document())
    device.loop._on_epoch(topics.DownTopic(kind="epoch"), epoch)
    assert [item.kind for item in outbox.due(0.2)] == ["event"]


# ---- the connection


def test_a_lost_connection_is_counted_and_nothing_is_published_without_one(
    device: Device,
) -> None:
    device.loop.inbox.put(Disconnected(cause="test"))
    device.turn()
    assert device.loop.counters["link.disconnected"] == 1
    said = len(device.link.published)
    device.loop._changed = True
    device.turn()
    assert len(device.link.published) == said
    device.loop.inbox.put(Connected(session=2))
    device.turn()
    topic, payload = device.link.published[said]
    assert (topic, json.loads(payload)["session"]) == (topics.up(DEVICE, "state"), 2)


def test_filters_are_subscribed_at_every_connection(device: Device) -> None:
    assert device.link.filters == set(topics.device_filters(DEVICE))
    device.link.filters.clear()
    device.loop.inbox.put(Connected(session=2))
    device.turn()
    assert device.link.filters == set(topics.device_filters(DEVICE))


def test_the_real_link_bounds_the_inbox_and_counts_what_it_drops(
    hub: Hub, caplog: pytest.LogCaptureFixture
) -> None:
    inbox = Inbox()
    link = Link(
        hub.enrolment(),
        inbox,
        will=lambda session: ("t", b""),
        next_session=lambda: 1,
        chance=random.Random(0),
        limits=LinkLimits(max_inbox=3, max_inbox_bytes=100),
    )
    for _ in range(5):
        link._take_in(Message(topic="t", payload=b""))
    assert (len(inbox), link.overflowed) == (3, 2)
    assert len(inbox.take(0)) == 3
    for _ in range(3):
        link._take_in(Message(topic="t", payload=bytes(60)))
    assert (len(inbox), inbox.size_bytes, link.overflowed) == (2, 120, 3)
    assert caplog.messages == ["inbox.full", "inbox.full"], "once for each time that it is full"
    inbox.put(Disconnected(cause="never dropped"))
    assert len(inbox.take(0)) == 3
    assert (len(inbox), inbox.size_bytes) == (0, 0)
    assert link.publish("t", b"") is False
    link.stop()


def test_the_loop_runs_in_a_thread_survives_the_corpus_and_says_farewell(device: Device) -> None:
    thread = threading.Thread(target=device.loop.run)
    thread.start()
    for topic in [*READ.values(), *NOT_READ]:
        for payload in hostile_payloads()[:20]:
            device.send(topic, payload)
    expected = 20 * (len(READ) + len(NOT_READ))
    while sum(device.loop.counters.values()) < expected and thread.is_alive():
        device.infer()
    device.loop.stop()
    thread.join()
    assert device.link.farewell is not None
    assert json.loads(device.link.farewell[1])["online"] is False
    device.start()
    assert still_serves(device)
