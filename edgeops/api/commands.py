"""Routes of commands to devices."""

from __future__ import annotations

import asyncio
from typing import Any

from fastapi import APIRouter, Request
from pydantic import BaseModel

from edgeops.api import views
from edgeops.api.gate import hub_of, may
from edgeops.domain.access import Token
from edgeops.domain.commands import GivenCommand
from edgeops.service import commands

router = APIRouter(tags=["devices"])


class NewCommand(BaseModel):
    """A command, and how long the device may take to begin it."""

    kind: str
    expires_in_s: float = commands.LIFE_S


@router.post("/v1/devices/{name}/commands", status_code=202)
async def give_command(
    request: Request, name: str, new: NewCommand, who: Token = may("operate")
) -> dict[str, Any]:
    """Sign a command and publish it to a device; it is carried out at most once."""
    hub = hub_of(request)

    def give() -> tuple[GivenCommand, bytes]:
        return commands.give(hub.context, who.name, name, new.kind, life_s=new.expires_in_s)

    given, sealed = await asyncio.to_thread(give)
    await hub.publish_command(given.device, sealed)
    return views.command(given, hub.context.clock())


@router.get("/v1/devices/{name}/commands")
def list_commands(request: Request, name: str, _: Token = may("read")) -> list[dict[str, Any]]:
    """List the newest commands of a device, newest first, without their logs."""
    context = hub_of(request).context
    shown = [views.command(each, context.clock()) for each in commands.commands(context, name)]
    return [{**each, "log": None} for each in shown]


@router.get("/v1/devices/{name}/commands/{command}")
def show_command(
    request: Request, name: str, command: str, _: Token = may("read")
) -> dict[str, Any]:
    """Show a command and everything that its device told of it."""
    context = hub_of(request).context
    return views.command(commands.command(context, name, command), context.clock())
