"""Which slot is loaded at a start."""

from __future__ import annotations

import pytest

from device_agent.core.loading import slots_to_load
from device_agent.core.starts import Care
from tests.agent_values import digest, record, slot

ONE = record(slots={"A": slot(1)})
BOTH = record(slots={"A": slot(1), "B": slot(2)})
ON_TRIAL = record(slots={"A": slot(1), "B": slot(2, committed=False)})


def load(held, active, care=Care.USUAL, *, suspects=(), is_unpaid=False) -> list[str]:
    bad = {digest(version) for version in suspects}
    return slots_to_load(held, active, care, is_suspect=bad.__contains__, is_unpaid=is_unpaid)


@pytest.mark.parametrize("care", [Care.USUAL, Care.CAREFUL])
def test_the_active_slot_first_and_the_other_if_it_was_committed(care: Care) -> None:
    assert load(BOTH, "B", care) == ["B", "A"]
    assert load(ON_TRIAL, "A", care) == ["A"]
    assert load(ON_TRIAL, "B", care) == ["B", "A"]
    assert load(record(slots={}), None, care) == []


def test_a_pointer_that_names_no_slot_leads_to_the_newest_that_was_committed() -> None:
    assert load(BOTH, None) == ["B", "A"]
    assert load(ON_TRIAL, None) == ["A"]


def test_safe_mode_takes_the_other_version_or_the_only_one_and_then_nothing() -> None:
    assert load(BOTH, "B", Care.FALLBACK) == ["A"]
    assert load(ONE, "A", Care.FALLBACK) == ["A"]
    assert load(BOTH, "B", Care.NOTHING) == []


def test_what_ended_the_process_or_could_not_pay_its_trial_is_not_loaded() -> None:
    assert load(BOTH, "B", suspects=[2]) == ["A"]
    assert load(ONE, "A", Care.FALLBACK, suspects=[1]) == []
    assert load(ON_TRIAL, "B", is_unpaid=True) == ["A"]
    assert load(ON_TRIAL, "B", Care.FALLBACK, is_unpaid=True) == ["A"]
