"""Routes of the hub itself, of tokens and of the audit."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field

from device_agent.protocol.codec import MAX_INTEGER
from edgeops import __version__
from edgeops.api import views
from edgeops.api.gate import hub_of, may
from edgeops.domain.access import Token
from edgeops.service import access

router = APIRouter()

MAX_DAYS = 36_500


class NewToken(BaseModel):
    """A token to be made."""

    name: str
    role: str
    days: float | None = Field(default=None, gt=0, le=MAX_DAYS)


@router.get("/healthz", tags=["hub"])
def health(request: Request) -> dict[str, Any]:
    """Tell whether the hub works, without a token."""
    return {"status": "ok" if hub_of(request).connected else "degraded", "version": __version__}


@router.get("/v1/hub", tags=["hub"])
def show_hub(request: Request, _: Token = may("read")) -> dict[str, Any]:
    """Show the hub, its broker and its counters."""
    return views.hub(hub_of(request), __version__)


@router.get("/v1/delivery", tags=["hub"])
def show_delivery(request: Request, _: Token = may("read")) -> dict[str, Any]:
    """Show what was published of each blob since the hub started."""
    return dict(views.delivery(hub_of(request)))


@router.get("/v1/root", tags=["hub"])
def show_root(request: Request, _: Token = may("read")) -> dict[str, Any]:
    """Return the root of trust that devices are enrolled with."""
    context = hub_of(request).context
    return {"version": context.root.version, "envelope": context.root_envelope.decode()}


@router.get("/v1/tokens", tags=["access"])
def list_tokens(request: Request, _: Token = may("administer")) -> list[dict[str, Any]]:
    """List tokens."""
    return [views.token(each) for each in access.list_tokens(hub_of(request).context)]


@router.post("/v1/tokens", tags=["access"], status_code=201)
def create_token(request: Request, new: NewToken, who: Token = may("administer")) -> dict[str, Any]:
    """Make a token; its text is in this answer and nowhere else."""
    context = hub_of(request).context
    token, text = access.create_token(context, who.name, new.name, new.role, new.days)
    return {**views.token(token), "token": text}


@router.delete("/v1/tokens/{token_id}", tags=["access"], status_code=204)
def revoke_token(request: Request, token_id: str, who: Token = may("administer")) -> None:
    """End a token."""
    access.revoke_token(hub_of(request).context, who.name, token_id)


@router.get("/v1/audit", tags=["access"])
def list_audit(
    request: Request,
    after: int = Query(default=0, ge=0, le=MAX_INTEGER),
    limit: int = Query(default=100, ge=1, le=1000),
    _: Token = may("read"),
) -> list[dict[str, Any]]:
    """List audit entries in order."""
    entries = access.audit_entries(hub_of(request).context, after=after, limit=limit)
    return [views.audit_entry(each) for each in entries]


@router.get("/v1/audit/verify", tags=["access"])
def verify_audit(request: Request, _: Token = may("read")) -> dict[str, Any]:
    """Walk the audit's chain."""
    verified = access.verify_audit(hub_of(request).context)
    report, head = verified.report, verified.head
    return {
        "ok": report.ok,
        "entries": report.count,
        "why": report.why,
        "head": head.hash if head else None,
    }
