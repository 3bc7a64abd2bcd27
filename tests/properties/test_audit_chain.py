"""Whatever is done to a chain of audit entries, verifying it tells."""

import dataclasses
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from edgeops.domain.audit import EMPTY_HEAD, AuditEntry, AuditHead, next_entry, verify_chain

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=5,
)


@st.composite
def chains(draw: st.DrawFn) -> tuple[list[AuditEntry], AuditHead]:
    """A good chain of 2 to 6 entries, and its head."""
    entries: list[AuditEntry] = []
    head = EMPTY_HEAD
    for _ in range(draw(st.integers(2, 6))):
        entry = next_entry(
            head,
            at_s=draw(st.floats(0, 1e10)),
            actor=draw(TEXTS),
            act=draw(TEXTS),
            subject=draw(TEXTS),
            detail=draw(st.dictionaries(TEXTS, JSON, max_size=3)),
        )
        entries.append(entry)
        head = AuditHead(count=entry.sequence, hash=entry.hash)
    return entries, head


@given(chains())
def test_what_was_written_verifies(chain: tuple[list[AuditEntry], AuditHead]) -> None:
    entries, head = chain
    report = verify_chain(entries, head)
    assert report.ok
    assert report.count == len(entries)


@given(chains(), st.data())
def test_any_edit_of_any_field_is_detected(
    chain: tuple[list[AuditEntry], AuditHead], data: st.DataObject
) -> None:
    entries, head = chain
    place = data.draw(st.integers(0, len(entries) - 1))
    field = data.draw(st.sampled_from([field.name for field in dataclasses.fields(AuditEntry)]))
    old = getattr(entries[place], field)
    new = data.draw(
        {
            "sequence": st.integers(0, 10),
            "at_s": st.floats(0, 1e10),
            "detail": st.dictionaries(TEXTS, JSON, max_size=3),
        }.get(field, TEXTS).filter(lambda value: value != old)
    )
    change: dict[str, Any] = {field: new}
    entries[place] = dataclasses.replace(entries[place], **change)
    report = verify_chain(entries, head)
    assert not report.ok
    assert report.broken_sequence == place + 1


@given(chains(), st.data())
def test_an_edit_with_a_recomputed_hash_is_detected(
    chain: tuple[list[AuditEntry], AuditHead], data: st.DataObject
) -> None:
    entries, head = chain
    place = data.draw(st.integers(0, len(entries) - 1))
    before = entries[place]
    entries[place] = next_entry(
        AuditHead(count=place, hash=before.previous_hash),
        at_s=before.at_s,
        actor=data.draw(TEXTS.filter(lambda actor: actor != before.actor)),
        act=before.act,
        subject=before.subject,
        detail=before.detail,
    )
    assert not verify_chain(entries, head).ok


@given(chains(), st.data())
def test_any_removal_repetition_or_new_order_is_detected(
    chain: tuple[list[AuditEntry], AuditHead], data: st.DataObject
) -> None:
    entries, head = chain
    places = st.integers(0, len(entries) - 1)
    arranged = data.draw(
        st.lists(places, max_size=8).filter(lambda order: order != list(range(len(entries))))
    )
    assert not verify_chain([entries[place] for place in arranged], head).ok
