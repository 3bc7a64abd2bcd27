"""What gives way in a full outbox: windows are added, steps and samples go, outcomes stay."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest

from device_agent.core.backlog import (
    MAX_GAP_S,
    Label,
    Waiting,
    add_windows,
    label_of,
    merged,
    to_drop,
    to_merge,
)
from device_agent.core.states import FINAL, State
from device_agent.protocol.codec import decode, encode
from device_agent.protocol.errors import ProtocolError
from device_agent.protocol.ids import ModelName
from device_agent.protocol.items import Window
from device_agent.protocol.plan import MAX_COUNT
from tests.agent_values import event, window


def counted(started_s: float, length_s: float = 60.0, **fields: Any) -> Window:
    return replace(window(), started_s=started_s, ended_s=started_s + length_s, **fields)


def body(each: Window) -> bytes:
    return encode(each.to_document())


def step(state: str, rollout: str = "r1") -> bytes:
    return encode(replace(event(), state=state, rollout=rollout).to_document())


def waiting(kind: str, bodies: list[bytes]) -> list[Waiting]:
    return [
        Waiting(place=at, size_bytes=len(each), label=label_of(kind, each))
        for at, each in enumerate(bodies, 17)
    ]


def windows_from(starts: list[float], **fields: Any) -> list[bytes]:
    return [body(counted(start, **fields)) for start in starts]


# ---- windows


def test_every_count_is_added_and_the_sum_lasts_from_the_first_to_the_last_moment() -> None:
    one = counted(100.0, inferences=3, classes=(1, 2), inputs=(1, 0, 5), plan="p", input_rows=3)
    two = counted(160.0, inferences=9, classes=(4, 4, 1), inputs=(2, 7, 0), plan="p", input_rows=9)
    both = add_windows(one, two)
    assert (both.started_s, both.ended_s) == (100.0, 220.0)
    assert (both.inferences, both.classes) == (12, (5, 6, 1))
    assert (both.inputs, both.input_rows) == ((3, 7, 5), 12)
    for name in ("failures", "nonfinite", "labelled", "labelled_correct"):
        assert getattr(both, name) == getattr(one, name) + getattr(two, name)
    for name in ("confidence", "latency"):
        assert sum(getattr(both, name)) == sum(getattr(one, name)) + sum(getattr(two, name))


@pytest.mark.parametrize(
    "other",
    [
        {"model": ModelName("other")},
        {"version": 9},
        {"digest": "sha256:" + "0" * 64},
        {"plan": "q", "inputs": (1, 0, 5)},
        {"inputs": (1, 0)},
    ],
    ids=["model", "version", "digest", "plan", "bins"],
)
def test_windows_that_count_something_else_are_not_added(other: dict[str, Any]) -> None:
    one = counted(100.0, plan="p", inputs=(1, 0, 5))
    with pytest.raises(ProtocolError):
        add_windows(one, replace(one, **other))


def test_a_sum_that_no_reader_would_take_is_not_made() -> None:
    one = counted(0.0, inferences=MAX_COUNT)
    assert merged(body(one), body(counted(60.0, inferences=1))) is None
    chance = random.Random(1)
    inputs = tuple(chance.randrange(2**30) for _ in range(1000))
    wide = counted(0.0, classes=(5 * 10**11,) * 4096, plan="p", inputs=inputs)
    assert merged(body(wide), body(wide)) is None


def test_a_clock_that_was_set_between_two_windows_does_not_make_a_window_of_decades() -> None:
    early, right = counted(30.0), counted(1.8e9)
    both = add_windows(early, right)
    assert (both.started_s, both.ended_s) == (1.8e9 - 60.0, 1.8e9 + 60.0)
    back = add_windows(right, early)
    assert (back.started_s, back.ended_s) == (0.0, 90.0)
    near = add_windows(early, counted(30.0 + MAX_GAP_S))
    assert near.started_s == 30.0


def test_the_oldest_neighbours_of_one_subject_are_added_first_whatever_lies_between_them() -> None:
    other = body(counted(0.0, version=9))
    bodies = windows_from([0.0, 60.0]) + [other] + windows_from([120.0, 180.0])
    assert to_merge(waiting("telemetry", bodies), 2) == [(17, 18), (20, 21)]
    assert to_merge(waiting("telemetry", [bodies[0], other, bodies[1]]), 2) == [(17, 19)]


def test_short_windows_are_added_before_long_ones_so_that_none_grows_without_end() -> None:
    week = body(counted(0.0, 6 * 86400.0))
    bodies = [week, *windows_from([6 * 86400.0, 6 * 86400.0 + 60.0, 6 * 86400.0 + 120.0])]
    assert to_merge(waiting("telemetry", bodies), 1) == [(18, 19)]


def test_a_window_is_in_one_pair_at_a_time_and_no_more_pairs_are_made_than_asked_for() -> None:
    bodies = windows_from([60.0 * at for at in range(9)])
    pairs = to_merge(waiting("telemetry", bodies), 3)
    assert pairs == [(17, 18), (19, 20), (21, 22)]
    assert len({place for pair in to_merge(waiting("telemetry", bodies)) for place in pair}) == 8


def test_windows_that_cannot_be_read_are_left_alone() -> None:
    assert to_merge(waiting("telemetry", [b"{}", b"\xff", b"{}"])) == []
    assert label_of("telemetry", b"{}") == Label()


# ---- events


def dropped(bodies: list[bytes], items: int, arriving: bytes = b"{}") -> list[int] | None:
    chosen = to_drop(
        "event",
        waiting("event", bodies),
        items=items,
        size_bytes=0,
        arriving=label_of("event", arriving),
    )
    return None if chosen is None else [each.place for each in chosen]


def test_steps_that_were_overtaken_go_first_and_the_oldest_of_them_first() -> None:
    bodies = [step("fetch", "r1"), step("fetch", "r2"), step("verify", "r1"), step("stage", "r1")]
    assert dropped(bodies, 1) == [17]
    assert dropped(bodies, 2) == [17, 19]
    assert dropped(bodies, 3) == [17, 19, 18]


def test_the_arriving_event_overtakes_too() -> None:
    bodies = [step("fetch", "r1"), step("fetch", "r2")]
    assert dropped(bodies, 1, step("verify", "r2")) == [18]


@pytest.mark.parametrize("state", FINAL)
def test_an_outcome_never_gives_way(state: State) -> None:
    bodies = [step(state.value, "r1"), step("fetch", "r2"), step(state.value, "r3")]
    assert dropped(bodies, 1, step(state.value, "r4")) == [18]
    assert dropped(bodies, 2) is None


# ---- samples


def test_the_oldest_samples_go_until_there_is_room_and_each_one_is_counted() -> None:
    bodies = [encode({"samples": [{"at": at}] * at}) for at in (3, 2, 5)]
    each = waiting("sample", bodies)
    chosen = to_drop("sample", each, items=0, size_bytes=len(bodies[0]) + 1, arriving=Label())
    assert chosen is not None
    assert [(one.place, one.label.weight) for one in chosen] == [(17, 3), (18, 2)]
    assert to_drop("sample", each, items=4, size_bytes=0, arriving=Label()) is None


def test_the_document_of_a_sum_is_one_that_the_hub_reads() -> None:
    one, two = body(counted(0.0)), body(counted(60.0))
    both = merged(one, two)
    assert both is not None
    assert decode(both)["inferences"] == 2 * window().inferences
