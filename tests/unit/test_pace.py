"""A pace holds over every stretch of time, whatever is asked of it."""

from __future__ import annotations

from itertools import accumulate

from hypothesis import given
from hypothesis import strategies as st

from device_agent.core.pace import Pace

STEPS = st.lists(st.tuples(st.floats(0, 5), st.integers(1, 3000)), min_size=1, max_size=60)


@given(steps=STEPS, rate=st.floats(1, 1000), burst=st.floats(1, 2000))
def test_no_stretch_of_time_lets_more_pass_than_its_bound(
    steps: list[tuple[float, int]], rate: float, burst: float
) -> None:
    pace, passed = Pace.of(rate, burst), []
    for now_s, size in zip(
        accumulate(pause for pause, _ in steps), (size for _, size in steps), strict=True
    ):
        after = pace.take(size, now_s)
        if after is not None:
            pace = after
            passed.append((now_s, size))
    for first in range(len(passed)):
        total = 0
        for now_s, size in passed[first:]:
            total += size
            assert total <= pace.bound(now_s - passed[first][0], 3000) * (1 + 1e-9)


def test_what_waits_passes_as_soon_as_the_bucket_holds_it() -> None:
    pace = Pace.of(100.0, 500.0).take(500, 10.0)
    assert pace is not None
    assert pace.take(200, 11.9) is None
    assert pace.take(200, 12.0) is not None


def test_an_item_larger_than_the_bucket_passes_when_it_is_full_and_the_next_one_pays() -> None:
    pace = Pace.of(100.0, 500.0).take(2000, 0.0)
    assert pace is not None
    assert pace.take(1, 15.0) is None
    assert pace.take(1, 15.02) is not None


def test_a_clock_that_goes_back_gives_nothing() -> None:
    pace = Pace.of(100.0, 100.0).take(100, 50.0)
    assert pace is not None
    assert pace.take(100, 40.0) is None
    assert pace.take(100, 51.0) is not None
