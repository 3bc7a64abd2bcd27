"""Routes of blobs, versions and aliases."""

from __future__ import annotations

import asyncio
import base64
import binascii
from typing import Any

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel

from device_agent.protocol.chunks import MAX_BLOB_BYTES
from device_agent.protocol.envelope import Signature
from device_agent.protocol.ids import parse_digest
from edgeops.api import views
from edgeops.api.gate import hub_of, may
from edgeops.domain.access import Token
from edgeops.domain.errors import InvalidInput
from edgeops.service import packages

router = APIRouter(tags=["packages"])


class SignatureBody(BaseModel):
    """An Ed25519 signature: key id and base64."""

    keyid: str
    sig: str


class NewVersion(BaseModel):
    """A package whose blobs were uploaded: its manifest's digest and signature."""

    manifest: str
    signature: SignatureBody


class AliasMove(BaseModel):
    """Where an alias shall point, and the revision that the caller has seen."""

    version: int
    expected_revision: int | None = None


@router.put("/v1/blobs/{digest}", status_code=204)
async def put_blob(request: Request, digest: str, _: Token = may("publish")) -> Response:
    """Upload a blob."""
    data = bytearray()
    async for piece in request.stream():
        data += piece
        if len(data) > MAX_BLOB_BYTES:
            raise InvalidInput(f"a blob may have {MAX_BLOB_BYTES} bytes")
    context = hub_of(request).context
    await asyncio.to_thread(packages.put_blob, context, parse_digest(digest), bytes(data))
    return Response(status_code=204)


@router.head("/v1/blobs/{digest}")
def has_blob(request: Request, digest: str, _: Token = may("read")) -> Response:
    """Tell whether a blob is here."""
    there = hub_of(request).context.blobs.has(parse_digest(digest))
    return Response(status_code=200 if there else 404)


@router.get("/v1/blobs/{digest}")
def get_blob(request: Request, digest: str, _: Token = may("read")) -> Response:
    """Download a blob."""
    data = packages.read_blob(hub_of(request).context, parse_digest(digest), MAX_BLOB_BYTES)
    return Response(data, media_type="application/octet-stream")


@router.post("/v1/versions", status_code=201)
def publish(request: Request, new: NewVersion, who: Token = may("publish")) -> dict[str, Any]:
    """Publish a package."""
    try:
        value = base64.b64decode(new.signature.sig, validate=True)
    except binascii.Error as error:
        raise InvalidInput("the signature is not base64") from error
    signature = Signature(keyid=new.signature.keyid, value=value)
    context = hub_of(request).context
    return views.version(packages.publish(context, who.name, parse_digest(new.manifest), signature))


@router.get("/v1/versions/{reference}")
def show_version(request: Request, reference: str, _: Token = may("read")) -> dict[str, Any]:
    """Show a version with its manifest: ``kws:2``, ``kws@production`` or ``kws``."""
    context = hub_of(request).context
    found = packages.find(context, reference)
    return {
        **views.version(found),
        "manifest": views.manifest(packages.manifest_of(context, found)),
    }


@router.get("/v1/models")
def list_models(request: Request, _: Token = may("read")) -> list[dict[str, Any]]:
    """List models."""
    return [views.summary(each) for each in packages.models(hub_of(request).context)]


@router.get("/v1/models/{name}")
def show_model(request: Request, name: str, _: Token = may("read")) -> dict[str, Any]:
    """Show a model's versions and aliases."""
    detail = packages.model(hub_of(request).context, name)
    return {
        "model": name,
        "versions": [views.version(each) for each in detail.versions],
        "aliases": [views.alias(each) for each in detail.aliases],
    }


@router.get("/v1/models/{name}/next")
def next_number(request: Request, name: str, _: Token = may("read")) -> dict[str, Any]:
    """Return the number that the next version takes."""
    return {"model": name, "version": packages.next_number(hub_of(request).context, name)}


@router.put("/v1/models/{name}/aliases/{alias}")
def move_alias(
    request: Request, name: str, alias: str, move: AliasMove, who: Token = may("publish")
) -> dict[str, Any]:
    """Point an alias at a version."""
    context = hub_of(request).context
    return views.alias(
        packages.move_alias(context, who.name, name, alias, move.version, move.expected_revision)
    )
