"""The journal of a model: what is written is read again, and damage is named."""

from __future__ import annotations

from dataclasses import replace

import pytest

from device_agent.core.records import MAX_QUARANTINE, ModelRecord
from device_agent.core.states import State
from device_agent.protocol.codec import decode, encode
from device_agent.protocol.errors import ProtocolError
from device_agent.protocol.reasons import Reason
from tests.agent_values import deployment, digest, full_record, record, slot
from tests.hostile import mutations


def through_the_disk(written: ModelRecord) -> ModelRecord:
    return ModelRecord.from_document(decode(encode(written.to_document()), max_bytes=256 * 1024))


def test_an_empty_record_is_read_as_it_was_written() -> None:
    assert through_the_disk(record()) == record()


def test_a_full_record_is_read_as_it_was_written_but_for_the_deadline() -> None:
    written = full_record()
    timed = replace(written, deployment=replace(written.deployment, deadline_s=99.0))
    assert through_the_disk(timed) == written


@pytest.mark.parametrize("state", State)
def test_a_deployment_is_found_in_the_state_in_which_it_was_left(state: State) -> None:
    written = record(deployment=deployment(state))
    assert through_the_disk(written) == written


def test_a_record_with_the_largest_quarantine_and_detail_fits_its_bound() -> None:
    crowded = full_record()
    for number in range(MAX_QUARANTINE):
        crowded = crowded.with_quarantined(digest(number), Reason.PROBATION_CONFIDENCE_SHIFT)
    assert through_the_disk(crowded) == crowded


def test_every_damaged_record_is_refused_by_the_protocols_error_and_no_other() -> None:
    refused = 0
    for damaged in mutations(full_record().to_document()):
        try:
            ModelRecord.from_document(damaged)
        except ProtocolError:
            refused += 1
    assert refused > 1000


@pytest.mark.parametrize(
    ("key", "value", "named"),
    [
        ("floor", -1, r"record\.floor"),
        ("quarantine", [["sha256:00", "disk_full"]], r"record\.quarantine"),
        ("quarantine", [[digest(1), 7]], r"record\.quarantine"),
        ("quarantine", [1], r"record\.quarantine"),
        ("name", "../x", r"record\.name"),
        ("schema_version", 2, "schema_version 2"),
    ],
)
def test_the_damaged_field_is_named(key: str, value: object, named: str) -> None:
    with pytest.raises(ProtocolError, match=named):
        ModelRecord.from_document({**full_record().to_document(), key: value})


def test_what_only_a_newer_agent_knows_costs_neither_slots_nor_quarantine_nor_floor() -> None:
    full = full_record()
    document = full.to_document()
    document["quarantine"] = [[digest(1), "bad_luck"]]
    document["deployment"] = {**document["deployment"], "reason": "bad_luck"}
    read = ModelRecord.from_document(document)
    assert (read.slots, read.floor) == (full.slots, full.floor)
    assert read.quarantine == {digest(1): Reason.LOAD_FAILED}, "it is refused all the same"
    assert read.deployment is not None
    assert read.deployment.reason is Reason.LOAD_FAILED
    document["deployment"] = {**document["deployment"], "state": "happy"}
    assert ModelRecord.from_document(document).deployment is None, "it is ordered again"


def test_a_package_is_found_in_its_slot_and_is_good_only_when_committed() -> None:
    held = record(slots={"A": slot(1), "B": slot(2, committed=False)})
    assert [held.slot_of(digest(n)) for n in (1, 2, 3)] == ["A", "B", None]
    assert [held.is_known_good(digest(n)) for n in (1, 2, 3)] == [True, False, False]


def test_a_slot_is_replaced_or_emptied_and_the_other_one_stays() -> None:
    held = record(slots={"A": slot(1), "B": slot(2)})
    assert held.with_slot("B", slot(3)).slots == {"A": slot(1), "B": slot(3)}
    assert held.with_slot("B", None).slots == {"A": slot(1)}


def test_the_quarantine_is_bounded_and_forgets_the_oldest() -> None:
    held = record()
    for number in range(MAX_QUARANTINE + 3):
        held = held.with_quarantined(digest(number), Reason.LOAD_FAILED)
    assert list(held.quarantine) == [digest(n) for n in range(3, MAX_QUARANTINE + 3)]
    again = held.with_quarantined(digest(3), Reason.GOLDEN_MISMATCH)
    assert len(again.quarantine) == MAX_QUARANTINE
    assert list(again.quarantine)[-1] == digest(3)
