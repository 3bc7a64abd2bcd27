"""Options of an agent: what would keep it from being heard is refused where it is given."""

from __future__ import annotations

import math
from typing import Any

import pytest

from device_agent import AgentOptions, BadInput
from device_agent.protocol.reports import MOST_HEARTBEAT_S, Reported
from device_agent.shell.options import NUMBERS, memory_bytes, self_test_memory_mib
from tests import agent_values as valid


@pytest.mark.parametrize("name", list(NUMBERS))
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, -1, True, "30"])
def test_an_option_that_is_no_number_within_its_bounds_is_refused(name: str, value: Any) -> None:
    with pytest.raises(BadInput, match=f"{name} is .*, not a") as raised:
        AgentOptions(**{name: value})
    assert name in raised.value.next_step


@pytest.mark.parametrize("name", [name for name in NUMBERS if name != "reserve_bytes"])
def test_no_option_but_the_reserve_may_be_zero(name: str) -> None:
    assert AgentOptions(reserve_bytes=0).reserve_bytes == 0
    with pytest.raises(BadInput, match=name):
        AgentOptions(**{name: 0})


def test_a_bound_of_things_is_whole_and_only_budgets_may_be_left_open() -> None:
    with pytest.raises(BadInput, match="a whole number"):
        AgentOptions(threads=1.5)  # type: ignore[arg-type]
    with pytest.raises(BadInput, match="heartbeat_s"):
        AgentOptions(heartbeat_s=None)  # type: ignore[arg-type]
    assert AgentOptions(self_test_memory_mib=None).self_test_memory_mib is None
    assert AgentOptions(disk_budget_bytes=None, heartbeat_s=5).heartbeat_s == 5


@pytest.mark.parametrize("heartbeat_s", [0.1, MOST_HEARTBEAT_S])
def test_a_hub_reads_every_heartbeat_that_an_agent_may_have(heartbeat_s: float) -> None:
    options = AgentOptions(heartbeat_s=heartbeat_s)
    said = {**valid.reported().to_document(), "heartbeat_s": options.heartbeat_s}
    assert Reported.from_document(said).heartbeat_s == heartbeat_s


@pytest.mark.parametrize(
    ("machine_mib", "may_take_mib"), [(416, 208), (512, 256), (1024, 512), (8192, 1024), (0, 1024)]
)
def test_a_self_test_may_take_half_of_a_small_machine_and_never_more_than_a_gibibyte(
    machine_mib: int, may_take_mib: int
) -> None:
    assert self_test_memory_mib(machine_mib * 2**20) == may_take_mib


def test_this_machine_says_how_much_memory_it_has() -> None:
    assert memory_bytes() > 2**28
