"""Starts that ended badly: how careful the next one is."""

from __future__ import annotations

import pytest

from device_agent.core.starts import (
    CAREFUL_STARTS,
    FALLBACK_STARTS,
    MAX_STRIKES,
    Care,
    Starts,
)
from device_agent.protocol.errors import ProtocolError
from device_agent.protocol.ids import digest_of

ONE, TWO = digest_of(b"one"), digest_of(b"two")


def begun(times: int, starts: Starts | None = None, boot: str = "b1") -> Starts:
    starts = starts or Starts()
    for _ in range(times):
        starts = starts.begun(boot)
    return starts


def test_the_first_start_is_a_usual_one() -> None:
    assert begun(1).care is Care.USUAL


def test_the_more_starts_of_one_boot_ended_badly_the_less_is_loaded() -> None:
    cares = [begun(n).care for n in range(1, FALLBACK_STARTS + 3)]
    assert cares == sorted(cares, key=list(Care).index)
    assert set(cares) == set(Care)
    assert begun(CAREFUL_STARTS).care is Care.CAREFUL
    assert begun(CAREFUL_STARTS + 1).care is Care.FALLBACK
    assert begun(10_000).care is Care.NOTHING


def test_power_cuts_count_a_third_of_what_crashes_do() -> None:
    starts = Starts()
    cares = []
    for boot in range(40):
        starts = starts.begun(f"boot {boot}")
        cares.append(starts.care)
    assert cares.index(Care.CAREFUL) == 5
    assert cares.index(Care.FALLBACK) == 14
    assert cares[-1] is Care.NOTHING


def test_a_start_that_ended_well_makes_the_next_one_usual() -> None:
    assert begun(1, begun(9).ended_well()).care is Care.USUAL


def test_a_load_that_ended_the_process_is_a_strike_and_enough_of_them_make_it_suspect() -> None:
    starts = begun(1)
    for strike in range(1, MAX_STRIKES + 1):
        assert not starts.is_suspect(ONE)
        starts = Starts(boot="b1", loading=ONE, strikes=starts.strikes).begun("b1")
        assert starts.strikes == {ONE: strike}
        assert starts.loading == ""
    assert starts.is_suspect(ONE)
    assert not starts.is_suspect(TWO)


def test_suspects_stay_suspect_after_a_healthy_start() -> None:
    starts = Starts(strikes={ONE: MAX_STRIKES}).begun("b1").ended_well()
    assert starts.begun("b2").is_suspect(ONE)


def test_it_survives_its_document() -> None:
    starts = Starts(boot="b", in_boot=3, boots=2, loading=ONE, strikes={TWO: 1})
    assert Starts.from_document(starts.to_document()) == starts


@pytest.mark.parametrize(
    "spoiled", [{"loading": "x"}, {"in_boot": -1}, {"strikes": [["x", 1]]}, {"schema_version": 9}]
)
def test_a_damaged_document_is_refused(spoiled: dict[str, object]) -> None:
    with pytest.raises(ProtocolError):
        Starts.from_document({**Starts().to_document(), **spoiled})
