"""Routes of drift: standings and alarms."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field

from edgeops.api.gate import hub_of, may
from edgeops.domain.access import Token
from edgeops.domain.drift import Alarm
from edgeops.service import drift

router = APIRouter(tags=["drift"])


class Closing(BaseModel):
    """Why an alarm is closed."""

    why: str = Field(default="", max_length=400)


@router.get("/v1/alarms")
def list_alarms(
    request: Request, state: str = "all", _: Token = may("read")
) -> list[dict[str, Any]]:
    """List alarms, oldest first; ``state=open`` leaves out the closed ones."""
    found = drift.alarms(hub_of(request).context, only_open=state == "open")
    return [_view(each) for each in found]


@router.get("/v1/alarms/{alarm}")
def show_alarm(request: Request, alarm: str, _: Token = may("read")) -> dict[str, Any]:
    """Show an alarm: devices, cohort, features, since when."""
    return _view(drift.alarm(hub_of(request).context, alarm))


@router.post("/v1/alarms/{alarm}/close")
def close_alarm(
    request: Request, alarm: str, closing: Closing, who: Token = may("operate")
) -> dict[str, Any]:
    """Close an alarm: somebody has looked into it."""
    return _view(drift.close(hub_of(request).context, who.name, alarm, closing.why))


@router.get("/v1/drift/{reference}")
def show_drift(request: Request, reference: str, _: Token = may("read")) -> list[dict[str, Any]]:
    """Show how the devices of a version stand against its reference."""
    return [asdict(each) for each in drift.standings(hub_of(request).context, reference)]


def _view(alarm: Alarm) -> dict[str, Any]:
    return {
        "id": alarm.id,
        "model": alarm.model,
        "version": alarm.number,
        "kind": str(alarm.kind),
        "open": alarm.is_open,
        "opened_s": alarm.opened_s,
        "since_s": alarm.since_s,
        "closed_s": alarm.closed_s,
        "devices": dict(alarm.devices),
        "cohort": alarm.cohort,
        "features": [asdict(each) for each in alarm.features],
        "threshold": alarm.threshold,
    }
