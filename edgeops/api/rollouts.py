"""Routes of rollouts."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field, FiniteFloat

from device_agent.protocol.activation import Activation, MaintenanceWindow
from device_agent.protocol.probation import ProbationRules
from edgeops.api import views
from edgeops.api.gate import hub_of, may
from edgeops.domain.access import Token
from edgeops.domain.rollout import Policy
from edgeops.rollout.machine import Trigger
from edgeops.service import rollouts

router = APIRouter(tags=["rollouts"])

DEFAULT = Policy()
MAX_DEVICES = 1_000_000


class NewRollout(BaseModel):
    """A rollout to be begun; what is left out has the policy's default."""

    version: str
    selector: str = "all"
    canary: int = Field(default=DEFAULT.canary, ge=1, le=MAX_DEVICES)
    steps: list[int] = Field(default=list(DEFAULT.steps))
    max_failures: int = Field(default=DEFAULT.max_failures, ge=0, le=MAX_DEVICES)
    on_failure: str = DEFAULT.on_failure
    device_timeout_s: float = Field(default=DEFAULT.device_timeout_s, gt=0, le=1e7)
    download_timeout_s: float = Field(default=DEFAULT.download_timeout_s, ge=1, le=1e7)
    bake_s: float = Field(default=DEFAULT.bake_s, ge=0, le=1e7)
    probation: dict[str, FiniteFloat] = Field(default_factory=dict)
    window: str = Field(default="", max_length=64)
    hold: bool = False


class Steering(BaseModel):
    """Why a person steers."""

    why: str = Field(default="", max_length=400)


@router.post("/v1/rollouts", status_code=201)
def create(request: Request, new: NewRollout, who: Token = may("operate")) -> dict[str, Any]:
    """Plan a rollout and begin it."""
    policy = Policy(
        canary=new.canary,
        steps=tuple(new.steps),
        max_failures=new.max_failures,
        on_failure=new.on_failure,
        device_timeout_s=new.device_timeout_s,
        download_timeout_s=new.download_timeout_s,
        bake_s=new.bake_s,
        probation=_probation(new.probation),
        activation=_activation(new),
    )
    wanted = rollouts.NewRollout(reference=new.version, selector=new.selector, policy=policy)
    return views.rollout(rollouts.create(hub_of(request).context, who.name, wanted))


@router.get("/v1/rollouts")
def list_rollouts(request: Request, _: Token = may("read")) -> list[dict[str, Any]]:
    """List rollouts, oldest first."""
    return [views.rollout(each) for each in rollouts.all_rollouts(hub_of(request).context)]


@router.get("/v1/rollouts/{rollout}")
def show_rollout(request: Request, rollout: str, _: Token = may("read")) -> dict[str, Any]:
    """Show a rollout and each device's part in it."""
    return views.rollout(rollouts.show(hub_of(request).context, rollout))


@router.post("/v1/rollouts/{rollout}/{trigger}")
def steer(
    request: Request,
    rollout: str,
    trigger: Trigger,
    steering: Steering,
    who: Token = may("operate"),
) -> dict[str, Any]:
    """Pause, resume, let staged versions be activated, abort or roll back."""
    context = hub_of(request).context
    return views.rollout(rollouts.ask(context, who.name, rollout, trigger, steering.why))


def _activation(new: NewRollout) -> Activation:
    window = MaintenanceWindow.from_text(new.window) if new.window else None
    return Activation(hold=new.hold, window=window)


def _probation(overrides: dict[str, float]) -> ProbationRules:
    known = ProbationRules().to_document()
    return ProbationRules.from_texts(
        {
            name: str(int(value) if isinstance(known.get(name), int) else value)
            for name, value in overrides.items()
        }
    )
