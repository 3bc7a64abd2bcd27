"""The audit's chain, and the closed list of acts."""

import dataclasses
import hashlib
from collections.abc import Iterator
from typing import cast

import pytest
import sqlalchemy as sa

from edgeops.access import audit
from edgeops.domain.audit import (
    EMPTY_HEAD,
    GENESIS,
    AuditEntry,
    AuditHead,
    Flaw,
    next_entry,
    verify_chain,
)
from edgeops.domain.errors import AuditBroken, InvalidInput
from edgeops.store import Database
from edgeops.store.schema import audit as audit_table
from edgeops.store.schema import audit_head


def a_chain(length: int) -> tuple[list[AuditEntry], AuditHead]:
    """A good chain and its head."""
    entries, head = [], EMPTY_HEAD
    for number in range(length):
        entry = next_entry(
            head,
            at_s=1000 + number,
            actor="ana",
            act="alias.set",
            subject="kws@production",
            detail={"number": number},
        )
        entries.append(entry)
        head = AuditHead(count=entry.sequence, hash=entry.hash)
    return entries, head


@pytest.fixture
def database() -> Iterator[Database]:
    database = Database.open("sqlite://")
    yield database
    database.close()


def test_the_hash_is_sha256_over_canonical_json() -> None:
    entry = next_entry(
        EMPTY_HEAD, at_s=5, actor="ana", act="hub.start", subject="hub", detail={"b": 1, "a": "é"}
    )
    text = (
        '{"act":"hub.start","actor":"ana","at_s":5.0,"detail":{"a":"é","b":1},'
        f'"previous_hash":"{"0" * 64}","sequence":1,"subject":"hub"}}'
    )
    assert entry.previous_hash == GENESIS
    assert entry.hash == hashlib.sha256(text.encode()).hexdigest()


def test_a_good_chain_is_ok_and_so_is_an_empty_one() -> None:
    report = verify_chain(*a_chain(5))
    assert report.ok
    assert report.count == 5
    assert report.why == "5 entries, unbroken"
    assert verify_chain([], EMPTY_HEAD).ok


def test_an_altered_entry_is_named() -> None:
    entries, head = a_chain(5)
    entries[2] = dataclasses.replace(entries[2], actor="eve")
    report = verify_chain(entries, head)
    assert (report.flaw, report.broken_sequence, report.count) == (Flaw.ALTERED, 3, 2)


def test_an_altered_entry_with_a_new_hash_does_not_fit_the_next() -> None:
    entries, head = a_chain(5)
    before = AuditHead(count=2, hash=entries[1].hash)
    entries[2] = next_entry(
        before, at_s=1002, actor="eve", act="alias.set", subject="kws@production", detail={}
    )
    report = verify_chain(entries, head)
    assert (report.flaw, report.broken_sequence) == (Flaw.OUT_OF_ORDER, 4)


def test_a_missing_and_a_swapped_entry_are_named() -> None:
    entries, head = a_chain(5)
    missing = verify_chain(entries[:1] + entries[2:], head)
    assert (missing.flaw, missing.broken_sequence) == (Flaw.OUT_OF_ORDER, 2)
    swapped = verify_chain([entries[0], entries[2], entries[1], *entries[3:]], head)
    assert (swapped.flaw, swapped.broken_sequence) == (Flaw.OUT_OF_ORDER, 2)


def test_a_cut_tail_shows_against_the_head() -> None:
    entries, head = a_chain(5)
    report = verify_chain(entries[:3], head)
    assert (report.flaw, report.broken_sequence) == (Flaw.TRUNCATED, 4)
    assert verify_chain(entries, None).flaw is Flaw.TRUNCATED


def test_a_rewritten_chain_does_not_lead_to_the_head() -> None:
    entries, _ = a_chain(5)
    assert verify_chain(entries, AuditHead(count=5, hash="f" * 64)).flaw is Flaw.HEAD_DIFFERS
    assert verify_chain(entries, a_chain(4)[1]).flaw is Flaw.HEAD_DIFFERS


@pytest.mark.parametrize("detail", [{"x": float("nan")}, {"x": b""}, {"x": 2**60}, {"x": "\ud800"}])
def test_a_detail_that_json_cannot_hold_is_refused(detail: dict[str, object]) -> None:
    with pytest.raises(InvalidInput, match=r"hub\.start cannot be recorded"):
        next_entry(
            EMPTY_HEAD,
            at_s=0.0,
            actor="a",
            act="hub.start",
            subject="",
            detail=detail,  # type: ignore[arg-type]
        )


def test_an_act_that_is_not_in_the_list_cannot_be_recorded(database: Database) -> None:
    with database.begin() as work, pytest.raises(ValueError, match="closed list"):
        audit.record(work.audit, 0.0, "ana", cast(audit.Act, "rollout.explode"), "kws")


def test_each_act_is_listed_once() -> None:
    acts = [act for room in audit.ACTS.values() for act in room]
    assert len(acts) == len(set(acts))
    assert {"package.publish", "rollout.wave_opened", "broker.state_lost"} <= set(acts)


def test_recorded_acts_read_back_in_order(database: Database) -> None:
    with database.begin() as work:
        for number in range(1203):
            audit.record(
                work.audit, number / 3, "ana", "alias.set", "kws@production", number=number
            )
    with database.read() as work:
        assert [entry.detail["number"] for entry in work.audit.entries()] == list(range(1203))
        page = list(work.audit.entries(after=1000, limit=2))
        assert [entry.sequence for entry in page] == [1001, 1002]
        assert list(work.audit.entries(limit=0)) == []
        assert len(list(work.audit.entries(limit=700))) == 700
        assert audit.require_unbroken(work.audit).count == 1203


@pytest.mark.parametrize("column", ["at_s", "actor", "act", "subject", "detail"])
@pytest.mark.parametrize("value", ["not what it was", b"\xff\xfe"])
def test_an_edit_in_the_database_is_found(database: Database, column: str, value: object) -> None:
    with database.begin() as work:
        for number in range(3):
            audit.record(work.audit, number, "ana", "alias.set", "kws@production")
    typed = sa.literal(value, sa.LargeBinary if isinstance(value, bytes) else sa.Text)
    with database.engine.begin() as connection:
        connection.execute(
            sa.update(audit_table).where(audit_table.c.sequence == 2).values({column: typed})
        )
    with database.read() as work, pytest.raises(AuditBroken, match="entry 2 was altered"):
        audit.require_unbroken(work.audit)


def test_nothing_is_recorded_without_a_head(database: Database) -> None:
    with database.engine.begin() as connection:
        connection.execute(sa.delete(audit_head))
    with database.begin() as work, pytest.raises(AuditBroken, match="head record"):
        audit.record(work.audit, 0.0, "ana", "hub.start", "hub")
