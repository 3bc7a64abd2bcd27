"""Facts of a report travel as JSON: nothing is lost, and what is no facts is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest

from edgeops.domain.errors import InvalidInput
from edgeops.reports.exchange import facts_from_document, to_document
from tests.report_facts import full_facts


def document() -> dict[str, Any]:
    travelled: dict[str, Any] = json.loads(json.dumps(to_document(full_facts())))
    return travelled


def test_a_whole_life_is_the_same_after_its_journey() -> None:
    assert facts_from_document(document()) == full_facts()


def test_unknown_fields_are_ignored_and_missing_ones_have_their_defaults() -> None:
    newer = document()
    newer["weather"] = "fair"
    newer["versions"][0]["colour"] = "red"
    del newer["traffic"]
    assert facts_from_document(newer).traffic == ()
    assert facts_from_document(newer).versions == full_facts().versions


def test_a_whole_number_is_read_where_a_number_is_meant() -> None:
    older = document()
    older["generated_s"] = 1795000815
    assert facts_from_document(older).generated_s == 1795000815.0


@pytest.mark.parametrize(
    ("field", "value", "named"),
    [
        ("model", None, "facts.model"),
        ("model", 7, "facts.model"),
        ("generated_s", "now", "facts.generated_s"),
        ("generated_s", True, "facts.generated_s"),
        ("versions", {}, "facts.versions"),
        ("versions", [1], "facts.versions[0]"),
        ("versions", [{}], "facts.versions[0].number"),
        ("audit", [1], "facts.audit"),
        ("audit", [True, True], "facts.audit[0]"),
        ("drift", [{"device": "d", "cohort": "", "number": 1, "points": [[1.0]]}], "points[0]"),
    ],
)
def test_what_is_no_facts_is_refused_with_the_name_of_the_field(
    field: str, value: object, named: str
) -> None:
    with pytest.raises(InvalidInput) as raised:
        facts_from_document({**document(), field: value})
    assert named in str(raised.value)


@pytest.mark.parametrize("nothing", [None, [], {}, {"schema_version": 2}, "facts"])
def test_another_schema_is_refused(nothing: object) -> None:
    with pytest.raises(InvalidInput) as raised:
        facts_from_document(nothing)
    assert "same version" in raised.value.next_step
