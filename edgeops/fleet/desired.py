"""Desired states: one document a device, built from what is wanted of each of its models."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from device_agent.protocol.chunks import BlobRef
from device_agent.protocol.ids import DeviceId, ModelName
from device_agent.protocol.orders import Desired, DesiredModel
from edgeops.domain.fleet import DesiredState, DesiredVersion
from edgeops.domain.registry import Version


def want(state: DesiredState, wish: DesiredVersion) -> DesiredState:
    """Return the desired state with one model's wish replaced, one generation on.

    The same wish again changes nothing.
    """
    if state.models.get(wish.model) == wish:
        return state
    models = {**state.models, wish.model: wish}
    return replace(state, generation=state.generation + 1, models=models)


def forget(state: DesiredState, model: ModelName) -> DesiredState:
    """Return the desired state without a model: the device keeps what it has of it."""
    if model not in state.models:
        return state
    models = {name: wish for name, wish in state.models.items() if name != model}
    return replace(state, generation=state.generation + 1, models=models)


def overtake(state: DesiredState, reported_generation: int) -> DesiredState:
    """Return the state one generation after what a device reports, if that is newer than ours.

    It happens when the hub was restored from a copy: the device would ignore older wishes.
    """
    if reported_generation <= state.generation:
        return state
    return replace(state, generation=reported_generation + 1)


def document(
    device: DeviceId, state: DesiredState, versions: Mapping[ModelName, Version]
) -> Desired:
    """Return the document that the director signs."""
    return Desired(
        device=device,
        generation=state.generation,
        models={
            name: DesiredModel(
                version=wish.number,
                manifest=BlobRef(
                    digest=versions[name].digest,
                    size_bytes=versions[name].size_bytes,
                ),
                signature=versions[name].signature,
                rollout=wish.rollout,
                probation=wish.probation,
                download_timeout_s=wish.download_timeout_s,
                activation=wish.activation,
            )
            for name, wish in state.models.items()
        },
    )
