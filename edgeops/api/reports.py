"""Routes of one model's life: the facts of its report, the lineage of a version."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from fastapi import APIRouter, Request

from edgeops.api.gate import hub_of, may
from edgeops.domain.access import Token
from edgeops.reports.exchange import to_document
from edgeops.service import lineage, report

router = APIRouter(tags=["reports"])


@router.get("/v1/models/{name}/report")
def show_report(request: Request, name: str, _: Token = may("read")) -> dict[str, Any]:
    """Return the facts of a model's report; the caller draws them."""
    return to_document(report.gather(hub_of(request).context, name))


@router.get("/v1/versions/{reference}/lineage")
def show_lineage(request: Request, reference: str, _: Token = may("read")) -> dict[str, Any]:
    """Show where a version comes from and where it went."""
    return asdict(lineage.trace(hub_of(request).context, reference))
