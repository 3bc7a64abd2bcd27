"""The plan of a rollout: which numbers make one, and who is asked first."""

from __future__ import annotations

import dataclasses

import pytest

from device_agent.protocol.ids import DeviceId
from edgeops.domain.errors import InvalidInput
from edgeops.domain.fleet import Device, Presence
from edgeops.domain.rollout import Policy
from edgeops.rollout.plan import check_policy, plan_waves


def device(name: str, *, online: bool = True, profile: str = "board-a") -> Device:
    return Device(
        id=DeviceId(name),
        profile=profile,
        enrolled_s=0.0,
        password_hash="",
        presence=Presence(online=online),
    )


def sizes(waves: dict[DeviceId, int]) -> list[int]:
    return [list(waves.values()).count(wave) for wave in range(max(waves.values()) + 1)]


TEN = [device(f"d{number}") for number in range(10)]


@pytest.mark.parametrize(
    ("policy", "why"),
    [
        ({"canary": 0}, "at least 1 canary"),
        ({"canary": -3}, "at least 1 canary"),
        ({"steps": ()}, "rise to 100"),
        ({"steps": (50,)}, "rise to 100"),
        ({"steps": (50, 50, 100)}, "rise to 100"),
        ({"steps": (60, 50, 100)}, "rise to 100"),
        ({"steps": (0, 100)}, "rise to 100"),
        ({"steps": (50, 101)}, "rise to 100"),
        ({"on_failure": "shrug"}, "no reaction"),
    ],
)
def test_numbers_that_make_no_plan_are_refused_with_an_example(
    policy: dict[str, object], why: str
) -> None:
    with pytest.raises(InvalidInput, match=why) as caught:
        check_policy(Policy(**policy))  # type: ignore[arg-type]
    assert caught.value.next_step


@pytest.mark.parametrize("steps", [(100,), (1, 100), (10, 20, 50, 100)])
def test_steps_that_rise_to_a_hundred_are_a_plan(steps: tuple[int, ...]) -> None:
    check_policy(Policy(steps=steps))


@pytest.mark.parametrize(
    ("canary", "steps", "expected"),
    [
        (1, (50, 100), [1, 4, 5]),
        (1, (100,), [1, 9]),
        (3, (10, 100), [3, 0, 7]),
        (2, (50, 75, 100), [2, 3, 3, 2]),
        (10, (50, 100), [10]),
        (99, (50, 100), [10]),
    ],
)
def test_each_step_is_a_share_of_the_whole_cohort_canary_included(
    canary: int, steps: tuple[int, ...], expected: list[int]
) -> None:
    assert sizes(plan_waves(TEN, Policy(canary=canary, steps=steps), "r1")) == expected


def test_a_share_is_rounded_up_to_whole_devices() -> None:
    three = TEN[:3]
    assert sizes(plan_waves(three, Policy(canary=1, steps=(34, 100)), "r1")) == [1, 1, 1]


def test_one_device_is_its_own_canary() -> None:
    assert plan_waves([device("only")], Policy(), "r1") == {"only": 0}


def test_the_canary_is_drawn_by_the_rollout_and_not_always_the_same() -> None:
    canaries = set()
    for number in range(20):
        waves = plan_waves(TEN, Policy(), f"r{number}")
        canaries |= {name for name, wave in waves.items() if wave == 0}
    assert len(canaries) > 3


def test_the_order_in_which_devices_are_listed_changes_nothing() -> None:
    assert plan_waves(TEN, Policy(), "r1") == plan_waves(TEN[::-1], Policy(), "r1")


def test_devices_that_are_off_come_last() -> None:
    cohort = [dataclasses.replace(each, presence=Presence(online=False)) for each in TEN[:5]]
    cohort += TEN[5:]
    for seed in "abcdefgh":
        waves = plan_waves(cohort, Policy(canary=1, steps=(50, 100)), seed)
        assert {name for name, wave in waves.items() if wave < 2} == {d.id for d in TEN[5:]}


def test_every_profile_has_a_device_among_the_first() -> None:
    cohort = [*TEN, device("rare-1", profile="board-b"), device("rare-2", profile="board-c")]
    for seed in "abcdefgh":
        waves = plan_waves(cohort, Policy(canary=3), seed)
        first = {name for name, wave in waves.items() if wave == 0}
        assert {"rare-1", "rare-2"} < first
