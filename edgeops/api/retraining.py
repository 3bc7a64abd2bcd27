"""Routes of data sets and retraining."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from typing import Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field, FiniteFloat

from device_agent.protocol.chunks import MAX_BLOB_BYTES
from edgeops.api.gate import hub_of, may
from edgeops.domain.access import Token
from edgeops.domain.errors import InvalidInput
from edgeops.domain.registry import parse_model
from edgeops.domain.retraining import MAX_DROP, MIN_SAMPLES, Contest, DataSet, RetrainPolicy
from edgeops.retraining.machine import Step
from edgeops.service import data, retraining

router = APIRouter(tags=["retraining"])


class NewPolicy(BaseModel):
    """When a model is retrained, on what, and what becomes of a better one."""

    data: list[str] = Field(max_length=16)
    evaluation: str
    auto: bool = False
    min_samples: int = MIN_SAMPLES
    max_drop: FiniteFloat = MAX_DROP
    rollout: dict[str, Any] | None = None


class NewRetraining(BaseModel):
    """A retraining that a person asks for."""

    model: str
    alarm: str = ""


class ContestBody(BaseModel):
    """Champion against challenger."""

    name: str = Field(max_length=64)
    runtime: str = Field(max_length=64)
    rows: int = Field(ge=1)
    champion: FiniteFloat
    challenger: FiniteFloat
    gain_low: FiniteFloat
    gain_high: FiniteFloat


class Move(BaseModel):
    """What a worker found."""

    why: str = Field(default="", max_length=2000)
    child: int | None = None
    rollout: str = Field(default="", max_length=64)
    metrics: dict[str, FiniteFloat] = Field(default_factory=dict, max_length=64)
    contests: list[ContestBody] = Field(default_factory=list, max_length=32)


class FromSamples(BaseModel):
    """Whose samples become a data set."""

    samples: str


@router.get("/v1/data")
def list_data(request: Request, _: Token = may("read")) -> list[dict[str, Any]]:
    """List every version of every data set."""
    return [_data_view(each) for each in data.listed(hub_of(request).context)]


@router.get("/v1/data/{reference}")
def show_data(request: Request, reference: str, _: Token = may("read")) -> dict[str, Any]:
    """Show a version of a data set: ``rows:2``, or ``rows`` for the newest."""
    return _data_view(data.show(hub_of(request).context, reference))


@router.put("/v1/data/{name}", status_code=201)
async def add_data(
    request: Request, name: str, file: str = "", who: Token = may("operate")
) -> dict[str, Any]:
    """Add a version of a data set: the body is an ``.npz`` with x and perhaps y."""
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > MAX_BLOB_BYTES:
            raise InvalidInput(f"a data set may have {MAX_BLOB_BYTES} bytes")
    origin = {"file": file[:200]} if file else {}
    context = hub_of(request).context
    return _data_view(
        await asyncio.to_thread(data.add, context, who.name, name, bytes(body), origin)
    )


@router.post("/v1/data/{name}", status_code=201)
def add_samples(
    request: Request, name: str, source: FromSamples, who: Token = may("operate")
) -> dict[str, Any]:
    """Add a version of a data set from the labelled samples of a model."""
    return _data_view(data.add_samples(hub_of(request).context, who.name, name, source.samples))


@router.get("/v1/samples/{model}")
def count_samples(request: Request, model: str, _: Token = may("read")) -> dict[str, Any]:
    """Tell how many samples of a model the hub has."""
    return asdict(data.samples(hub_of(request).context, model))


@router.put("/v1/retrain-policies/{model}")
def set_policy(
    request: Request, model: str, new: NewPolicy, who: Token = may("publish")
) -> dict[str, Any]:
    """Set the retraining policy of a model."""
    wanted = RetrainPolicy(
        model=parse_model(model), **{**new.model_dump(), "data": tuple(new.data)}
    )
    return asdict(retraining.set_policy(hub_of(request).context, who.name, wanted))


@router.get("/v1/retrain-policies/{model}")
def show_policy(request: Request, model: str, _: Token = may("read")) -> dict[str, Any]:
    """Show the retraining policy of a model."""
    return asdict(retraining.policy(hub_of(request).context, model))


@router.get("/v1/retrainings")
def list_retrainings(request: Request, _: Token = may("read")) -> list[dict[str, Any]]:
    """List retrainings, oldest first."""
    return [asdict(each) for each in retraining.listed(hub_of(request).context)]


@router.post("/v1/retrainings", status_code=201)
def ask(request: Request, new: NewRetraining, who: Token = may("operate")) -> dict[str, Any]:
    """Ask for a retraining; its data are frozen now."""
    return asdict(retraining.request(hub_of(request).context, who.name, new.model, new.alarm))


@router.get("/v1/retrainings/{retraining_id}")
def show_retraining(request: Request, retraining_id: str, _: Token = may("read")) -> dict[str, Any]:
    """Show a retraining."""
    return asdict(retraining.show(hub_of(request).context, retraining_id))


@router.post("/v1/retrainings/{retraining_id}/{step}")
def move(
    request: Request, retraining_id: str, step: Step, body: Move, who: Token = may("publish")
) -> dict[str, Any]:
    """Take a step of a retraining; workers do."""
    return asdict(
        retraining.move(
            hub_of(request).context,
            who.name,
            retraining_id,
            step,
            why=body.why,
            child=body.child,
            rollout=body.rollout,
            metrics=body.metrics,
            contests=[Contest(**each.model_dump()) for each in body.contests],
        )
    )


def _data_view(each: DataSet) -> dict[str, Any]:
    return {**asdict(each), "reference": each.reference}
