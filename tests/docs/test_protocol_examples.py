"""docs/protocol.md is what the code says: its examples, its topics, its bounds."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from device_agent.core.deployment import MAX_TRANSITIONS
from device_agent.processing.golden import decode_golden, encode_golden
from device_agent.protocol import (
    chunks,
    codec,
    envelope,
    fields,
    items,
    orders,
    outcomes,
    reports,
    samples,
    topics,
)
from device_agent.protocol.enrolment import Enrolment
from device_agent.protocol.envelope import Signature
from device_agent.protocol.evidence import Evidence, MetricEvidence
from device_agent.protocol.fields import Fields
from device_agent.protocol.ids import DeviceId, Digest, digest_of, shard_of
from device_agent.protocol.items import Numbered
from device_agent.protocol.manifest import Manifest
from device_agent.protocol.orders import Ack, Command, Desired, Epoch
from device_agent.protocol.preprocessing import Preprocessing
from device_agent.protocol.reference import ReferenceProfile
from device_agent.protocol.reports import Need, Reported
from device_agent.protocol.root import Root, pinned_root
from device_agent.shell import commands, link, outbox
from edgeops.store.commands import MAX_KEPT
from edgeops.trust.keys import verify_signature

DOCS = Path(__file__).resolve().parents[2] / "docs"
TEXT = (DOCS / "protocol.md").read_text(encoding="utf-8")
EXAMPLES: Mapping[str, str] = dict(
    re.findall(r"<!-- example: ([a-z ]+) -->\n```json\n(.*?)\n```", TEXT, re.DOTALL)
)

Read = Callable[[dict[str, Any]], Any]
Write = Callable[[Any], object]


def _rewritten(value: Any) -> object:
    return value.to_document()


def _reread(value: Any) -> object:
    return json.loads(value.to_bytes())


def _resealed(value: tuple[str, bytes, tuple[Signature, ...]]) -> object:
    kind, payload, signatures = value
    return json.loads(envelope.seal(kind, payload, list(signatures)))


def _envelope(kind: str) -> Read:
    return lambda document: (kind, *envelope.read(codec.encode(document), kind))


KINDS: Mapping[str, tuple[Read, Write]] = {
    "desired": (Desired.from_document, _rewritten),
    "command": (Command.from_document, _rewritten),
    "command envelope": (_envelope(envelope.PAYLOAD_COMMAND), _resealed),
    "ack": (Ack.from_document, _rewritten),
    "epoch": (Epoch.from_document, _rewritten),
    "state": (Reported.from_document, _rewritten),
    "event": (lambda document: Numbered.from_document(document, "event"), _rewritten),
    "outcome": (lambda document: Numbered.from_document(document, "outcome"), _rewritten),
    "telemetry": (lambda document: Numbered.from_document(document, "telemetry"), _rewritten),
    "sample": (lambda document: Numbered.from_document(document, "sample"), _rewritten),
    "need": (Need.from_document, _rewritten),
    "root": (lambda document: Root.from_bytes(codec.encode(document)), _reread),
    "root envelope": (_envelope(envelope.PAYLOAD_ROOT), _resealed),
    "manifest": (lambda document: Manifest.from_bytes(codec.encode(document)), _reread),
    "signature": (lambda document: Signature.from_fields(Fields(document, "")), _rewritten),
    "metric": (lambda document: MetricEvidence.from_fields(Fields(document, "")), _rewritten),
    "evidence": (lambda document: Evidence.from_fields(Fields(document, "")), _rewritten),
    **{
        f"preprocessing{kind}": (
            lambda document: Preprocessing.from_fields(Fields(document, "")),
            _rewritten,
        )
        for kind in ("", " of images", " of sound", " of table rows")
    },
    "reference": (lambda document: ReferenceProfile.from_bytes(codec.encode(document)), _reread),
    "golden": (
        lambda document: decode_golden(codec.encode(document)),
        lambda rows: json.loads(encode_golden(rows)),
    ),
    "enrolment": (lambda document: Enrolment.from_bytes(codec.encode(document)), _reread),
}


def example(kind: str) -> Any:
    """Return an example as its class reads it."""
    return KINDS[kind][0](codec.decode(EXAMPLES[kind].encode()))


def test_every_json_block_is_an_example_of_a_known_kind() -> None:
    assert len(EXAMPLES) == TEXT.count("```json")
    assert set(EXAMPLES) == set(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_an_example_is_read_and_written_again_as_it_stands(kind: str) -> None:
    write = KINDS[kind][1]
    assert write(example(kind)) == json.loads(EXAMPLES[kind])


def _values(value: object) -> Iterator[object]:
    yield value
    parts: list[object] = []
    if dataclasses.is_dataclass(value):
        parts = [getattr(value, field.name) for field in dataclasses.fields(value)]
    elif isinstance(value, Mapping):
        parts = list(value.values())
    elif isinstance(value, tuple):
        parts = list(value)
    for part in parts:
        yield from _values(part)


def test_every_message_class_has_an_example() -> None:
    shown = {type(value) for kind in KINDS for value in _values(example(kind))}
    declared = {
        each
        for module in (orders, outcomes, reports, items, samples)
        for each in vars(module).values()
        if dataclasses.is_dataclass(each) and each.__module__ == module.__name__
    }
    assert declared
    assert declared <= shown


def test_the_signatures_of_the_examples_are_real_and_by_the_right_role() -> None:
    root_envelope = codec.encode(json.loads(EXAMPLES["root envelope"]))
    root = pinned_root(root_envelope, verify_signature)
    assert root == example("root")

    order = envelope.unseal(
        codec.encode(json.loads(EXAMPLES["command envelope"])),
        envelope.PAYLOAD_COMMAND,
        root.keys_of("director"),
        verify_signature,
    )
    assert codec.decode(order) == json.loads(EXAMPLES["command"])

    manifest, signature = codec.encode(json.loads(EXAMPLES["manifest"])), example("signature")
    key = root.keys_of("targets")[signature.keyid]
    assert verify_signature(key, signature.value, manifest)
    assert example("enrolment").root == root_envelope


def test_the_examples_speak_of_the_same_package() -> None:
    manifest = codec.encode(json.loads(EXAMPLES["manifest"]))
    wanted = example("desired").models["kws"]
    assert (wanted.manifest.digest, wanted.manifest.size_bytes) == (
        digest_of(manifest),
        len(manifest),
    )
    assert wanted.signature == example("signature")
    variant = example("manifest").variants[0]
    assert variant.golden.ref.digest == digest_of(codec.encode(json.loads(EXAMPLES["golden"])))
    assert example("need").blob == variant.artifact.ref


def test_the_topic_table_is_the_topics_of_the_code() -> None:
    device, blob = DeviceId("{device}"), Digest("sha256:{blob}")
    built = {
        topics.desired(device),
        topics.command(device),
        topics.ack(device),
        topics.repair(device, blob),
        topics.blob(blob),
        topics.trust("root/{n}"),
        topics.trust("{role}"),
        topics.epoch(),
        *(topics.up(device, kind).replace(shard_of(device), "{shard}") for kind in topics.UP_KINDS),
    }
    assert topics.root(7) == topics.trust("root/7")
    assert set(re.findall(r"^\| `(edgeops/v1/[^`]*)` \|", TEXT, re.MULTILINE)) == built
    for topic_filter in (*topics.device_filters(device), topics.hub_filters()[0][: -len("state")]):
        assert f"`{topic_filter}`" in TEXT


def test_the_chunk_header_table_is_the_header_of_the_code() -> None:
    sizes = [int(size) for size in re.findall(r"^\| \d+ \| (\d+) \| .* \|$", TEXT, re.MULTILINE)]
    offsets = [int(at) for at in re.findall(r"^\| (\d+) \| \d+ \| .* \|$", TEXT, re.MULTILINE)]
    assert sum(sizes) == chunks.HEADER.size
    assert offsets == [sum(sizes[:index]) for index in range(len(sizes))]
    assert f"`{chunks.MAGIC.decode()}`" in TEXT


def test_the_bounds_that_the_page_states_are_those_of_the_code() -> None:
    assert codec.MAX_DOCUMENT_BYTES == chunks.MAX_CHUNK_BYTES == 60 * 1024
    assert (codec.MAX_DEPTH, codec.MAX_INTEGER) == (16, 2**53 - 1)
    assert (chunks.MIN_CHUNK_BYTES, chunks.MAX_CHUNKS) == (256, 2**20)
    assert chunks.MAX_BLOB_BYTES == 2**31 - 1
    assert (fields.MAX_MODELS, reports.MAX_RANGES, items.MAX_WINDOWS) == (32, 512, 32)
    assert reports.MAX_DETAIL == 400
    options = outbox.OutboxOptions()
    assert (outbox.SEND_AT_ONCE, outbox.RESEND_AFTER_S) == (16, 5.0)
    assert (outbox.MOST_RESEND_AFTER_S, options.drain_bytes_per_s) == (80.0, 64 * 1024.0)
    assert (options.events.items, options.events.size_bytes) == (1_000, 2 * 2**20)
    assert (options.telemetry.items, options.telemetry.size_bytes) == (10_000, 16 * 2**20)
    assert (options.samples.items, options.samples.size_bytes) == (1_000, 16 * 2**20)
    assert commands.MAX_REMEMBERED == 128
    assert (outcomes.MAX_LOG_LINES, outcomes.MAX_LOG_LINE) == (400, 512)
    assert (outcomes.MAX_LOG_BYTES, MAX_KEPT) == (40 * 1024, 20)
    assert all(f"| `{kind}` |" in TEXT for kind in (*orders.COMMANDS, *outcomes.OUTCOMES))
    limits = link.LinkLimits()
    assert (limits.max_inbox, limits.max_inbox_bytes) == (20_000, 16 * 2**20)
    assert f"{MAX_TRANSITIONS} transitions" in (DOCS / "device.md").read_text(encoding="utf-8")
    pauses = (limits.backoff_first_s, limits.backoff_most_s, limits.stable_s)
    assert pauses == (1.0, 120.0, 30.0)
