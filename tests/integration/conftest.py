"""What tests of one device share: the keys of a hub, and a workshop that packages with them."""

from __future__ import annotations

import pytest

from device_agent.core.states import State
from tests.device_harness import Device, Hub, Workshop


@pytest.fixture(scope="module")
def hub() -> Hub:
    """Keys of a root of trust; modules that test a real hub have a fixture of their own."""
    return Hub()


@pytest.fixture(scope="module")
def workshop(hub: Hub, tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    """Makes packages that the hub's devices trust."""
    return Workshop(hub, tmp_path_factory.mktemp("workshop"))


@pytest.fixture(scope="module")
def updated(hub: Hub, workshop: Workshop, tmp_path_factory: pytest.TempPathFactory) -> Device:
    """A device that was stopped: version 1 is committed in one slot, 2 serves from the other."""
    device = Device(tmp_path_factory.mktemp("updated") / "state", hub)
    for number in (1, 2):
        device.order(workshop.linear(number), rollout=f"r{number}")
        device.settle()
        assert device.outcome() == (State.COMMITTED, None), device.describe()
    device.stop()
    return device
