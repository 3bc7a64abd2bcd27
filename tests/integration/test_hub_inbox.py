"""The hub's door for devices: whatever comes is taken or counted, and never stops it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from device_agent.protocol import topics
from device_agent.protocol.chunks import BlobRef
from device_agent.protocol.codec import decode, encode
from device_agent.protocol.ids import DeviceId, digest_of
from edgeops.service import fleet
from tests import agent_values as valid
from tests.hostile import hostile_payloads, mutations, on_the_wire
from tests.hub_harness import FakeDevice, HubHarness, event, sample, tiny_package, window

KINDS = topics.UP_KINDS


@pytest.fixture
def hub() -> Iterator[HubHarness]:
    with HubHarness() as harness:
        harness.publish(1)
        yield harness


@pytest.fixture
def cam(hub: HubHarness) -> FakeDevice:
    (device,) = hub.online("cam-1", "cam-2")[:1]
    hub.handlers.counters.clear()
    return device


def artifact(hub: HubHarness) -> BlobRef:
    return tiny_package(hub.keys, 1).manifest.variants[0].artifact.ref


def good(hub: HubHarness, cam: FakeDevice, kind: str) -> tuple[str, bytes]:
    match kind:
        case "state":
            return cam.report()
        case "event":
            return cam.numbered("event", event("r1", inferences=3.0))
        case "outcome":
            return cam.numbered("outcome", valid.outcome())
        case "telemetry":
            return cam.numbered("telemetry", (window(),))
        case "sample":
            return cam.numbered("sample", (sample(),))
        case _:
            return cam.need(artifact(hub), (0, 3))


def heads(hub: HubHarness) -> int:
    """How many messages were counted as received, or as malformed or failed."""
    return sum(
        count
        for name, count in hub.handlers.counters.items()
        if name.startswith("received.") or name.endswith((".malformed", ".failed"))
    )


def assert_still_works(hub: HubHarness, cam: FakeDevice) -> None:
    """A good message of each kind is taken after whatever came before."""
    before = dict(hub.handlers.counters)
    cam.stream = f"after-{sum(before.values())}"
    cam.sequences.clear()
    cam.session += 2
    for kind in KINDS:
        answer = hub.take(good(hub, cam, kind))
        assert (answer is not None) == (kind in ("event", "outcome", "telemetry", "sample"))
        received = f"received.{kind}"
        assert hub.handlers.counters[received] == before.get(received, 0) + 1
    dropped = {n: c for n, c in hub.handlers.counters.items() if n.startswith("dropped.")}
    assert dropped == {n: c for n, c in before.items() if n.startswith("dropped.")}
    assert fleet.device(hub.context, cam.id).device.presence.session == cam.session
    assert hub.demand.open_chunks == 3


@pytest.mark.parametrize("kind", KINDS)
def test_hostile_bytes_are_counted_one_by_one_and_change_nothing(
    hub: HubHarness, cam: FakeDevice, kind: str
) -> None:
    corpus = [payload for payload in hostile_payloads() if payload or kind != "state"]
    for payload in corpus:
        assert hub.take((topics.up(cam.id, kind), payload)) is None
    assert hub.handlers.counters == {f"dropped.{kind}.malformed": len(corpus)}
    assert_still_works(hub, cam)


@pytest.mark.parametrize("kind", KINDS)
def test_a_document_spoiled_anywhere_is_taken_or_counted_and_never_raises(
    hub: HubHarness, cam: FakeDevice, kind: str
) -> None:
    topic, payload = good(hub, cam, kind)
    count = 0
    for spoiled in mutations(decode(payload)):
        hub.take((topic, on_the_wire(spoiled)))
        count += 1
    assert count > 100
    assert heads(hub) == count
    assert hub.handlers.counters[f"dropped.{kind}.malformed"] > count / 2
    assert hub.handlers.counters[f"dropped.{kind}.failed"] == 0
    cam.session = fleet.device(hub.context, cam.id).device.presence.session
    cam.instance = fleet.device(hub.context, cam.id).device.presence.instance
    hub.demand.left(cam.id)
    assert_still_works(hub, cam)


@pytest.mark.parametrize("kind", KINDS)
def test_a_device_that_speaks_for_another_is_not_heard(
    hub: HubHarness, cam: FakeDevice, kind: str
) -> None:
    _, payload = good(hub, cam, kind)
    assert hub.take((topics.up(DeviceId("cam-2"), kind), payload)) is None
    assert hub.handlers.counters == {f"dropped.{kind}.malformed": 1}


@pytest.mark.parametrize("kind", KINDS)
def test_a_wrong_shard_is_not_heard(hub: HubHarness, cam: FakeDevice, kind: str) -> None:
    topic, payload = good(hub, cam, kind)
    shard = topic.split("/")[3]
    wrong = topic.replace(f"/{shard}/", f"/{'00' if shard != '00' else '01'}/")
    assert hub.take((wrong, payload)) is None
    assert hub.handlers.counters == {"dropped.unknown.malformed": 1}


@pytest.mark.parametrize(
    "topic",
    [
        "",
        "/",
        "edgeops",
        "edgeops/v1/",
        "edgeops/v1/u",
        "edgeops/v1/u/00/cam-1",
        "edgeops/v1/u/00/cam-1/state/more",
        "edgeops/v1/u/00/cam-1/STATE",
        "edgeops/v1/u/00//state",
        "edgeops/v1/u/00/+/state",
        "edgeops/v1/u/00/#/state",
        "edgeops/v1/u/00/../state",
        "edgeops/v2/u/00/cam-1/state",
        "edgeops/v1/d/cam-1/desired",
        "edgeops/v1/hub/epoch",
        "$SYS/broker/version",
        "x" * 70_000,
        "edgeops/v1/u/00/" + "a" * 65 + "/state",
        "edgeops/v1/u/00/cam-1\0/state",
        "edgeops/v1/u/00/é/state",
        "edgeops/v1/u/00/\ud800/state",
    ],
)
def test_what_is_no_upward_topic_is_counted(hub: HubHarness, cam: FakeDevice, topic: str) -> None:
    assert hub.take((topic, cam.report()[1])) is None
    assert hub.handlers.counters == {"dropped.unknown.malformed": 1}
    assert_still_works(hub, cam)


@pytest.mark.parametrize("kind", ["event", "telemetry"])
def test_a_replay_is_acknowledged_and_taken_once(
    hub: HubHarness, cam: FakeDevice, kind: str
) -> None:
    message = good(hub, cam, kind)
    answers = {hub.take(message) for _ in range(5)}
    assert len(answers) == 1
    taken = {"telemetry.unknown_version": 1} if kind == "telemetry" else {}
    assert hub.handlers.counters == {f"received.{kind}": 5, **taken}


def test_what_comes_out_of_order_is_counted_and_answered_with_what_is_known(
    hub: HubHarness, cam: FakeDevice
) -> None:
    hub.take(good(hub, cam, "telemetry"))
    answer = hub.take(cam.numbered("telemetry", (window(),), sequence=9))
    assert answer is not None
    assert decode(answer)["sequence"] == 1
    assert hub.handlers.counters == {
        "received.telemetry": 2,
        "dropped.telemetry.out_of_order": 1,
        "telemetry.unknown_version": 1,
    }


def test_an_old_stream_that_comes_back_with_windows_that_are_known_does_not_stop_the_hub(
    hub: HubHarness, cam: FakeDevice
) -> None:
    first = good(hub, cam, "telemetry")
    hub.take(first)
    cam.stream = "another"
    hub.take(cam.numbered("telemetry", (window(),), sequence=1))
    hub.take(first)
    assert heads(hub) == 3
    assert_still_works(hub, cam)


@pytest.mark.parametrize("kind", ["state", "event", "outcome", "telemetry", "sample"])
def test_a_device_that_was_never_enrolled_is_counted(
    hub: HubHarness, cam: FakeDevice, kind: str
) -> None:
    stranger = FakeDevice(id=DeviceId("stranger"), root=hub.keys.root)
    assert hub.take(good(hub, stranger, kind)) is None
    assert hub.handlers.counters == {f"received.{kind}": 1, f"dropped.{kind}.unknown": 1}


def test_a_stale_report_is_counted(hub: HubHarness, cam: FakeDevice) -> None:
    old = cam.death()
    hub.take(cam.birth())
    hub.take(old)
    assert hub.handlers.counters == {"received.state": 2, "dropped.state.stale": 1}
    assert fleet.device(hub.context, cam.id).device.presence.online


def test_a_need_for_a_blob_that_is_not_here_or_of_another_size_is_counted(
    hub: HubHarness, cam: FakeDevice
) -> None:
    there = artifact(hub)
    hub.take(cam.need(BlobRef(digest=digest_of(b"?"), size_bytes=1, chunk_bytes=256), (0, 1)))
    other = BlobRef(digest=there.digest, size_bytes=there.size_bytes + 1, chunk_bytes=256)
    hub.take(cam.need(other, (0, 1)))
    assert hub.handlers.counters == {"received.need": 2, "dropped.need.unknown_blob": 2}
    assert hub.demand.next() is None


def test_a_need_for_no_chunk_is_counted(hub: HubHarness, cam: FakeDevice) -> None:
    hub.take(cam.need(artifact(hub), (100, 200), (3, 3)))
    assert hub.handlers.counters == {"received.need": 1, "dropped.need.impossible": 1}


def test_a_death_forgets_what_the_device_asked_for(hub: HubHarness, cam: FakeDevice) -> None:
    hub.take(good(hub, cam, "need"))
    assert hub.demand.open_chunks == 3
    hub.take(cam.death())
    assert hub.demand.open_chunks == 0


def test_a_device_that_claims_the_highest_generation_is_overtaken_and_harms_nobody(
    hub: HubHarness, cam: FakeDevice
) -> None:
    cam.generation = 2**53 - 1
    hub.take(cam.report())
    (document,) = fleet.desired_documents(hub.context, limit=10)
    assert document[0] == cam.id
    cam.generation = 0
    assert_still_works(hub, cam)


def test_a_retained_state_that_was_cleared_says_nothing(hub: HubHarness, cam: FakeDevice) -> None:
    hub.take((topics.up(cam.id, "state"), b""))
    assert hub.handlers.counters == {"received.state": 1}
    assert fleet.device(hub.context, cam.id).device.presence.online


@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(kind=st.sampled_from(KINDS), payload=st.binary(max_size=2000))
@example(kind="state", payload=b"\xff" * 61_441)
def test_any_bytes_on_any_topic_are_one_count(
    hub: HubHarness, cam: FakeDevice, kind: str, payload: bytes
) -> None:
    before = heads(hub)
    hub.take((topics.up(cam.id, kind), payload))
    assert heads(hub) == before + 1


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=10,
)


@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(kind=st.sampled_from(KINDS), data=st.data())
def test_a_good_document_with_any_value_anywhere_is_one_count(
    hub: HubHarness, cam: FakeDevice, kind: str, data: st.DataObject
) -> None:
    topic, payload = good(hub, cam, kind)
    document = decode(payload)
    place = document
    while True:
        key = data.draw(st.sampled_from(sorted(place)))
        if not isinstance(place[key], dict) or not place[key] or data.draw(st.booleans()):
            break
        place = place[key]
    place[key] = data.draw(JSON)
    before = heads(hub)
    hub.take((topic, on_the_wire(document)))
    assert heads(hub) == before + 1


def test_the_bytes_of_a_good_message_with_one_bit_flipped_are_one_count(
    hub: HubHarness, cam: FakeDevice
) -> None:
    for kind in KINDS:
        topic, payload = good(hub, cam, kind)
        for position in range(0, len(payload), 3):
            flipped = bytearray(payload)
            flipped[position] ^= 1 << (position % 8)
            before = heads(hub)
            hub.take((topic, bytes(flipped)))
            assert heads(hub) == before + 1


def test_the_largest_document_that_is_allowed_is_read(hub: HubHarness, cam: FakeDevice) -> None:
    topic, payload = cam.report()
    document = decode(payload)
    document["padding"] = "x" * (60 * 1024 - len(payload) - 13)
    padded = encode(document)
    assert len(padded) == 60 * 1024
    hub.take((topic, padded))
    hub.take((topic, encode({**document, "padding": document["padding"] + "x"})))
    assert hub.handlers.counters == {"received.state": 1, "dropped.state.malformed": 1}
