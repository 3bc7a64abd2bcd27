"""The plan: which device is asked in which wave. A partition of the cohort."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from device_agent.protocol.ids import DeviceId
from edgeops.domain.errors import InvalidInput
from edgeops.domain.fleet import Device
from edgeops.domain.rollout import Policy


def check_policy(policy: Policy) -> None:
    """Refuse numbers that make no plan.

    Raises:
        InvalidInput: no canary, steps that do not rise to 100, an unknown reaction.
    """
    rising = all(a < b for a, b in zip(policy.steps, policy.steps[1:], strict=False))
    if policy.canary < 1:
        raise InvalidInput("a rollout needs at least 1 canary", next_step="use --canary 1")
    if not policy.steps or not rising or policy.steps[0] < 1 or policy.steps[-1] != 100:
        raise InvalidInput(
            "steps must rise to 100 per cent", next_step="for example --steps 50%,100%"
        )
    if policy.on_failure not in ("rollback", "pause"):
        raise InvalidInput(
            f"{policy.on_failure!r} is no reaction to failures", next_step="use rollback or pause"
        )


def plan_waves(devices: Sequence[Device], policy: Policy, seed: str) -> dict[DeviceId, int]:
    """Return the wave of each device: 0 is the canary.

    The order is drawn by ``seed`` (never "the friendly devices"), with two rules: devices that
    are online come first, since a canary that is off proves nothing, and every profile has a
    device among the first, since a profile is what a model breaks on.
    """
    queue = _draw(devices, seed)
    waves: dict[DeviceId, int] = {}
    for index, device in enumerate(queue):
        waves[device.id] = _wave_of(index, len(queue), policy)
    return dict(sorted(waves.items()))


def _draw(devices: Sequence[Device], seed: str) -> list[Device]:
    def lot(device: Device) -> tuple[bool, bytes]:
        drawn = hashlib.sha256(f"{seed}/{device.id}".encode()).digest()
        return (not device.presence.online, drawn)

    drawn = sorted(devices, key=lot)
    firsts: list[Device] = []
    for device in drawn:
        if device.profile not in {first.profile for first in firsts}:
            firsts.append(device)
    return firsts + [device for device in drawn if device not in firsts]


def _wave_of(index: int, total: int, policy: Policy) -> int:
    if index < policy.canary:
        return 0
    for wave, percent in enumerate(policy.steps, start=1):
        if index < max(policy.canary, -(-total * percent // 100)):
            return wave
    return len(policy.steps)
