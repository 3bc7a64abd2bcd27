"""Ids and topics: inside every broker's limits, and read back as they were built."""

from __future__ import annotations

import hashlib

import pytest

from device_agent.protocol import topics
from device_agent.protocol.errors import ProtocolError
from device_agent.protocol.ids import (
    DeviceId,
    digest_hex,
    digest_of,
    parse_device_id,
    parse_digest,
    parse_model_name,
    shard_of,
)
from tests.agent_values import digest

LONGEST = DeviceId("d" * 64)
DEVICE = DeviceId("cam-1")

EVERY_TOPIC = [
    topics.desired(LONGEST),
    topics.command(LONGEST),
    topics.ack(LONGEST),
    topics.repair(LONGEST, digest()),
    topics.blob(digest()),
    topics.root(999_999_999),
    topics.trust("director"),
    topics.epoch(),
    *(topics.up(LONGEST, kind) for kind in topics.UP_KINDS),
    *topics.device_filters(LONGEST),
    *topics.hub_filters(),
]


@pytest.mark.parametrize("topic", EVERY_TOPIC)
def test_every_topic_has_at_most_6_slashes_and_200_bytes_for_the_longest_ids(topic: str) -> None:
    assert topic.count("/") <= 6
    assert len(topic.encode()) <= 200
    assert topic.startswith("edgeops/v1/")


@pytest.mark.parametrize("kind", topics.UP_KINDS)
def test_an_upward_topic_is_taken_apart_as_it_was_built(kind: str) -> None:
    assert topics.parse_up(topics.up(DEVICE, kind)) == topics.UpTopic(device=DEVICE, kind=kind)


@pytest.mark.parametrize(
    ("topic", "kind"),
    [
        (topics.desired(DEVICE), "desired"),
        (topics.command(DEVICE), "cmd"),
        (topics.ack(DEVICE), "ack"),
        (topics.repair(DEVICE, digest()), "repair"),
        (topics.blob(digest()), "blob"),
        (topics.root(7), "root"),
        (topics.trust("targets"), "trust"),
        (topics.epoch(), "epoch"),
    ],
)
def test_a_downward_topic_is_taken_apart_as_it_was_built(topic: str, kind: str) -> None:
    parsed = topics.parse_down(topic, DEVICE)
    assert parsed.kind == kind
    assert parsed.blob == (digest() if kind in ("repair", "blob") else None)
    assert parsed.version == (7 if kind == "root" else 0)


@pytest.mark.parametrize(
    "topic",
    [
        "",
        "/",
        "edgeops/v1",
        "edgeops/v1/",
        "edgeops/v2/d/cam-1/desired",
        "edgeops/v1/d/cam-2/desired",
        "edgeops/v1/d/CAM-1/desired",
        "edgeops/v1/d/cam-1/desired/x",
        "edgeops/v1/d/cam-1",
        "edgeops/v1/d/+/desired",
        "edgeops/v1/d/cam-1/repair/zz",
        "edgeops/v1/d/cam-1/repair/" + "A" * 64,
        "edgeops/v1/blob/",
        "edgeops/v1/blob/" + "0" * 63,
        "edgeops/v1/trust/root/",
        "edgeops/v1/trust/root/-1",
        "edgeops/v1/trust/root/²",
        "edgeops/v1/trust/root/1/2",
        "edgeops/v1/hub/other",
        "edgeops/v1/u/00/cam-1/state",
        "$SYS/broker",
        "edgeops/v1/d/cam-1/\udcff",
        "edgeops/v1/d/cam-1/" + "é" * 150,
        "edgeops/v1/" + "x" * 70_000,
    ],
)
def test_a_topic_that_this_device_does_not_read_is_refused(topic: str) -> None:
    with pytest.raises(ProtocolError):
        topics.parse_down(topic, DEVICE)


@pytest.mark.parametrize(
    "topic",
    [
        topics.desired(DEVICE),
        topics.epoch(),
        f"edgeops/v1/u/{shard_of(DEVICE)}/cam-1/other",
        f"edgeops/v1/u/{shard_of(DEVICE)}/cam-1/state/x",
        f"edgeops/v1/u/{shard_of(DEVICE)}/-cam/state",
        f"edgeops/v1/u/{shard_of(DEVICE)}/cam 1/state",
        "edgeops/v1/u/zz/cam-1/state",
    ],
)
def test_what_is_no_upward_topic_of_that_device_is_refused(topic: str) -> None:
    with pytest.raises(ProtocolError):
        topics.parse_up(topic)


def test_a_device_may_not_write_under_the_shard_of_another() -> None:
    shards = {shard_of(DeviceId(f"cam-{n}")): f"cam-{n}" for n in range(9)}
    foreign = next(shard for shard in shards if shard != shard_of(DEVICE))
    with pytest.raises(ProtocolError, match="is not the one of cam-1"):
        topics.parse_up(f"edgeops/v1/u/{foreign}/cam-1/state")


def test_the_shard_is_the_first_byte_of_the_ids_hash_and_spreads_a_fleet() -> None:
    assert shard_of(DEVICE) == hashlib.sha256(b"cam-1").hexdigest()[:2]
    assert len({shard_of(DeviceId(f"cam-{n}")) for n in range(3000)}) == 256


@pytest.mark.parametrize("good", ["a", "A", "9", "cam-1", "a.b_c-d", "x" * 64])
def test_a_device_id_is_1_to_64_letters_digits_dots_and_lines(good: str) -> None:
    assert parse_device_id(good) == good


@pytest.mark.parametrize(
    "bad",
    ["", "-a", ".a", "_a", "a b", "a/b", "a+", "#", "a\n", "\na", "é", "x" * 65, "a\0", "٣"],
)
def test_what_could_be_a_path_a_wildcard_or_a_trick_is_no_id(bad: str) -> None:
    with pytest.raises(ProtocolError) as raised:
        parse_device_id(bad)
    assert raised.value.next_step
    with pytest.raises(ProtocolError):
        parse_model_name(bad)


@pytest.mark.parametrize("bad", ["..", "a.", "a-", "Digits", "a..", ".hidden"])
def test_a_model_name_is_a_safe_folder_name(bad: str) -> None:
    with pytest.raises(ProtocolError):
        parse_model_name(bad)


@pytest.mark.parametrize("good", ["a", "0", "kws", "a.b", "a_b-c", "x" * 64])
def test_a_model_name_is_1_to_64_lower_case_letters_digits_dots_and_lines(good: str) -> None:
    assert parse_model_name(good) == good


@pytest.mark.parametrize(
    "bad",
    ["", "sha256:", "sha256:" + "A" * 64, "sha512:" + "0" * 64, digest()[7:], digest() + "\n"],
)
def test_a_digest_is_written_in_one_way_only(bad: str) -> None:
    with pytest.raises(ProtocolError):
        parse_digest(bad)


def test_a_digest_names_its_bytes() -> None:
    named = digest_of(b"abc")
    assert parse_digest(named) == named
    assert digest_hex(named) == hashlib.sha256(b"abc").hexdigest()
