"""Who is asking: the token of a request, and the errors of the use cases as HTTP answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import Depends, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse

from device_agent.protocol.errors import AgentError
from edgeops.access.tokens import require
from edgeops.domain.access import Permission, Token
from edgeops.domain.errors import (
    Conflict,
    EdgeopsError,
    Forbidden,
    InvalidInput,
    NotAuthorized,
    NotFound,
    NotTrusted,
    StoreFailed,
)
from edgeops.hub.process import Hub
from edgeops.service import access
from edgeops.transport.contract import TransportLost

STATUS: Mapping[type[Exception], int] = {
    InvalidInput: 422,
    NotFound: 404,
    Conflict: 409,
    NotAuthorized: 401,
    Forbidden: 403,
    NotTrusted: 422,
    StoreFailed: 503,
    TransportLost: 503,
    AgentError: 422,
    EdgeopsError: 500,
}


def hub_of(request: Request) -> Hub:
    """Return the hub that this app belongs to."""
    hub: Hub = request.app.state.hub
    return hub


def may(permission: Permission) -> Any:
    """Return a dependency that gives the request's ``Token``, if its role has the permission."""

    def check(request: Request) -> Token:
        scheme, _, text = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not text:
            raise NotAuthorized(
                "no token was given",
                next_step="set EDGEOPS_TOKEN, or --token, to a token of this hub",
            )
        token = access.authenticate(hub_of(request).context, text.strip())
        require(token, permission)
        return token

    return Depends(check)


def error_document(error: EdgeopsError | AgentError) -> dict[str, dict[str, str]]:
    """Return the body of an error answer: its type, its cause and the next step."""
    return {
        "error": {
            "type": type(error).__name__,
            "cause": str(error),
            "next_step": error.next_step,
        }
    }


async def answer_error(_request: Request, error: Exception) -> JSONResponse:
    """Answer a use case's error."""
    if not isinstance(error, (EdgeopsError, AgentError)):
        raise error
    status = next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)
    return JSONResponse(error_document(error), status_code=status)


async def answer_invalid(_request: Request, error: Exception) -> JSONResponse:
    """Answer a request that does not fit its schema, in the same form."""
    details = error.errors() if isinstance(error, RequestValidationError) else []
    first = details[0] if details else {"loc": (), "msg": str(error)}
    where = ".".join(str(part) for part in first["loc"])
    return JSONResponse(error_document(InvalidInput(f"{where}: {first['msg']}")), status_code=422)
