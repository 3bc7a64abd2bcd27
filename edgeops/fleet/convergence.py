"""Why a device is not what it should be: one sentence a model, for people."""

from __future__ import annotations

from dataclasses import dataclass

from device_agent.protocol.ids import ModelName
from edgeops.domain.fleet import DesiredState, Device


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelStanding:
    """One model of one device: desired and reported version, and why they differ."""

    model: ModelName
    desired: int | None
    active: int | None
    converged: bool
    why: str


def standings(device: Device, desired: DesiredState) -> tuple[ModelStanding, ...]:
    """Return the standing of every model that is desired of, or reported by, a device."""
    reported = device.reported.models if device.reported else {}
    names = sorted(set(desired.models) | set(reported))
    return tuple(_standing(device, desired, name) for name in names)


def _standing(device: Device, desired: DesiredState, name: ModelName) -> ModelStanding:
    wish = desired.models.get(name)
    model = device.reported.models.get(name) if device.reported else None
    active = model.active.version if model and model.active else None
    number = wish.number if wish else None
    running = model.deployment if model else None
    moving = running is not None and running.state not in ("committed", "rolled_back", "failed")
    converged = (wish is None or active == number) and not moving
    return ModelStanding(
        model=name,
        desired=number,
        active=active,
        converged=converged,
        why="" if converged else _why(device, desired, name),
    )


def _why(device: Device, desired: DesiredState, name: ModelName) -> str:
    if device.reported is None:
        return "it never reported: the agent has not been started with its enrolment yet"
    model = device.reported.models.get(name)
    deployment = model.deployment if model else None
    wish = desired.models.get(name)
    concerns = deployment is not None and wish is not None and deployment.version == wish.number
    if deployment is not None and concerns and deployment.reason:
        return f"{deployment.state}: {deployment.reason}, {deployment.detail}"
    if not device.presence.online:
        return "it is offline"
    if device.reported.generation < desired.generation:
        return f"it has generation {device.reported.generation} of {desired.generation} so far"
    if deployment is not None:
        chunks = f", {deployment.chunks_have} of {deployment.chunks_total} chunks"
        detail = f": {deployment.detail}" if deployment.detail else ""
        return deployment.state + detail + (chunks if deployment.chunks_total else "")
    return "it has not begun"
