"""Laws of the protocol: what is written is read again, whatever it is."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from device_agent.core.counts import Counts
from device_agent.core.deployment import MAX_TRANSITIONS, PATIENT, Do, Happened, step
from device_agent.core.states import ACTS, FINAL, TRANSITIONS, EventType
from device_agent.protocol.chunks import (
    HEADER,
    BlobRef,
    belongs,
    chunk_hashes,
    decode_chunk,
    encode_chunk,
    expand_ranges,
    missing_ranges,
)
from device_agent.protocol.codec import MAX_INTEGER, decode, encode
from device_agent.protocol.enrolment import Enrolment
from device_agent.protocol.envelope import PAYLOAD_DESIRED, read, seal
from device_agent.protocol.ids import digest_of
from device_agent.protocol.items import Numbered
from device_agent.protocol.manifest import Manifest
from device_agent.protocol.orders import Ack, Command, Desired, Epoch
from device_agent.protocol.reasons import Reason
from device_agent.protocol.reports import Need, Reported
from device_agent.protocol.root import Root
from device_agent.protocol.sketch import LATENCY_BINS, latency_bin, latency_quantile_us
from device_agent.shell.blobs import pack_bits, unpack_bits
from tests.agent_values import deployment
from tests.properties import protocol_strategies as some

few = settings(max_examples=40, deadline=None)

MESSAGES = {
    "desired": (some.DESIRED, Desired.from_document),
    "reported": (some.REPORTED, Reported.from_document),
    "outcome": (
        some.OUTCOME_ITEMS,
        lambda document: Numbered.from_document(document, "outcome"),
    ),
    "event": (some.EVENT_ITEMS, lambda document: Numbered.from_document(document, "event")),
    "telemetry": (
        some.TELEMETRY_ITEMS,
        lambda document: Numbered.from_document(document, "telemetry"),
    ),
    "ack": (some.ACKS, Ack.from_document),
    "need": (some.NEEDS, Need.from_document),
    "command": (some.COMMANDS_, Command.from_document),
    "epoch": (some.EPOCHS, Epoch.from_document),
}
FILES = {
    "manifest": (some.MANIFESTS, Manifest.from_bytes),
    "root": (some.ROOTS, Root.from_bytes),
    "enrolment": (some.ENROLMENTS, Enrolment.from_bytes),
}

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-MAX_INTEGER, MAX_INTEGER)
    | st.floats(allow_nan=False, allow_infinity=False)
    | some.texts(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(some.texts(), inner, max_size=3),
    max_leaves=12,
)


# ---- documents


@pytest.mark.parametrize("kind", MESSAGES)
@few
@given(data=st.data())
def test_a_message_is_read_as_it_was_written(kind: str, data: st.DataObject) -> None:
    strategy, from_document = MESSAGES[kind]
    message = data.draw(strategy)
    assert from_document(decode(encode(message.to_document()))) == message


@pytest.mark.parametrize("kind", MESSAGES)
@few
@given(data=st.data())
def test_a_reader_ignores_fields_that_it_does_not_know(kind: str, data: st.DataObject) -> None:
    strategy, from_document = MESSAGES[kind]
    message = data.draw(strategy)
    assert from_document({**message.to_document(), "of_the_future": [1, {}]}) == message


@pytest.mark.parametrize("kind", FILES)
@few
@given(data=st.data())
def test_a_signed_file_is_read_as_it_was_written(kind: str, data: st.DataObject) -> None:
    strategy, from_bytes = FILES[kind]
    value = data.draw(strategy)
    assert from_bytes(value.to_bytes()) == value
    assert from_bytes(value.to_bytes()).to_bytes() == value.to_bytes()


@few
@given(payload=st.binary(max_size=300), signatures=st.lists(some.SIGNATURES, max_size=8))
def test_an_envelope_is_read_as_it_was_sealed(payload, signatures) -> None:
    sealed = seal(PAYLOAD_DESIRED, payload, signatures)
    assert read(sealed, PAYLOAD_DESIRED) == (payload, tuple(signatures))


@few
@given(document=st.dictionaries(some.texts(), JSON, max_size=5), seed=st.integers(0, 99))
def test_canonical_bytes_do_not_depend_on_the_order_of_keys(document, seed: int) -> None:
    assert encode(_shuffled(document, random.Random(seed))) == encode(document)


@few
@given(document=st.dictionaries(some.texts(), JSON, max_size=5))
def test_any_json_object_of_bounded_depth_survives(document) -> None:
    assert decode(encode(document)) == document


def _shuffled(value, chance: random.Random):
    if isinstance(value, list):
        return [_shuffled(each, chance) for each in value]
    if not isinstance(value, dict):
        return value
    keys = list(value)
    chance.shuffle(keys)
    return {key: _shuffled(value[key], chance) for key in keys}


# ---- chunks


@few
@given(data=st.binary(max_size=3000), size=st.integers(256, 1024))
def test_the_chunks_of_a_blob_are_the_blob(data: bytes, size: int) -> None:
    ref = BlobRef(digest=digest_of(data), size_bytes=len(data), chunk_bytes=size)
    pieces = [data[at : at + size] for at in range(0, max(1, len(data)), size)]
    assert len(pieces) == ref.count
    assert [len(piece) for piece in pieces] == [ref.length_of(n) for n in range(ref.count)]
    chunks = [decode_chunk(encode_chunk(ref, n, piece)) for n, piece in enumerate(pieces)]
    assert b"".join(chunk.data for chunk in chunks) == data
    assert all(belongs(chunk, ref) for chunk in chunks)
    assert len(chunk_hashes(data, size)) == 32 * ref.count


@few
@given(data=st.binary(min_size=1, max_size=300), other=st.binary(max_size=300))
def test_a_chunk_belongs_to_no_other_blob(data: bytes, other: bytes) -> None:
    ref = BlobRef(digest=digest_of(data), size_bytes=len(data))
    foreign = BlobRef(digest=digest_of(other), size_bytes=len(other))
    chunk = decode_chunk(encode_chunk(ref, 0, data))
    assert belongs(chunk, foreign) is (data == other)


def test_the_header_of_a_chunk_is_32_bytes() -> None:
    assert HEADER.size == 32


@given(bits=st.lists(st.booleans(), max_size=100))
def test_a_bitmap_is_unpacked_as_it_was_packed(bits: list[bool]) -> None:
    packed = pack_bits(bits)
    assert len(packed) == -(-len(bits) // 8)
    assert unpack_bits(packed, len(bits)) == bits


@given(data=st.binary(max_size=20), count=st.integers(0, 300))
def test_a_bitmap_of_any_bytes_claims_nothing_beyond_them(data: bytes, count: int) -> None:
    bits = unpack_bits(data, count)
    assert len(bits) == count
    assert not any(bits[8 * len(data) :])


@given(have=st.lists(st.booleans(), max_size=200))
def test_missing_ranges_name_exactly_what_is_missing(have: list[bool]) -> None:
    ranges = missing_ranges(have, max_ranges=len(have) + 1)
    missing = [index for index, present in enumerate(have) if not present]
    assert expand_ranges(ranges, len(have)) == missing
    assert all(stop < start for (_, stop), (start, _) in zip(ranges, ranges[1:], strict=False))


@given(have=st.lists(st.booleans(), max_size=200), most=st.integers(1, 5))
def test_bounded_ranges_are_the_first_of_all(have: list[bool], most: int) -> None:
    every = missing_ranges(have, max_ranges=len(have) + 1)
    assert missing_ranges(have, max_ranges=most) == every[:most]


@given(
    ranges=st.lists(st.tuples(st.integers(-5, 2**53), st.integers(-5, 2**53)), max_size=20),
    count=st.integers(0, 500),
)
def test_expanding_any_ranges_stays_inside_the_blob(ranges, count: int) -> None:
    indices = expand_ranges(ranges, count)
    assert indices == sorted(set(indices))
    assert all(0 <= index < count for index in indices)


# ---- counts and latencies


@few
@given(one=some.counts(), two=some.counts(), three=some.counts())
def test_counts_merge_in_any_order_and_grouping(one: Counts, two: Counts, three: Counts) -> None:
    assert one + two == two + one
    assert (one + two) + three == one + (two + three)
    assert (one + Counts()).inferences == one.inferences


@given(
    latencies=st.lists(st.floats(1.0, 6.7e7), min_size=1, max_size=50),
    quantile=st.sampled_from([0.5, 0.9, 0.95, 0.99]),
)
def test_a_latency_quantile_is_off_by_at_most_half_a_bin(latencies, quantile: float) -> None:
    counted = [0] * LATENCY_BINS
    for latency in latencies:
        counted[latency_bin(latency)] += 1
    exact = sorted(latencies)[math.ceil(quantile * len(latencies)) - 1]
    assert 2 ** (1 / 8) < 1.091  # the 9 % of the protocol
    ratio = latency_quantile_us(counted, quantile) / exact
    assert 1 / 1.091 <= ratio <= 1.091


@given(latency=st.floats(allow_nan=False, min_value=-1e9, max_value=1e300))
def test_every_latency_has_a_bin(latency: float) -> None:
    assert 0 <= latency_bin(latency) < LATENCY_BINS


# ---- step


@pytest.mark.parametrize(("state", "event"), TRANSITIONS)
@settings(max_examples=10, deadline=None)
@given(
    reason=st.none() | st.sampled_from(Reason),
    transitions=st.integers(0, 2 * MAX_TRANSITIONS),
    trials=st.integers(0, 4),
    now_s=st.floats(0, 1e9),
)
def test_step_is_total_deterministic_and_acts_on_its_new_state(
    state, event: EventType, reason, transitions: int, trials: int, now_s: float
) -> None:
    before = deployment(state, transitions=transitions, trials_left=trials)
    happened = Happened(type=event, reason=reason)
    moved, effects = step(before, happened, now_s)
    assert (moved, effects) == step(before, happened, now_s)
    resumes = event is EventType.RESTARTED and state in PATIENT
    assert moved.transitions == transitions + (not resumes)
    assert effects[-1] == Do(act=ACTS[moved.state])
    assert moved.deadline_s is None or moved.deadline_s >= now_s
    assert moved.state in FINAL or (moved.state, EventType.RESTARTED) in TRANSITIONS
