"""Whatever a stranger sends, a parser answers with a value or with the protocol's own error."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from device_agent.core.records import ModelRecord
from device_agent.protocol.chunks import HEADER, MAGIC, MAX_CHUNK_BYTES, decode_chunk
from device_agent.protocol.codec import MAX_DEPTH, MAX_DOCUMENT_BYTES, decode, encode
from device_agent.protocol.enrolment import Enrolment, parse_broker
from device_agent.protocol.envelope import PAYLOAD_COMMAND, PAYLOAD_DESIRED, PAYLOAD_ROOT, seal
from device_agent.protocol.errors import NotTrusted, ProtocolError
from device_agent.protocol.ids import digest_of
from device_agent.protocol.items import Numbered
from device_agent.protocol.manifest import Manifest
from device_agent.protocol.orders import Ack, Command, Desired, Epoch
from device_agent.protocol.preprocessing import Preprocessing
from device_agent.protocol.reports import Need, Reported
from device_agent.protocol.root import Root, pinned_root
from device_agent.protocol.topics import parse_down, parse_up
from device_agent.runtimes.probe_report import ProbeReport, ProbeSpec
from device_agent.shell.storage import FolderStorage
from device_agent.shell.trust import Trust, verify_ed25519
from edgeops.trust.keys import SigningKey
from tests import agent_values as valid
from tests.hostile import WRONG_VALUES, hostile_payloads, mutations, on_the_wire

KEY = SigningKey.generate()
ROOT = Root(
    version=1, roles={role: {KEY.keyid: KEY.public} for role in ("root", "targets", "director")}
)


def sealed(kind: str, payload: bytes) -> bytes:
    message = b"DSSEv1 %d %s %d %s" % (len(kind), kind.encode(), len(payload), payload)
    return seal(kind, payload, [KEY.sign(message)])


ENROLMENT = Enrolment(
    device=valid.DEVICE,
    profile="x86-64-generic",
    broker="mqtt://localhost:1883",
    username="cam-1",
    password="secret",
    root=sealed(PAYLOAD_ROOT, ROOT.to_bytes()),
)

DOCUMENTS: dict[str, tuple[dict[str, Any], Callable[[dict[str, Any]], Any]]] = {
    "desired": (valid.desired(2, digits=valid.order()).to_document(), Desired.from_document),
    "command": (valid.command().to_document(), Command.from_document),
    "ack": (valid.ack().to_document(), Ack.from_document),
    "epoch": (valid.epoch().to_document(), Epoch.from_document),
    "reported": (valid.reported().to_document(), Reported.from_document),
    "event": (
        valid.numbered().to_document(),
        lambda document: Numbered.from_document(document, "event"),
    ),
    "outcome": (
        valid.numbered(valid.outcome()).to_document(),
        lambda document: Numbered.from_document(document, "outcome"),
    ),
    "telemetry": (
        valid.numbered(telemetry=True).to_document(),
        lambda document: Numbered.from_document(document, "telemetry"),
    ),
    "need": (valid.need().to_document(), Need.from_document),
    "record": (valid.full_record().to_document(), ModelRecord.from_document),
}

FILES: dict[str, tuple[bytes, Callable[[bytes], Any]]] = {
    "manifest": (valid.manifest().to_bytes(), Manifest.from_bytes),
    "manifest with preprocessing": (
        valid.manifest(
            min_agent="0.2.0",
            preprocessing=Preprocessing(scale=0.5, mean=(1.0,), std=(2.0, 4.0), shape=(2, 2)),
        ).to_bytes(),
        Manifest.from_bytes,
    ),
    **{
        f"manifest with {name}": (
            valid.manifest(
                min_agent="0.2.0", preprocessing=preprocessing, thresholds=(0.5, 0.25, 0.5)
            ).to_bytes(),
            Manifest.from_bytes,
        )
        for name, preprocessing in valid.PREPROCESSINGS.items()
    },
    "root": (ROOT.to_bytes(), Root.from_bytes),
    "enrolment": (ENROLMENT.to_bytes(), Enrolment.from_bytes),
    "pinned root": (ENROLMENT.root, lambda data: pinned_root(data, verify_ed25519)),
    "probe spec": (
        ProbeSpec(runtime="litert", artifact="a", golden="g").to_bytes(),
        ProbeSpec.from_bytes,
    ),
    "probe report": (ProbeReport(accuracy=0.5).to_bytes(), ProbeReport.from_bytes),
}

PARSERS: dict[str, Callable[[bytes], Any]] = {
    **{
        name: lambda data, parse=parse: parse(decode(data))
        for name, (_, parse) in DOCUMENTS.items()
    },
    **{name: parse for name, (_, parse) in FILES.items()},
    "chunk": decode_chunk,
}


def refused(parse: Callable[[Any], Any], data: Any) -> bool:
    """Return whether the parser refused; any other error than the two of ours fails the test."""
    try:
        parse(data)
    except (ProtocolError, NotTrusted):
        return True
    return False


# ---- bytes


@pytest.mark.parametrize("kind", PARSERS)
def test_no_hostile_payload_is_accepted(kind: str) -> None:
    accepted = [data[:60] for data in hostile_payloads() if not refused(PARSERS[kind], data)]
    assert accepted == []


@pytest.mark.parametrize("kind", PARSERS)
@settings(max_examples=60, deadline=None)
@given(data=st.binary(max_size=200))
def test_random_bytes_are_refused(kind: str, data: bytes) -> None:
    assert refused(PARSERS[kind], data)


@pytest.mark.parametrize("kind", [*DOCUMENTS, *FILES])
@settings(max_examples=60, deadline=None)
@given(at=st.integers(0, 10**6), bit=st.integers(0, 7), cut=st.booleans())
def test_a_flipped_bit_or_a_cut_is_a_value_or_the_protocols_error(
    kind: str, at: int, bit: int, cut: bool
) -> None:
    data = bytearray(encode(DOCUMENTS[kind][0]) if kind in DOCUMENTS else FILES[kind][0])
    if cut:
        assert refused(PARSERS[kind], bytes(data[: at % len(data)]))
        return
    data[at % len(data)] ^= 1 << bit
    refused(PARSERS[kind], bytes(data))


@settings(max_examples=200, deadline=None)
@given(text=st.text(alphabet='{}[]",:\\u0d8ctrue1e9-. \n', max_size=200))
def test_json_like_noise_is_a_value_or_the_protocols_error(text: str) -> None:
    refused(decode, text.encode())


# ---- documents


@pytest.mark.parametrize("kind", DOCUMENTS)
def test_a_wrong_value_in_any_place_is_a_value_or_the_protocols_error(kind: str) -> None:
    document, parse = DOCUMENTS[kind]
    assert not refused(parse, document)
    outcomes = [refused(parse, spoiled) for spoiled in mutations(document)]
    assert sum(outcomes) > len(outcomes) / 2


@pytest.mark.parametrize("kind", FILES)
def test_a_wrong_value_in_any_place_of_a_file_is_a_value_or_an_error_of_ours(kind: str) -> None:
    data, parse = FILES[kind]
    assert not refused(parse, data)
    outcomes = [refused(parse, on_the_wire(spoiled)) for spoiled in mutations(json.loads(data))]
    assert sum(outcomes) > len(outcomes) / 2


@pytest.mark.parametrize("wrong", WRONG_VALUES, ids=lambda value: repr(value)[:20])
@pytest.mark.parametrize("kind", DOCUMENTS)
def test_a_document_that_is_no_object_is_refused(kind: str, wrong: object) -> None:
    assert refused(DOCUMENTS[kind][1], wrong)
    assert refused(PARSERS[kind], on_the_wire(wrong))


@pytest.mark.parametrize("kind", DOCUMENTS)
def test_a_key_given_twice_is_refused(kind: str) -> None:
    data = encode(DOCUMENTS[kind][0])
    assert refused(PARSERS[kind], data[:-1] + b',"schema_version":1}')


@pytest.mark.parametrize("flag", [True, False])
@pytest.mark.parametrize(
    ("kind", "key"),
    [
        ("desired", "generation"),
        ("reported", "session"),
        ("reported", "clock_s"),
        ("event", "sequence"),
        ("ack", "sequence"),
        ("command", "expires_s"),
        ("ack", "schema_version"),
    ],
)
def test_a_boolean_is_no_number(kind: str, key: str, flag: bool) -> None:
    document, parse = DOCUMENTS[kind]
    with pytest.raises(ProtocolError, match=key):
        parse({**document, key: flag})


def test_a_boolean_among_integers_or_an_integer_for_a_boolean_is_refused() -> None:
    document, parse = DOCUMENTS["reported"]
    with pytest.raises(ProtocolError, match="online"):
        parse({**document, "online": 1})
    document, parse = DOCUMENTS["need"]
    with pytest.raises(ProtocolError, match="ranges"):
        parse({**document, "ranges": [0, True]})


def test_counts_that_contradict_each_other_are_refused() -> None:
    document, parse = DOCUMENTS["telemetry"]
    (window,) = document["windows"]
    for contradiction in ({"labelled_correct": 6}, {"nonfinite": 11}):
        assert refused(parse, {**document, "windows": [{**window, **contradiction}]})


def test_the_error_names_the_path_of_the_field() -> None:
    document = json.loads(encode(DOCUMENTS["desired"][0]))
    document["models"]["digits"]["manifest"]["size_bytes"] = -1
    with pytest.raises(ProtocolError, match=r"desired\.models\.digits\.manifest\.size_bytes"):
        Desired.from_document(document)


@pytest.mark.parametrize("names", [["../etc"], ["Digits"], [""], [f"m{n}" for n in range(33)]])
@pytest.mark.parametrize("kind", ["desired", "reported"])
def test_names_of_models_are_checked_and_bounded(kind: str, names: list[str]) -> None:
    document, parse = DOCUMENTS[kind]
    model = document["models"]["digits"]
    assert refused(parse, {**document, "models": dict.fromkeys(names, model)})


def test_a_blob_with_too_many_chunks_is_refused() -> None:
    document, parse = DOCUMENTS["need"]
    huge = {"digest": valid.digest(), "size_bytes": 2**31 - 1, "chunk_bytes": 256}
    with pytest.raises(ProtocolError, match="more than 1048576 chunks"):
        parse({**document, "blob": huge})


# ---- the codec's own bounds


def test_a_document_may_be_as_deep_and_as_large_as_allowed_and_no_more() -> None:
    deep = b'{"a":' + b"[" * (MAX_DEPTH - 1) + b"]" * (MAX_DEPTH - 1) + b"}"
    assert decode(deep)
    assert refused(decode, b'{"a":' + deep + b"}")
    large = b'{"a":"' + b"x" * (MAX_DOCUMENT_BYTES - 8) + b'"}'
    assert len(large) == MAX_DOCUMENT_BYTES
    assert decode(large)
    assert refused(decode, large + b" ")


def test_brackets_inside_strings_are_no_depth() -> None:
    assert decode(b'{"a":"' + b"[" * 1000 + b'\\"' + b"{" * 1000 + b'"}')


def test_a_string_of_escaped_quotes_that_never_ends_is_refused_at_once() -> None:
    """Once this took a time that grew with the square: 1 MiB of it, as a manifest, hours."""
    assert refused(lambda data: decode(data, max_bytes=10**7), b'{"a":"' + b'\\"' * 500_000)


def test_what_json_cannot_hold_is_not_written() -> None:
    for value in (float("nan"), float("inf"), b"bytes", "\ud800", {1, 2}, object()):
        with pytest.raises(ProtocolError):
            encode({"a": value})


# ---- envelopes and trust


@pytest.fixture(scope="module")
def trust(tmp_path_factory: pytest.TempPathFactory) -> Trust:
    return Trust(FolderStorage(tmp_path_factory.mktemp("trust")), ENROLMENT.root)


def doors(trust: Trust) -> dict[str, Callable[[bytes], Any]]:
    return {
        "desired": lambda data: trust.open_desired(data, valid.DEVICE),
        "command": lambda data: trust.open_command(data, valid.DEVICE),
        "root": trust.follow,
    }


@pytest.mark.parametrize("door", ["desired", "command", "root"])
def test_no_hostile_payload_passes_a_door_of_trust(door: str, trust: Trust) -> None:
    for data in hostile_payloads():
        assert refused(doors(trust)[door], data)


@pytest.mark.parametrize("door", ["desired", "command"])
def test_a_hostile_payload_that_is_truly_signed_is_refused_all_the_same(
    door: str, trust: Trust
) -> None:
    kind = {"desired": PAYLOAD_DESIRED, "command": PAYLOAD_COMMAND}[door]
    for data in hostile_payloads():
        if len(data) < 40_000:
            assert refused(doors(trust)[door], sealed(kind, data))


@pytest.mark.parametrize(
    ("door", "envelope"),
    [
        ("desired", sealed(PAYLOAD_DESIRED, encode(valid.desired().to_document()))),
        ("command", sealed(PAYLOAD_COMMAND, encode(valid.command().to_document()))),
    ],
)
def test_an_envelope_spoiled_in_any_place_never_passes_with_another_payload(
    door: str, envelope: bytes, trust: Trust
) -> None:
    opened = doors(trust)[door](envelope)
    for spoiled in mutations(json.loads(envelope)):
        data = on_the_wire(spoiled)
        assert refused(doors(trust)[door], data) or doors(trust)[door](data) == opened


# ---- chunks


@pytest.mark.parametrize(
    "data",
    [
        b"",
        MAGIC,
        b"\0" * 32,
        HEADER.pack(b"EOC2", b"p" * 16, 0, 1, 0),
        HEADER.pack(MAGIC, b"p" * 16, 1, 1, 0),
        HEADER.pack(MAGIC, b"p" * 16, 0, 0, 0),
        HEADER.pack(MAGIC, b"p" * 16, 0, 1, 1),
        HEADER.pack(MAGIC, b"p" * 16, 0, 1, 2**32 - 1),
        HEADER.pack(MAGIC, b"p" * 16, 0, 2**32 - 1, 0),
        HEADER.pack(MAGIC, b"p" * 16, 0, 1, 0) + b"x",
        HEADER.pack(MAGIC, b"p" * 16, 0, 1, MAX_CHUNK_BYTES + 1) + b"x" * (MAX_CHUNK_BYTES + 1),
    ],
)
def test_a_chunk_whose_header_lies_is_refused(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        decode_chunk(data)


# ---- names


@settings(max_examples=200, deadline=None)
@given(topic=st.text(max_size=100) | st.text(alphabet="edgops/v1ucam-+#\0", max_size=60))
def test_any_topic_is_one_of_ours_or_the_protocols_error(topic: str) -> None:
    refused(parse_up, topic)
    refused(lambda text: parse_down(text, valid.DEVICE), topic)


@settings(max_examples=200, deadline=None)
@given(
    address=st.text(max_size=60)
    | st.text(max_size=30).map("mqtt://".__add__)
    | st.text(alphabet="[]:@/?#%.1234567890abc", max_size=30).map("mqtts://".__add__)
)
def test_any_broker_address_is_one_or_the_protocols_error(address: str) -> None:
    refused(parse_broker, address)


def test_hashes_of_a_blob_that_are_not_one_for_each_chunk_are_refused() -> None:
    document = json.loads(FILES["manifest"][0])
    artifact = document["variants"][0]["artifact"]
    artifact["chunks"] = base64.b64encode(b"h" * 32).decode()
    with pytest.raises(ProtocolError, match="does not hold 4 hashes"):
        Manifest.from_bytes(encode(document))
    assert digest_of(b"") != artifact["digest"]
