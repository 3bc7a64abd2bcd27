"""Routes of devices and their telemetry."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field

from device_agent.protocol.ids import parse_device_id, parse_model_name
from edgeops.api import views
from edgeops.api.gate import hub_of, may
from edgeops.domain.access import Token
from edgeops.service import fleet, inbox

router = APIRouter(tags=["devices"])


class NewDevice(BaseModel):
    """A device to be enrolled."""

    name: str
    profile: str
    labels: dict[str, str] = Field(default_factory=dict)


class Labels(BaseModel):
    """Changes of labels: ``site=oslo`` sets, ``site=`` removes."""

    labels: list[str]


@router.post("/v1/devices", status_code=201)
def enroll(request: Request, new: NewDevice, who: Token = may("administer")) -> dict[str, Any]:
    """Enroll a device; the enrolment in this answer holds its password, which is kept nowhere."""
    enrolment = fleet.enroll(hub_of(request).context, who.name, new.name, new.profile, new.labels)
    return {"device": enrolment.device, "enrolment": enrolment.to_bytes().decode()}


@router.get("/v1/devices")
def list_devices(
    request: Request, selector: str = "all", _: Token = may("read")
) -> list[dict[str, Any]]:
    """List the devices that a selector gives."""
    return [views.device(each) for each in fleet.devices(hub_of(request).context, selector)]


@router.get("/v1/devices/{name}")
def show_device(request: Request, name: str, _: Token = may("read")) -> dict[str, Any]:
    """Show a device."""
    return views.device(fleet.device(hub_of(request).context, name))


@router.patch("/v1/devices/{name}")
def label_device(
    request: Request, name: str, change: Labels, who: Token = may("operate")
) -> dict[str, Any]:
    """Set and remove labels."""
    context = hub_of(request).context
    fleet.label(context, who.name, name, tuple(change.labels))
    return views.device(fleet.device(context, name))


@router.delete("/v1/devices/{name}", status_code=204)
def remove_device(request: Request, name: str, who: Token = may("administer")) -> None:
    """Forget a device; its broker account ends."""
    fleet.remove(hub_of(request).context, who.name, name)


@router.get("/v1/telemetry/{model}")
def telemetry(
    request: Request,
    model: str,
    device: str | None = None,
    limit: int = Query(default=100, ge=1, le=1000),
    _: Token = may("read"),
) -> list[dict[str, Any]]:
    """Return the newest telemetry windows of a model."""
    windows = inbox.windows(
        hub_of(request).context,
        parse_model_name(model),
        parse_device_id(device) if device else None,
        limit=limit,
    )
    return [{"device": name, **window.to_document()} for name, window in windows]
