"""Ten thousand installs in one process: nothing grows."""

from __future__ import annotations

import gc
import os
import random
import sys

import pytest

from device_agent.core.deployment import Deployment
from device_agent.protocol.ids import ModelName
from edgeops.simulation.packages import Behaviour, make_package
from tests.one_device import KEYS, MODEL, OneDevice

INSTALLS = 10_000
WARM_UP = 500
"""Installs after which every cache has what it will have."""
GROWTH_BLOCKS = 3_000
"""Blocks of the heap between warm-up and end: a leak of one object in three installs is more."""


@pytest.mark.timeout(900)
def test_ten_thousand_installs_in_one_process_grow_neither_memory_nor_handles_nor_disk() -> None:
    device = OneDevice()
    device.start()
    before: tuple[int, int, int] | None = None
    for number in range(1, INSTALLS + 1):
        package = make_package(
            KEYS, random.Random(number), ModelName(MODEL), number, Behaviour.GOOD
        )
        device.order(package, f"r{number}")
        device.settle()
        assert device.serving() == number
        _forget_the_past(device)
        if number == WARM_UP:
            before = _measure(device)
    assert before is not None
    after = _measure(device)
    assert after[0] - before[0] < GROWTH_BLOCKS, f"the heap grew from {before[0]} to {after[0]}"
    assert after[1] == before[1], "handles"
    assert after[2] <= before[2] + 200, "bytes of the disk, but for longer numbers"
    assert sum(isinstance(each, Deployment) for each in gc.get_objects()) < 100
    device.close()


def _forget_the_past(device: OneDevice) -> None:
    """Drop what the test itself keeps: the hub's blobs, the events, what was published."""
    device.blobs.clear()
    device.events.clear()
    device.link.published.clear()
    device._seen = 0
    device.loaded.clear()


def _measure(device: OneDevice) -> tuple[int, int, int]:
    gc.collect()
    return (
        sys.getallocatedblocks(),
        len(os.listdir("/proc/self/fd")),
        device.disk.used_bytes,
    )
